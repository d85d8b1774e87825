# Where a person changes history: a slot made by hand is adopted, a stream that cannot go on is rebuilt, a range is skipped,
# publications change. Each time every table is read again where it has to be, sinks end where the tables are, and a kill at any
# step is gone on with.
use strict;
use warnings;
use IPC::Run;
use Walrank;
use Walrank::DieAt;
use Walrank::Untouched;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{WALRANK_SEED} // (time ^ $$) % 1_000_000_000;
srand $seed;
diag "seed $seed (WALRANK_SEED=$seed repeats the choice)";

my $source = source('source', allow => 1);
my $search = source('search');
sub sql { return $source->safe_psql('postgres', $_[0]) }
sub copy { my ($from, $to) = @_; system('cp', '-a', $from, $to) == 0 or die "cp $from $to"; return }
sub remove { system('rm', '-rf', @_) == 0 or die "rm @_"; return }

sql('CREATE TABLE item (id int PRIMARY KEY, v int); INSERT INTO item SELECT i, i FROM generate_series(1, 100) i; CREATE TABLE late (id int PRIMARY KEY, v int)');
my $d = daemon_new($source, postgres => $search, conf => "[daemon]\nbeat_interval = 1s\n");
$d->init;
sql(q{SELECT walrank.watch('item'); INSERT INTO walrank.ranking (name, relation, definition) VALUES ('r', 'public.item', 'term v weight 1 v')});

my $next = 1000;
sub work
{
	sql("INSERT INTO item VALUES ($next, $next); UPDATE item SET v = v + 1 WHERE id % 10 = 0; DELETE FROM item WHERE id = $next - 3");
	return $next++;
}

