# The daemon's parts in a world that fails by seed: server, disk, network and sinks. No seed may lose, double or reorder
# anything; the same seed is the same run; and each rule broken on purpose is noticed.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;

my $tier = $ENV{WALRANK_TIER} // 'check';
my %seeds = (check => 2_000, full => 20_000, torture => 1_000_000);
my $build = "$ENV{WALRANK_TOP}/build/sim";
my $sim = "$build/walrank-sim";

# Seeds 1 .. n, each core its share; a share of fewer than 2,000 would not have to meet every branch.
sub run_seeds
{
	my ($seeds) = @_;
	my $cores = $seeds >= 20_000 ? `nproc` + 0 : 1;
	my $share = int(($seeds + $cores - 1) / $cores);
	my @runs;
	for my $i (0 .. $cores - 1)
	{
		my $first = 1 + $i * $share;
		open my $out, '-|', "exec $sim --seeds $share --first $first 2>&1" or die "cannot run $sim: $!";
		push @runs, $out;
	}
	my $failed = 0;
	for my $out (@runs)
	{
		my @lines = <$out>;
		close $out or $failed++;
		note($_) for map { s/\s+$//r } @lines;
		diag($_) for map { s/\s+$//r } grep { !/^#/ || /never exercised/ } @lines;
	}
	return $failed;
}

is(run_seeds($seeds{$tier}), 0, "$seeds{$tier} seeds: nothing lost, doubled or reordered, every branch met");

my ($once) = run_command([ $sim, '--seed', 77, '--trace' ]);
my ($again) = run_command([ $sim, '--seed', 77, '--trace' ]);
cmp_ok(length $once, '>', 1000, 'a seed can be read');
ok($once eq $again, 'the same seed is the same run, to the letter');

for my $break (split /\n/, `$sim --breaks`)
{
	my ($out) = run_command([ $sim, '--seeds', 2000, '--break', $break ]);
	like($out, qr/^seed \d+ fails at .*: .*/m, "$break is noticed");
	note($out =~ /^(seed \d+ fails.*)/m);
}

if ($tier ne 'check')
{
	my ($out, $err) = run_command([ "$build/walrank-sim-san", '--seeds', 200 ]);
	like($out, qr/^200 seeds, lost 0, doubled 0, reordered 0/m, '200 seeds under ASan and UBSan') or diag(substr($out . $err, -4000));
}

done_testing();
