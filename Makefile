# mongo_change_stream: build with PGXS against the PostgreSQL that PG_CONFIG names.
EXTENSION = mongo_change_stream
MODULE_big = mongo_change_stream
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))
DATA = mongo_change_stream--1.0.sql
HEADER_FILES := $(wildcard src/*.h)

# The driver's package is libmongoc-1.0 up to 1.30 and mongoc2 from 2.0 on.
MONGOC := $(firstword $(foreach p,libmongoc-1.0 mongoc2,$(if $(shell pkg-config --exists $(p) && echo yes),$(p))))
# -isystem: the driver's inline functions are not ours to warn about
PG_CPPFLAGS = $(patsubst -I%,-isystem%,$(shell pkg-config --cflags $(MONGOC))) -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -fvisibility=hidden
SHLIB_LINK = $(shell pkg-config --libs $(MONGOC)) -lpthread

REGRESS = install
REGRESS_OPTS = --inputdir=. --load-extension=mongo_change_stream

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
with_llvm = no
include $(PGXS)

$(OBJS): $(HEADER_FILES)
