# A sink emptied, of another stream, ahead of the feed, behind its first segment, held by a writer of before: refused by the
# name of the rule with a way out, and not written to.  A sink that merely fell back goes on; one that is filled ends where all are.
use strict;
use warnings;
use Walrank;
use Digest::MD5 qw(md5_hex);
use File::Copy qw(copy);
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $source = source('source');
$source->safe_psql('postgres', 'CREATE DATABASE search');
my $d = daemon_new($source, postgres => $source, sinkdb => 'search', conf => "[feed]\nsegment_size = 64kB\n");
my @files = ($d->{ndjson}, "$d->{ndjson}.ckpt");

sub sql { return $source->safe_psql('postgres', $_[0]) }
sub there { return $source->safe_psql('search', $_[0]) }

sql('CREATE TABLE item (id int PRIMARY KEY, v int); INSERT INTO item SELECT i, i FROM generate_series(1, 300) i');
$d->init;
sql(q{SELECT walrank.watch('item'); INSERT INTO walrank.ranking (name, relation, definition) VALUES ('r', 'public.item', 'term v weight 1 v')});
$d->create;

my $next = 1000;
sub work
{
	my ($rows) = @_;
	sql("INSERT INTO item SELECT i, i FROM generate_series($next, $next + $rows - 1) i; UPDATE item SET v = v + 1 WHERE id % 10 = 0; DELETE FROM item WHERE id = $next");
	$next += $rows;
	return;
}

# What the file says, its checkpoint's word for which file and how far of it.
sub told
{
	my ($text) = @_;
	my %v;
	for (split /\n/, $text)
	{
		if (/"kind":"score".*"key":\{"id":(\d+)\},"score":([-\d.e+]+)/) { $v{$1} = $2 }
		elsif (/"kind":"remove".*"key":\{"id":(\d+)\}/) { delete $v{$1} }
	}
	return join "\n", map { "$_|$v{$_}" } sort { $a <=> $b } keys %v;
}

sub shown
{
	my %said = map { /^(\w+)=(.*)$/ ? ($1 => $2) : () } split /\n/, slurp("$d->{ndjson}.ckpt");
	return substr(slurp("$d->{dir}/$said{file}"), 0, $said{offset});
}

