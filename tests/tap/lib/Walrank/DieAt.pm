# DieAt.pm - a command that is gone at its n-th step, for each n (die_at.c).
package Walrank::DieAt;

use strict;
use warnings;
use Exporter 'import';
use IPC::Run;
use PostgreSQL::Test::Utils ();
use Walrank;

our @EXPORT = qw(die_library die_run die_count steps_of steps_to_try);

my $library;

sub die_library
{
	return $library if $library;
	$library = PostgreSQL::Test::Utils::tempdir('die_at') . '/die_at.so';
	system('gcc', '-shared', '-fPIC', '-O1', '-o', $library, "$ENV{WALRANK_TOP}/tests/tap/lib/die_at.c", '-ldl') == 0
	  or die "die_at.c does not compile";
	return $library;
}

# Runs a command to its end, or to its n-th step: (exit code, output).
sub die_run
{
	my ($n, @command) = @_;
	my $out = '';
	local $ENV{LD_PRELOAD} = die_library();
	local $ENV{WALRANK_DIE_AT} = $n;
	IPC::Run::run(\@command, '<', \undef, '>&', \$out, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return ($? >> 8, $out);
}

# How many steps a command has that ends by itself.
sub die_count
{
	my (@command) = @_;
	local $ENV{WALRANK_DIE_COUNT} = PostgreSQL::Test::Utils::tempdir('die_count') . '/count';
	my ($rc, $out) = die_run(0, @command);
	die "@command: $rc\n$out" if $rc;
	return int slurp($ENV{WALRANK_DIE_COUNT});
}

# How many steps a command has: $dies->(n) tells whether it was gone before its end.  Doubling, then halving.
sub steps_of
{
	my ($dies) = @_;
	my ($low, $high) = (0, 16);
	while ($dies->($high))
	{
		die "more than $high steps\n" if $high > 4096;
		($low, $high) = ($high, $high * 2);
	}
	while ($high - $low > 1)
	{
		my $middle = int(($low + $high) / 2);
		$dies->($middle) ? ($low = $middle) : ($high = $middle);
	}
	return $low;
}

# Which of them this tier tries: all, or so many at random with the first and the last ones; a seed repeats the choice.
sub steps_to_try
{
	my ($steps, $sample) = @_;
	return 1 .. $steps if ($ENV{WALRANK_TIER} // 'check') ne 'check' || $steps <= $sample;
	my %chosen = map { $_ => 1 } 1, $steps - 2 .. $steps;
	$chosen{ 1 + int rand $steps } = 1 while keys %chosen < $sample;
	return sort { $a <=> $b } keys %chosen;
}

1;
