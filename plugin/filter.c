/*
 * filter.c -- see filter.h.
 */
#include "filter.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "compat.h"

typedef struct Condition
{
	List *texts;	  /* NIL: every row passes */
	ExprState *state; /* prepared at first use */
	bool broken;	  /* cannot be prepared; the entry is rebuilt when something changes */
} Condition;

struct RowFilter
{
	MemoryContext context;
	Condition conditions[PUBLISHED_KINDS];
	EState *estate;
	TupleTableSlot *slot;
	int *source;
};

RowFilter *
filter_make(List *const conditions[PUBLISHED_KINDS], TupleDesc descriptor, const int *source)
{
	RowFilter *filter = palloc0(sizeof(RowFilter));
	Size bytes = sizeof(int) * Max(descriptor->natts, 1);

	filter->context = CurrentMemoryContext;
	for (int kind = 0; kind < PUBLISHED_KINDS; kind++)
		filter->conditions[kind].texts = conditions[kind];
	filter->estate = CreateExecutorState();
	filter->slot = MakeSingleTupleTableSlot(CreateTupleDescCopy(descriptor), &TTSOpsVirtual);
	filter->source = palloc(bytes);
	memcpy(filter->source, source, bytes);
	return filter;
}

/* ---- one condition, one row ----------------------------------------------------------------- */

/* Folding constants runs functions already: this may fail as the evaluation may. */
static void
prepare(RowFilter *filter, Condition *condition)
{
	MemoryContext caller = MemoryContextSwitchTo(filter->context);
	List *nodes = NIL;
	ListCell *cell;

	condition->broken = true;
	foreach(cell, condition->texts) nodes = lappend(nodes, stringToNode(lfirst(cell)));
	condition->state =
		ExecPrepareExpr(list_length(nodes) == 1 ? linitial(nodes) : make_orclause(nodes), filter->estate);
	condition->broken = false;
	MemoryContextSwitchTo(caller);
}

/* NULL counts as false. */
static bool
matches(RowFilter *filter, Condition *condition, const RelRow *row)
{
	TupleTableSlot *slot = filter->slot;
	ExprContext *context = GetPerTupleExprContext(filter->estate);
	Datum result;
	bool is_null;

	if (condition->state == NULL)
		prepare(filter, condition);
	ExecClearTuple(slot);
	for (int i = 0; i < slot->tts_tupleDescriptor->natts; i++)
	{
		int source = filter->source[i];

		slot->tts_values[i] = source < 0 ? (Datum) 0 : row->values[source];
		slot->tts_isnull[i] = source < 0 || row->nulls[source];
	}
	ExecStoreVirtualTuple(slot);
	context->ecxt_scantuple = slot;
	result = ExecEvalExprSwitchContext(condition->state, context, &is_null);
	return !is_null && DatumGetBool(result);
}

/* The rows of a change, NULL where there is none, and whether they match. */
typedef struct Question
{
	const RelRow *rows[2];
	bool matches[2];
} Question;

static void
ask(RowFilter *filter, Condition *condition, Question *question)
{
	for (int i = 0; i < 2; i++)
		question->matches[i] = question->rows[i] != NULL && matches(filter, condition, question->rows[i]);
}

/* False: the condition failed.  Its error would come again at every retry and stop the stream for ever. */
static bool
ask_guarded(RowFilter *filter, Condition *condition, Question *question)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool answered = false;

	if (condition->broken)
		return false;
	/* a parallel query may not start a subtransaction; there an error is only the query's */
	if (IsInParallelMode())
	{
		ask(filter, condition, question);
		return true;
	}
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		ask(filter, condition, question);
		ReleaseCurrentSubTransaction();
		answered = true;
	}
	PG_CATCH();
	{
		if (value_error_passes(geterrcode()))
		{
			condition->broken = false;
			PG_RE_THROW();
		}
		MemoryContextSwitchTo(context);
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	ResetPerTupleExprContext(filter->estate);
	return answered;
}

/* ---- changes --------------------------------------------------------------------------------- */

static const RelRow *
take_apart(const RelMeta *meta, HeapTuple tuple, const RelRow *row)
{
	if (tuple == NULL)
		return NULL;
	heap_deform_tuple(tuple, meta->descriptor, row->values, row->nulls);
	return row;
}

/*
 * Values of the identity that were not touched and stand out of line are only in the old row: let the new
 * one have them.  True when there were some.
 */
static bool
complete(const RelMeta *meta)
{
	bool completed = false;

	for (int i = 0; i < meta->descriptor->natts; i++)
	{
		if (TupleDescAttr(meta->descriptor, i)->attlen != -1 || meta->new_row.nulls[i] ||
			meta->old_row.nulls[i] || !VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(meta->new_row.values[i])) ||
			VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(meta->old_row.values[i])))
			continue;
		meta->new_row.values[i] = meta->old_row.values[i];
		completed = true;
	}
	return completed;
}

FilterFate
filter_change(RelMeta *meta, WireOp *op, HeapTuple *new_tuple, HeapTuple *old_tuple)
{
	static const PublishedKind kinds[] = {
		[OP_INSERT] = PUBLISHED_INSERT, [OP_UPDATE] = PUBLISHED_UPDATE, [OP_DELETE] = PUBLISHED_DELETE};
	RowFilter *filter = meta->filter;
	Condition *condition = &filter->conditions[kinds[*op]];
	bool both = *new_tuple != NULL && *old_tuple != NULL;
	bool completed;
	Question question;

	if (condition->texts == NIL)
		return FILTER_SEND;
	question.rows[0] = take_apart(meta, *new_tuple, &meta->new_row);
	question.rows[1] = take_apart(meta, *old_tuple, &meta->old_row);
	completed = both && complete(meta);
	/* of a row without an image nothing can be told */
	if ((*new_tuple == NULL && *old_tuple == NULL) || !ask_guarded(filter, condition, &question))
		return FILTER_FAILED;
	if (!question.matches[0] && !question.matches[1])
		return FILTER_SKIP;
	if (both && !question.matches[0])
	{
		*op = OP_DELETE;
		*new_tuple = NULL;
	}
	else if (both && !question.matches[1])
	{
		*op = OP_INSERT;
		if (completed)
			*new_tuple = heap_form_tuple(meta->descriptor, meta->new_row.values, meta->new_row.nulls);
		*old_tuple = NULL;
	}
	return FILTER_SEND;
}

FilterFate
filter_row(RelMeta *meta, HeapTuple tuple)
{
	Condition *condition = &meta->filter->conditions[PUBLISHED_COPY];
	Question question = {.rows = {NULL}};

	if (condition->texts == NIL)
		return FILTER_SEND;
	question.rows[0] = take_apart(meta, tuple, &meta->new_row);
	if (!ask_guarded(meta->filter, condition, &question))
		return FILTER_FAILED;
	return question.matches[0] ? FILTER_SEND : FILTER_SKIP;
}
