# common.sh - who reads the log, and what is written to it.  Sourced by bench/decode/run and tests/callgrind/run.
# shellcheck shell=bash
declare -A CONSUMER=(
	[no-op]="walrank_limits"
	[message]="walrank_limits (message 'on')" # one empty message per transaction
	[pgoutput]="pgoutput (proto_version '1', publication_names 'bench')"
	[pgoutput-streaming]="pgoutput (proto_version '2', publication_names 'bench', streaming 'on')"
	[wal2json]="wal2json (\"format-version\" '2')"
	[decoderbufs]="decoderbufs"
	[test_decoding]="test_decoding"
	[row]="walrank (publication_names 'bench', mode 'row')"
	[delta]="walrank (publication_names 'bench', mode 'delta')"
)

limits_build() { # file
	cc -std=gnu11 -O2 -g -Wall -fPIC -shared -isystem "$("$PG_CONFIG" --includedir-server)" -o "$1" "$TOP/bench/decode/limits.c"
}

drain_build() { # file
	cc -std=gnu11 -O2 -g -Wall -Wextra -Wno-unused-parameter -I"$("$PG_CONFIG" --includedir)" -o "$1" "$TOP/bench/decode/drain.c" -lpq
}

# The drain's line of figures for one consumer, on a copy of a slot.
consume() { # consumer slot target seconds
	local options=${CONSUMER[$1]#* }
	[ "$options" != "${CONSUMER[$1]}" ] || options=
	"$WORK/drain" "host=$WORK port=$PGPORT dbname=bench user=bench replication=database" "$2" "${CONSUMER[$1]%% *}" "$options" "$3" "$4"
}

has_delta() { # is mode=delta known to this build?
	local answer
	answer=$(psql -qAtX 2>&1 <<-'SQL'
		SELECT pg_create_logical_replication_slot('has_delta', 'walrank', true);
		SELECT count(*) FROM pg_logical_slot_peek_binary_changes('has_delta', NULL, 1, 'mode', 'delta');
	SQL
	)
	! grep -q ERROR <<<"$answer"
}

# ---- tables and statements of the workloads; that of w1 is in ../lib.sh ------------------------------

toast_table() { # name compression rows: 117 keys, 7 kB, more than pglz makes small enough to be kept in line
	sql <<-SQL
		CREATE TABLE $1 (id int8 PRIMARY KEY, att jsonb COMPRESSION $2) WITH (fillfactor = 60);
		SELECT FROM setseed(0.5);
		INSERT INTO $1 SELECT i, (SELECT jsonb_object_agg('attribute_' || k, jsonb_build_array((random() * 1e5)::int,
			to_char(timestamp '2026-01-01' + random() * interval '300 days', 'YYYY-MM-DD HH24:MI:SS')))
			FROM generate_series(1, 117) k WHERE i > 0) FROM generate_series(1, $3) i;
		ALTER TABLE $1 REPLICA IDENTITY FULL;
		VACUUM ANALYZE $1;
	SQL
	[ "$(sql -c "SELECT pg_relation_size(reltoastrelid) > 2000.0 * $3 FROM pg_class WHERE oid = '$1'::regclass")" = t ] || { say "table $1 is not stored out of line"; exit 1; }
}

w2_statement() {
	echo "UPDATE item SET att = att || jsonb_build_object('attribute_3', jsonb_build_array(id % 1000, '2026-03-03 10:10:10'),
		'attribute_7', jsonb_build_array(id % 777, '2026-03-03 10:10:10'))"
}

history_table() {
	sql -c 'SET client_min_messages = warning' -c 'DROP TABLE IF EXISTS pgbench_history' -c 'CREATE TABLE pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22))'
}

history_rows() { # how many: rows for COPY
	sql -c "COPY (SELECT i % 10 + 1, 1, i * 7919::int8 % 100000 + 1, i * 31::int8 % 10001 - 5000, timestamp '2026-01-01 10:10:10.123456' + i * interval '1 ms', NULL
		FROM generate_series(1, $1) i) TO STDOUT"
}
