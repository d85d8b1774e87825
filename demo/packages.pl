#!/usr/bin/perl
# packages.pl - Debian package metadata (apt-cache dumpavail) as rows for COPY.
#
#   apt-cache dumpavail | packages.pl TIME > rows
#
# name, description, section, priority, tags text[], att: a map of [value, "time"].
use strict;
use warnings;

my $time = shift // '2026-01-01T00:00:00.000000Z';
my (%package, %needed_by);

{
	local $/ = '';
	while (my $stanza = <STDIN>)
	{
		$stanza =~ s/\n[ \t]+/ /g;
		my %f = $stanza =~ /^([A-Za-z-]+): *(.*)$/mg;
		next unless $f{Package};
		$package{ $f{Package} } //= \%f;
		my %seen;
		for my $dep (split /[,|]/, join ',', map { $f{$_} // () } qw(Depends Recommends Pre-Depends))
		{
			$needed_by{$1}++ if $dep =~ /^\s*([a-z0-9][a-z0-9+.-]+)/ && !$seen{$1}++;
		}
	}
}

sub copy_text { my ($s) = @_; $s =~ s/\\/\\\\/g; $s =~ s/\t/\\t/g; $s =~ s/\n/\\n/g; return $s }
sub json_text { my ($s) = @_; $s =~ s/(["\\])/\\$1/g; $s =~ s/[\x00-\x1f]/ /g; return "\"$s\"" }

for my $name (sort keys %package)
{
	my $f = $package{$name};
	my %att = (
		size         => ($f->{Size} // 0) + 0,
		installed_kb => ($f->{'Installed-Size'} // 0) + 0,
		needed_by    => ($needed_by{$name} // 0) + 0,
		depends      => scalar(my @d = split /,/, $f->{Depends} // ''),
		version      => json_text($f->{Version} // ''),
		maintainer   => json_text($f->{Maintainer} // ''),
		arch         => json_text($f->{Architecture} // ''));
	$att{homepage} = json_text($f->{Homepage}) if $f->{Homepage};
	my $map = '{' . join(', ', map { "\"$_\": [$att{$_}, \"$time\"]" } sort keys %att) . '}';
	my $tags = '{' . join(',', map { my $t = $_; $t =~ s/(["\\])/\\$1/g; "\"$t\"" } grep { length } split /,\s*/, $f->{Tag} // '') . '}';
	print join("\t", map { copy_text($_) } $name, $f->{Description} // '', $f->{Section} // '', $f->{Priority} // '', $tags, $map), "\n";
}
