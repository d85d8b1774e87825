/*
 * history_key.h -- the key of an item as a person gives it: 17, abc, or {"shop":1,"sku":"x"}.
 */
#ifndef WALRANK_HISTORY_KEY_H
#define WALRANK_HISTORY_KEY_H

#include <stdbool.h>

typedef struct HistoryMember
{
	char *name;
	char *text; /* a string's content, or JSON of anything else */
	bool is_string;
} HistoryMember;

typedef struct HistoryKey
{
	const char *text; /* as given, borrowed */
	HistoryMember *members;
	int count; /* 0: a scalar, and text is all there is to say */
} HistoryKey;

extern void history_key_parse(const char *text, HistoryKey *key);
extern void history_key_free(HistoryKey *key);
/* NULL: the object has no such member. */
extern const HistoryMember *history_key_member(const HistoryKey *key, const char *name);

#endif /* WALRANK_HISTORY_KEY_H */
