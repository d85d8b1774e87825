# consumers.sh - who reads the log: plugin and options of each.  Sourced by bench/decode/run and tests/callgrind/run.
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
