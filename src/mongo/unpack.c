/*
 * mongo/unpack.c
 *	  Unpacks compressed messages before the driver sees them: it takes their
 *	  sizes for granted, and what is in them could not be looked through.  Runs
 *	  in the driver's thread only.
 *
 * The libraries are those that libmongoc itself is linked with; one whose headers
 * were not there when the extension was built is not offered to MongoDB, which
 * then does not use it.
 */
#include "mongo/mongo.h"

#ifdef MCS_SNAPPY
#include <snappy-c.h>
#endif
#ifdef MCS_ZLIB
#include <zlib.h>
#endif
#ifdef MCS_ZSTD
#include <zstd.h>
#endif

#define MCS_DRIVER_THREAD
#include "mongo/mongo_internal.h"

/* Unpacks into exactly size bytes; false where that is not what comes out. */
typedef bool (*Unpacker) (const uint8 *packed, uint32 packed_size, uint8 *plain, uint32 size);

#ifdef MCS_SNAPPY
static bool
unpack_snappy(const uint8 *packed, uint32 packed_size, uint8 *plain, uint32 size)
{
	size_t		length = 0;

	/* it says its own length, which must be the message's */
	return snappy_uncompressed_length((const char *) packed, packed_size, &length) == SNAPPY_OK && length == size &&
		snappy_uncompress((const char *) packed, packed_size, (char *) plain, &length) == SNAPPY_OK && length == size;
}
#endif

#ifdef MCS_ZLIB
static bool
unpack_zlib(const uint8 *packed, uint32 packed_size, uint8 *plain, uint32 size)
{
	uLongf		length = size;

	return uncompress(plain, &length, packed, packed_size) == Z_OK && length == size;
}
#endif

#ifdef MCS_ZSTD
static bool
unpack_zstd(const uint8 *packed, uint32 packed_size, uint8 *plain, uint32 size)
{
	return ZSTD_decompress(plain, size, packed, packed_size) == size;
}
#endif

/* By the number that a message carries; one without an unpacker can't be read here. */
static const struct
{
	const char *name;
	Unpacker	unpack;
}			compressors[] = {
	{"noop", NULL},
#ifdef MCS_SNAPPY
	{"snappy", unpack_snappy},
#else
	{"snappy", NULL},
#endif
#ifdef MCS_ZLIB
	{"zlib", unpack_zlib},
#else
	{"zlib", NULL},
#endif
#ifdef MCS_ZSTD
	{"zstd", unpack_zstd},
#else
	{"zstd", NULL},
#endif
};

/* Which compressors a URI asks for, as bits; takes those out of it that can't be unpacked here. */
uint32
mcs_unpack_offer(mongoc_uri_t *uri)
{
	const bson_t *asked = mongoc_uri_get_compressors(uri);
	bson_iter_t iter;
	char		names[64] = "";
	uint32		offered = 0;

	if (asked == NULL || !bson_iter_init(&iter, asked))
		return 0;
	/* in the user's order, which is that of preference */
	while (bson_iter_next(&iter))
		for (uint32 i = 0; i < lengthof(compressors); i++)
			if (compressors[i].unpack != NULL && strcmp(bson_iter_key(&iter), compressors[i].name) == 0 &&
				(offered & 1 << i) == 0)
			{
				size_t		length = strlen(names);

				offered |= 1 << i;
				bson_snprintf(names + length, sizeof(names) - length, "%s%s", length > 0 ? "," : "", compressors[i].name);
			}
	mongoc_uri_set_compressors(uri, offered == 0 ? NULL : names);
	return offered;
}

/* Unpacks a message into exactly size bytes; what is wrong with it, or NULL. */
const char *
mcs_unpack(uint32 offered, uint8 compressor, const uint8 *packed, uint32 packed_size, uint8 *plain, uint32 size)
{
	/* what was not offered a server has no reason to use; its unpacker is not there or not wanted */
	if (compressor >= lengthof(compressors) || (offered & 1 << compressor) == 0)
		return "a message is compressed in a way that was not offered";
	return compressors[compressor].unpack(packed, packed_size, plain, size) ? NULL : "a compressed message can't be unpacked";
}
