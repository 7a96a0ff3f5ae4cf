# mongo_change_stream: build with PGXS against the PostgreSQL that PG_CONFIG names.
#
#   make && make install        the extension
#   make installcheck           its SQL tests, on a server that runs and has it installed
#
# The rest needs nothing prepared and installs what it lacks, saying so:
#
#   make test                   everything, on servers of its own
#   make test-all               the same, and then on the other versions of PostgreSQL
#   make test-faults            slow tests of what can fail: members that hang, sets that part, cursors left behind
#   make test-monitoring        what monitoring/ has, by Debian's Prometheus and its exporter; PICTURE=1 draws docs/monitoring.svg anew
#   make test-package           the Debian packages, README's way of installing and the image's steps, each on a clean Debian; as root; WHAT="trixie image" for some
#   make dist                   a release's archive for PGXN
#   make check-style            names, folders, sizes
#   make check-names            nothing in the scripts is looked up where somebody else could have planted it
#   make demo [KEEP=1]          a shop's orders followed live; demo-stop ends what KEEP=1 kept
#   make bench [BENCH="..."]    how fast: ingest, delay, streams, scan, kept, gateway, handlers, mirror, retention, document, translate, beside the limit and a script
#   make bench-all [ARGS="..."] the most of it shortly, as the tables and plots of docs/performance.md
#   make fuzz [SECONDS=300]     damaged BSON, JSON, statements, replies of MongoDB and messages to the gateway, and calls of every function, against a server with sanitizers
EXTENSION = mongo_change_stream
MODULE_big = mongo_change_stream
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))
EXTVERSION = 1.1
# 1.0's script is as it was released; the others are made of schema/
SCHEMA_SCRIPTS = mongo_change_stream--$(EXTVERSION).sql mongo_change_stream--1.0--$(EXTVERSION).sql
DATA = mongo_change_stream--1.0.sql
DATA_built = $(SCHEMA_SCRIPTS)
HEADER_FILES := $(wildcard src/*.h src/*/*.h)

# The driver's package is libmongoc-1.0 up to 1.30 and mongoc2 from 2.0 on.
MONGOC := $(firstword $(foreach p,libmongoc-1.0 mongoc2,$(shell pkg-config --exists $(p) 2>/dev/null && echo $(p))))
# headers are included as folder/name.h, also where the tree is built from elsewhere; -isystem: the driver's inline functions are not ours to warn about
PG_CPPFLAGS := -I$(dir $(lastword $(MAKEFILE_LIST)))src $(if $(MONGOC),$(patsubst -I%,-isystem%,$(shell pkg-config --cflags $(MONGOC)))) -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -fvisibility=hidden
# what the driver unpacks messages with; one that is not here is not offered to MongoDB
UNPACK := $(strip $(foreach p,snappy zlib libzstd,$(shell pkg-config --exists $(p) 2>/dev/null && echo $(p))))
PG_CPPFLAGS += $(patsubst snappy,-DMCS_SNAPPY,$(patsubst zlib,-DMCS_ZLIB,$(patsubst libzstd,-DMCS_ZSTD,$(UNPACK))))
SHLIB_LINK := $(if $(MONGOC),$(shell pkg-config --libs $(MONGOC))) $(if $(UNPACK),$(shell pkg-config --libs $(UNPACK))) -lpthread

REGRESS = install document document_compare document_index document_cast document_op document_ambiguity document_lenient match mongo_option fdw stream_command stream_expression stream_pipeline stream_rights handler_command mirror_status mirror_command projection user_objects dialect dialect_star dialect_join dialect_statement dialect_body dialect_do dialect_gateway dialect_wrote
REGRESS_OPTS = --inputdir=. --load-extension=mongo_change_stream

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
# no bitcode: nothing here gains from being inlined by JIT, and it would need clang
override with_llvm = no
# the package of PostgreSQL's clients has PGXS, too, but no headers
POSTGRES_H := $(wildcard $(shell $(PG_CONFIG) --includedir-server 2>/dev/null)/postgres.h)
ifneq ($(and $(wildcard $(PGXS)),$(POSTGRES_H)),)
include $(PGXS)
else
all install installcheck clean:
	@echo "$(PG_CONFIG) names no PostgreSQL that extensions can be built for." >&2
	@echo "On Debian 12: apt-get install postgresql-15 postgresql-server-dev-15 (on 13: -17 each); or set PG_CONFIG." >&2
	@false
endif

$(SCHEMA_SCRIPTS): mongo_change_stream--%.sql: schema/%.sql schema/script.awk $(wildcard schema/*.sql)
	awk -v folder=schema -f schema/script.awk $< >$@.new && mv $@.new $@

$(OBJS): $(HEADER_FILES) | driver
# what a folder's *_internal.h asks for, so that no other folder can include it
FOLDERS := $(sort $(notdir $(patsubst %/,%,$(dir $(wildcard src/*/*.c)))))
$(foreach folder,$(FOLDERS),$(eval $(filter src/$(folder)/%,$(OBJS)): override CPPFLAGS += -DMCS_INSIDE_$(folder)))
driver:
	@test -n "$(MONGOC)" || { echo "The MongoDB C driver is missing. On Debian: apt-get install libmongoc-dev pkg-config" >&2; false; }

# PG_CONFIG's default is PGXS's affair; the scripts look for themselves unless one is named.
ifeq ($(origin PG_CONFIG),file)
unexport PG_CONFIG
else
export PG_CONFIG
endif
RUN = @test/with-python.sh
BENCH = ingest delay streams scan kept handlers mirror retention document translate gateway

test:
	$(RUN) test/run.py
test-all:
	$(RUN) test/run.py --all
check-style:
	$(RUN) test/check_style.py
check-names: $(SCHEMA_SCRIPTS)
	$(RUN) test/check_names.py

demo:
	$(RUN) demo/demo.py $(if $(filter-out 0 no,$(KEEP)),--keep)
demo-stop:
	$(RUN) demo/demo.py --stop
# the slow tests of faults, which `make test` leaves out; TESTS="test/test_x.py -k name" for some
test-faults:
	$(RUN) test/run.py --faults $(TESTS)
test-monitoring:
	$(RUN) test/run.py --extras test/test_monitoring.py
# PostgreSQL's own tests through the gateway, and clients that are large; downloads PostgreSQL's source by apt
test-gateway:
	$(RUN) test/run.py --extras test/test_gateway_regress.py test/test_clients.py
test-package:
	$(RUN) test/debian_packages.py $(WHAT)
# what is committed, and no more
DIST = mongo_change_stream-$(shell sed -n 's/^  "version": "\(.*\)",/\1/p' META.json)
dist:
	@mkdir -p .cache/dist
	@git archive --format=zip --prefix=$(DIST)/ -o .cache/dist/$(DIST).zip HEAD
	@echo .cache/dist/$(DIST).zip
bench: $(BENCH:%=bench-%)
bench-%:
	$(RUN) bench/$*.py $(ARGS)
fuzz:
	$(RUN) test/fuzz_document.py $(SECONDS)
	$(RUN) test/fuzz_dialect.py $(SECONDS)
	$(RUN) test/fuzz_wire.py $(SECONDS)
	$(RUN) test/fuzz_gateway.py $(SECONDS)
	$(RUN) test/fuzz_functions.py $(SECONDS)

.PHONY: driver test test-all test-faults test-monitoring test-gateway test-package dist check-style check-names demo demo-stop bench fuzz