# The file sink's scores, its checkpoint's word for which file and how far.
sub told
{
	my ($table) = @_;
	my %said = map { /^(\w+)=(.*)$/ ? ($1 => $2) : () } split /\n/, slurp("$d->{ndjson}.ckpt") // '';
	my $ranking = $table eq 'item' ? 'r' : 'l';
	my %v;
	for (split /\n/, substr(slurp("$d->{dir}/" . ($said{file} // 'none')) // '', 0, $said{offset} // 0))
	{
		if (/"kind":"score","ranking":"$ranking","key":\{"id":(\d+)\},"score":([-\d.e+]+)/) { $v{$1} = $2 }
		elsif (/"kind":"remove","ranking":"$ranking","key":\{"id":(\d+)\}/) { delete $v{$1} }
	}
	return join "\n", map { "$_|$v{$_}" } sort { $a <=> $b } keys %v;
}

sub same
{
	my ($when, $table) = @_;
	$table //= 'item';
	$d->catch_up;
	my $expected = sql("SELECT id, v::float8 FROM $table ORDER BY id");
	my $ok = eval { poll('the file', sub { told($table) eq $expected }) };
	is(told($table), $expected, "$when: the file has it all");
	$ok = eval { poll('the table', sub { $search->safe_psql('postgres', "SELECT id, score FROM walrank_out.score_$table ORDER BY id") eq $expected }) };
	is($search->safe_psql('postgres', "SELECT id, score FROM walrank_out.score_$table ORDER BY id"), $expected, "$when: so has the table");
	return;
}

sub log_since { my ($from) = @_; return substr(slurp($d->{log}) // '', $from) }
sub log_end { return length(slurp($d->{log}) // '') }

# Runs walrankd with such arguments until the stream is ready, or it ends: its log.
sub run_until_ready
{
	my (@arguments) = @_;
	my $from = log_end();
	$d->start(@arguments);
	my $log = '';
	poll("walrankd @arguments ($d->{log})", sub { my $ended = $d->ended; $log = log_since($from); return $ended || $log =~ /stream ready|nothing to do/ });
	$d->kill9 unless $d->ended;
	return $log;
}

sub identity { my %said = (replaces => []); for (split /\n/, slurp("$d->{state}/journal/identity") // '') { my ($k, $v) = split /=/, $_, 2; ref $said{$k} ? push @{ $said{$k} }, $v : ($said{$k} = $v) } return \%said }

# ---- a slot made by hand ------------------------------------------------------------------------------------------------
for my $case (
	[ 'none', 'postgres', 'SELECT 1', 'does not exist' ],
	[ 'another plugin', 'postgres', q{SELECT pg_create_logical_replication_slot('walrank', 'pgoutput')}, 'is of another plugin' ],
	[ 'a physical one', 'postgres', q{SELECT pg_create_physical_replication_slot('walrank', true)}, 'is physical' ],
	[ 'another database', 'template1', q{SELECT pg_create_logical_replication_slot('walrank', 'walrank')}, 'is of another database' ],
	[ "another stream's", 'postgres', q{SELECT pg_create_logical_replication_slot('walrank', 'walrank'); INSERT INTO walrank.control (stream_id, slot, state) VALUES (gen_random_uuid(), 'walrank', 'ready')}, 'belongs to another stream' ])
{
	my ($what, $db, $make, $why) = @$case;
	$source->safe_psql($db, $make);
	my $log = run_until_ready('--adopt');
	like($log, qr/FATAL:  replication slot "walrank" cannot be taken over: it $why.*\n.*HINT: .*\w/, "--adopt of $what: refused");
	ok(!-e "$d->{state}/journal/identity", "--adopt of $what: nothing was begun");
	sql(q{SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots; DELETE FROM walrank.control});
	remove($d->{state});
}

sql(q{SELECT pg_create_logical_replication_slot('walrank', 'walrank')});
sql(q{UPDATE item SET v = v * 2 WHERE id <= 10});
my $at = sql(q{SELECT confirmed_flush_lsn FROM pg_replication_slots});
sub adopt
{
	my ($n) = @_;
	local $d->{env} = { LD_PRELOAD => die_library(), WALRANK_DIE_AT => $n };
	return run_until_ready('--adopt') !~ /stream ready/;
}
{
	# with sinks that hold nothing: the daemon may come as far as opening them before it is killed
	my $fresh = sub {
		remove($d->{state}, glob "$d->{ndjson}*");
		$search->safe_psql('postgres', 'DROP SCHEMA IF EXISTS walrank_out CASCADE');
		sql('DELETE FROM walrank.control');
		return adopt(@_);
	};
	my $steps = steps_of($fresh);
	for my $n (steps_to_try($steps, 6))
	{
		$fresh->($n) or die "not gone at step $n";
		# whichever of the two is said then, what was begun is gone on with
		like(run_until_ready($n % 2 && -e "$d->{state}/journal/identity" ? '--create' : '--adopt'), qr/stream ready/, "--adopt killed at step $n of $steps is gone on with");
		is(sql('SELECT state FROM walrank.control') . ' ' . sql('SELECT confirmed_flush_lsn FROM pg_replication_slots') . ' ' . identity()->{start_lsn}, "ready $at $at", "step $n: the stream starts where the slot stood");
	}
}
$d->start('--adopt');
$d->ready;
work();
same('an adopted slot');
is($d->stop, 0, 'stopped');

# ---- a range is skipped by hand --------------------------------------------------------------------------------------------
work() for 1 .. 5;
sql('DELETE FROM item WHERE id = 7; UPDATE item SET v = -1 WHERE id = 8');
my $to = sql('SELECT pg_current_wal_lsn()');
refused($d, 'C3', 'cannot skip to 0/100: the journal is at', 'skipping back', search => $search, arguments => [ '--skip-to', '0/100' ]);
refused($d, 'C3', "cannot skip to F/0: the server's WAL ends at", 'skipping into the future', search => $search, arguments => [ '--skip-to', 'F/0' ]);
{
	my $from = log_end();
	$d->start('--skip-to', $to);
	$d->ready;
	like(log_since($from), qr/skipped by hand: \S+ to \Q$to\E/, 'what is skipped is said');
	work();
	same('skipped by hand, read again');
	is(scalar(grep { /"kind":"gap".*skipped by hand/ } $d->lines), 1, 'the file sink was told of the gap, once');
	is($d->stop, 0, 'stopped');
	# the same again is beyond what is there, without it all goes on
	refused($d, 'C3', 'cannot skip to \S+: the journal is at', 'the same once more', search => $search, arguments => [ '--skip-to', $to ]);
}

# ---- publications change ------------------------------------------------------------------------------------------------------
$d->start;
$d->ready;
sql(q{CREATE PUBLICATION more FOR TABLE late; SELECT walrank.watch('late'); ALTER PUBLICATION walrank DROP TABLE late;
	INSERT INTO walrank.ranking (name, relation, definition) VALUES ('l', 'public.late', 'term v weight 1 v'); INSERT INTO late VALUES (1, 10), (2, 20)});
$d->catch_up;
$d->ready;
sql('UPDATE late SET v = 11 WHERE id = 1; DELETE FROM late WHERE id = 2; INSERT INTO late VALUES (3, 30)');
work();
same('while nobody publishes a table');
is($d->stop, 0, 'stopped');
my $own = slurp($d->{conf});
sub configured { my ($lines) = @_; spew($d->{conf}, $own =~ s/slot = walrank\n/slot = walrank\n$lines\n/r); return }
configured('publications = walrank, walrank_config, more');
{
	my $from = log_end();
	$d->start;
	$d->ready;
	like(log_since($from), qr/newly published, read again where they are watched: public\.late/, 'what a publication newly brings is named');
	same('a table newly published is read again', 'late');
	sql('UPDATE late SET v = v + 1');
	same('and followed', 'late');
	is($d->stop, 0, 'stopped');
	$from = log_end();
	$d->start;
	$d->ready;
	unlike(log_since($from), qr/newly published/, 'once is enough');
	is($d->stop, 0, 'stopped');
}
configured('publications = walrank, walrank_config');
{
	my $from = log_end();
	$d->start;
	$d->ready;
	like(log_since($from), qr/WARNING.*no publication followed brings these tables any more.*: public\.late/, 'what they no longer bring is a warning');
	is($d->stop, 0, 'stopped');
}
# one that does not exist
configured('publications = walrank, walrank_config, none');
{
	my $before = everything($d, search => $search);
	my $from = log_end();
	$d->start;
	poll('the daemon to wait', sub { log_since($from) =~ /rule C7: publication "none" does not exist/ });
	is($d->signal('KILL'), 'signal 9', 'a publication that does not exist: it waits');
	configured("publications = walrank, walrank_config, none\nmissing_ok = on");
	$d->start;
	$d->ready;
	work();
	same('missing_ok passes over it');
	is(scalar(grep { /"kind":"gap".*none/ } $d->lines), 0, 'without a gap');
	is($d->stop, 0, 'stopped');
}
spew($d->{conf}, $own);

# ---- a synchronous standby, by accident ------------------------------------------------------------------------------------------
sql(q{ALTER SYSTEM SET synchronous_standby_names = '*'});
$source->reload;
{
	my $from = log_end();
	$d->start;
	poll('the warning', sub { log_since($from) =~ /WARNING.*takes us for a synchronous standby/ });
	my $beat = sub { sql(q{SELECT beat FROM walrank.control WHERE state = 'ready'}) };
	my $was = $beat->();
	sql('ALTER SYSTEM RESET synchronous_standby_names');
	poll('a beat in spite of it', sub { $beat->() > $was });
	pass('a daemon taken for a synchronous standby warns, and its beat does not wait for itself');
	$source->reload;
	is($d->stop, 0, 'stopped');
}

# ---- rebuild ------------------------------------------------------------------------------------------------------------------------
my $tool = Walrank::Daemon::bin('walrank');
my @rebuild = ($tool, '--config', $d->{conf}, 'rebuild');
my $first = identity()->{stream_id};
work();
remove("$d->{state}/store");
my ($code, $log) = $d->fails;
like($log, qr/HINT: .*walrank rebuild/, 'a store that is gone: the message names the command');
{
	my $before = everything($d, search => $search);
	my ($out) = run_ok('walrank rebuild --dry-run', @rebuild, '--dry-run');
	like($out, qr/it replaces stream $first\n/, 'a dry run says which stream is replaced');
	is_deeply(everything($d, search => $search), $before, 'and touches nothing');
}
copy($d->{state}, "$d->{state}.before");
my $row = sql('COPY walrank.control TO STDOUT');
sub reset_state
{
	remove($d->{state});
	copy("$d->{state}.before", $d->{state});
	sql('DELETE FROM walrank.control');
	IPC::Run::run([ 'psql', '-XAtq', '-h', $source->host, '-p', $source->port, '-d', 'postgres', '-c', 'COPY walrank.control FROM STDIN' ], '<', \"$row\n") or die;
	return;
}

sub rebuilt
{
	my ($when, $slot) = @_;
	my $id = identity();
	is($id->{state}, 'complete', "$when: complete");
	is_deeply($id->{replaces}, [$first], "$when: the old stream is named as replaced");
	is(sql('SELECT stream_id, state FROM walrank.control ORDER BY state'), "$id->{stream_id}|ready\n$first|replaced", "$when: the control rows");
	my @aside = glob "$d->{state}/replaced-*";
	is(scalar(@aside), 1, "$when: what was there is kept");
	ok(-e "$aside[0]/journal/identity" && slurp("$aside[0]/journal/identity") =~ /^stream_id=$first$/m, "$when: the old journal");
	is(sql(q{SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'walrank' AND NOT active}), 1, "$when: there is one slot");
	return;
}

for my $kind ([], ['--new-slot'])
{
	my $dies = sub { reset_state(); return (die_run($_[0], @rebuild, @$kind))[0] == 99 };
	reset_state();
	my $steps = die_count(@rebuild, @$kind);
	for my $n (steps_to_try($steps, 5))
	{
		$dies->($n) or die "not gone at step $n";
		if (sql(q{SELECT count(*) FROM walrank.control WHERE state = 'ready'}) == 1 && identity()->{stream_id} ne $first && (identity()->{state} // '') eq 'complete')
		{
			pass("walrank rebuild @$kind killed at step $n of $steps: it was done");
		}
		else
		{
			isnt(($d->fails)[0], 0, "step $n: a start in between is refused") if $n % 3 == 0;
			run_ok("walrank rebuild @$kind killed at step $n of $steps is gone on with", @rebuild, @$kind);
		}
		rebuilt("@$kind step $n");
	}
}

# the slot as it is: sinks keep what they have until the new stream has it all
reset_state();
run_ok('walrank rebuild', @rebuild);
rebuilt('rebuild');
sql('DELETE FROM item WHERE id = 20');
$d->start;
$d->ready;
work();
same('rebuilt');
is($d->stop, 0, 'stopped');

# somebody starts the old state directory again
{
	my $twin = bless { %$d, pid => undef, state => "$d->{state}.before", log => "$d->{log}.twin", conf => "$d->{dir}/twin.conf", ndjson => "$d->{dir}/twin.ndjson" }, 'Walrank::Daemon';
	spew($twin->{conf}, slurp($d->{conf}) =~ s/\Q$d->{state}\E/$twin->{state}/r =~ s/\Q$d->{ndjson}\E/$twin->{ndjson}/r);
	my ($rc, $twins) = (run_ok('an old state directory can itself be rebuilt only by taking the slot away', 'true'), '');
	IPC::Run::run([ $tool, '--config', $twin->{conf}, 'rebuild' ], '<', \undef, '>&', \$twins);
	is($? >> 8, 1, 'rebuild with a state directory that was replaced: refused');
	like($twins, qr/belongs to another stream in walrank\.control/, 'for the slot is of another stream');
}

# the slot is gone, and the state directory with it
my $second = identity()->{stream_id};
sql(q{SELECT pg_drop_replication_slot('walrank')});
work();
refused($d, 'C2', 'replication slot "walrank" does not exist.*\n.*HINT: .*rebuild --new-slot', 'no slot', search => $search);
($code, $log) = (0, '');
IPC::Run::run([@rebuild], '<', \undef, '>&', \$log);
is($? >> 8, 1, 'rebuild without a slot is refused');
like($log, qr/cannot be taken over: it does not exist.*HINT: .*--new-slot/s, 'and says how');
remove($d->{state});
run_ok('walrank rebuild --new-slot, everything lost', @rebuild, '--new-slot');
is_deeply([ sort @{ identity()->{replaces} } ], [ sort $first, $second ], 'all streams of the slot are known as replaced');
$d->start;
$d->ready;
work();
same('rebuilt from nothing');
# while it runs
($code, $log) = (0, '');
IPC::Run::run([@rebuild], '<', \undef, '>&', \$log);
is($? >> 8, 1, 'rebuild while the daemon runs: refused');
like($log, qr/HINT: +Stop walrankd first/, 'and says so');
is($d->stop, 0, 'ended');
done_testing();
