/*
 * json.h -- a frame for people: the same bytes as one line of proto3 JSON.
 */
#ifndef WALRANK_JSON_H
#define WALRANK_JSON_H

#include "postgres.h"

#include "lib/stringinfo.h"

#include "wire.h"

/* Append the JSON of an encoded Frame.  ASCII only unless the database is UTF-8. */
extern void json_frame(StringInfo out, Slice frame);

#endif /* WALRANK_JSON_H */
