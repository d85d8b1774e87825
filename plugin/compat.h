/*
 * compat.h -- what differs between the server's majors, 15 to 19.
 *
 * The only place with version conditionals: the rest of the library is written against the names
 * below and compiles without warnings on 15, 17, 18 and 19rc1 (make check-matrix).  16 is meant and
 * never built here: the archive has no headers of it.  14 lacks the catalogs of row filters, column
 * lists and schemas that publications are read from, and is refused.
 */
#ifndef WALRANK_COMPAT_H
#define WALRANK_COMPAT_H

#include "fmgr.h"
#include "replication/logical.h"
#include "replication/origin.h"
#include "replication/output_plugin.h"
#include "replication/reorderbuffer.h"

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 200000
#error "walrank supports PostgreSQL 15 to 19"
#endif

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* Of utils/pg_locale.h, which before 19 wants ICU's headers although the server's do not bring them. */
extern PGDLLIMPORT char *locale_monetary;

/* 17 dropped the buffer around a change's tuple. */
#if PG_VERSION_NUM >= 170000
#define compat_tuple(t) (t)
#else
#define compat_tuple(t) ((t) != NULL ? &(t)->tuple : NULL)
#endif

#if PG_VERSION_NUM >= 190000
#define compat_commit_time(txn) ((txn)->commit_time)
#define COMPAT_INVALID_ORIGIN InvalidReplOriginId
typedef ReplOriginId CompatOriginId;
#else
#define compat_commit_time(txn) ((txn)->xact_time.commit_time)
#define COMPAT_INVALID_ORIGIN InvalidRepOriginId
typedef RepOriginId CompatOriginId;
#endif

/* 19 lists in pg_publication_rel also what FOR ALL TABLES leaves out. */
#if PG_VERSION_NUM >= 190000
#define compat_publication_excepts(form) ((form)->prexcept)
#else
#define compat_publication_excepts(form) ((void) (form), false)
#endif

/* 18 and later leave generated columns out unless the publication asks for them; before, nothing could be asked. */
#if PG_VERSION_NUM >= 180000
#define compat_publication_generated(form) ((form)->pubgencols != PUBLISH_GENCOLS_NONE)
#else
#define compat_publication_generated(form) ((void) (form), true)
#endif

/*
 * Up to 15 a transaction whose changes are all skipped would be silent for as long as it lasts, and
 * the connection would time out; 16 and later report progress by themselves.
 */
#if PG_VERSION_NUM >= 160000
#define COMPAT_CORE_REPORTS_PROGRESS true
#else
#define COMPAT_CORE_REPORTS_PROGRESS false
#endif

#if PG_VERSION_NUM >= 180000
#define COMPAT_MODULE_MAGIC PG_MODULE_MAGIC_EXT(.name = "walrank", .version = "0.1.0")
#else
#define COMPAT_MODULE_MAGIC PG_MODULE_MAGIC
#endif

#endif /* WALRANK_COMPAT_H */
