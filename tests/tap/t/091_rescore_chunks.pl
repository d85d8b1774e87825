# R12: the chunks of a job go into the journal one at a time, each once, also while many wait and across a restart.
use strict;
use warnings;
use Walrank;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = source('source');
$source->safe_psql('postgres', 'CREATE TABLE item (id bigint PRIMARY KEY, v int); INSERT INTO item SELECT i, i FROM generate_series(1, 3000) i');
my $d = daemon_new($source, conf => "part_changes = 1000\n[daemon]\nbeat_interval = 1s\n");
$d->init;
$source->safe_psql('postgres', q{SELECT walrank.watch('item'); INSERT INTO walrank.ranking (name, relation, definition) VALUES ('r', 'public.item', 'term v weight 1 v')});
$d->create;
$d->catch_up;

# The RESCORE units of the journal, "job.chunk" each, from the bytes: see segment.h and unit.c.
sub rescore_units
{
	my @units;
	for my $file (sort glob "$d->{state}/journal/*.seg")
	{
		my $bytes = slurp($file);
		for (my $at = unpack 'V', substr $bytes, 12, 4; $at + 32 <= length $bytes;)
		{
			my ($len, $type) = unpack 'x4VC', substr $bytes, $at, 32;
			my $header = substr $bytes, $at + 32, 128;
			push @units, join '.', unpack 'x72Q<V', $header
			  if $type != 255 && $type & 0x40 && length $header == 128 && ord(substr $header, 8, 1) == 4;
			$at += 32 + $len;
		}
	}
	return @units;
}

sub scored { my ($version) = @_; return scalar grep { /"kind":"score".*"version":$version[,}]/ } split /\n/, slurp($d->{ndjson}) }

# The job begins inside a transaction that takes a while: all that time the scorer asks for its first chunk.
my @before = rescore_units();
$source->safe_psql('postgres', q{
	BEGIN;
	UPDATE walrank.ranking SET definition = 'term v weight 2 v';
	INSERT INTO item SELECT i, i FROM generate_series(3001, 100000) i;
	COMMIT});
poll('the first chunks', sub { rescore_units() > @before });
$d->kill9;
$d->start;
poll('every item to be scored again', sub { scored(2) == 100000 });
poll('the job to be over', sub { my $s = $d->status; $s && !$s->{scorer}{rescoring_job} });
is($d->stop, 0, 'stopped');
my @units = rescore_units();
splice @units, 0, scalar @before;
my %times;
$times{$_}++ for @units;
my @twice = grep { $times{$_} > 1 } sort keys %times;
cmp_ok(scalar keys %times, '>=', 100000 / 1000, 'there were as many chunks as it takes');
# a kill may hide from the daemon whether the last one was appended: that one may come again, and does nothing
cmp_ok(scalar @twice, '<=', 1, 'no other chunk was appended twice') or diag("@twice");
cmp_ok(scalar @units, '<=', 1 + scalar keys %times, 'and that one no more than twice');
done_testing();
