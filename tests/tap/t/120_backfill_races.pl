# What happens to a table while it is read: every kind of change, at every step of the reading, ends in what the table holds.
#
# The reading is stopped at its steps by what stops it in life: an open transaction, a lock, a server process that gets no time.
use strict;
use warnings;
use Walrank;
use JSON::XS;
use List::Util qw(max);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $tier = $ENV{WALRANK_TIER} // 'check';
my $rounds = $ENV{WALRANK_ROUNDS} // { check => 20, full => 200, torture => 10_000 }->{$tier};
my $seed = $ENV{WALRANK_SEED} // int(time * 1000) % 2**31;
my $json = JSON::XS->new->canonical->allow_nonref;

my $source = source('source', conf => "deadlock_timeout = 10s\nwal_sender_timeout = 0\nmax_prepared_transactions = 2\n");
my $d = daemon_new($source, conf => "[backfill]\nchunk_rows = 6\nkeys_max = 3\n");
$d->init;
$source->safe_psql('postgres', q{
	CREATE FUNCTION noise() RETURNS text LANGUAGE sql VOLATILE AS
		$$ SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 80) $$;});
$d->create;

# ---- holding the reading ---------------------------------------------------------------------------
sub backfill { my $s = $d->status or return {}; return $s->{backfill} }

sub phase_is
{
	my ($table, $phase, $chunk) = @_;
	poll("$table: $phase, chunk $chunk", sub {
		my $b = backfill();
		return $b->{running} && $b->{relation} eq "public.$table" && $b->{phase} eq $phase && $b->{chunk} == $chunk;
	});
	return;
}

# A transaction that writes: no snapshot is exported while it is open.
sub writer
{
	my $session = $source->background_psql('postgres');
	$session->query_safe('BEGIN; SELECT pg_current_xact_id()');
	return $session;
}

sub commit_and_quit { my ($session) = @_; $session->query_safe('COMMIT'); $session->quit; return }

