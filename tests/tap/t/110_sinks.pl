# An operator steers the sinks of a running daemon: adds, removes, pauses, fills, replays and verifies them, while writers write.
use strict;
use warnings;
use Walrank;
use IPC::Run;
use JSON::XS;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $tool = Walrank::Daemon::bin('walrank');
my $source = source('source');
my $search = source('search');
my $d = daemon_new($source, postgres => $search);
my @conf = ('--config', $d->{conf});
my $section = slurp($d->{conf});

sub sql { return $source->safe_psql('postgres', $_[0]) }
sub there { return $search->safe_psql('postgres', $_[0]) }

# (exit code, standard output, standard error)
sub tool
{
	my ($out, $err) = ('', '');
	IPC::Run::run([ $tool, @conf, @_ ], '<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return ($? >> 8, $out, $err);
}

# A call that has to end with $code and whose output matches.
sub says
{
	my ($name, $code, $re, @args) = @_;
	my ($rc, $out, $err) = tool(@args);
	ok($rc == $code && "$out$err" =~ $re, $name) or diag("exit code $rc, wanted $code, $re\n$out$err");
	return $out;
}

sub configure
{
	my ($text) = @_;
	spew($d->{conf}, $text);
	return;
}

sub file_section { my ($name, @more) = @_; return "[sink $name]\ntype = file\npath = $d->{dir}/$name.ndjson\nflush_interval = 10ms\n" . join('', map { "$_\n" } @more) }
sub sink { my ($name) = @_; my $s = $d->status or return undef; return (grep { $_->{name} eq $name } @{ $s->{sinks} })[0] }
sub content { return slurp("$d->{dir}/$_[0].ndjson") // '' }
sub pos_of { my ($line) = @_; return $line =~ /"pos":"(\d+)\./ ? $1 : undef }

my $expected = 'SELECT id, v::float8 FROM item ORDER BY id';
my $shown = 'SELECT id, score FROM walrank_out.score_item ORDER BY id';

# What a file says the scores are in the end.
sub scores
{
	my ($text) = @_;
	my %v;
	for (split /\n/, $text)
	{
		if (/"kind":"score".*"key":\{"id":(\d+)\},"score":([-\d.e+]+)/) { $v{$1} = $2 }
		elsif (/"kind":"remove".*"key":\{"id":(\d+)\}/) { delete $v{$1} }
		elsif (/"kind":"remove".*"key":null/) { %v = () }
	}
	return join "\n", map { "$_|$v{$_}" } sort { $a <=> $b } keys %v;
}

sql(q{CREATE TABLE item (id bigint PRIMARY KEY, v int); INSERT INTO item SELECT i, i FROM generate_series(1, 200) i});
$d->init;
sql(q{SELECT walrank.watch('item'); INSERT INTO walrank.ranking (name, relation, definition) VALUES ('r', 'public.item', 'term v weight 1 v')});
$d->create;
$d->catch_up;

# ---- writers ---------------------------------------------------------------------------------------------
my @writers;

sub write_begin
{
	for my $n (1 .. 4)
	{
		my $script = "SET application_name = 'writer';\n" . join '', map {
			my $id = ($_ * 7 + $n * 50) % 260 + 1;
			"INSERT INTO item VALUES ($id, $_) ON CONFLICT (id) DO UPDATE SET v = item.v + $n;\n" . ($_ % 11 == 0 ? "DELETE FROM item WHERE id = $id;\n" : '') . "SELECT pg_sleep(0.005);\n"
		} 1 .. ($_[0] // 200);
		# from a file: a daemon that is started meanwhile would keep a pipe open
		spew("$d->{dir}/writer$n.sql", $script);
		push @writers, IPC::Run::start([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-h', $source->host, '-p', $source->port, '-d', 'postgres', '-f', "$d->{dir}/writer$n.sql" ], '<', '/dev/null', '>', '/dev/null', '2>', '/dev/null');
	}
	return;
}

sub write_end
{
	$_->finish for @writers;
	@writers = ();
	$d->catch_up;
	return;
}

# Every sink shows what the source holds, the files by their lines.
sub all_exact
{
	my ($what, @files) = @_;
	my $want = sql($expected);
	is(there($shown), $want, "$what: the table is exact");
	is(scores(content($_)), $want, "$what: file $_ is exact") for @files;
	return;
}

# ---- refused, each with a message -----------------------------------------------------------------------
says('pause: an unknown sink', 2, qr/there is no sink "gone".*HINT.*file, table/s, 'sink', 'pause', 'gone');
says('pause without a name', 2, qr/sink pause needs the name of one sink/, 'sink', 'pause');
says('pause of two', 2, qr/needs the name of one sink/, 'sink', 'pause', 'file', 'table');
says('resume of one that runs', 2, qr/sink "file" is not paused/, 'sink', 'resume', 'file');
says('add of one that is there', 2, qr/the daemon has sink "file" already/, 'sink', 'add', 'file');
says('add at a wrong place', 2, qr/--start is oldest, current or now, not "then"/, 'sink', 'add', 'file', '--start', 'then');
says('fill: an unknown sink', 2, qr/there is no sink "gone"/, 'sink', 'fill', 'gone');
says('replay: an unknown sink', 2, qr/there is no sink "gone"/, 'replay', '--sink', 'gone', '--from', 1);
says('replay: forward', 2, qr/the feed does not hold unit 99999/, 'replay', '--sink', 'file', '--from', 99999);
says('replay: a bad position', 2, qr/"soon" is neither an LSN nor a unit number/, 'replay', '--sink', 'file', '--from', 'soon');
says('verify: an unknown sink', 2, qr/there is no sink "gone"/, 'sink', 'verify', 'gone');
says('half a command', 2, qr/unknown command "sink"; did you mean "sink list"\?/, 'sink');

# ---- list -----------------------------------------------------------------------------------------------
# a refused replay had the sink stand still for a moment
poll('both to run', sub { my $s = $d->status; $s && !grep { $_->{state} ne 'streaming' } @{ $s->{sinks} } });
like(says('sink list', 0, qr/^SINK/, 'sink', 'list'), qr/^file +file +streaming .*^table +postgres +streaming /ms, 'names both, with their states');
is(scalar @{ decode_json(says('sink list --json', 0, qr/^\{/, '--json', 'sink', 'list'))->{sinks} }, 2, 'is JSON');

# ---- added by reload --------------------------------------------------------------------------------------
write_begin();
configure($section . file_section('oldest') . file_section('now', 'start = now'));
my $reloaded = says('reload adds sinks', 0, qr/sink oldest added.*sink now added/s, 'reload');
my $began = sink('now')->{seq};
write_end();
is(content('oldest'), slurp($d->{ndjson}), 'one that begins at the oldest record has what the first one has, byte for byte');
my ($first) = map { pos_of($_) } split /\n/, content('now');
cmp_ok($first, '>', 5, 'one that begins now has nothing of what came before');
like(slurp($d->{ndjson}), qr/\Q@{[ content('now') ]}\E\z/, 'and the end of what the first one has');
says('a broken section changes nothing', 2, qr/unknown sink type "flie"/, '--config', do { spew("$d->{dir}/bad.conf", $section . "[sink x]\ntype = flie\n"); chmod 0600, "$d->{dir}/bad.conf"; "$d->{dir}/bad.conf" }, 'reload');
configure($section . file_section('oldest') . "[sink bad]\ntype = file\npath = $d->{dir}/\n");
says('a sink that cannot be made changes nothing', 2, qr/sink "bad": path .* does not name a file/, 'reload');
ok(sink('now') && sink('oldest') && !sink('bad'), 'nothing at all');
configure($section . file_section('oldest') . "[sink away]\ntype = postgres\nstart = now\nconninfo = host=$d->{dir}/nowhere\n");
says('a sink that is away cannot begin now', 4, qr/sink "away": could not connect/, 'reload');
ok(sink('now') && !sink('away'), 'and nothing changes');

# ---- removed ------------------------------------------------------------------------------------------------
configure($section . file_section('oldest'));
says('reload removes a sink', 0, qr/^sink now removed$/m, 'reload');
ok(!sink('now'), 'it is gone');
{
	my $before = content('now');
	sql('UPDATE item SET v = v + 1');
	$d->catch_up;
	is(content('now'), $before, 'and gets nothing more');
	configure($section . file_section('oldest') . file_section('now', 'start = now'));
	says('it is added again', 0, qr/sink now added/, 'reload');
	$d->catch_up;
	like(slurp($d->{ndjson}), qr/\Q@{[ content('now') ]}\E\z/, 'and goes on where it stood: nothing is missing');
}
configure($section . file_section('oldest'));
says('a changed sink', 0, qr/^sink oldest changed$/m, do { configure($section . file_section('oldest', 'flush_rows = 7')); 'reload' });
configure($section . file_section('oldest', 'flush_rows = 7') . file_section('told'));
says('sink add', 0, qr/sink "told" is added/, 'sink', 'add', 'told', '--start', 'now');
sql('UPDATE item SET v = v + 1 WHERE id < 5');
$d->catch_up;
ok(length content('told') && length content('told') < length(content('oldest')) / 4, 'begins where the operator says, not where its section does');
says('sink add of none', 2, qr/has no sink|there is no sink "none"/, 'sink', 'add', 'none');

# ---- paused ----------------------------------------------------------------------------------------------------
says('pause --dry-run', 0, qr/would be paused/, '--dry-run', 'sink', 'pause', 'table');
is(sink('table')->{state}, 'streaming', 'changes nothing');
says('pause', 0, qr/sink "table" is paused/, 'sink', 'pause', 'table');
says('pause again', 2, qr/paused already/, 'sink', 'pause', 'table');
my $stood = there($shown);
my $at = sink('table')->{seq};
sql('UPDATE item SET v = v + 1');
poll('the others to go on', sub { sink('file')->{lag_units} == 0 && sink('file')->{seq} > $at });
is(there($shown), $stood, 'a paused sink gets nothing');
is(sink('table')->{state}, 'paused', 'and says so');
is($d->stop, 0, 'stopped');
like(says('sink list while stopped', 0, qr/^table +postgres +paused/m, 'sink', 'list'), qr/^file +file +daemon down/m, 'asks the sinks themselves');
$d->start;
$d->ready;
is(sink('table')->{state}, 'paused', 'and stays paused across a restart');
is(sink('table')->{seq}, $at, 'with its checkpoint');
says('resume', 0, qr/sink "table" goes on/, 'sink', 'resume', 'table');
$d->catch_up;
all_exact('resumed', 'oldest');

# ---- replayed ----------------------------------------------------------------------------------------------------
{
	my $before = slurp($d->{ndjson});
	my @lines = split /\n/, $before;
	my $middle = pos_of($lines[ @lines / 2 ]);

	write_begin(100);
	says('replay --dry-run while running', 0, qr/would stand before unit $middle/, '--dry-run', 'replay', '--sink', 'file', '--from', $middle);
	says("replay of $_ while running", 0, qr/sink "$_" stands before unit $middle/, 'replay', '--sink', $_, '--from', $middle) for qw(file table);
	says("replay into a new file", 0, qr/units 1 to \d+ are in/, 'replay', '--sink', 'file', '--from', 1, '--into', "$d->{dir}/copy.ndjson");
	write_end();
	like(slurp($d->{ndjson}), qr/\A\Q$before\E/, 'the file has the same bytes again');
	is(substr(slurp($d->{ndjson}), 0, length content('copy')), content('copy'), 'and so has the copy');
	all_exact('replayed', 'oldest');
	says('replay into what is there', 2, qr/it has a checkpoint already/, 'replay', '--sink', 'file', '--from', 1, '--into', "$d->{dir}/copy.ndjson");
}

# A fill of the sink is over. It began before what the sinks were last seen to have caught up with, so the phase is its.
sub filled
{
	my ($name, $what) = @_;
	poll("$what to end", sub { my $sink = sink($name); return $sink->{state} eq 'streaming' && $sink->{phase} eq 'whole' });
	return;
}

# ---- filled -------------------------------------------------------------------------------------------------------
{
	there('CREATE VIEW best AS SELECT * FROM walrank_out.score_item WHERE score > 0; CREATE ROLE reader; GRANT SELECT ON walrank_out.score_item TO reader');
	write_begin(150);
	says('fill --dry-run', 0, qr/would be given everything/, '--dry-run', 'sink', 'fill', 'table');
	says('fill of a table with rows, while writers write', 0, qr/sink "table" is filled/, 'sink', 'fill', 'table');
	write_end();
	filled('table', 'the fill of the table');
	is(there($shown), sql($expected), 'the table is exact');
	is(there('SELECT count(*) FROM best'), there('SELECT count(*) FROM walrank_out.score_item WHERE score > 0'), 'its view looks at the new rows');
	is(there(q{SELECT has_table_privilege('reader', 'walrank_out.score_item', 'SELECT')}), 't', 'its grants are kept');
	is(there(q{SELECT count(*) FROM pg_class WHERE relname LIKE 'fill%' AND relnamespace = 'walrank_out'::regnamespace}), 0, 'nothing is left beside it');
	says('verify after a fill', 0, qr/sink "table": \d+ compared .* 0 different/, 'sink', 'verify', 'table');
	all_exact('filled', 'oldest');
}
{
	# emptied by somebody: the table is gone, the checkpoint says otherwise
	says('pause', 0, qr/paused/, 'sink', 'pause', 'table');
	there('DROP TABLE walrank_out.score_item CASCADE');
	write_begin(60);
	says('resume', 0, qr/goes on/, 'sink', 'resume', 'table');
	poll('the sink to stop', sub { sink('table')->{state} eq 'stopped' });
	like(sink('table')->{note}, qr/score_item is gone.*walrank sink fill table/, 'a sink whose table is gone is refused and says how to go on');
	says('fill of an emptied sink, while writers write', 0, qr/is filled/, 'sink', 'fill', 'table');
	poll('the sink to go on', sub { sink('table')->{state} eq 'streaming' });
	write_end();
	filled('table', 'the fill of the emptied table');
	all_exact('filled again', 'oldest');
}
{
	# the daemon is killed while it fills
	write_begin(60);
	says("fill of $_, and the daemon is killed", 0, qr/is filled/, 'sink', 'fill', $_) for qw(table told);
	$d->kill9;
	$d->start;
	$d->ready;
	write_end();
	filled($_, "the fill of $_ that was interrupted") for qw(table told);
	all_exact('filled across a kill', 'oldest');
	says("verify of $_ after it", 0, qr/ 0 different/, 'sink', 'verify', $_) for qw(table told);
	is(there(q{SELECT count(*) FROM pg_class WHERE relname LIKE 'fill%' AND relnamespace = 'walrank_out'::regnamespace}), 0, 'nothing is left beside it');
}
{
	# a new sink that begins with all there is
	configure($section . file_section('oldest', 'flush_rows = 7') . file_section('told') . file_section('current', 'start = current'));
	write_begin(60);
	says('a sink that begins with the current state', 0, qr/sink current added/, 'reload');
	write_end();
	filled('current', 'its fill');
	all_exact('begun with the current state', 'current');
}

# ---- replayed into a schema, and while stopped ----------------------------------------------------------------------
{
	my $lsn = (grep { defined } map { /"lsn":"([^"]+)"/ ? $1 : undef } split /\n/, slurp($d->{ndjson}))[-20];

	says('replay into a new schema', 0, qr/units 1 to \d+ are in "again"/, 'replay', '--sink', 'table', '--from', 1, '--into', 'again');
	is(there('SELECT id, score FROM again.score_item ORDER BY id'), sql($expected), 'gives the same final state');
	is(there($shown), sql($expected), 'and leaves the sink alone');
	says('replay into the schema of the sink', 2, qr/"walrank_out" is not the name of a schema to write to/, 'replay', '--sink', 'table', '--from', 1, '--into', 'walrank_out');
	says('replay into what is there', 2, qr/it has a checkpoint already/, 'replay', '--sink', 'table', '--from', 1, '--into', 'again');
	is($d->stop, 0, 'stopped');
	my $before = slurp($d->{ndjson});
	says("replay of $_ from an LSN while stopped", 0, qr/stands before unit \d+/, 'replay', '--sink', $_, '--from', $lsn) for qw(file table);
	cmp_ok(length slurp($d->{ndjson}), '<', length $before, 'the file is cut');
	says('pause while stopped', 0, qr/sink "told" stays paused when the daemon is started/, 'sink', 'pause', 'told');
	says('fill while stopped', 4, qr/could not reach walrankd/, 'sink', 'fill', 'table');
	configure(slurp($d->{conf}) . file_section('cold'));
	says('add while stopped, with what there is', 4, qr/only it can fill a sink/, 'sink', 'add', 'cold', '--start', 'current');
	says('add while stopped', 0, qr/sink "cold" begins at the feed's end/, 'sink', 'add', 'cold', '--start', 'now');
	says('add while stopped, of one that is there', 2, qr/has a checkpoint already/, 'sink', 'add', 'oldest');
	$d->start;
	$d->ready;
	is(sink('told')->{state}, 'paused', 'one that was paused while stopped stays so');
	says('resume of all', 2, qr/sink "told" goes on/s, 'resume');
	$d->catch_up;
	is(slurp($d->{ndjson}), $before, 'the file has the same bytes again');
	sql('UPDATE item SET v = v + 1 WHERE id = 1');
	$d->catch_up;
	is(substr(slurp($d->{ndjson}), length $before), content('cold'), 'one that was added while stopped has what came since');
	all_exact('replayed while stopped', 'oldest');
}

# ---- verified ------------------------------------------------------------------------------------------------------
says('verify of a file', 0, qr/sink "file": \d+ compared .* 0 different/, 'sink', 'verify', 'file');
says('verify of a table', 0, qr/sink "table": \d+ compared .* 0 different/, 'sink', 'verify', 'table');
there('UPDATE walrank_out.score_item SET score = score + 0.001 WHERE id = 7');
says('verify finds a row changed by hand', 3, qr/ 1 different: table "score_item" has \(7,.* instead of \(7,/, 'sink', 'verify', 'table');
is(decode_json(says('verify --json', 3, qr/^\{/, '--json', 'sink', 'verify', 'table'))->{different}, 1, 'is JSON');
says('a fill cures it', 0, qr/is filled/, 'sink', 'fill', 'table');
sql('UPDATE item SET v = v + 1 WHERE id = 1');
$d->catch_up;
filled('table', 'the fill');
says('and verify finds nothing more', 0, qr/ 0 different/, 'sink', 'verify', 'table');
is($d->stop, 0, 'stopped');
says('verify while stopped', 0, qr/0 different/, 'sink', 'verify', $_) for qw(oldest table);
{
	my $text = content('oldest');
	my $place = length($text) / 2;
	$place++ while substr($text, $place, 1) !~ /[0-8]/;
	my $bad = $text;
	substr($bad, $place, 1) = substr($bad, $place, 1) + 1;
	spew("$d->{dir}/oldest.ndjson", $bad);
	says('verify finds a byte changed by hand', 3, qr/[1-9]\d* different/, 'sink', 'verify', 'oldest');
	spew("$d->{dir}/oldest.ndjson", $text);
	says('and nothing when it is put back', 0, qr/ 0 different/, 'sink', 'verify', 'oldest');
}
done_testing();
