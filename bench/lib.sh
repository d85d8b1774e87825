# lib.sh - what the benchmarks share: a private cluster, the W1 table, a daemon.
# Sourced.  Re-executes the caller as an ordinary user in a temporary directory (scripts/unroot).
# shellcheck shell=bash
set -eu
TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [ -z "${WORK:-}" ]; then
	exec "$TOP/scripts/unroot" "$(realpath --relative-to="$TOP" "$0")" "$@"
fi
PG_CONFIG=${PG_CONFIG:-/usr/lib/postgresql/15/bin/pg_config}
PATH=$("$PG_CONFIG" --bindir):$PATH
export PATH LC_ALL=C.UTF-8 TZ=UTC PGHOST=$WORK PGPORT=54329 PGDATABASE=bench PGUSER=bench
STAGE=$WORK/stage
DAEMON_PID=
say() { printf '%s\n' "$*"; }

cluster_start() { # further configuration lines on stdin
	"$TOP/scripts/stage" "$STAGE" "$PG_CONFIG"
	initdb -A trust -U bench -D "$WORK/data" --locale=C --encoding=UTF8 -N >"$WORK/initdb.log"
	{
		cat <<-CONF
			listen_addresses = ''
			unix_socket_directories = '$WORK'
			port = $PGPORT
			wal_level = logical
			shared_buffers = 4GB
			max_wal_size = 16GB
			checkpoint_timeout = 1h
			autovacuum = off
			max_connections = 50
			dynamic_library_path = '$STAGE/lib:\$libdir'
			log_min_messages = warning
		CONF
		if postgres --describe-config | grep -q '^extension_control_path	'; then
			echo "extension_control_path = '$STAGE$("$PG_CONFIG" --sharedir):\$system'"
		else
			echo "extension_destdir = '$STAGE'"
		fi
		if postgres --describe-config | grep -q '^output_plugin_libraries	'; then
			echo "output_plugin_libraries = 'pgoutput, test_decoding, wal2json, decoderbufs, walrank, walrank_limits'"
		fi
		cat
	} >>"$WORK/data/postgresql.conf"
	pg_ctl -w -D "$WORK/data" -l "$WORK/server.log" start >/dev/null
	trap bench_stop EXIT
	psql -qX -d postgres -c 'CREATE DATABASE bench'
}

bench_stop() {
	[ -z "$DAEMON_PID" ] || kill -9 "$DAEMON_PID" 2>/dev/null || true
	pg_ctl -D "$WORK/data" -m immediate stop >/dev/null 2>&1 || true
}

sql() { psql -qAtX -v ON_ERROR_STOP=1 "$@"; }

# item(id, att) as in the published baselines: 20 keys [number, "YYYY-MM-DD HH:MM:SS"], 1.2 kB.
w1_table() { # rows
	sql <<-SQL
		CREATE TABLE item (id int8 PRIMARY KEY, att jsonb) WITH (fillfactor = 60);
		INSERT INTO item SELECT i, (SELECT jsonb_object_agg('attribute_' || k,
			jsonb_build_array((i * k) % 100000, '2026-01-01 10:10:' || lpad((k + 10)::text, 2, '0')))
			FROM generate_series(1, 20) k) FROM generate_series(1, $1) i;
		VACUUM ANALYZE item;
	SQL
}

w1_script() { # hot rows
	cat >"$WORK/w1.sql" <<-SQL
		\\set id random(1, $1)
		\\set a random(1, 100000)
		UPDATE item SET att = att || jsonb_build_object('attribute_3', jsonb_build_array(:a::int, '2026-02-02 10:10:10'),
			'attribute_7', jsonb_build_array(:a::int + 1, '2026-02-02 10:10:10')) WHERE id = :id::int8;
	SQL
}

