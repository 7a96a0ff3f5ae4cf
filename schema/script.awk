# Makes a script of the extension out of the files of this folder.
#
# Lines are copied, but for these directives, each alone on its line:
#
#   -- @file NAME.sql               the whole file
#   -- @create NAME.sql WORD        the paragraphs (runs of lines without an empty one) of the file in which WORD is
#                                   made: CREATE FUNCTION WORD(, CREATE VIEW WORD, CREATE POLICY WORD ON, …
#   -- @replace NAME.sql WORD       the same as CREATE OR REPLACE, for what is there already
#   -- @comments NAME.sql           every COMMENT of the file and of those that it takes by @file; @create and
#                                   @replace leave them out
#
# So each object and each comment is written down once, and an upgrade step says only what becomes of it.
#
# What differs in words only stands once, too, for each combination of the rows of one or more tables, the last of
# which changes fastest.  A cell stands where its column's name is in braces:
#
#   -- @for word | sign
#   --      eq   | =
#   --      ne   | <>
#   CREATE OPERATOR {sign} (LEFTARG = document, RIGHTARG = document, FUNCTION = document_{word});
#   -- @end
#
# Run by make: awk -v folder=schema -f schema/script.awk FILE

function fail(what) {
	print what > "/dev/stderr"
	failed = 1
	exit 1
}

function trim(text) {
	gsub(/^[ \t]+|[ \t]+$/, "", text)
	return text
}

function replaced(text, what, value,    at, done) {
	while ((at = index(text, what))) {
		done = done substr(text, 1, at - 1) value
		text = substr(text, at + length(what))
	}
	return done text
}

# ---- reading: lines[path, 1 .. count[path]] is a file with its tables written out

function add(path, line) {
	lines[path, ++count[path]] = line
}

# The text for each row of the table, and within that for each row of the tables behind it.
function repeat(path, table, text,    row, column, columns, names, cells, result, number, parts, i) {
	if (table > tables) {
		number = split(text, parts, "\n")
		for (i = 1; i < number; i++)
			add(path, parts[i])
		return
	}
	columns = split(head[table], names, "|")
	for (row = 1; row <= rows[table]; row++) {
		if (split(cell[table, row], cells, "|") != columns)
			fail(path ": not " columns " cells: " cell[table, row])
		result = text
		for (column = 1; column <= columns; column++)
			result = replaced(result, "{" trim(names[column]) "}", trim(cells[column]))
		repeat(path, table + 1, result)
	}
}

function load(path,    line, result, body, heading) {
	if (path in count)
		return
	count[path] = 0
	tables = 0
	while ((result = (getline line < path)) > 0) {
		if (line ~ /^-- @for / && (!tables || heading)) {
			head[++tables] = substr(line, 9)
			rows[tables] = 0
			heading = 1
			body = ""
		} else if (heading && line ~ /^--  /) {
			cell[tables, ++rows[tables]] = substr(line, 5)
		} else if (tables && line == "-- @end") {
			repeat(path, 1, body)
			tables = 0
		} else if (tables) {
			heading = 0
			body = body line "\n"
		} else
			add(path, line)
	}
	if (result < 0)
		fail("no file " path)
	if (tables)
		fail(path ": @for without @end")
	close(path)
}

# ---- taking

# Whether a line of a COMMENT; in_comment tells that it is not the last.
function is_comment(line,    is) {
	is = in_comment || line ~ /^COMMENT ON /
	in_comment = is && line !~ /;$/
	return is
}

function whole(path,    i) {
	load(path)
	for (i = 1; i <= count[path]; i++)
		print lines[path, i]
}

function comments(path,    i, parts) {
	load(path)
	for (i = 1; i <= count[path]; i++) {
		if (lines[path, i] ~ /^-- @file /) {
			split(lines[path, i], parts, " ")
			comments(folder "/" parts[3])
		} else if (is_comment(lines[path, i]))
			print lines[path, i]
	}
}

function wanted(paragraph, word,    rest, made) {
	rest = paragraph
	made = "(^|\n)CREATE (TRUSTED )?(TABLE|VIEW|FUNCTION|AGGREGATE|TYPE|LANGUAGE|INDEX|POLICY|TRIGGER) "
	while (match(rest, made)) {
		rest = substr(rest, RSTART + RLENGTH)
		if (substr(rest, 1, length(word)) == word && substr(rest, length(word) + 1, 1) !~ /[A-Za-z0-9_]/)
			return 1
	}
	return 0
}

function emit(paragraph, replace) {
	if (replace) {
		paragraph = "\n" paragraph
		gsub(/\nCREATE FUNCTION /, "\nCREATE OR REPLACE FUNCTION ", paragraph)
		gsub(/\nCREATE VIEW /, "\nCREATE OR REPLACE VIEW ", paragraph)
		paragraph = substr(paragraph, 2)
	}
	print paragraph "\n"
}

function part(path, word, replace,    i, paragraph, found) {
	load(path)
	for (i = 1; i <= count[path] + 1; i++) {
		if (i <= count[path] && lines[path, i] != "") {
			if (!is_comment(lines[path, i]))
				paragraph = paragraph (paragraph == "" ? "" : "\n") lines[path, i]
			continue
		}
		if (wanted(paragraph, word)) {
			emit(paragraph, replace)
			found = 1
		}
		paragraph = ""
	}
	if (!found)
		fail(path " makes no " word)
}

BEGIN {
	script = ARGV[1]
	load(script)
	for (at = 1; at <= count[script]; at++) {
		line = lines[script, at]
		split(line, word, " ")
		if (line ~ /^-- @file /)
			whole(folder "/" word[3])
		else if (line ~ /^-- @create /)
			part(folder "/" word[3], word[4], 0)
		else if (line ~ /^-- @replace /)
			part(folder "/" word[3], word[4], 1)
		else if (line ~ /^-- @comments /)
			comments(folder "/" word[3])
		else if (line ~ /^-- @/)
			fail(script ": unknown directive " word[2])
		else
			print line
	}
	exit failed
}
