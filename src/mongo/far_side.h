/*
 * mongo/far_side.h
 *	  To be included last by the files that run in the driver's thread: makes
 *	  the compiler refuse what must never be called there.
 */
#undef ereport
#undef elog
#pragma GCC poison ereport elog errstart errfinish
#pragma GCC poison palloc palloc0 palloc_extended repalloc pstrdup psprintf pfree
