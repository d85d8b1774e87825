# profile.pl - instructions per transaction by function and line: profile.pl TXNS WHOLE HALF, files of callgrind, WHOLE with TXNS more.
#
# What was inlined counts for the function it was inlined into, and for its own line.
use strict;
use warnings;

my ($txns, $whole, $half) = @ARGV;

# Own instructions by "function [library]" and "file:line", and by function with what it calls.
sub counts
{
	my ($path) = @_;
	my (%name, %own, %all, %line);
	my ($object, $function, $file, $at, $called) = ('?', '?', '?', 0, 0);
	open my $in, '<', $path or die "$path: $!";
	while (<$in>)
	{
		if (/^(c?)(ob|fl|fi|fe|fn|cfi|cfl|cob|cfn)=\((\d+)\)(?: (.*))?$/)
		{
			my ($kind, $id, $text) = ("$1$2", $3, $4);
			# names of a kind are given once, callees' under the same numbers
			my $space = $kind =~ /ob/ ? 'ob' : $kind =~ /fn/ ? 'fn' : 'file';
			$name{"$space$id"} = $text if defined $text;
			my $value = $name{"$space$id"};
			$object = $value =~ s{.*/}{}r if $kind eq 'ob';
			$file = $value =~ s{.*/(?=[^/]+/[^/]+$)}{}r if $kind =~ /^f[lie]$/;
			$function = "$value [$object]" if $kind eq 'fn';
		}
		elsif (/^calls=/) { $called = 1 }
		elsif (/^([+-]?)(\d+|\*) (\d+)$/)
		{
			$at = $1 eq '+' ? $at + $2 : $1 eq '-' ? $at - $2 : $2 eq '*' ? $at : $2;
			$all{$function} += $3;
			if (!$called)
			{
				$own{$function} += $3;
				$line{"$file:$at"} += $3 if $object eq 'walrank.so';
			}
			$called = 0;
		}
	}
	close $in;
	return (\%own, \%all, \%line);
}

sub difference
{
	my ($of, $start) = @_;
	return { map { $_ => ($of->{$_} - ($start->{$_} // 0)) / $txns } keys %$of };
}

sub print_top
{
	my ($title, $of, $most) = @_;
	print "\n$title\n";
	for my $name (sort { $of->{$b} <=> $of->{$a} || $a cmp $b } keys %$of)
	{
		last if $most-- == 0 || $of->{$name} < 1;
		printf "%9.1f  %s\n", $of->{$name}, $name;
	}
}

sub of_plugin
{
	my ($of) = @_;
	return { map { $_ => $of->{$_} } grep { /\[walrank\.so\]$/ } keys %$of };
}

my @whole = counts($whole);
my @half = counts($half);
my ($own, $all, $line) = map { difference($whole[$_], $half[$_]) } 0 .. 2;
my %library;
$library{ /\[(.*)\]$/ ? $1 : '?' } += $own->{$_} for keys %$own;
print_top('instructions per transaction by library', \%library, 20);
print_top('by function, own instructions', $own, 50);
print_top('functions of the plugin, own instructions', of_plugin($own), 50);
print_top('functions of the plugin, with what they call', of_plugin($all), 50);
print_top('lines of the plugin', $line, 60);
