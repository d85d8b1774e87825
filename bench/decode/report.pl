# report.pl - tables and bars of bench/decode: report.pl RESULTS
use strict;
use warnings;

# What must show, of medians of one run: workload, ours, other, changes/s of ours / changes/s of the other at least.
my @BARS = (
	[ 'w1-full',    'delta', 'pgoutput',    3.0 ],
	[ 'w1-full',    'delta', 'wal2json',    4.5 ],
	[ 'w1-full',    'delta', 'decoderbufs', 3.4 ],
	[ 'w1-full',    'delta', 'message',     0.85 ],
	[ 'w1-full',    'row',   'pgoutput',    2.2 ],
	[ 'w1-full',    'row',   'decoderbufs', 2.5 ],
	[ 'w1-default', 'row',   'pgoutput',    1.5 ],
	[ 'toast-pglz', 'delta', 'pgoutput',    2.9 ],
	[ 'toast-pglz', 'delta', 'wal2json',    4.0 ],
	[ 'toast-lz4',  'delta', 'pgoutput',    3.8 ],
	[ 'w2',         'delta', 'pgoutput',    2.6 ],
	[ 'w2',         'delta', 'wal2json',    4.3 ],
	[ 'w3s',        'delta', 'pgoutput',    1.5 ],
	[ 'w3s',        'delta', 'wal2json',    2.0 ],
	[ 'w3b',        'delta', 'pgoutput',    1.8 ],
	[ 'w3b',        'delta', 'wal2json',    3.0 ],
);

# Bytes on the wire, at most: workload, ours, other, share of the other's.
my @WIRE_BARS = ([ 'w1-full', 'delta', 'pgoutput', 1 / 15 ]);

my @PEERS = qw(message pgoutput wal2json decoderbufs);

sub median
{
	my @v = sort { $a <=> $b } @_;
	return @v % 2 ? $v[ @v / 2 ] : ($v[ @v / 2 - 1 ] + $v[ @v / 2 ]) / 2;
}

my (@workloads, %runs, %order);
while (<>)
{
	my ($kind, $workload, @rest) = split;
	if ($kind eq 'workload')
	{
		push @workloads, { name => $workload, changes => $rest[0], wal => $rest[1] };
		next;
	}
	my ($consumer, $us, $cpu, $messages, $bytes, $own, $others) = @rest;
	push @{ $order{$workload} }, $consumer unless $runs{$workload}{$consumer};
	push @{ $runs{$workload}{$consumer} }, { us => $us, cpu => $cpu, messages => $messages, bytes => $bytes, others => $others };
}

# workload => consumer => medians
my %figures;
for my $w (@workloads)
{
	my $n = $w->{changes};
	for my $consumer (@{ $order{ $w->{name} } })
	{
		my @r = @{ $runs{ $w->{name} }{$consumer} };
		my @rate = sort { $a <=> $b } map { $n / $_->{us} * 1000 } @r;
		$figures{ $w->{name} }{$consumer} = {
			runs     => scalar(@r),
			rate     => median(@rate),
			min      => $rate[0],
			max      => $rate[-1],
			bytes    => median(map { $_->{bytes} / $n } @r),
			messages => median(map { $_->{messages} / $n } @r),
			cpu      => median(map { $_->{cpu} / $n } @r),
			others   => median(map { $_->{others} / $_->{us} } @r),
		};
	}
}

sub ratio
{
	my ($a, $b) = @_;
	return defined $a && $b ? sprintf('%.2f', $a / $b) : '-';
}

for my $w (@workloads)
{
	my $of = $figures{ $w->{name} };
	printf "\n%s: %d changes, %.0f MB of WAL, %.0f bytes a change; thousand changes/s; CPU is the walsender's, us a change;\n", $w->{name},
		$w->{changes}, $w->{wal} / 1e6, $w->{wal} / $w->{changes};
	print "x: changes/s over those of the column's consumer, in brackets the same of CPU; others: processors that everything else kept busy\n";
	printf "%-19s %4s %7s %7s %7s %8s %6s %7s %6s", 'consumer', 'runs', 'median', 'min', 'max', 'bytes', 'msgs', 'CPU', 'others';
	printf " %14s", "x $_" for @PEERS;
	print "\n";
	for my $consumer (@{ $order{ $w->{name} } })
	{
		my $f = $of->{$consumer};
		printf "%-19s %4d %7.1f %7.1f %7.1f %8.1f %6.3f %7.2f %6.2f", $consumer, @$f{qw(runs rate min max bytes messages cpu others)};
		for my $peer (@PEERS)
		{
			my $p = $of->{$peer};
			printf " %14s", $p ? ratio($f->{rate}, $p->{rate}) . ' (' . ratio($p->{cpu}, $f->{cpu}) . ')' : '-';
		}
		print "\n";
	}
}

print "\nBars (changes/s; in brackets what the CPU of the walsender alone says)\n";
for my $bar (@BARS)
{
	my ($workload, $ours, $other, $least) = @$bar;
	next unless $figures{$workload};
	my ($o, $p) = @{ $figures{$workload} }{ $ours, $other };
	my $what = sprintf '%-10s %-5s / %-11s >= %.2f', $workload, $ours, $other, $least;
	if (!$o || !$p)
	{
		print "$what  NOT RUN\n";
		next;
	}
	my $reached = $o->{rate} / $p->{rate};
	printf "%s  %6.2f (%5.2f)  %s\n", $what, $reached, $p->{cpu} / $o->{cpu}, $reached >= $least ? 'met' : 'NOT MET';
}
for my $bar (@WIRE_BARS)
{
	my ($workload, $ours, $other, $most) = @$bar;
	next unless $figures{$workload};
	my ($o, $p) = @{ $figures{$workload} }{ $ours, $other };
	my $what = sprintf '%-10s %-5s / %-11s <= 1/%.1f of the bytes', $workload, $ours, $other, 1 / $most;
	if (!$o || !$p)
	{
		print "$what  NOT RUN\n";
		next;
	}
	printf "%s  1/%.1f  %s\n", $what, $p->{bytes} / $o->{bytes}, $o->{bytes} <= $most * $p->{bytes} ? 'met' : 'NOT MET';
}
