# Compressed segments of journal and feed: made while the daemon works, read by everything that reads, at rest and after
# a kill, from the oldest snapshot on.
use strict;
use warnings;
use Walrank;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $source = source('source');
$source->safe_psql('postgres', q{CREATE TABLE item (id int PRIMARY KEY, v int, note text); INSERT INTO item SELECT i, i, '' FROM generate_series(1, 200) i});
my $d = daemon_new($source, conf => "[journal]\nsegment_size = 64kB\ncompress = zstd\n[feed]\nsegment_size = 64kB\ncompress = zstd\n[store]\nsnapshot_interval = 1s\nsnapshots = 32\ncommit_time = 100ms\n");
$d->init;
$source->safe_psql('postgres', q{SELECT walrank.watch('item'); INSERT INTO walrank.ranking (name, relation, definition) VALUES ('r', 'public.item', 'term v weight 1 v')});
$d->create;

sub work { $source->safe_psql('postgres', q{UPDATE item SET v = v + 1, note = (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 8) i)}) for 1 .. $_[0]; return }
sub plain { return scalar(() = glob "$d->{state}/$_[0]/*.seg") }
sub packed { return scalar(() = glob "$d->{state}/$_[0]/*.seg.zst") }

sub same
{
	my ($when) = @_;
	$d->catch_up;
	my %score;
	my %seen;
	my $doubled = 0;
	for ($d->lines)
	{
		$doubled++ if /^\{"pos":"([^"]+)"/ && $seen{$1}++;
		$score{$1} = $2 if /"kind":"score".*"key":\{"id":(\d+)\}.*"score":([\d.]+)/;
	}
	is($doubled, 0, "$when: no line twice");
	is(join(' ', map { "$_|$score{$_}" } sort { $a <=> $b } keys %score), $source->safe_psql('postgres', q{SELECT string_agg(id || '|' || v, ' ' ORDER BY id) FROM item}), "$when: the file has the last scores");
	return;
}

work(20);
same('before');
# the feed is synced when a snapshot is made, and compressed after that
for my $log (qw(journal feed))
{
	poll("all of the $log but its end to be compressed", sub { packed($log) >= 5 && plain($log) <= 2 });
	ok(packed($log) >= 5, "$log: compressed");
}
my $bytes = $d->status->{journal}{bytes};
cmp_ok($bytes, '<', 64 * 1024 * packed('journal'), "the journal takes less space ($bytes bytes)");
work(10);
same('written on');

# from the first snapshot on: everything is scored again, from compressed segments
$d->kill9;
my @snapshots = sort { ($a =~ /(\d+)\.mdb/)[0] <=> ($b =~ /(\d+)\.mdb/)[0] } glob "$d->{state}/store/snapshot-*.mdb";
unlink @snapshots[ 1 .. $#snapshots ], "$d->{state}/store/mark";
$d->start;
$d->ready;
same('scored again');
work(5);
same('and on');
is($d->stop, 0, 'ended');
my ($out) = run_ok('walrank journal verify reads them', Walrank::Daemon::bin('walrank'), '--config', $d->{conf}, 'journal', 'verify');
note $out;

# damage is found and named
my ($third) = sort glob "$d->{state}/journal/*.seg.zst";
my $content = slurp($third);
substr($content, length($content) / 2, 1) ^= "\x10";
spew($third, $content);
my ($name) = $third =~ /(\d{10})\.seg\.zst$/;
my ($o, $e) = ('', '');
IPC::Run::run([ Walrank::Daemon::bin('walrank'), '--config', $d->{conf}, 'journal', 'verify' ], '<', \undef, '>', \$o, '2>', \$e);
isnt($? >> 8, 0, 'a flipped bit in a compressed segment is found');
like("$o$e", qr/$name.*offset/s, 'with segment and offset');
done_testing();
