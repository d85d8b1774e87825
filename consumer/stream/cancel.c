/*
 * cancel.c -- see cancel.h.
 */
#include "stream/cancel.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "base/buffer.h"
#include "base/clock.h"

#define WAIT_US INT64_C(2000000)

/* Shared by the one who asks and the thread that does it; whoever is the last to need it frees it. */
typedef struct Request
{
	PGcancel *cancel;
	pthread_mutex_t lock;
	pthread_cond_t moved; /* monotonic clock */
	bool done;
	bool left; /* the one who asked did not wait for the end */
} Request;

static void
request_free(Request *request)
{
	PQfreeCancel(request->cancel);
	pthread_cond_destroy(&request->moved);
	pthread_mutex_destroy(&request->lock);
	free(request);
}

static void *
cancel_main(void *argument)
{
	Request *request = argument;
	char text[256]; /* whether it was heard shows in the statement's result */
	bool left;

	pthread_setname_np(pthread_self(), "cancel");
	PQcancel(request->cancel, text, sizeof(text));
	pthread_mutex_lock(&request->lock);
	request->done = true;
	left = request->left;
	pthread_cond_signal(&request->moved);
	pthread_mutex_unlock(&request->lock);
	if (left)
		request_free(request);
	return NULL;
}

static void
wait_a_while(Request *request)
{
	const int64_t until = clock_monotonic_us() + WAIT_US;
	const struct timespec deadline = {until / 1000000, until % 1000000 * 1000};
	bool done;

	pthread_mutex_lock(&request->lock);
	while (!request->done)
		if (pthread_cond_timedwait(&request->moved, &request->lock, &deadline) == ETIMEDOUT)
			break;
	done = request->done;
	request->left = !done;
	pthread_mutex_unlock(&request->lock);
	if (done)
		request_free(request);
}

void
cancel_statement(PGconn *conn)
{
	Request *request = xcalloc(1, sizeof(*request));
	pthread_attr_t attr;
	pthread_condattr_t clock;
	pthread_t thread;
	bool begun = false;

	request->cancel = PQgetCancel(conn);
	pthread_mutex_init(&request->lock, NULL);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&request->moved, &clock);
	pthread_condattr_destroy(&clock);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (request->cancel != NULL)
		begun = pthread_create(&thread, &attr, cancel_main, request) == 0;
	pthread_attr_destroy(&attr);
	if (begun)
		wait_a_while(request);
	else
		request_free(request);
}
