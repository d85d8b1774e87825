/*
 * export.h -- what the server may look up in the library.
 *
 * The library is built with hidden symbols.  Servers before 16 do not mark SQL-callable functions as
 * visible by themselves, but let us say how: include this before postgres.h, and declare a function
 * with EXPORT_FUNCTION instead of PG_FUNCTION_INFO_V1.
 */
#ifndef WALRANK_EXPORT_H
#define WALRANK_EXPORT_H

#ifndef PGDLLEXPORT
#define PGDLLEXPORT __attribute__((visibility("default")))
#endif

#define EXPORT_FUNCTION(name)                                                                                \
	extern PGDLLEXPORT Datum name(PG_FUNCTION_ARGS);                                                         \
	PG_FUNCTION_INFO_V1(name)

#endif /* WALRANK_EXPORT_H */
