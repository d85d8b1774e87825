/*
 * queue.c -- messages on their way: each arrives at its time, none before the one sent earlier.
 */
#include <stdlib.h>

#include "world.h"

void
queue_clear(Queue *queue)
{
	for (int i = 0; i < queue->n; i++)
		buffer_free(&queue->at[i].bytes);
	queue->n = 0;
}

void
queue_put(Queue *queue, const Buffer *bytes, int64_t ready_us)
{
	Message *message;

	if (queue->n == queue->capacity)
	{
		queue->capacity = queue->capacity > 0 ? 2 * queue->capacity : 32;
		queue->at = xrealloc(queue->at, (size_t) queue->capacity * sizeof(Message));
	}
	message = &queue->at[queue->n++];
	*message = (Message){.ready_us = ready_us};
	if (queue->n > 1 && message[-1].ready_us > ready_us)
		message->ready_us = message[-1].ready_us;
	buffer_append_slice(&message->bytes, buffer_slice(bytes));
}

bool
queue_take(Queue *queue, int64_t now_us, Buffer *bytes)
{
	if (queue->n == 0 || queue->at[0].ready_us > now_us)
		return false;
	buffer_free(bytes);
	*bytes = queue->at[0].bytes;
	memmove(queue->at, queue->at + 1, (size_t) --queue->n * sizeof(Message));
	return true;
}
