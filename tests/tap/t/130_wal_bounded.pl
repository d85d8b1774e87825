# The server's WAL is not held back: an idle database whose neighbours write, one sink that stalls, and a server that is
# told to stop.  Bytes are asserted; seconds are printed, but no stop may run into its timeout.
use strict;
use warnings;
use Walrank;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $check = $ENV{WALRANK_TIER} eq 'check';
my $bound = 64 << 20;
my $idle_seconds = $check ? 15 : 300;
my $stall_seconds = $check ? 0 : 180;
my $rate = 5000;

# Frequent running-xacts records are the server's own doing (every 15 s): restart_lsn moves with the first one that is
# behind what was acknowledged.
my $source = source('source', conf => "max_wal_size = 2GB\ncheckpoint_timeout = 1h\nmax_connections = 40\n");
my $search = source('search');
my $other = source('other');
$source->safe_psql('postgres', q{CREATE TABLE item (id int PRIMARY KEY, v int, note text); INSERT INTO item SELECT i, i, '' FROM generate_series(1, 5000) i;
	CREATE TABLE neighbour (id int, note text)});
my $d = daemon_new($source, postgres => $search,
	sinks => "[sink other]\ntype = postgres\nconninfo = host=" . $other->host . ' port=' . $other->port . " dbname=postgres\nflush_interval = 10ms\n");
$d->init;
$source->safe_psql('postgres', q{SELECT walrank.watch('item'); INSERT INTO walrank.ranking (name, relation, definition) VALUES ('r', 'public.item', 'term v weight 1 v')});
$d->create;

# bytes of WAL behind confirmed_flush_lsn and restart_lsn
sub behind
{
	return split /\|/, $source->safe_psql('postgres', q{SELECT pg_current_wal_lsn() - confirmed_flush_lsn, pg_current_wal_lsn() - restart_lsn FROM pg_replication_slots WHERE slot_name = 'walrank'});
}

sub mib { return sprintf '%.1f MiB', $_[0] / (1 << 20) }

# Runs SQL in a child again and again for so many seconds, at most $per_second times a second.
sub writer
{
	my ($seconds, $per_second, $sql) = @_;
	my $pid = fork() // die "fork: $!";
	return $pid if $pid;
	eval { # whatever happens, a child must not stop the servers
		my $psql = $source->background_psql('postgres', timeout => $seconds + 120);
		my $end = time + $seconds;
		my $next = time;
		while (time < $end)
		{
			$psql->query_safe($sql);
			$next += 1 / $per_second;
			sleep $next - time if $next > time;
		}
		$psql->quit;
	};
	POSIX::_exit(0);
}

# Samples once a second while the child lives; the most that lay behind confirmed_flush_lsn.
sub watch_child
{
	my ($pid, $each) = @_;
	my $most = 0;
	while (waitpid($pid, POSIX::WNOHANG()) == 0)
	{
		my ($confirmed) = behind();
		$most = $confirmed if $confirmed > $most;
		$each->() if $each;
		sleep 1;
	}
	return $most;
}

sub settle
{
	my ($what) = @_;
	sleep 30;
	my ($confirmed, $restart) = behind();
	cmp_ok($restart, '<=', $bound, "$what: 30 s after the load at most 64 MiB lie behind restart_lsn (" . mib($restart) . ')');
	return;
}

# ---- an idle database beside heavy writers --------------------------------------------------------------
{
	my $from = $source->safe_psql('postgres', "SELECT pg_current_wal_lsn() - '0/0'");
	my $most = watch_child(writer($idle_seconds, 20, q{INSERT INTO neighbour SELECT i, repeat(md5(i::text), 30) FROM generate_series(1, 1000) i}));
	my $wal = $source->safe_psql('postgres', "SELECT pg_current_wal_lsn() - '0/0'") - $from;
	note sprintf 'idle: %s of WAL in %d s, at most %s behind confirmed_flush_lsn', mib($wal), $idle_seconds, mib($most);
	cmp_ok($wal, '>', 2 * $bound, 'idle: there was enough to be held back');
	cmp_ok($most, '<=', $bound, 'idle: at most 64 MiB lay behind confirmed_flush_lsn');
	settle('idle') unless $check;
}

