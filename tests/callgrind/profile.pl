# profile.pl - instructions per transaction by function: profile.pl TXNS WHOLE HALF, two files of callgrind, WHOLE with TXNS more.
use strict;
use warnings;

my ($txns, $whole, $half) = @ARGV;

# function => instructions, as callgrind_annotate prints them; what was inlined counts for the function it was inlined into
sub functions
{
	my ($file, $inclusive) = @_;
	my (%of, %object);
	open my $in, '-|', 'callgrind_annotate', '--threshold=100', '--auto=no', "--inclusive=$inclusive", $file or die "callgrind_annotate: $!";
	while (<$in>)
	{
		next unless /^\s*([\d,]+)\s+\(\s*[\d.]+%\)\s+\S*?:(\S+)(?: \[\S*\/(\S+)\])?$/;
		my ($n, $name, $object) = ($1, $2, $3);
		$n =~ tr/,//d;
		$of{$name} += $n;
		$object{$name} //= $object;
	}
	close $in;
	return map { ("$_ [" . ($object{$_} // '?') . ']' => $of{$_}) } keys %of;
}

sub print_top
{
	my ($title, $of, $most) = @_;
	my @names = sort { $of->{$b} <=> $of->{$a} } keys %$of;
	print "\n$title\n";
	for my $name (@names)
	{
		last if $most-- == 0 || $of->{$name} < 1;
		printf "%9.1f  %s\n", $of->{$name}, $name;
	}
}

for my $inclusive ('no', 'yes')
{
	my %of = functions($whole, $inclusive);
	my %start = functions($half, $inclusive);
	my %ours;
	my %object;
	$of{$_} = ($of{$_} - ($start{$_} // 0)) / $txns for keys %of;
	for my $name (keys %of)
	{
		my ($object) = $name =~ /\[(\S+)\]$/;
		$object{ $object // '?' } += $of{$name};
		$ours{$name} = $of{$name} if $name =~ /\[walrank\.so\]/;
	}
	if ($inclusive eq 'no')
	{
		print_top('instructions per transaction by library', \%object, 20);
		print_top('by function, own instructions', \%of, 50);
		print_top('functions of the plugin, own instructions', \%ours, 40);
	}
	else
	{
		print_top('functions of the plugin, with what they call', \%ours, 40);
	}
}
