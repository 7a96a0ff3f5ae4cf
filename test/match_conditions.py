"""Random SQL conditions over the columns of events, and events that they tell apart."""
import json

FIELDS = ["a", "b", "n", "s", "t", "d", "e", "list", "user_id", "userId", "a.b", "$x", "", "0", "missing", "_id", "flag"]
TEXTS = ["a", "ab", "abc", "A", "b", "true", "false", "5", "5.0", "1.5", "19.99", "", "é", "É", "x\ny", "x\n", "paid", "NaN", "Infinity", "0",
         "507f1f77bcf86cd799439011", "2024-01-01T00:00:00Z", "00112233-4455-6677-8899-aabbccddeeff", "{}", "[]", "[1, 2]", "1E+3", "K",
         "\u212a", "a%b", "a_b", "a\\b", "a.b", "-1", "null", '{"b": 1}', "AAAA"]
OPERATIONS = ["insert", "update", "replace", "delete", "drop", "rename", "create", "dropDatabase", "invalidate", "nosuch", "", "INSERT"]
PATTERNS = ["a%", "%b", "%a%", "a_", "_", "%", "", "abc", "a\\%b", "x%", "5%", "%e%", "ins%", "%t%", "{%", "\\a%", "é", "_%_"]
REGEXES = ["^a", "b$", "a", ".", "^(a|ab)$", "a|b", "[a-c]+", "^[^a]", "a*b?", "^$", "", "a\\.b", "\\d", "^x.", "y$", "(a)+", "insert|update",
           "^(insert|update)$", "a{2}", "k", "[[:alpha:]]", "a\\Z"]
NUMBERS = ["0", "1", "5", "-1", "1.5", "19.99", "0.1", "0.3", "100", "2147483648", "9007199254740993", "9223372036854775807", "1e22", "'NaN'", "'Infinity'",
           "'-Infinity'", "0.1000000000000000055511151231257827", "123456789012345678901234567890123456789", "1e400", "-0.0", "1.0", "0.5"]
TIMES = ["2024-01-01Z", "2024-01-01 00:00:00.0005Z", "2024-01-01 00:00:00.001Z", "infinity", "-infinity", "1970-01-01Z", "2000-06-01 12:00Z",
         "0044-03-15 BC", "294276-12-31Z", "epoch"]
DOCUMENTS = ["1", "1.5", '"a"', "true", "null", "[]", "[1]", '["a"]', "{}", '{"b": 1}', '{"b": [1]}', '{"$oid": "507f1f77bcf86cd799439011"}',
             '{"$date": "2024-01-01T00:00:00Z"}', '{"$numberDecimal": "1.5"}', '{"$numberDouble": "NaN"}', '{"$minKey": 1}', '{"$symbol": "a"}',
             '{"$undefined": true}', '{"$numberLong": "5"}', '{"a": "a"}', '{"s": "a", "n": 5}', '{"list": ["a"]}', '{"list": []}', '{"d": {"b": 1}}',
             '{"a": null}', '{"user_id": 5}']
COLUMNS = ["full_document", "full_document", "full_document", "full_document_before_change", "document_key", "update_description", "extra"]
COMPARISONS = ["=", "<>", "<", "<=", ">", ">="]


def quote(text):
    return "'" + text.replace("'", "''") + "'"


