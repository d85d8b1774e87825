/*
 * config.h -- walrank.conf: what the daemon needs to know that no table can tell it.
 *
 * Read and checked as a whole: a configuration is either valid or names file, line, key and what
 * would be right.  Nothing is applied before all of it is valid.
 */
#ifndef WALRANK_CONFIG_H
#define WALRANK_CONFIG_H

#include <stdatomic.h>

#include "sinks/sink.h"
#include "stream/backfill.h"

#define CONFIG_SINKS_MAX 64
/* Space comes back a whole segment at a time: a quota of fewer would often be full for want of one. */
#define CONFIG_QUOTA_SEGMENTS_MIN 8

/* A number that a reload may change while other threads read it. */
typedef _Atomic int64_t ConfigLive;

typedef struct ConfigSource
{
	char *conninfo;
	char *slot;
	char *publications;
	bool missing_ok;
	int64_t status_interval_ms;
	int64_t frame_bytes;
	int64_t max_value_bytes;
	int64_t part_changes;
	int confirm; /* AckConfirm */
} ConfigSource;

typedef struct ConfigState
{
	char *directory;
} ConfigState;

typedef struct ConfigJournal
{
	int64_t segment_bytes;
	ConfigLive quota_bytes; /* 0: none */
	ConfigLive retain_ms;
	int compress; /* 0 none, 1 zstd */
} ConfigJournal;

typedef struct ConfigStore
{
	int64_t map_bytes;
	int64_t map_bytes_max;
	ConfigLive snapshot_interval_ms;
	int64_t snapshot_rate;
	int64_t snapshots;
	ConfigLive commit_time_ms;
	ConfigLive commit_changes;
	ConfigLive rescore_rate; /* items a second; 0: no limit */
} ConfigStore;

typedef struct ConfigFeed
{
	int64_t segment_bytes;
	ConfigLive retain_ms;
	ConfigLive quota_bytes; /* 0: none */
	int at_quota;			/* 0 wait, 1 give_up */
	int compress;
} ConfigFeed;

typedef struct ConfigDaemon
{
	ConfigLive shutdown_timeout_ms;
	ConfigLive beat_interval_ms;
	int64_t nice;
} ConfigDaemon;

typedef struct ConfigLog
{
	int level;	/* LogLevel */
	int format; /* 0 text, 1 json */
} ConfigLog;

typedef struct Config
{
	char *file;
	ConfigSource source;
	ConfigState state;
	ConfigJournal journal;
	ConfigStore store;
	ConfigFeed feed;
	ConfigDaemon daemon;
	BackfillLimits backfill;
	ConfigLog log;
	int nsinks;
	SinkConfig sinks[CONFIG_SINKS_MAX];
} Config;

/* file may be NULL: defaults and overrides alone. overrides: "section.key=value" texts ("sink NAME.key=value"). */
extern bool config_read(const char *file, const char *const *overrides, int noverrides, Config **config,
						Error *err);
/* The name tools know it by. */
static inline bool
config_load(const char *file, const char *const *overrides, int noverrides, Config **config, Error *err)
{
	return config_read(file, overrides, noverrides, config, err);
}
/* The same from memory, for tests and fuzzing; file names the text in messages. */
extern bool config_parse(const char *file, Slice text, const char *const *overrides, int noverrides,
						 Config **config, Error *err);
extern void config_free(Config *config);
/*
 * Takes what may change while running from `fresh` into `live`; the rest stays and is named in `restart`,
 * one "section.key" per line.  Sinks are left alone: daemon/sinkset.h brings them to the new configuration.
 */
extern void config_reload(Config *live, const Config *fresh, Buffer *restart);
/* Same name, type and settings; `start` counts once only, when a sink is new. */
extern bool config_sink_equal(const SinkConfig *a, const SinkConfig *b);
extern void config_sink_free(SinkConfig *sink);
/* Every section and key, for --help. */
extern void config_help(Buffer *out);
extern void config_source_settings(const Config *config, SourceSettings *settings);

#endif /* WALRANK_CONFIG_H */
