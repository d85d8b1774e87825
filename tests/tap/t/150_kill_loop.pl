# Kill loop: the daemon, the server and the sink's database are killed at random moments while eight writers commit,
# and in the end nothing is lost, doubled or reordered.
#
# Half of the kills hit the daemon (SIGKILL), a quarter the server and a quarter the sink's database (SIGKILL of the
# postmaster, or an immediate stop). The schedule comes from a seed, which is printed. The oracles are those of
# tests/fault/Fault.pm. Now and then a table is read again meanwhile, which has nothing to tell. From a restart to the first change applied after it: printed, not asserted.
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
my $cycles = $ENV{WALRANK_CYCLES} // { check => 10, full => 60, torture => 3000 }->{$tier};
my $round = 60; # cycles between two verdicts
my $writers = 8;
my $rate = $ENV{WALRANK_RATE} // 650;
my $seed = seed();
my $confirm = rand() < 0.5 ? 'journal' : 'sinks'; # both have to hold

# ---- the three that can be killed -------------------------------------------------------------------------

my $conf = "wal_sender_timeout = 10s\ndeadlock_timeout = 100ms\nmax_connections = 60\nautovacuum_naptime = 10s\n";
my $source = source('source', conf => $conf . "max_wal_size = 4GB\n");
my $search = source('search', conf => "deadlock_timeout = 100ms\n");
workload($source, $writers);
my $d = daemon_new($source, postgres => $search,
	conf => "status_interval = 100ms\nconfirm = $confirm\n[store]\ncommit_time = 150ms\nsnapshot_interval = 5s\n[feed]\nretain = 0s\nsegment_size = 4MB\n[journal]\nsegment_size = 4MB\n[backfill]\nchunk_rows = 200\n");
$d->init;
Fault::watch($source);
$d->create;
$d->catch_up;
my $oracle = oracle_start($source, $d, sink => $search);

# Whatever kills it, it is up again when this returns.
sub kill_server
{
	my ($node) = @_;
	if (rand() < 0.5) { $node->stop('immediate') }
	else { $node->kill9 }
	sleep rand 0.3 if rand() < 0.5;
	# backends that lost their postmaster may hold the shared memory for a moment
	poll('the server to start again', sub {
		$node->{_pid} = undef; # a start that failed has taken it from a stale file
		return $node->start(fail_ok => 1);
	});
	return;
}

# ---- how far the sinks are ------------------------------------------------------------------------------------

sub file_applied { return (slurp("$d->{ndjson}.ckpt") // '') =~ /^applied=(\d+)$/m ? $1 : 0 }

sub table_applied
{
	my $s = $d->status or return 0;
	my ($sink) = grep { $_->{name} eq 'table' } @{ $s->{sinks} };
	return $sink->{applied} // 0;
}

# Seconds until the first change that is applied after this moment.
sub first_applied
{
	my ($applied) = @_;
	my $began = time;
	my $before = $applied->();
	poll('a change to be applied', sub {
		die "walrankd ended with $d->{ended}\n" if $d->ended;
		return $applied->() > $before;
	});
	return time - $began;
}

sub percentile
{
	my ($p, @values) = @_;
	return 0 unless @values;
	@values = sort { $a <=> $b } @values;
	return $values[ int($p / 100 * $#values + 0.5) ];
}

# ---- the loop -------------------------------------------------------------------------------------------------

my %took;
my %killed = (daemon => 0, source => 0, search => 0, again => 0);
my $readings = 0;

sub cycle
{
	my ($victim) = @_;
	sleep 0.05 + rand 0.4;
	$readings += read_again($d) if rand() < 0.3;
	sleep rand 0.4;
	$killed{$victim}++;
	if ($victim eq 'daemon')
	{
		$d->kill9;
		$d->start;
		# one in four is killed again while it recovers
		if (rand() < 0.25)
		{
			sleep rand 0.4;
			$killed{again}++;
			$d->kill9;
			$d->start;
		}
		push @{ $took{daemon} }, first_applied(\&file_applied);
	}
	else
	{
		kill_server($victim eq 'source' ? $source : $search);
		push @{ $took{$victim} }, first_applied($victim eq 'source' ? \&file_applied : \&table_applied);
	}
	return;
}

my @deck = deck($cycles, daemon => 50, source => 25, search => 25);
my ($committed, $seconds, $unknown) = (0, 0, 0);
while (@deck)
{
	my $w = writers_start($source, writers => $writers, rate => $rate, seed => $seed + @deck);
	cycle($_) for splice @deck, 0, $round;
	my $acknowledged = writers_stop($w);
	my $r = $oracle->check(($cycles - @deck) . " of $cycles cycles", $acknowledged);
	$committed += $r->{transactions};
	$seconds += $w->{seconds};
	$unknown += $w->{unknown} // 0;
	last if grep { !$_ } Test::More->builder->summary; # the rest would only repeat it
	$oracle->forget;
}

my @all = map { @$_ } values %took;
diag sprintf 'kills: daemon %d (%d of them again while it recovered), server %d, sink\'s database %d; %.0f transactions/s committed by %d writers over %.0f s, outages included; %d COMMITs without an answer; confirm = %s; %d readings asked for',
  @killed{qw(daemon again source search)}, $committed / $seconds, $writers, $seconds, $unknown, $confirm, $readings;
diag sprintf 'restart to first applied change, seconds: p50 %.2f p99 %.2f; %s', percentile(50, @all), percentile(99, @all),
  join ', ', map { sprintf '%s p50 %.2f max %.2f', $_, percentile(50, @{ $took{$_} // [] }), percentile(100, @{ $took{$_} // [] }) } qw(daemon source search);
is($killed{daemon} + $killed{source} + $killed{search}, $cycles, 'every cycle was run');
cmp_ok($killed{$_}, '>=', int($cycles / 5), "$_ was killed") for qw(daemon source search);
is($d->stop, 0, 'TERM: the daemon drains and ends with 0');
done_testing();
