# A publication is altered or dropped under load: the stream goes on, the sinks are told by a GAP, the status is red
# until the tables have been read again, whatever is killed meanwhile; then nothing is missing and nothing is left over.
use strict;
use warnings;
use Walrank;
use IPC::Run;
use JSON::XS;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $source = source('source', allow => 1);
my $search = source('search');
$source->safe_psql('postgres', q{
	CREATE TABLE item (id int PRIMARY KEY, v int NOT NULL);
	CREATE TABLE other (id int PRIMARY KEY, v int NOT NULL);
	INSERT INTO item SELECT i, i FROM generate_series(1, 1000) i;
	INSERT INTO other SELECT * FROM item;
});
my $d = daemon_new($source, postgres => $search);
$d->init;
for my $t (qw(item other))
{
	$source->safe_psql('postgres', "SELECT walrank.watch('$t'); INSERT INTO walrank.ranking (name, relation, definition) VALUES ('$t', 'public.$t', 'term v weight 1 v')");
}
$d->create;

# ---- load, from here to the end ------------------------------------------------------------------
my $script = "$d->{dir}/load.sql";
my $stop = "$d->{dir}/stop";
spew($script, join "\n", "\\set a random(1, 2000)", "\\set b random(1, 2000)",
	'INSERT INTO item VALUES (:a, 1) ON CONFLICT (id) DO UPDATE SET v = item.v + 1;', 'DELETE FROM item WHERE id = :b;', 'UPDATE other SET v = v + 1 WHERE id = :a;');
my $load = fork() // die;
if ($load == 0)
{
	open STDOUT, '>', '/dev/null';
	open STDERR, '>', '/dev/null';
	my $end = time + 240;
	system('pgbench', '-n', '-c', 2, '-T', 1, '-R', 100, '-h', $source->host, '-p', $source->port, '-f', $script, 'postgres')
	  while !-e $stop && time < $end && getppid != 1;
	require POSIX;
	POSIX::_exit(0);
}
END { if ($load) { local $?; kill 'TERM', $load } }

sub reasons { my $s = $d->status or return ''; return join "\n", @{ $s->{red} } }
sub in_doubt { my $s = $d->status or return ''; return join ',', sort map { $_->{relation} } grep { $_->{lost} } @{ $s->{tables} } }
# The scorer's copy for others is a moment old when its gap is in the file.
sub doubts
{
	my ($what) = @_;
	my $all = 'public.item,public.other,walrank.intervention,walrank.ranking,walrank.rule_library,walrank.watched';
	eval { poll($what, sub { in_doubt() eq $all }) };
	is(in_doubt(), $all, $what);
	return;
}
sub gaps { return grep { /"kind":"gap"/ } $d->lines }
sub log_since { my ($from) = @_; return substr(slurp($d->{log}) // '', $from) }

# $break and $repair are SQL; $why is what a start meanwhile says.
sub loses
{
	my ($what, $break, $repair, $why) = @_;
	my $before = gaps();
	$source->safe_psql('postgres', $break);
	poll("$what: a GAP", sub { gaps() > $before });
	my $gap = decode_json((gaps())[-1]);
	like($gap->{reason}, qr/publications lost: walrank\b/, "$what: the file sink is told") or diag explain $gap;
	doubts("$what: status names the tables in doubt");
	is($d->status->{status}, 'red', "$what: status is red");
	like(reasons(), qr/publication was lost.*public\.item/, "$what: and says why");

	my $acknowledged = Walrank::Daemon::lsn_number($d->status->{source}{acknowledged});
	$d->catch_up;
	poll("$what: acknowledging", sub { Walrank::Daemon::lsn_number($d->status->{source}{acknowledged}) > $acknowledged });
	is($d->status->{source}{state}, 'streaming', "$what: the stream goes on");
	is(in_doubt(), 'public.item,public.other,walrank.intervention,walrank.ranking,walrank.rule_library,walrank.watched', "$what: nothing is read again while it is broken");

	my $from = length slurp($d->{log});
	my $epoch = $source->safe_psql('postgres', 'SELECT owner_epoch FROM walrank.control');
	$d->kill9;
	$d->start;
	poll("$what: the start is refused", sub { log_since($from) =~ /rule C7: publication "walrank" $why/ });
	like(log_since($from), qr/HINT: /, "$what: a start meanwhile is refused with a hint");
	poll("$what: status", sub { $d->status });
	is($d->status->{status}, 'red', "$what: red after kill -9");
	doubts("$what: the tables in doubt survive kill -9");
	sleep 2;
	ok(!$d->ended, "$what: the daemon stays and tries again");
	is($source->safe_psql('postgres', 'SELECT owner_epoch FROM walrank.control'), $epoch, "$what: attempts that fail write nothing");

	$source->safe_psql('postgres', $repair);
	poll("$what: green again", sub { my $s = $d->status or return 0; $s->{status} eq 'green' && in_doubt() eq '' });
	pass("$what: green once the tables were read again");
	return;
}

loses('renamed', 'ALTER PUBLICATION walrank RENAME TO other_name', 'ALTER PUBLICATION other_name RENAME TO walrank', 'does not exist');
loses('dropped', 'DROP PUBLICATION walrank', 'CREATE PUBLICATION walrank FOR TABLE item, other', 'does not exist');

spew($stop, '');
waitpid $load, 0;
$d->catch_up;
for my $t (qw(item other))
{
	is( $search->safe_psql('postgres', "SELECT id, score FROM walrank_out.score_$t ORDER BY id"),
		$source->safe_psql('postgres', "SELECT id, v::float8 FROM $t ORDER BY id"), "$t equals SQL, deletions in the gaps included");
}
my (%item, $last, $disorder);
for my $l (map { decode_json($_) } $d->lines)
{
	my $pos = sprintf '%020d.%010d.%010d', split /\./, $l->{pos};
	$disorder++ if defined $last && $pos le $last;
	$last = $pos;
	next unless $l->{kind} eq 'change' && $l->{relation} eq 'public.item';
	if ($l->{op} eq 'delete') { delete $item{ $l->{key}{id} } }
	else { $item{ $l->{key}{id} } = $l->{attributes}{v} }
}
is($disorder, undef, 'file sink: positions strictly rise');
is(join("\n", map { "$_|$item{$_}" } sort { $a <=> $b } keys %item), $source->safe_psql('postgres', 'SELECT id, v FROM item ORDER BY id'), 'file sink: its lines end in the table');
is($d->stop, 0, 'ended');

# ---- what the plugin itself refuses at START_REPLICATION -------------------------------------------------
$source->safe_psql('postgres', q{SELECT pg_create_logical_replication_slot('by_hand', 'walrank')});
my ($out, $err) = ('', '');
IPC::Run::run([ 'pg_recvlogical', '-h', $source->host, '-p', $source->port, '-d', 'postgres', '--slot', 'by_hand', '--start', '--no-loop', '-f', '-', '-o', 'publication_names=absent' ],
	'<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
isnt($? >> 8, 0, 'START_REPLICATION with a publication that does not exist is refused');
like($err, qr/absent.*does not exist.*HINT:/s, 'and says why, with a hint');
done_testing();
