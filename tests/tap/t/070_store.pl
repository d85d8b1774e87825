# The store is fast and not power-safe: whatever happens to its file, the daemon comes back from a snapshot, makes the same
# feed again, byte for byte, and no sink sees anything twice.
use strict;
use warnings;
use Walrank;
use Fcntl;
use JSON::XS;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = source('source');
my $search = source('search');
$source->safe_psql('postgres', q{
	CREATE TABLE item (id bigint PRIMARY KEY, v int, name text);
	INSERT INTO item SELECT i, i, 'needle-' || i || '-' || repeat('x', 100) FROM generate_series(1, 2000) i});
my $d = daemon_new($source, postgres => $search, conf => "[store]\ncommit_time = 100ms\nsnapshot_interval = 1s\nsnapshots = 2\n");
$d->init;
$source->safe_psql('postgres', q{SELECT walrank.watch('item'); INSERT INTO walrank.ranking (name, relation, definition) VALUES ('r', 'public.item', 'term v weight 1 v')});
$d->create;

my $store = "$d->{state}/store";

sub same
{
	my ($when) = @_;
	$d->catch_up;
	is($search->safe_psql('postgres', 'SELECT id, score FROM walrank_out.score_item ORDER BY id'), $source->safe_psql('postgres', 'SELECT id, v::float8 FROM item ORDER BY id'), "$when: postgres sink equals SQL");
	my (%v, $last, $disorder);
	($last, $disorder) = ('', 0);
	for my $line ($d->lines)
	{
		my $l = decode_json($line);
		my $pos = sprintf '%020d.%010d.%010d', split /\./, $l->{pos};
		$disorder++ if $pos le $last;
		$last = $pos;
		next unless ($l->{ranking} // '') eq 'r';
		$l->{kind} eq 'score' ? ($v{ $l->{key}{id} } = $l->{score}) : delete $v{ $l->{key}{id} };
	}
	is($disorder, 0, "$when: no line twice, none out of order");
	is(join("\n", map { "$_|$v{$_}" } sort { $a <=> $b } keys %v), $source->safe_psql('postgres', 'SELECT id, v FROM item ORDER BY id'), "$when: file sink equals SQL");
	return;
}

# Changes of every kind, over some snapshots.
sub work
{
	my ($rounds) = @_;
	for (1 .. $rounds)
	{
		$source->safe_psql('postgres', 'UPDATE item SET v = v + 1 WHERE id % 10 = ' . $_ % 10 . '; DELETE FROM item WHERE id % 500 = ' . $_ . '; INSERT INTO item SELECT 10000 + (random() * 1e9)::bigint, 1, repeat(\'y\', 200) ON CONFLICT DO NOTHING');
		select undef, undef, undef, 0.05;
	}
	return;
}

sub snapshots { my @names = sort { ($a =~ /(\d+)\.mdb/)[0] <=> ($b =~ /(\d+)\.mdb/)[0] } glob "$store/snapshot-*.mdb"; return @names }

# What a reader may have seen is in the files when the process is gone.
sub feed_now { return map { my $c = slurp($_); $c =~ s/\0+\z//; ($_ => $c) } glob "$d->{state}/feed/*.seg" }

sub feed_same
{
	my ($when, %before) = @_;
	my $bad = 0;
	my $bytes = 0;
	for (sort keys %before)
	{
		my $now = slurp($_) // '';
		$bad++ if substr($now, 0, length $before{$_}) ne $before{$_};
		$bytes += length $before{$_};
	}
	cmp_ok($bytes, '>', 10000, "$when: $bytes bytes of feed to compare");
	is($bad, 0, "$when: the feed is identical");
	return;
}

sub crc32c
{
	my ($text) = @_;
	my $crc = 0xffffffff;
	for my $byte (unpack 'C*', $text)
	{
		$crc ^= $byte;
		$crc = $crc & 1 ? ($crc >> 1) ^ 0x82f63b78 : $crc >> 1 for 1 .. 8;
	}
	return $crc ^ 0xffffffff;
}

# The machine has restarted since, as far as anybody can tell.
sub other_boot
{
	my $mark = slurp("$store/mark");
	$mark =~ s/^crc .*\n//m;
	die "mark: $mark" unless $mark =~ s/^boot .*$/boot 00000000-1111-2222-3333-444444444444/m && $mark =~ /^state open$/m;
	spew("$store/mark", $mark . sprintf("crc %08x\n", crc32c($mark)));
	return;
}

sub log_since { my ($at) = @_; return substr slurp($d->{log}), $at }
sub log_end { return length slurp($d->{log}) }

work(20);
same('at first');
poll('two snapshots', sub { work(1); snapshots() == 2 });
pass('two snapshots are kept');

# ---- torn ---------------------------------------------------------------------------------------------
{
	work(10);
	$d->kill9;
	my %before = feed_now();
	my $pages = int((-s "$store/data.mdb") / 4096);
	cmp_ok($pages, '>', 50, "the store has $pages pages");
	sysopen my $fh, "$store/data.mdb", O_WRONLY or die;
	for my $page (0, 1, map { int($pages * $_ / 10) } 1 .. 9)
	{
		sysseek $fh, $page * 4096 + 512 * ($page % 5), 0;
		syswrite $fh, join '', map { chr rand 256 } 1 .. 2048;
	}
	close $fh;
	other_boot();
	my $at = log_end();
	$source->safe_psql('postgres', 'UPDATE item SET v = v + 7 WHERE id < 100');
	$d->start;
	$d->ready;
	like(log_since($at), qr/store.*snapshot/, 'a torn store: the log says that a snapshot takes its place');
	like(log_since($at), qr/the machine restarted while it was open/, 'and why');
	same('torn store');
	feed_same('torn store', %before);
}

# ---- a power cut that tore nothing ----------------------------------------------------------------------
{
	work(10);
	$d->kill9;
	my %before = feed_now();
	my $whole = slurp("$store/data.mdb");
	other_boot();
	my $at = log_end();
	$d->start;
	$d->ready;
	like(log_since($at), qr/the machine restarted while it was open/, 'another boot alone is enough: a snapshot is used');
	same('another boot');
	feed_same('another boot', %before);
}

# ---- the newest snapshot is damaged as well ------------------------------------------------------------------
{
	poll('two snapshots', sub { work(1); snapshots() == 2 });
	work(5);
	$d->kill9;
	my %before = feed_now();
	my ($older, $newest) = snapshots();
	sysopen my $fh, $newest, O_WRONLY or die;
	for (map { int((-s $newest) * $_ / 10) } 1 .. 9) { sysseek $fh, $_, 0; syswrite $fh, 'z' x 600 }
	close $fh;
	other_boot();
	my $at = log_end();
	$d->start;
	$d->ready;
	like(log_since($at), qr/WARNING: .*store snapshot "snapshot-\d+\.mdb" is damaged and not used/, 'a damaged snapshot is passed over');
	my ($seq) = $older =~ /snapshot-(\d+)/;
	like(log_since($at), qr/snapshot.*\b$seq\b/, 'the older one is used');
	same('older snapshot');
	feed_same('older snapshot', %before);
}

# ---- damage found while running ------------------------------------------------------------------------------------
is($d->stop, 0, 'stopped');
my $conf = slurp($d->{conf});
spew($d->{conf}, $conf =~ s/snapshot_interval = 1s/snapshot_interval = 1h/r);
$d->start;
$d->ready;
$source->safe_psql('postgres', 'UPDATE item SET v = v + 1 WHERE id > 1900');
$d->catch_up;
select undef, undef, undef, 0.5;
{
	$d->kill9;
	my %before = feed_now();
	my $bytes = slurp("$store/data.mdb");
	my $n = 0;
	sysopen my $fh, "$store/data.mdb", O_WRONLY or die;
	while ($bytes =~ /needle-321-xxx/g) { sysseek $fh, pos($bytes) - 2, 0; syswrite $fh, 'Y'; $n++ }
	close $fh;
	cmp_ok($n, '>', 0, "one value of the store is damaged ($n copies)");
	my $at = log_end();
	$d->start;
	$d->ready;
	unlike(log_since($at), qr/snapshot/, 'same boot, same file: the store is used');
	$source->safe_psql('postgres', 'UPDATE item SET v = v + 1 WHERE id = 321');
	poll('the daemon to end', sub { $d->ended });
	is($d->{ended}, 75, 'damage met while running: exit code 75');
	like(log_since($at), qr/FATAL: .*(damage|CRC|checksum)/i, 'and the log says so');
	$at = log_end();
	$d->start;
	$d->ready;
	like(log_since($at), qr/damage was found in it/, 'the next start uses the snapshot');
	same('damage met while running');
	feed_same('damage met while running', %before);
}

# ---- nothing to come back from ---------------------------------------------------------------------------------------
{
	$d->kill9;
	other_boot();
	mkdir "$d->{dir}/aside" or die;
	my @gone = snapshots();
	for (@gone) { my $to = "$d->{dir}/aside/" . (m{([^/]+)$})[0]; rename $_, $to or die }
	my %store = map { $_ => slurp($_) } "$store/data.mdb", "$store/mark";
	my ($rc, $log) = $d->fails;
	is($rc, 1, 'no snapshot: refused');
	like($log, qr/HINT: .*walrank rebuild/s, 'with the command that works');
	is(scalar(grep { slurp($_) ne $store{$_} } keys %store), 0, 'and nothing is touched');
	for (@gone) { my $from = "$d->{dir}/aside/" . (m{([^/]+)$})[0]; rename $from, $_ or die }
	$d->start;
	$d->ready;
	same('snapshots put back');
}

# ---- files that are missing or copied -----------------------------------------------------------------------------------
for my $case (
	[ 'the file is missing', sub { unlink "$store/data.mdb" or die }, qr/its file is missing/ ],
	[ 'the mark is missing', sub { unlink "$store/mark" or die }, qr/its mark is missing/ ],
	[ 'the mark is not readable', sub { spew("$store/mark", "walrank store mark 1\nboot x\n") }, qr/its mark is missing or cannot be read/ ],
	[ 'the file is a copy', sub { my $c = slurp("$store/data.mdb"); spew("$store/copy", $c); rename "$store/copy", "$store/data.mdb" or die }, qr/not the file that was open, but a copy/ ])
{
	$source->safe_psql('postgres', 'UPDATE item SET v = v + 1 WHERE id < 50');
	$d->catch_up;
	$d->kill9;
	$case->[1]->();
	my $at = log_end();
	$d->start;
	$d->ready;
	like(log_since($at), $case->[2], "$case->[0]: a snapshot is used, and the log says why");
	same($case->[0]);
}

# after a clean stop another boot means nothing
is($d->stop, 0, 'stopped');
{
	my $mark = slurp("$store/mark");
	like($mark, qr/^state clean$/m, 'a clean stop leaves a clean mark');
	my $at = log_end();
	$d->start;
	$d->ready;
	unlike(log_since($at), qr/snapshot/, 'and the store is used');
	same('clean stop');
}
is($d->stop, 0, 'ended');
done_testing();
