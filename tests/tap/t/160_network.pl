# A network that delays, stalls, splits, resets and swallows, between the daemon and its server and between the postgres
# sink and its database, under load, while tables are read
# again: nothing is lost, doubled or reordered, and the daemon never ends by itself.
#
# Everything goes through tests/fault/proxy.c, from a seed that is printed. The oracles are those of Fault.pm.
use strict;
use warnings;
use Walrank;
use FindBin;
use lib "$FindBin::RealBin/../../fault";
use Fault;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $tier = $ENV{WALRANK_TIER};
my $seconds = $ENV{WALRANK_SECONDS} // { check => 12, full => 120, torture => 3600 }->{$tier};
my $round = 300; # seconds between two verdicts
my $writers = 4;
my $rate = 300;
my $seed = seed();

my $source = source('source', conf => "wal_sender_timeout = 10s\ndeadlock_timeout = 100ms\nmax_connections = 60\nmax_wal_senders = 30\nmax_replication_slots = 30\n");
my $search = source('search', conf => "deadlock_timeout = 100ms\nmax_connections = 60\n");
workload($source, $writers);

my %proxy = (source => proxy_start($source, seed => $seed, mean => 150), sink => proxy_start($search, seed => $seed + 1, mean => 150));
my $d = daemon_new($source,
	conf => "status_interval = 100ms\n[backfill]\nchunk_rows = 200\n",
	conninfo => "host=127.0.0.1 port=$proxy{source}{port} dbname=postgres user=walrank_daemon",
	sinks => "[sink table]\ntype = postgres\nconninfo = host=127.0.0.1 port=$proxy{sink}{port} dbname=postgres user=" . getpwuid($<) . "\nflush_interval = 10ms\n");
$d->init;
Fault::watch($source);
$d->create;
$d->catch_up;
my $oracle = oracle_start($source, $d, sink => $search);

my $left = $seconds;
my $readings = 0;
while ($left > 0)
{
	my $time = $left < $round ? $left : $round;
	my $w = writers_start($source, writers => $writers, rate => $rate, seed => $seed + $left);
	$_->fault for values %proxy;
	my $end = time + $time;
	while (time < $end)
	{
		sleep 0.1;
		$readings += read_again($d) if rand() < 0.05;
		die "walrankd ended with $d->{ended}\n" if $d->ended;
	}
	my $acknowledged = writers_stop($w);
	$_->heal for values %proxy;
	$d->ready;
	$left -= $time;
	$oracle->check(($seconds - $left) . " of $seconds s", $acknowledged);
	last if grep { !$_ } Test::More->builder->summary;
	$oracle->forget;
}

diag "tables were read again $readings times";
is($d->stop, 0, 'TERM: the daemon drains and ends with 0');
for my $which (sort keys %proxy)
{
	my $r = $proxy{$which}->stop;
	diag "$which: " . join ', ', map { "$_ $r->{$_}" } qw(connections delay stall split reset half);
	cmp_ok($r->{connections}, '>', 1, "$which: connections were lost and made again") if $r->{reset} + $r->{half};
	cmp_ok($r->{delay} + $r->{stall} + $r->{split} + $r->{reset} + $r->{half}, '>=', 1, "$which: the network misbehaved");
}
done_testing();
