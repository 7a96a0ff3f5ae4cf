# Makes a script of the extension out of the files of this folder.
#
# Lines are copied, but for these directives, each alone on its line:
#
#   -- @file NAME.sql               the whole file
#   -- @create NAME.sql WORD        the paragraphs (runs of lines without an empty one) of the file in which WORD is
#                                   made: CREATE FUNCTION WORD(, CREATE VIEW WORD, CREATE POLICY WORD ON, …
#   -- @replace NAME.sql WORD       the same as CREATE OR REPLACE, for what is there already
#
# So each object is written down once, and an upgrade step says only what becomes of it.
# Run by make: awk -v folder=schema -f schema/script.awk FILE

function fail(what) {
	print FILENAME ":" FNR ": " what > "/dev/stderr"
	failed = 1
	exit 1
}

function whole(name,    line, path, result) {
	path = folder "/" name
	while ((result = (getline line < path)) > 0)
		print line
	if (result < 0)
		fail("no file " path)
	close(path)
}

function wanted(paragraph, word,    at, rest, made) {
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

function part(name, word, replace,    line, path, result, paragraph, count) {
	path = folder "/" name
	while ((result = (getline line < path)) > 0) {
		if (line != "") {
			paragraph = paragraph (paragraph == "" ? "" : "\n") line
			continue
		}
		if (wanted(paragraph, word)) {
			emit(paragraph, replace)
			count++
		}
		paragraph = ""
	}
	if (result < 0)
		fail("no file " path)
	close(path)
	if (wanted(paragraph, word)) {
		emit(paragraph, replace)
		count++
	}
	if (!count)
		fail(path " makes no " word)
}

/^-- @file / { whole($3); next }
/^-- @create / { part($3, $4, 0); next }
/^-- @replace / { part($3, $4, 1); next }
/^-- @/ { fail("unknown directive " $2) }
{ print }
