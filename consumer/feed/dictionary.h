/*
 * dictionary.h -- what a reader of the feed has been told of relations and rankings (private to the feed).
 */
#ifndef WALRANK_DICTIONARY_H
#define WALRANK_DICTIONARY_H

#include "feed/feed.h"

#define DICTIONARY_NUMBER_MAX (UINT32_C(1) << 20) /* relations or rankings ever named in one stream */
#define DICTIONARY_VERSIONS_MAX 4				  /* of a relation, the newest included */

typedef struct Dictionary Dictionary;

extern Dictionary *dictionary_create(void);
extern void dictionary_destroy(Dictionary *dictionary);
/* Takes RECORD_RELATION, RECORD_RANKING and RECORD_FILL, ignores the rest. */
extern bool dictionary_take(Dictionary *dictionary, const RecordEntry *entry, Error *err);
/* All definitions of a record. */
extern bool dictionary_take_record(Dictionary *dictionary, Slice record, Error *err);
/* fingerprint 0: the newest */
extern const FeedRelation *dictionary_relation(const Dictionary *dictionary, uint32_t number,
											   uint64_t fingerprint);
extern uint64_t dictionary_fill(const Dictionary *dictionary, Slice sink); /* 0 = none */
extern const FeedRanking *dictionary_ranking(const Dictionary *dictionary, uint32_t number);

#endif /* WALRANK_DICTIONARY_H */
