# walrank verify: what sinks show is what SQL says of the rows, and what somebody damaged is found, all of it.
use strict;
use warnings;
use Walrank;
use JSON::XS;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $source = source('source');
my $search = source('search');
$source->safe_psql('postgres', q{
	CREATE TABLE item (id bigint PRIMARY KEY, price int NOT NULL, status text NOT NULL, at timestamptz NOT NULL DEFAULT now());
	INSERT INTO item SELECT i, i, CASE WHEN i % 10 = 0 THEN 'sold' ELSE 'on_sale' END FROM generate_series(1, 2500) i;
	CREATE TABLE place ("when" timestamptz, ranking text, v float8, PRIMARY KEY ("when", ranking));
	INSERT INTO place SELECT '2026-01-01 00:00:00.5+00'::timestamptz + i * interval '1 hour', E'a "b" \\\\ \u00e9 ' || i, i / 3.0 FROM generate_series(1, 50) i});
my $d = daemon_new($source, postgres => $search, conf => "[daemon]\nbeat_interval = 1s\n");
$d->init;
$source->safe_psql('postgres', q{
	SELECT walrank.watch('item'); SELECT walrank.watch('place');
	INSERT INTO walrank.rule_library (name, definition) VALUES ('common', 'let offered = status = ''on_sale''');
	INSERT INTO walrank.ranking (name, relation, definition) VALUES
		('plain', 'public.item', E'use common\nwhere offered\nterm p weight 1 price'),
		('coarse', 'public.item', E'term p weight 1 price\nmin_change 5'),
		('drifting', 'public.item', E'where price > 2000\nterm a weight -1 age(at) / 1s\nrefresh 1h'),
		('busy', 'public.item', E'where price > 2300\nterm a weight -1 age(at) / 1s\nrefresh 1s'),
		('past', 'public.item', 'term p weight 1 delta(price) missing 0'),
		('odd', 'public.place', 'term v weight 2 v');
	INSERT INTO walrank.intervention (relation, ranking, key, action, factor, addend, position, tier, condition, reason) VALUES
		('public.item', 'plain', '1', 'boost', 3, 1, NULL, NULL, NULL, 't'), ('public.item', NULL, '2', 'block', NULL, NULL, NULL, NULL, NULL, 't'),
		('public.item', 'plain', '3', 'pin', NULL, NULL, 4, NULL, NULL, 't'), ('public.item', 'plain', NULL, 'tier', NULL, NULL, NULL, 2, 'price > 2400', 't')});
$d->create;
$d->catch_up;

# walrank verify of a sink: (exit code, what it said)
sub verify
{
	my ($sink, @more) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ Walrank::Daemon::bin('walrank'), '--config', $d->{conf}, 'verify', '--sink', $sink, @more ], '<', \undef, '>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}