w1_ranking() {
	sql <<-'SQL'
		SELECT FROM walrank.watch('item', 'att');
		INSERT INTO walrank.ranking (name, relation, definition) VALUES ('home', 'public.item', $$
			term a weight 0.4 log1p(attribute_3) missing 0
			term b weight 0.3 saturation(attribute_7, 1000) missing 0
			term c weight 0.1 steps(attribute_5, [(0, 1.0), (1000, 0.8), (50000, 0.3)], below = 0) missing 0
			term d weight 0.1 sqrt(attribute_9) / 100 missing 0
			term e weight 0.1 min(attribute_11, 1000) / 1000 missing 0
			round 0.0001
		$$);
	SQL
}

daemon_config() { # further lines on stdin; file sink always
	cat >"$WORK/walrank.conf" <<-CONF
		[state]
		directory = ${STATE:-$WORK/state}
		[source]
		conninfo = host=$WORK port=$PGPORT dbname=bench user=walrank_daemon
		slot = walrank
		[sink file]
		type = file
		path = ${OUT:-$WORK/out.ndjson}
		flush_interval = ${FLUSH:-100ms}
	CONF
	cat >>"$WORK/walrank.conf"
	chmod 600 "$WORK/walrank.conf"
}

daemon_init() { "$STAGE/bin/walrank" -h "$WORK" -p $PGPORT -U bench -d bench init --role walrank_daemon --accept-unbounded-wal >"$WORK/init.log" 2>&1 || { cat "$WORK/init.log"; exit 1; }; }

daemon_start() { # arguments of walrankd
	"$STAGE/bin/walrankd" -c "$WORK/walrank.conf" "$@" >>"$WORK/walrankd.log" 2>&1 </dev/null &
	DAEMON_PID=$!
}

daemon_stop() {
	kill -TERM "$DAEMON_PID"
	for _ in $(seq 600); do
		kill -0 "$DAEMON_PID" 2>/dev/null || { DAEMON_PID=; return 0; }
		sleep 0.1
	done
	say "walrankd did not stop"; tail "$WORK/walrankd.log"; return 1
}

status_json() { "$STAGE/bin/walrank" --config "$WORK/walrank.conf" status --json 2>/dev/null; }

daemon_ready() { # seconds
	for _ in $(seq $((10 * $1))); do
		if [ "$(status_json | jq '.journal as $j | .source.state == "streaming" and ([.tables[] | select(.backfill != "filled")] | length) == 0 and ([.sinks[] | select(.state != "streaming" or .seq < $j.appended_seq)] | length) == 0' 2>/dev/null)" = true ]; then
			return 0
		fi
		kill -0 "$DAEMON_PID" 2>/dev/null || break
		sleep 0.1
	done
	say "walrankd is not ready"; tail -20 "$WORK/walrankd.log"; exit 1
}

# A value of the file sink's checkpoint.
ckpt() { sed -n "s/^$1 *= *//p" "${OUT:-$WORK/out.ndjson}.ckpt"; }

# Age in ms of the newest commit the file sink's checkpoint stands for.
lag_ms() {
	local commit now
	commit=$(ckpt commit_time_us)
	now=$(date +%s%6N)
	echo $(((now - commit) / 1000))
}

lsn_bytes() { local h=${1%/*} l=${1#*/}; echo $((16#$h * 4294967296 + 16#$l)); }

# Until the file sink has everything the server has written before this call.
daemon_catch_up() { # seconds
	local target
	target=$(sql -c "SELECT pg_current_wal_insert_lsn() - '0/0'")
	sql -c 'UPDATE walrank.control SET beat = beat'
	for _ in $(seq $((20 * $1))); do
		[ "$(lsn_bytes "$(ckpt end_lsn)")" -lt "$target" ] || return 0
		sleep 0.05
	done
	say "walrankd did not catch up"; tail -20 "$WORK/walrankd.log"; exit 1
}

median() { sort -g | awk '{v[NR] = $1} END {if (NR == 0) print "void"; else print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }
