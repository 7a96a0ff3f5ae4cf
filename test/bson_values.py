"""Random BSON values of every type, as bytes: drivers cannot write the deprecated types and the odd values."""
import struct

from bson.decimal128 import Decimal128

DOUBLE, STRING, OBJECT, ARRAY, BINARY, UNDEFINED, OBJECT_ID, BOOL, DATE, NULL, REGEX = range(1, 12)
DB_POINTER, CODE, SYMBOL, CODE_W_SCOPE, INT32, TIMESTAMP, INT64, DECIMAL = range(0x0C, 0x14)
MIN_KEY, MAX_KEY = 0xFF, 0x7F

SCALARS = [DOUBLE, STRING, BINARY, UNDEFINED, OBJECT_ID, BOOL, DATE, NULL, REGEX, DB_POINTER, CODE, SYMBOL,
           CODE_W_SCOPE, INT32, TIMESTAMP, INT64, DECIMAL, MIN_KEY, MAX_KEY]

TEXTS = ["", "a", "A", "ab", "b", "a\0b", "a\0", "\0", "é", "z", "😀", "shipped", "0", "10", "9", "_id", "$x", "a.b", "\x01", "\x7f"]
KEYS = [text for text in TEXTS if "\0" not in text]

INTEGERS = [0, 1, -1, 2, 5, 127, -128, 1 << 31, -(1 << 31), (1 << 31) - 1, (1 << 53) - 1, 1 << 53, (1 << 53) + 1, -(1 << 53) - 1,
            (1 << 62) + 1, (1 << 63) - 1, -(1 << 63), 10 ** 15, 10 ** 18 + 1]

DOUBLES = [0.0, -0.0, 1.0, -1.0, 1.5, 0.1, 0.3, 1e15, 1e22, 1e23, 2.0 ** 53, 2.0 ** 62, 2.0 ** 63, -2.0 ** 63, 2.0 ** 64, 5e-324,
           -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, float("inf"), float("-inf"), float("nan"), 19.99, -2.5]

DECIMALS = ["0", "-0", "0.0", "0E+6000", "1", "1.0", "1.00", "-1", "0.1", "0.10", "0.3", "1.5", "19.99", "-2.5", "1E+3", "1000",
            "9007199254740993", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "18446744073709551616",
            "1E+22", "1E+23", "1E-6176", "-1E-6176", "9.999999999999999999999999999999999E+6144", "4.940656458412465441765687928682214E-324",
            "0.1000000000000000055511151231257827", "0.3333333333333333333333333333333333", "1.797693134862315708145274237317044E+308",
            "NaN", "Infinity", "-Infinity"]


def string(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<i", len(data) + 1) + data + b"\0"


def document(members):
    """The bytes of a document from (key, (type, value)) pairs."""
    body = b"".join(bytes([kind]) + (key if isinstance(key, bytes) else key.encode()) + b"\0" + value
                    for key, (kind, value) in members)
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def array(values):
    return document([(str(index), value) for index, value in enumerate(values)])


def some_integer(random, bits):
    pick = random.choice([number for number in INTEGERS if -(1 << bits - 1) <= number < 1 << bits - 1])
    return pick if random.random() < 0.7 else random.randrange(-1 << random.randrange(1, bits - 1), 1 << random.randrange(1, bits - 1))


def some_double(random):
    choice = random.random()
    if choice < 0.6:
        return struct.pack("<d", random.choice(DOUBLES))
    if choice < 0.8:
        return struct.pack("<d", random.randrange(-1000, 1000) / random.choice([1, 2, 10, 100]))
    return random.randbytes(8)


def some_decimal(random):
    choice = random.random()
    if choice < 0.6:
        text = random.choice(DECIMALS)
    elif choice < 0.8:
        text = f"{random.randrange(-1000, 1000)}E{random.randrange(-3, 2)}"
    else:
        text = f"{random.randrange(-10 ** 34 + 1, 10 ** 34)}E{random.randrange(-60, 20)}"
    return Decimal128(text).bid


def some_binary(random):
    data = random.randbytes(random.choice([0, 1, 2, 16]))
    subtype = random.choice([0, 1, 2, 3, 4, 5, 0x80])
    if subtype == 2:
        data = struct.pack("<i", len(data)) + data
    return struct.pack("<i", len(data)) + bytes([subtype]) + data


def scalar(random, kind=None):
    """(type, bytes) of a value that is no object and no array."""
    kind = kind or random.choice(SCALARS)
    if kind == DOUBLE:
        return kind, some_double(random)
    if kind in (STRING, CODE, SYMBOL):
        return kind, string(random.choice(TEXTS))
    if kind == BINARY:
        return kind, some_binary(random)
    if kind == OBJECT_ID:
        return kind, bytes([random.randrange(3)] * 6) + random.randbytes(6)
    if kind == BOOL:
        return kind, bytes([random.randrange(2)])
    if kind in (DATE, INT64):
        return kind, struct.pack("<q", some_integer(random, 64))
    if kind == TIMESTAMP:
        return kind, struct.pack("<II", random.choice([0, 1, (1 << 32) - 1]), random.choice([0, 1, 2, (1 << 32) - 1]))
    if kind == REGEX:
        return kind, random.choice(KEYS).encode() + b"\0" + random.choice([b"", b"i", b"imx"]) + b"\0"
    if kind == DB_POINTER:
        return kind, string(random.choice(KEYS)) + random.randbytes(12)
    if kind == CODE_W_SCOPE:
        body = string(random.choice(TEXTS)) + document([(random.choice(KEYS), scalar(random, INT32))] * random.randrange(2))
        return kind, struct.pack("<i", len(body) + 4) + body
    if kind == INT32:
        return kind, struct.pack("<i", some_integer(random, 32))
    if kind == DECIMAL:
        return kind, some_decimal(random)
    return kind, b""


def value(random, depth=3, duplicates=False, scalars=SCALARS):
    """(type, bytes) of any value; objects with or without keys that occur twice."""
    choice = random.random()
    if depth == 0 or choice < 0.75:
        return scalar(random, random.choice(scalars))
    size = random.choice([0, 1, 1, 2, 3])
    if choice < 0.9:
        keys = random.choices(KEYS, k=size) if duplicates else random.sample(KEYS, size)
        return OBJECT, document([(key, value(random, depth - 1, duplicates, scalars)) for key in keys])
    return ARRAY, array([value(random, depth - 1, duplicates, scalars) for _ in range(size)])


def each_type(random):
    """A value of each type, for tests that must have them all."""
    yield OBJECT, document([("a", scalar(random, INT32)), ("b", (ARRAY, array([scalar(random), scalar(random)])))])
    yield ARRAY, array([scalar(random) for _ in range(3)])
    for kind in SCALARS:
        yield scalar(random, kind)