sub verify_json
{
	my ($rc, $out, $err) = verify(@_, '--json');
	return ($rc, eval { decode_json($out) } // diag("$rc: $out$err"));
}

sub counts
{
	my ($report, $ranking) = @_;
	my ($r) = grep { $_->{ranking} eq $ranking } @{ $report->{rankings} };
	return $r->{not_compared} // join ' ', map { $r->{$_} } qw(compared different missing superfluous);
}

# ---- equal -----------------------------------------------------------------------------------------
for my $sink (qw(table file))
{
	my ($rc, $r) = verify_json($sink);
	is($rc, 0, "$sink: equal");
	is(counts($r, 'plain'), '2249 0 0 0', "$sink: one ranking");
	is(counts($r, 'coarse'), '2499 0 0 0', "$sink: another");
	is(counts($r, 'drifting'), '500 0 0 0', "$sink: one that moves with time");
	is(counts($r, 'busy'), '200 0 0 0', "$sink: one that is told all the time");
	is(counts($r, 'odd'), '50 0 0 0', "$sink: a key of two columns, whose names and values are odd");
	like(counts($r, 'past'), qr/what attributes were before/, "$sink: one that cannot be computed from a row is named");
}
my ($rc, $out, $err) = verify('table');
is($rc, 0, 'in words');
like($out, qr/^plain +2249 +0 +0 +0$/m, 'a line for each ranking');
like($out, qr/^past +not compared: /m, 'and for one that is not compared');

# moves that are not told, and age: still equal
$source->safe_psql('postgres', 'UPDATE item SET price = price + 3 WHERE id % 7 = 0; DELETE FROM item WHERE id % 11 = 0');
sleep 1;
is((verify_json($_))[0], 0, "$_: equal after changes, some too small to be told") for qw(table file);

# ---- while others write ----------------------------------------------------------------------------
my $stop = "$d->{dir}/stop";
my $writer = fork() // die "fork: $!";
if ($writer == 0)
{
	open STDOUT, '>', '/dev/null';
	while (!-e $stop && getppid != 1)
	{
		system('psql', '-q', '-h', $source->host, '-p', $source->port, '-c', 'UPDATE item SET price = price + 10 WHERE id = (random() * 2500)::int', 'postgres');
		sleep 0.4;
	}
	require POSIX;
	POSIX::_exit(0);
}
END { if ($writer) { local $?; kill 'TERM', $writer } }
is((verify_json($_))[0], 0, "$_: equal while others write") for qw(table file);
spew($stop, '');
waitpid $writer, 0;
undef $writer;
$d->catch_up;

# ---- damage ------------------------------------------------------------------------------------------
$search->safe_psql('postgres', q{
	UPDATE walrank_out.score_item SET score = score + 1 WHERE ranking = 'plain' AND id = 5;
	UPDATE walrank_out.score_item SET tier = 1 WHERE ranking = 'plain' AND id = 6;
	UPDATE walrank_out.score_item SET pin = NULL WHERE ranking = 'plain' AND id = 3;
	UPDATE walrank_out.score_item SET score = score + 4 WHERE ranking = 'coarse' AND id = 13;
	UPDATE walrank_out.score_item SET score = score + 100 WHERE ranking = 'coarse' AND id = 15;
	UPDATE walrank_out.score_item SET score = score - 60 WHERE ranking = 'drifting' AND id = 2102;
	DELETE FROM walrank_out.score_item WHERE ranking = 'plain' AND id IN (17, 18, 19);
	DELETE FROM walrank_out.score_place WHERE key_ranking LIKE '% 7';
	INSERT INTO walrank_out.score_item SELECT 2, ranking, tier, pin, score, blocked, version, seq, commit_lsn, evaluated_at FROM walrank_out.score_item WHERE ranking = 'plain' AND id = 5;
	INSERT INTO walrank_out.score_item SELECT 999999, ranking, tier, pin, score, blocked, version, seq, commit_lsn, evaluated_at FROM walrank_out.score_item WHERE ranking = 'plain' AND id = 5;
	INSERT INTO walrank_out.score_item SELECT id, 'gone', tier, pin, score, blocked, version, seq, commit_lsn, evaluated_at FROM walrank_out.score_item WHERE ranking = 'plain' AND id = 5});
($rc, my $r) = verify_json('table', '--limit', 100);
is($rc, 3, 'damage: exit 3');
like(counts($r, 'plain'), qr/^\d+ 3 3 2$/, 'places that differ, are missing, are too many');
like(counts($r, 'coarse'), qr/^\d+ 1 0 0$/, 'only what is more than the ranking rounds off');
is(counts($r, 'drifting') =~ s/^\d+ //r, '1 0 0', 'a score that was never right');
is(counts($r, 'odd'), '49 0 1 0', 'a row of the odd key');
is($r->{of_other_rankings}, 1, 'a ranking that is not there');
my @told = sort map { join ' ', $_->{kind}, $_->{ranking}, ref $_->{key} && exists $_->{key}{id} ? $_->{key}{id} : $_->{key}{ranking} =~ s/.* //r } @{ $r->{differences} };
is_deeply(\@told, [ sort 'different plain 5', 'different plain 6', 'different plain 3', 'different coarse 15', 'different drifting 2102',
		'missing plain 17', 'missing plain 18', 'missing plain 19', 'missing odd 7', 'superfluous plain 2', 'superfluous plain 999999', 'superfluous gone 5' ], 'each by name, and nothing else')
  or diag(join "\n", @told);
($rc, $out) = verify('table', '--limit', 1);
is(scalar(() = $out =~ /^(?:different|missing|superfluous) +\w+ \{/mg), 1, '--limit');
is((verify_json('file'))[0], 0, 'the other sink is as it was');

# a line of the file that says something else
my $text = slurp($d->{ndjson});
$text =~ s/("kind":"score","ranking":"odd","key":\{[^{}]*\},"score":)(\d)(?!.*"kind":"score","ranking":"odd".*\n)/$1 . (($2 + 1) % 10)/se;
{
	open my $fh, '+<:raw', $d->{ndjson} or die;
	print $fh $text;
	close $fh;
}
($rc, $r) = verify_json('file');
is("$rc " . counts($r, 'odd'), '3 50 1 0 0', 'a line of the file was changed');

# ---- no moment, nobody there ----------------------------------------------------------------------------
run_ok('paused', Walrank::Daemon::bin('walrank'), '--config', $d->{conf}, 'sink', 'pause', 'table');
($rc, $out, $err) = verify('table', '--timeout', 1);
is($rc, 4, 'a sink that does not move: exit 4');
like($err, qr/nothing was under way: sink "table" is paused.*HINT/s, 'and why');
($rc, $out, $err) = verify('nowhere');
is($rc, 2, 'no such sink');
like($err, qr/there is no sink "nowhere"/, 'and its name');
is($d->stop, 0, 'stopped');
is((verify('table'))[0], 4, 'no daemon: exit 4');
done_testing();