# ---- one sink stalls ----------------------------------------------------------------------------------
# Latency of the other sink, from commit to visible, as a child sees it that writes one row and waits for it.
sub p99
{
	my (@us) = sort { $a <=> $b } @_;
	return @us ? $us[ int($#us * 0.99) ] : 0;
}

sub probe
{
	my ($file) = @_;
	my $from = time;
	my $v = int($from * 1000) % 1_000_000_000;
	$source->safe_psql('postgres', "UPDATE item SET v = $v WHERE id = 1");
	my $end = time + 60;
	sleep 0.02 while time < $end && ($other->safe_psql('postgres', 'SELECT max(score) FROM walrank_out.score_item WHERE id = 1') // 0) != $v;
	return time - $from;
}

SKIP:
{
	diag('NOT RUN: one sink stalled for 3 minutes; it runs in check-full') if $check;
	skip 'one sink stalled for 3 minutes runs in check-full', 4 if $check;
	my $sql = "UPDATE item SET v = v + 1 WHERE id BETWEEN 2 AND 501";
	my (@before, @during);
	my $most = watch_child(writer(30, $rate / 500, $sql), sub { push @before, probe() });
	my $holder = $search->background_psql('postgres', timeout => $stall_seconds + 300);
	$holder->query_safe('BEGIN; LOCK TABLE walrank_out.score_item IN ACCESS EXCLUSIVE MODE');
	my $from = time;
	$most = watch_child(writer($stall_seconds, $rate / 500, $sql), sub { push @during, probe() });
	my ($held) = grep { $_->{name} eq 'table' } @{ $d->status->{sinks} };
	note sprintf 'stalled: other sink p99 %.0f ms before, %.0f ms during (%d and %d probes); at most %s behind confirmed_flush_lsn; the stalled sink is %d units behind',
	  1000 * p99(@before), 1000 * p99(@during), scalar @before, scalar @during, mib($most), $held->{lag_units};
	cmp_ok($held->{lag_units}, '>', $stall_seconds, 'stalled: the sink stood still');
	cmp_ok($most, '<=', $bound, 'stalled: at most 64 MiB lay behind confirmed_flush_lsn');
	settle('stalled');
	$holder->query_safe('ROLLBACK');
	$holder->quit;
	$d->catch_up;
	is($search->safe_psql('postgres', 'SELECT id, score FROM walrank_out.score_item ORDER BY id'), $source->safe_psql('postgres', 'SELECT id, v::float8 FROM item ORDER BY id'), 'stalled: it has all of it in the end');
}

# ---- the server stops ----------------------------------------------------------------------------------
sub seconds_to_stop
{
	my ($loaded) = @_;
	my $pid = $loaded ? writer(20, 20, 'UPDATE item SET v = v + 1 WHERE id BETWEEN 2 AND 101') : 0;
	sleep 2 if $loaded;
	$source->safe_psql('postgres', 'CHECKPOINT');
	my $begun = time;
	$source->stop('fast', timeout => 60);
	my $took = time - $begun;
	if ($pid) { kill 'KILL', $pid; waitpid $pid, 0 }
	ok(!-e $source->data_dir . '/postmaster.pid', sprintf 'the server stopped %s, with%s the daemon (%.2f s)', $loaded ? 'loaded' : 'idle', $d->{pid} ? '' : 'out', $took);
	$source->start;
	return $took;
}
for my $loaded (0, 1)
{
	my $with = seconds_to_stop($loaded);
	$d->stop;
	my $without = seconds_to_stop($loaded);
	note sprintf 'fast shutdown, %s: %.2f s with the daemon, %.2f s without', $loaded ? 'loaded' : 'idle', $with, $without;
	$d->start;
	$d->ready;
}
is($d->stop, 0, 'ended');
done_testing();
