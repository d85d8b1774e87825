# Power cuts under load: every byte that was acknowledged is in the journal of the disk that is left, the store goes back
# to a snapshot, the feed is derived again, and both sinks are exact in the end.
#
# tests/fault/power_cut runs this and does what needs root. The daemon is the build of tests/fault, whose boot id is
# another one after each cut; server and sink's database keep their power, so they are ahead of what the disk has.
use strict;
use warnings;
use Walrank;
use FindBin;
use lib $FindBin::RealBin;
use Fault;
use IO::Handle;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $disk = $ENV{WALRANK_DISK} or plan skip_all => 'run tests/fault/power_cut as root';
my $cuts = $ENV{WALRANK_CUTS} // { check => 0, full => 20, torture => 500 }->{ $ENV{WALRANK_TIER} };
my $round = 20; # cuts between two verdicts
my $writers = 8;
my $seed = seed();

open my $ask, '>', "$disk/ask" or die "ask: $!";
open my $answer, '<', "$disk/answer" or die "answer: $!";
$ask->autoflush;

sub root
{
	my ($what) = @_;
	print $ask "$what\n";
	my $said = readline $answer;
	$said eq "ok\n" or die "$what: $said";
	return;
}

my $source = source('source', conf => "wal_sender_timeout = 10s\ndeadlock_timeout = 100ms\nmax_connections = 60\nmax_wal_size = 4GB\n");
my $search = source('search', conf => "deadlock_timeout = 100ms\n");
workload($source, $writers);
my $d = daemon_new($source, dir => "$disk/mnt/walrank", postgres => $search,
	conf => "status_interval = 100ms\n[store]\ncommit_time = 150ms\nsnapshot_interval = 2s\n[feed]\nsegment_size = 1MB\n[journal]\nsegment_size = 1MB\n");
system('sync', $d->{conf}, $d->{dir}) == 0 or die 'sync'; # it was there before the first cut
$d->{program} = fault_tool('walrankd');
my $boots = 0;

sub boot
{
	my $file = "$PostgreSQL::Test::Utils::tmp_check/boot_id";
	spew($file, sprintf "%08x-0000-4000-8000-%012x\n", $seed, ++$boots);
	$d->{env} = { WALRANK_FAULT_BOOT_ID => $file, @_ };
	return;
}

boot();
$d->init;
Fault::watch($source);
$d->create;
$d->catch_up;
my $oracle = oracle_start($source, $d, sink => $search);

my %count = map { ($_ => 0) } qw(cuts lost snapshot cut_tails);
my @behind;
my @took;

# The power is gone and back; returns what had been acknowledged.
sub power
{
	kill 'STOP', $d->{pid};
	sleep 0.05; # the server has read what was said until then
	my $acknowledged = $source->safe_psql('postgres', "SELECT confirmed_flush_lsn - '0/0' FROM pg_replication_slots WHERE slot_name = 'walrank'");
	root('copy');
	$d->kill9;
	root('swap');
	return $acknowledged;
}

sub file_seq { return (slurp("$d->{ndjson}.ckpt") // '') =~ /^seq=(\d+)$/m ? $1 : 0 }

sub cut
{
	my ($nth) = @_;
	sleep 0.2 + rand 2;
	my $before = file_seq();
	my $acknowledged = power();
	my $after = file_seq();
	push @behind, $before - $after;
	boot();
	my $log = -s $d->{log};
	my $began = time;
	$d->start;
	$d->ready(60);
	push @took, time - $began;
	my $said = substr slurp($d->{log}), $log;
	my ($head) = $said =~ m{journal at unit \d+, ([0-9A-F]+/[0-9A-F]+)} or die "no journal in the log:\n$said";
	my $lost = $acknowledged - Walrank::Daemon::lsn_number($head);
	$count{cuts}++;
	$count{lost} += $lost if $lost > 0;
	$count{snapshot}++ if $said =~ /the machine restarted while it was open/;
	diag "cut $nth: acknowledged $acknowledged, journal ends at $head: $lost bytes lost" if $lost > 0;
	return;
}

my $left = $cuts;
while ($left > 0)
{
	my $w = writers_start($source, writers => $writers, rate => 300, seed => $seed + $left);
	for (1 .. ($left < $round ? $left : $round)) { cut($cuts - --$left) }
	my $acknowledged = writers_stop($w);
	$oracle->check(($cuts - $left) . " of $cuts cuts", $acknowledged);
	last if grep { !$_ } Test::More->builder->summary;
	$oracle->forget;
}
@behind = sort { $a <=> $b } @behind;
@took = sort { $a <=> $b } @took;
diag sprintf '%d power cuts: %d acknowledged bytes lost, %d times back to a snapshot; the file sink\'s checkpoint fell back by %d units at most; start to streaming at most %.1f s',
  @count{qw(cuts lost snapshot)}, $behind[-1], $took[-1];
is($count{cuts}, $cuts, 'every cut was made');
is($count{lost}, 0, '0 acknowledged bytes lost');
is($count{snapshot}, $cuts, 'after each of them the store went back to a snapshot');
is($d->stop, 0, 'TERM: the daemon drains and ends with 0');

# a disk that lies about syncing is what this test is there to notice: the start is refused, not a stream with a hole
boot(WALRANK_FAULT_LIE => 1);
$d->start;
$d->ready;
my $w = writers_start($source, writers => $writers, rate => 300, seed => $seed);
sleep 2;
power();
boot();
my ($code, $said) = $d->fails;
writers_stop($w);
isnt($code, 0, 'a disk that lied: the start is refused');
like($said, qr/rule [A-Z]\d/, 'a disk that lied: by the name of the rule') or diag $said;
done_testing();