class Conditions:
    """parameters: values become $1, $2 …, and are found in the list of that name, as (type, value)."""

    def __init__(self, random, times, parameters=None):
        self.random, self.times, self.parameters = random, times, parameters
        self.tokens = []                                     # a test may fill in some that there are

    def literal(self, kind, value):
        """A value that SQL spells as value::kind, or the parameter that has it."""
        if self.parameters is None:
            return f"({quote(value)})::{kind}" if value is not None else f"NULL::{kind}"
        self.parameters.append((kind, value if self.random.random() < 0.95 else None))
        return f"${len(self.parameters)}"

    def array(self, kind, items):
        """An array of values, nulls among them."""
        if self.parameters is None:
            return f"ARRAY[{', '.join('NULL' if item is None else quote(item) for item in items)}]::{kind}[]"
        spelled = ("NULL" if item is None else '"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"' for item in items)
        return self.literal(kind + "[]", "{" + ",".join(spelled) + "}")

    def pick(self, *choices):
        return self.random.choice(choices)

    def some(self, choices, nulls=True):
        """An array constructor's elements, at times with a null."""
        items = [self.random.choice(choices) for _ in range(self.random.randrange(0, 4))]
        if nulls and self.random.random() < 0.15:
            items.append(None)
        self.random.shuffle(items)
        return items

    # ---- values

    def number(self):
        """A number and its type."""
        kind = self.pick("int", "bigint", "numeric", "float8")
        numbers = NUMBERS
        if kind == "int":
            numbers = ["0", "1", "5", "-1", "100", "2147483647"]
        elif kind == "bigint":
            numbers = ["0", "1", "5", "9007199254740993", "9223372036854775807", "-1"]
        elif kind == "float8":
            numbers = [number for number in NUMBERS if number != "1e400"]
        return self.literal(kind, self.random.choice(numbers).strip("'"))

    def time(self):
        return self.literal("timestamptz", self.random.choice(TIMES))

    def event_time(self):
        if self.random.random() < 0.3:
            return self.time()
        time = self.literal("timestamptz", self.random.choice(self.times))
        return time + self.pick("", "", " + interval '1 microsecond'", " - interval '1 microsecond'", " + interval '500 ms'", " - interval '1 s'")

    def value(self):
        """A value that a document compares with."""
        return self.pick(lambda: self.literal("text", self.random.choice(TEXTS)), self.number, self.number, self.time,
                         lambda: self.literal("boolean", self.pick("true", "false")),
                         lambda: self.literal("interval", self.pick("5 ms", "1 day", "1500 us")),
                         lambda: self.literal("document", self.random.choice(DOCUMENTS)))()

    # ---- paths

    def steps(self):
        count = self.pick(1, 1, 1, 2, 2, 3)
        steps = [self.random.choice(FIELDS) for _ in range(count)]
        if count > 1:
            steps[0] = self.pick("d", "list", "e", "a", steps[0])
            steps[1] = self.pick("b", "0", "1", "-1", "01", "s", steps[1])
        return steps

    def column_steps(self):
        column = self.random.choice(COLUMNS)
        steps = self.steps()
        if column == "document_key":
            steps = [self.pick("_id", "_id", "a")]
        elif column == "update_description":
            steps = [self.pick("updatedFields", "removedFields", "truncatedArrays"), *([self.pick("a", "d.b", "s", "0", "n")] * self.pick(0, 1, 1))]
        elif column == "extra":
            steps = self.pick(["to", "coll"], ["to", "db"], ["to"], ["ns"], ["operationDescription", "idIndex"], ["collectionUUID"], ["wallTime"], ["lsid", "id"],
                              ["txnNumber"], ["a"], ["fullDocument", "a"])
        return column, steps

    def document(self):
        """A document, or a value in one, in one of the spellings."""
        column, steps = self.column_steps()
        spelling = self.pick("->", "#>", "[]", "[]", "get", "mixed", "column" if self.random.random() < 0.2 else "[]")
        if spelling == "column":
            return column
        if spelling == "#>":
            return f"{column} #> {quote('{' + ','.join(json.dumps(step) for step in steps) + '}')}"
        if spelling == "get":
            return f"document_get({column}, {', '.join(map(quote, steps))})"
        if spelling == "[]":
            return column + "".join(f"[{step if step.lstrip('-').isdigit() and self.random.random() < 0.7 else quote(step)}]" for step in steps)
        return f"({column}" + "".join(f" -> {int(step) if step.lstrip('-').isdigit() and self.random.random() < 0.7 else quote(step)}"
                                      for step in steps) + ")"

    def plain(self):
        """The text of a value in a document."""
        column, steps = self.column_steps()
        spelling = self.pick("->>", "#>>", "text", "->>")
        if spelling == "#>>":
            return f"({column} #>> {quote('{' + ','.join(json.dumps(step) for step in steps) + '}')})"
        if spelling == "text":
            return f"document_text({self.document()})"
        inner = column + "".join(f" -> {quote(step)}" for step in steps[:-1])
        return f"({inner} ->> {quote(steps[-1])})"

    def text(self):
        return self.pick("operation_type", "operation_type", "collection_name", "collection_name", "database_name", "resume_token", "full_document_source",
                         self.plain(), self.plain(), self.plain())

    def texts_for(self, operand):
        if operand == "operation_type":
            return OPERATIONS
        if operand == "collection_name":
            return ["one", "two", "renamed", "nosuch", "ONE", "", "p"]
        if operand == "full_document_source":
            return ["insert", "replace", "lookup", "post_image", "none", "too_large", "x"]
        if operand == "resume_token":
            return ["82", "8265", "83", "826", "", "x", *self.tokens]
        return TEXTS

    # ---- leaves

    def text_condition(self):
        operand = self.text()
        texts = self.texts_for(operand)
        collate = self.pick("", "", "", ' COLLATE "C"')
        text = self.literal("text", self.random.choice(texts))
        kind = self.pick("compare", "compare", "equal", "like", "regex", "in", "null", "distinct", "any", "between", "prefix")
        if kind == "compare":
            left, right = (operand + collate, text) if self.random.random() < 0.8 else (text, operand + collate)
            return f"{left} {self.random.choice(COMPARISONS)} {right}"
        if kind == "equal":
            return f"{operand} = {text}"
        if kind == "like":
            return f"{operand} {self.pick('LIKE', 'NOT LIKE', 'ILIKE', 'NOT ILIKE')} {self.literal('text', self.random.choice(PATTERNS))}"
        if kind == "regex":
            return f"{operand} {self.pick('~', '!~', '~*', '!~*')} {self.literal('text', self.random.choice(REGEXES))}"
        if kind == "prefix":
            return f"starts_with({operand}, {text})" if self.random.random() < 0.5 else f"{operand} ^@ {text}"
        if kind == "null":
            return f"{operand} IS {self.pick('', 'NOT ')}NULL"
        if kind == "distinct":
            return f"{operand} IS {self.pick('', 'NOT ')}DISTINCT FROM {text}"
        if kind == "between":
            return f"{operand}{collate} {self.pick('', 'NOT ')}BETWEEN {text} AND {self.literal('text', self.random.choice(texts))}"
        items = self.some(texts)
        if kind == "in" and items:
            return f"{operand} {self.pick('', 'NOT ')}IN ({', '.join(self.literal('text', item) for item in items)})"
        return f"{operand} {self.random.choice(COMPARISONS)} {self.pick('ANY', 'ALL')} ({self.array('text', items)})"

    def time_condition(self):
        operand = self.pick("cluster_time", "cluster_time", "change_timestamp")
        kind = self.pick("compare", "compare", "compare", "null", "between", "any", "distinct")
        if kind == "null":
            return f"{operand} IS {self.pick('', 'NOT ')}NULL"
        if kind == "between":
            return f"{operand} {self.pick('', 'NOT ')}BETWEEN {self.event_time()} AND {self.event_time()}"
        if kind == "distinct":
            return f"{operand} IS {self.pick('', 'NOT ')}DISTINCT FROM {self.event_time()}"
        if kind == "any":
            items = ", ".join("NULL" if self.random.random() < 0.1 else self.event_time() for _ in range(self.pick(0, 1, 2)))
            return f"{operand} {self.random.choice(COMPARISONS)} {self.pick('ANY', 'ALL')} (ARRAY[{items}]::timestamptz[])"
        return f"{operand} {self.random.choice(COMPARISONS)} {self.event_time()}"

    def document_condition(self):
        operand = self.document()
        kind = self.pick("compare", "compare", "compare", "null", "in", "any", "between", "contains", "has", "swapped", "distinct")
        if kind == "null":
            return f"{operand} IS {self.pick('', 'NOT ')}NULL"
        if kind == "in":
            maker = self.pick(lambda: self.literal("text", self.random.choice(TEXTS)), self.number, self.time)
            return f"{operand} {self.pick('', 'NOT ')}IN ({', '.join(maker() for _ in range(self.pick(1, 2, 3)))})"
        if kind == "any":
            items, kind = self.pick((lambda: (self.some(TEXTS), "text")), (lambda: (self.some([number.strip("'") for number in NUMBERS]), "numeric")),
                                    (lambda: (self.some(["0", "1", "5", "-1"]), "int")))()
            return f"{operand} {self.random.choice(COMPARISONS)} {self.pick('ANY', 'ALL')} ({self.array(kind, items)})"
        if kind == "between":
            return f"{operand} {self.pick('', 'NOT ')}BETWEEN {self.number()} AND {self.number()}"
        if kind == "contains":
            return f"{operand} {self.pick('@>', '@>', '<@')} {self.literal('document', self.random.choice(DOCUMENTS))}"
        if kind == "has":
            if self.random.random() < 0.6:
                return f"{operand} ? {quote(self.random.choice(FIELDS))}"
            return f"{operand} {self.pick('?|', '?&')} ARRAY[{', '.join(quote(item) for item in self.some(FIELDS, False))}]::text[]::bpchar[]"
        if kind == "swapped":
            return f"{self.value()} {self.random.choice(COMPARISONS)} {operand}"
        if kind == "distinct":
            return f"{operand} IS {self.pick('', 'NOT ')}DISTINCT FROM {self.value()}"
        return f"{operand} {self.random.choice(COMPARISONS)} {self.value()}"

    def cast_condition(self):
        operand = self.plain() if self.random.random() < 0.5 else f"({self.document()})"
        kind = self.pick("numeric", "numeric", "int", "bigint", "float8", "float4", "boolean", "timestamptz", "date", "timestamp", "smallint", "numeric(10,1)")
        cast = f"{operand}::{kind}"
        if kind == "boolean":
            return self.pick(cast, f"NOT {cast}", f"{cast} = true", f"{cast} IS TRUE", f"{cast} IS NOT FALSE", f"{cast} IS UNKNOWN")
        value = self.time() if kind == "timestamptz" else self.literal("date", self.pick("2024-01-01", "infinity", "2023-12-31")) if kind == "date" else \
            self.literal("timestamp", "2024-01-01 01:00") if kind == "timestamp" else self.number()
        if self.random.random() < 0.15:
            return f"{cast} IS {self.pick('', 'NOT ')}NULL"
        if self.random.random() < 0.15:
            return f"{cast} {self.pick('', 'NOT ')}BETWEEN {value} AND {value}"
        return f"{cast} {self.random.choice(COMPARISONS)} {value}"

    def fields_condition(self):
        names = ["a", "b", "n", "s", "d.b", "d", "list", "list.0", "_id", "a.b", "", "$x", "user_id", "e.0.b", "flag"]
        name = self.literal("text", self.random.choice(names))
        items = self.array("text", self.some(names))
        return self.pick(f"{name} = ANY (changed_fields)", f"{name} = ANY (changed_fields)", f"changed_fields @> {items}", f"changed_fields && {items}",
                         f"changed_fields <@ {items}", f"{name} <> ALL (changed_fields)", f"{name} <> ANY (changed_fields)", f"{name} = ALL (changed_fields)",
                         "changed_fields IS NULL", "changed_fields IS NOT NULL", f"{items} <@ changed_fields", f"changed_fields = {items}",
                         f"NOT (changed_fields @> {items})", f"{name} LIKE ANY (changed_fields)", "cardinality(changed_fields) > 1",
                         f"array_position(changed_fields, {name}) IS NOT NULL", f"change_stream_wrote(changed_fields, {name})",
                         f"change_stream_wrote(changed_fields, {quote(self.pick('d.b', 'd', 'list', 'a', 'x', 'a.b', 'list.qty', 'e.b'))})")

    def leaf(self):
        return self.pick(self.text_condition, self.text_condition, self.time_condition, self.document_condition, self.document_condition,
                         self.document_condition, self.cast_condition, self.fields_condition,
                         lambda: self.pick("true", "false", "NULL::boolean"))()

    def condition(self, depth=3):
        """A condition of leaves joined by AND, OR and NOT."""
        if depth == 0 or self.random.random() < 0.35:
            return self.leaf()
        kind = self.pick("AND", "OR", "NOT", "AND", "OR", "IS")
        if kind == "NOT":
            return f"NOT ({self.condition(depth - 1)})"
        if kind == "IS":
            return f"({self.condition(depth - 1)}) IS {self.pick('', 'NOT ')}{self.pick('TRUE', 'FALSE', 'UNKNOWN')}"
        return f" {kind} ".join(f"({self.condition(depth - 1)})" for _ in range(self.pick(2, 2, 3)))