sub same
{
	my ($when, $daemon) = @_;
	($daemon // $d)->catch_up;
	my $expected = sql('SELECT id, v::float8 FROM item ORDER BY id');
	is(there('SELECT id, score FROM walrank_out.score_item ORDER BY id'), $expected, "$when: the table has it all");
	is(told(shown()), $expected, "$when: so has the file");
	return;
}

sub tables { return split /\n/, there(q{SELECT relname FROM pg_class WHERE relnamespace = 'walrank_out'::regnamespace AND relkind = 'r' ORDER BY 1}) }

# Both sinks as they are. What a new writer moves by its mere coming, the epoch, is left out.
sub everything
{
	return {
		(map { $_ => md5_hex((slurp($_) // 'none') =~ s/^owner_epoch=\d+$//mr) } @files),
		(map { $_ => there("SELECT md5(coalesce(string_agg(j::text, ',' ORDER BY j::text), '')) FROM (SELECT to_jsonb(t) - 'owner_epoch' AS j FROM walrank_out.$_ t) x") } tables()),
	};
}

# The sinks, put aside under a name and put back.
sub save
{
	my ($name) = @_;
	copy($_, "$_.$name") or die "$_: $!" for @files;
	there("CREATE SCHEMA $name; " . join '; ', map { "CREATE TABLE $name.$_ AS TABLE walrank_out.$_" } tables());
	return;
}

sub restore
{
	my ($name) = @_;
	copy("$_.$name", $_) or die "$_: $!" for @files;
	there(join '; ', map { "TRUNCATE walrank_out.$_; INSERT INTO walrank_out.$_ TABLE $name.$_" } tables());
	return;
}

sub sink
{
	my ($name, $daemon) = @_;
	my $s = ($daemon // $d)->status or return {};
	return (grep { $_->{name} eq $name } @{ $s->{sinks} })[0] // {};
}

# Starts the daemon: both sinks stop, and say why; the daemon goes on.  $rule => what the message says, by sink.
sub refused
{
	my ($when, $table, $file) = @_;
	my $before = everything();
	$d->start;
	for my $case ([ 'table', $table ], [ 'file', $file ])
	{
		my ($name, $re) = @$case;
		poll("sink $name to stop", sub { die "walrankd ended\n" if $d->ended; (sink($name)->{state} // '') eq 'stopped' });
		like(sink($name)->{note}, $re, "$when: sink $name says so");
	}
	work(3);
	sleep 0.3;
	is_deeply(everything(), $before, "$when: neither was written to");
	return;
}

work(20);
same('at first');
$d->stop;
save('first');

# ---- of another stream ---------------------------------------------------------------------------------
my $foreign = '11111111-2222-3333-4444-555555555555';
spew($files[1], slurp($files[1]) =~ s/^stream_id=.*$/stream_id=$foreign/mr);
there("UPDATE walrank_out.checkpoint SET stream_id = '$foreign'");
refused('of another stream', qr/rule K9\).*a target of its own/, qr/rule K9\).*a target of its own/);
$d->stop;
restore('first');

# ---- ahead of the feed ----------------------------------------------------------------------------------
spew($files[1], slurp($files[1]) =~ s/^seq=(\d+)$/'seq=' . ($1 + 100000)/mre);
there('UPDATE walrank_out.checkpoint SET seq = seq + 100000');
refused('ahead of the feed', qr/rule K2\).*walrank rebuild/, qr/rule K2\).*walrank rebuild/);
$d->stop;
restore('first');

# ---- emptied: the checkpoint without what it speaks of, or the rows without their checkpoint ---------------
truncate $d->{ndjson}, 0 or die;
there('DELETE FROM walrank_out.checkpoint');
refused('emptied', qr/rule K1\)/, qr/has 0 bytes, but its checkpoint says \d+ \(rule K1\).*walrank sink fill file/);
$d->stop;
restore('first');

# ---- the checkpoint fell back: legal (K6) -------------------------------------------------------------------
$d->start;
same('put back as they were');
work(50);
$d->catch_up;
$d->stop;
my $whole = slurp($d->{ndjson});
save('second');
restore('first');
$d->start;
same('a checkpoint that fell back');
is(substr(slurp($d->{ndjson}), 0, length $whole), $whole, 'a checkpoint that fell back: the same bytes once more');

# ---- a writer of before -------------------------------------------------------------------------------------
# Two daemons on copies of one state.  The first is stopped with a batch gathered, and resumed after the other has written it;
# the other one's source is away, so that nothing but the sinks is between them.
$d->stop;
spew($d->{conf}, slurp($d->{conf}) =~ s/(\[sink table\].*?flush_interval = )10ms/${1}1min/sr);
$d->start;
$d->ready;
poll('both sinks to run', sub { !grep { sink($_)->{state} ne 'streaming' } 'table', 'file' });
work(10);
my $rows = $next - 1;
poll('the file sink to be ahead', sub { index(slurp($d->{ndjson}), "\"id\":$rows}") >= 0 });
kill 'STOP', $d->{pid};
is(there("SELECT count(*) FROM walrank_out.score_item WHERE id = $rows"), 0, 'the batch is still gathered');
my $other = daemon_new($source, name => 'other', postgres => $source, sinkdb => 'search');
spew($other->{conf}, slurp($other->{conf}) =~ s/^path = .*$/path = $d->{ndjson}/mr =~ s/(\[source\]\nconninfo = .*?port=)\d+/${1}1/r);
system('cp', '-a', $d->{state}, $other->{state}) == 0 or die;
unlink grep { -S } glob("$other->{state}/*");
$other->start;
poll('the other one to write', sub { there("SELECT count(*) FROM walrank_out.score_item WHERE id = $rows") == 1 });
poll('its file sink to find the lock', sub { (sink('file', $other)->{note} // '') =~ /locked by another process/ });
$other->kill9;
my $before = everything();
my $said = length slurp($d->{log});
kill 'CONT', $d->{pid};
$d->stop; # it commits what it has gathered
like(substr(slurp($d->{log}), $said), qr/sink "table" stopped: another writer has opened the sink \(owner epoch \d+, ours is \d+\)/, 'a writer of before that wakes up is fenced');
is_deeply({ map { $_ => everything()->{$_} } tables() }, { map { $_ => $before->{$_} } tables() }, 'and has written nothing');
# one writer alone again, on the state of the first: what the other one applied lies within its journal
spew($d->{conf}, slurp($d->{conf}) =~ s/flush_interval = 1min/flush_interval = 10ms/r);
$d->start;
$d->ready;
same('one writer again');

# ---- behind the first segment, and the cure -------------------------------------------------------------------
work(700) for 1 .. 5;
$d->catch_up;
$d->stop;
restore('first');
my $seq = there('SELECT min(seq) FROM walrank_out.checkpoint');
my @segments = sort glob "$d->{state}/feed/*.seg";
cmp_ok(scalar @segments, '>=', 4, 'the feed has several segments');
unlink @segments[ 0 .. $#segments - 1 ]; # as retention would
refused('behind the first segment', qr/rule K2\).*walrank sink fill table/, qr/the sink stands at unit \d+, but the feed begins at unit \d+ \(rule K2\).*walrank sink fill file/);
my $old = shown();
for my $name ('table', 'file')
{
	run_ok("sink $name is filled while the daemon runs", Walrank::Daemon::bin('walrank'), '--config', $d->{conf}, 'sink', 'fill', $name);
}
poll('both sinks to go on', sub { !grep { (sink($_)->{state} // '') ne 'streaming' } 'table', 'file' });
work(5);
$d->catch_up;
poll('both sinks to be filled', sub { !grep { (sink($_)->{phase} // '') ne 'whole' } 'table', 'file' });
same('filled');
unlike(shown(), qr/^\Q{"pos":"1\E\./m, 'filled: the file begins with the fill');
for my $name ('table', 'file')
{
	my $s = sink($name);
	is($s->{note} // '', '', "filled: sink $name is at ease");
	run_ok("sink $name holds what the feed says", Walrank::Daemon::bin('walrank'), '--config', $d->{conf}, 'sink', 'verify', $name);
}
is($d->stop, 0, 'a clean stop');
done_testing();