# The pid of one of the reading's sessions, or of the walsender of the slot.
sub pid_of
{
	my ($what) = @_;
	my $where = $what eq 'walsender' ? "pid = (SELECT active_pid FROM pg_replication_slots WHERE slot_name = 'walrank')" : "application_name = 'walrank backfill $what'";
	return poll("session $what", sub { $source->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE $where") });
}

sub exported
{
	poll('the exported snapshot', sub { $source->safe_psql('postgres', "SELECT count(*) FROM pg_replication_slots WHERE temporary AND confirmed_flush_lsn IS NOT NULL") });
	return;
}

sub imported
{
	poll('the imported snapshot', sub { $source->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'walrank backfill reader' AND state = 'idle in transaction' AND query ~ 'pg_current_snapshot'") });
	return;
}

sub waits_for_lock
{
	poll('the reader to wait for the lock', sub { $source->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'walrank backfill reader' AND wait_event_type = 'Lock'") });
	return;
}

# ---- what happens ------------------------------------------------------------------------------------
# Tables have ids 1 .. 10; the first chunk is 1 .. 6. TITLE and the map lie in TOAST, outside the row.
my $start = q{
	CREATE TABLE NAME (id int PRIMARY KEY, price int, title text, att jsonb);
	ALTER TABLE NAME ALTER title SET STORAGE EXTERNAL, ALTER att SET STORAGE EXTERNAL;
	INSERT INTO NAME SELECT i, i * 10, noise(), jsonb_build_object('views', i, 'old', i, 'noise', noise()) FROM generate_series(1, 10) i;};
my $definition = 'term p weight 1 price missing 0\nterm v weight 100 att.views missing 0\nterm o weight 10000 att.old missing 0';
my %happens = (
	insert        => q{INSERT INTO NAME VALUES (0, 1, 'new', '{"views": 5}'), (11, 2, noise(), '{}')},
	update        => q{UPDATE NAME SET price = price + 1000, title = title || 'x', att = '{"views": 7}' WHERE id IN (2, 8)},
	update_toast  => q{UPDATE NAME SET price = price + 1000 WHERE id IN (2, 6, 8); UPDATE NAME SET att = att - 'old' WHERE id IN (3, 9)},
	delete        => q{DELETE FROM NAME WHERE id IN (1, 4, 7)},
	reborn        => q{DELETE FROM NAME WHERE id IN (1, 7); INSERT INTO NAME SELECT i, 5, 'again', '{"views": 1}' FROM unnest('{1,7}'::int[]) i},
	key_change    => q{UPDATE NAME SET id = 20 WHERE id = 3; UPDATE NAME SET id = 3, price = 3 WHERE id = 8; UPDATE NAME SET id = -9 WHERE id = 9; UPDATE NAME SET id = 21 WHERE id = 20},
	key_swap      => q{UPDATE NAME SET id = 50 WHERE id = 2; UPDATE NAME SET id = 2 WHERE id = 9; UPDATE NAME SET id = 9 WHERE id = 50; UPDATE NAME SET price = price + 1 WHERE id = 9},
	keys_many     => q{UPDATE NAME SET id = id + 100},
	truncate      => q{TRUNCATE NAME; INSERT INTO NAME VALUES (2, 22, 'after', '{"views": 2}'), (9, 99, noise(), '{}')},
	rewrite       => q{CLUSTER NAME USING NAME_pkey},
	alter_type    => q{ALTER TABLE NAME ALTER price TYPE bigint USING price + 7},
	rule_edit     => q{UPDATE walrank.ranking SET definition = E'term p weight 2 price missing 1' WHERE name = 'NAME'},
	all_writes    => q{INSERT INTO NAME VALUES (0, 1, 'new', '{"views": 5}'), (11, 2, noise(), '{}'); UPDATE NAME SET price = price + 1000 WHERE id IN (2, 8);
		UPDATE NAME SET att = att - 'old' WHERE id IN (3, 9); DELETE FROM NAME WHERE id IN (1, 7); UPDATE NAME SET id = 20 WHERE id = 4; UPDATE NAME SET id = 4, price = 3 WHERE id = 10},
	rollback      => q{SAVEPOINT s; DELETE FROM NAME; TRUNCATE NAME; ROLLBACK TO s},
);
# those that take the lock which a reading table denies
my %exclusive = map { $_ => 1 } qw(truncate rewrite alter_type rollback);
my @steps = split / /, $ENV{STEPS} // "B1 B2 B3 B4 B5 B6";

# Two after each other, often of the same rows. N is 1 for the first and 2 for the second, so that one can follow itself.
my %deed = (
	insert     => q{INSERT INTO NAME SELECT i, N, noise(), '{"views": 5}' FROM unnest(ARRAY[1 - N, 7, 8, 10 + N]) i ON CONFLICT DO NOTHING},
	update_one => q{UPDATE NAME SET price = price + 1000 * N WHERE id IN (2, 4, 8, 9, 20)},
	delete     => q{DELETE FROM NAME WHERE id IN (2, 3, 7, 9)},
	key_change => q{UPDATE NAME SET id = 20 * N WHERE id = 3; UPDATE NAME SET id = 3 WHERE id = 8; UPDATE NAME SET id = -9 * N WHERE id = 9; UPDATE NAME SET id = 20 * N + 1 WHERE id = 20 * N},
	truncate   => q{TRUNCATE NAME; INSERT INTO NAME VALUES (2, 22 * N, 'after', '{"views": 2}'), (9, 99, noise(), '{}')},
	rewrite    => q{CLUSTER NAME USING NAME_pkey},
	rule_edit  => q{UPDATE walrank.ranking SET definition = E'term p weight 2 price missing N' WHERE name = 'NAME'},
);

# *$act is run once the reading stands at the step; returns what still has to be waited for.
sub at_step
{
	my ($table, $step, $sql, $exclusive) = @_;
	my $open = writer();
	my @wait;
	my $act = sub { $source->safe_psql('postgres', "BEGIN; $sql; COMMIT") };

	$source->safe_psql('postgres', qq{SELECT walrank.watch('$table');
		INSERT INTO walrank.ranking (name, relation, definition) VALUES ('$table', 'public.$table', E'$definition') ON CONFLICT DO NOTHING});
	phase_is($table, 'exporting snapshot', 0);
	if ($step eq 'B1')
	{
		$act->();
		commit_and_quit($open);
		return;
	}
	my $who = { B2 => 'reader', B3 => 'observer', B4 => 'observer', B5 => 'walsender', B6 => 'walsender' }->{$step};
	my $pid = pid_of($who);
	kill 'STOP', $pid or die "no process $pid";
	commit_and_quit($open);
	if ($step eq 'B2')
	{
		exported();
		$act->();
		kill 'CONT', $pid;
	}
	elsif ($step eq 'B3')
	{
		imported();
		$act->();
		kill 'CONT', $pid;
	}
	elsif ($step eq 'B4')
	{
		imported();
		my $locker = $source->background_psql('postgres');
		$locker->query_safe("BEGIN; LOCK TABLE $table IN ACCESS EXCLUSIVE MODE");
		kill 'CONT', $pid;
		waits_for_lock();
		$locker->query_safe($sql);
		commit_and_quit($locker);
	}
	else
	{
		phase_is($table, 'waiting for the stream', 0);
		my $second = $step eq 'B6' ? writer() : undef;
		my $later = $source->background_psql('postgres') if $step eq 'B5';
		if ($later && $exclusive)
		{
			$later->query_until(qr/sent/, "\\echo sent\nBEGIN; $sql; COMMIT;\n\\echo over\n");
			push @wait, $later;
		}
		elsif ($later)
		{
			$later->quit;
			$act->();
		}
		kill 'CONT', $pid;
		if ($second)
		{
			phase_is($table, 'exporting snapshot', 1);
			$act->();
			commit_and_quit($second);
		}
	}
	for my $session (@wait)
	{
		$session->query_until(qr/over/, '');
		$session->quit;
	}
	return;
}

# ---- what must come of it -------------------------------------------------------------------------------
my (%item, %score, $read);
sub replayed
{
	open my $file, '<:raw', $d->{ndjson} or die;
	seek $file, $read // 0, 0;
	while (my $line = <$file>)
	{
		last unless $line =~ /\n$/;
		$read += length $line;
		my $l = $json->decode($line);
		my $key = $l->{key} && join ',', values %{ $l->{key} };
		if ($l->{kind} eq 'change')
		{
			if ($l->{op} eq 'truncate') { delete $item{ $l->{relation} } }
			elsif ($l->{op} eq 'delete') { delete $item{ $l->{relation} }{$key} }
			else { $item{ $l->{relation} }{$key} = $l->{attributes} }
		}
		elsif ($l->{kind} eq 'score') { $score{ $l->{ranking} }{$key} = $l->{score} }
		elsif ($l->{kind} eq 'remove') { defined $key ? delete $score{ $l->{ranking} }{$key} : delete $score{ $l->{ranking} } }
	}
	return (\%item, \%score);
}

# How many rows and scores differ between the table and what the file sink's readers hold.
sub differences
{
	my ($table, $items, $scores) = @_;
	my %rows = map { my $r = $json->decode($_); my $id = delete $r->{id}; ($id => $json->encode($r)) }
	  split /\n/, $source->safe_psql('postgres', "SELECT to_jsonb(t) FROM $table t");
	my %points = map { split /\|/ } split /\n/,
	  $source->safe_psql('postgres', "SELECT t.id, walrank.score('$table', t) FROM $table t");
	my %have = map { $_ => $json->encode($items->{"public.$table"}{$_}) } keys %{ $items->{"public.$table"} // {} };
	my %points_have = %{ $scores->{$table} // {} };
	my @said;
	for (sort keys %{ { %rows, %have } }) { push @said, "row $_: " . substr($have{$_} // 'none', 0, 300) . ' instead of ' . substr($rows{$_} // 'none', 0, 300) if ($rows{$_} // '') ne ($have{$_} // '') }
	for (sort keys %{ { %points, %points_have } }) { push @said, "score $_: " . ($points_have{$_} // 'none') . ' instead of ' . ($points{$_} // 'none') if ($points{$_} // 'none') != ($points_have{$_} // 1e300) }
	diag("$table: $_") for @said[0 .. ($#said < 5 ? $#said : 5)];
	return scalar @said;
}

sub state_of
{
	my ($table) = @_;
	my ($t) = grep { $_->{relation} eq "public.$table" } @{ ($d->status // {})->{tables} // [] };
	return $t ? $t->{backfill} : '';
}

# A table of its own goes through it; its name.
sub race
{
	my ($what, $step, $sql, $exclusive) = @_;
	my $table = lc "${what}_$step";
	(my $make = $start) =~ s/NAME/$table/g;
	$sql =~ s/NAME/$table/g;
	$source->safe_psql('postgres', $make);
	at_step($table, $step, $sql, $exclusive);
	poll("$table to be filled", sub { state_of($table) eq 'filled' });
	return $table;
}

sub readers_hold_what_tables_do
{
	my (@names) = @_;
	$d->catch_up;
	$d->ready;
	$d->catch_up;
	my ($items, $scores) = replayed();
	is(differences($_, $items, $scores), 0, "$_: the readers hold what the table does") for @names;
	return;
}

my @tables;
for my $what ($ENV{WHAT} ? split / /, $ENV{WHAT} : sort keys %happens)
{
	next if $tier eq 'check' && !$ENV{WHAT} && $what !~ /^(?:all_writes|keys_many|truncate|rewrite|alter_type|rule_edit)$/;
	for my $step (@steps)
	{
		push @tables, race($what, $step, $happens{$what}, $exclusive{$what});
	}
}
readers_hold_what_tables_do(@tables);
# at B2, B3 and B4 the snapshot would show an empty table
my $said = slurp($d->{log});
for my $table (grep { /^(?:truncate|rewrite|alter_type)_b[234]/ } @tables)
{
	like($said, qr/rule B4: public\.$table was rewritten/, "$table: begun again");
}

# ---- every pair of them, one after the other ------------------------------------------------------------------------
# Two transactions; where the table is locked for the reading to wait (B4) both are in that one.
sub pair
{
	my ($first, $second, $step) = @_;
	my ($one, $two) = ($deed{$first} =~ s/\bN\b/1/gr, $deed{$second} =~ s/\bN\b/2/gr);
	return race("${first}__$second", $step, $step eq 'B4' ? "$one; $two" : "$one; COMMIT; BEGIN; $two", $exclusive{$first} || $exclusive{$second});
}

srand $seed;
my @cells = map { my $first = $_; map { my $second = $_; map { [ $first, $second, $_ ] } @steps } sort keys %deed } sort keys %deed;
if ($tier eq 'check' && !$ENV{WALRANK_PAIRS})
{
	diag(scalar(@cells) - 6 . ' of ' . @cells . " pairs at steps NOT RUN: they run in check-full; WALRANK_SEED=$seed repeats the choice");
	@cells = map { splice @cells, rand @cells, 1 } 1 .. 6;
}
while (my @some = splice @cells, 0, 42)
{
	my @names = map { pair(@$_) } @some;
	readers_hold_what_tables_do(@names);
	$source->safe_psql('postgres', join '; ', map { "SELECT walrank.unwatch('$_'); DELETE FROM walrank.ranking WHERE name = '$_'; DROP TABLE $_" } @names);
}
unlike(slurp($d->{log}), qr/set aside/, 'and no table had to wait');

# ---- who stands in line for the table's lock -----------------------------------------------------------------
# Behind the reader's lock waits an ALTER TABLE, and behind that whoever comes: one of ours would wait for itself.
$source->safe_psql('postgres', $start =~ s/NAME/queued/gr);
{
	my $open = writer();
	$source->safe_psql('postgres', q{SELECT walrank.watch('queued')});
	phase_is('queued', 'exporting snapshot', 0);
	my $pid = pid_of('observer');
	kill 'STOP', $pid or die "no process $pid";
	commit_and_quit($open);
	imported();
	my $locker = $source->background_psql('postgres');
	# what a session knew of the table is no longer true: it has to look again
	$locker->query_safe('BEGIN; ALTER TABLE queued ADD sooner int');
	kill 'CONT', $pid;
	waits_for_lock();
	my $second = $source->background_psql('postgres');
	$second->query_until(qr/sent/, "\\echo sent\nALTER TABLE queued ADD later int;\n\\echo over\n");
	poll('the second in line', sub { $source->safe_psql('postgres', q{SELECT count(*) > 1 FROM pg_locks WHERE relation = 'queued'::regclass AND NOT granted}) eq 't' });
	commit_and_quit($locker);
	poll('queued to be filled', sub { state_of('queued') eq 'filled' });
	$second->query_until(qr/over/, '');
	$second->quit;
	pass('who waits for the reading is not waited for by it');
	poll('the altered table', sub { state_of('queued') eq 'filled' && !backfill()->{running} });

	# a table that somebody has to himself keeps nobody from stopping
	$locker = $source->background_psql('postgres');
	$locker->query_safe('BEGIN; LOCK TABLE queued IN ACCESS EXCLUSIVE MODE');
	Walrank::run_quiet(Walrank::Daemon::bin('walrank'), '--config', $d->{conf}, 'backfill', 'start', 'queued');
	poll('a session that waits', sub { $source->safe_psql('postgres', q{SELECT count(*) FROM pg_locks WHERE relation = 'queued'::regclass AND NOT granted}) });
	is($d->stop, 0, 'stopped while a table is locked');
	commit_and_quit($locker);
	$d->start;
	$d->ready;
}

# ---- nothing but a writer who does not end ------------------------------------------------------------------
if ($tier ne 'check')
{
	my $open = writer();
	my $pid = $source->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND backend_type = 'client backend'});
	Walrank::run_quiet(Walrank::Daemon::bin('walrank'), '--config', $d->{conf}, 'backfill', 'start', $tables[0]);
	poll('the one who is waited for', sub { slurp($d->{log}) =~ /the snapshot waits for writing transactions of pid $pid / });
	pass('who holds up a snapshot is named');
	commit_and_quit($open);
	$d->ready;
}

# ---- at random, while the table is read again ---------------------------------------------------------
note("WALRANK_SEED=$seed, $rounds rounds");
srand $seed;
(my $make = $start) =~ s/NAME/busy/g;
$source->safe_psql('postgres', $make . "INSERT INTO busy SELECT i, i, noise(), jsonb_build_object('views', i, 'old', 1) FROM generate_series(11, 40) i;
	SELECT walrank.watch('busy'); INSERT INTO walrank.ranking (name, relation, definition) VALUES ('busy', 'public.busy', E'$definition')");
spew($d->{conf}, slurp($d->{conf}) =~ s/chunk_rows = 6/chunk_rows = 15/r);
$d->{pid} && kill 'HUP', $d->{pid};
$d->ready;
# before its first reading has begun, what a change does not carry is known to nobody
poll('busy to be filled', sub { state_of('busy') eq 'filled' });

sub id { return 1 + int rand 45 }
sub random_sql
{
	my ($i, $j, $n) = (id(), id(), int rand 1000);
	my @all = (
		"INSERT INTO busy VALUES ($i, $n, noise(), '{\"views\": $n, \"old\": 2}') ON CONFLICT (id) DO UPDATE SET price = $n",
		"UPDATE busy SET price = $n WHERE id = $i", "UPDATE busy SET price = price + 1 WHERE id % 5 = $i % 5",
		"UPDATE busy SET att = jsonb_build_object('views', $n) WHERE id = $i", "UPDATE busy SET title = noise() WHERE id = $i",
		"DELETE FROM busy WHERE id = $i",
		"UPDATE busy SET id = $j WHERE id = $i AND NOT EXISTS (SELECT FROM busy WHERE id = $j)",
		"UPDATE busy SET id = $j, price = $n WHERE id = $i AND NOT EXISTS (SELECT FROM busy WHERE id = $j)");
	my $rare = int rand 60;
	return 'TRUNCATE busy; INSERT INTO busy SELECT i, i, noise(), NULL FROM generate_series(5, 35) i' if $rare == 0;
	return 'CLUSTER busy USING busy_pkey' if $rare == 1;
	return "UPDATE walrank.ranking SET definition = E'term p weight $n price missing 0\\nterm v weight 7 att.views missing 1' WHERE name = 'busy'" if $rare == 2;
	return "SAVEPOINT s; DELETE FROM busy WHERE id < $i; ROLLBACK TO s" if $rare == 3;
	return $all[ rand @all ];
}

my $wrong = 0;
my $deeds = 0;
for my $round (1 .. $rounds)
{
	my $before = backfill()->{done};
	my $over = 0;
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;
	Walrank::run_quiet(Walrank::Daemon::bin('walrank'), '--config', $d->{conf}, 'backfill', 'start', 'busy');
	while (time < $end)
	{
		$source->safe_psql('postgres', 'BEGIN; ' . join('; ', map { random_sql() } 0 .. rand 3) . '; COMMIT');
		$deeds++;
		$over = backfill()->{done} > $before && state_of('busy') eq 'filled' and last;
	}
	$d->catch_up;
	$d->ready;
	$d->catch_up;
	my ($items, $scores) = replayed();
	my $n = $over ? differences('busy', $items, $scores) : 1;
	diag("round $round of WALRANK_SEED=$seed: $n differences") if $n;
	$wrong += $n;
	last if $wrong;
}
is($wrong, 0, "$rounds readings under way of $deeds transactions at random: differences");
is($d->status->{scorer}{quarantined}, 0, 'nothing is in quarantine');
is($d->stop, 0, 'stopped');
done_testing();
