# walrank, the tool: every command does what it says, says what is wrong and how to cure it, and ends with the right code.
use strict;
use warnings;
use Walrank;
use IPC::Run;
use JSON::XS;
use PostgreSQL::Test::Utils;
use Test::More;

my $tool = Walrank::Daemon::bin('walrank');
my $source = source('source');
my $search = source('search');
my $known = Walrank::knows_setting('output_plugin_libraries');
my @super = ('-h', $source->host, '-p', $source->port, '-d', 'postgres', '-U', scalar getpwuid $<);
my $d = daemon_new($source, postgres => $search);
my @daemon = (@super[ 0 .. 5 ], '-U', 'walrank_daemon'); # the one role that may use the plugin
my @conf = ('--config', $d->{conf});

# (exit code, standard output, standard error)
sub tool
{
	my ($out, $err) = ('', '');
	my $in = ref $_[0] ? ${ shift() } : '';
	IPC::Run::run([ $tool, @_ ], '<', \$in, '>', \$out, '2>', \$err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
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

sub sql { return $source->safe_psql('postgres', $_[0]) }

$source->safe_psql('postgres', q{
	CREATE ROLE "Other-Daemon" LOGIN REPLICATION IN ROLE pg_read_all_settings;
	CREATE TABLE item (id bigint PRIMARY KEY, v int);
	INSERT INTO item SELECT i, i FROM generate_series(1, 10) i;
});

# ---- usage ----------------------------------------------------------------------------------------------
says('-V', 0, qr/^walrank \d+\.\d+\.\d+$/, '-V');
says('--version', 0, qr/^walrank \d/, '--version');
my $help = says('-?', 0, qr/Usage:.*Commands:.*Exit codes/s, '-?');
my ($list) = $help =~ /^Commands:\n(.*?)\n\n/ms;
my @commands = $list =~ /^  ([a-z]+(?: [a-z]+)?) {2,}/mg;
is(scalar(@commands), scalar(() = $list =~ /\n/g) + 1, 'help names every command');
cmp_ok(scalar(@commands), '>', 40, 'of which there are many');
says("$_ --help", 0, qr/walrank \Q$_\E: .*Usage:.*Options:/s, split(' ', $_), '--help') for @commands;
says('no command', 2, qr/a command is missing/);
says('unknown command', 2, qr/unknown command "statsu"; did you mean "status"\?/, 'statsu');
says('nothing like it', 2, qr/unknown command "frobnicate"\n/, 'frobnicate');
says('half a command', 2, qr/unknown command "rules"; did you mean "rules check"\?/, 'rules');
says('unknown option', 2, qr/unknown option "--frob"/, 'status', '--frob');
says('option without its value', 2, qr/option "--slot" needs a value/, 'stream', '--slot');
says('unexpected argument', 2, qr/unexpected argument "x"/, 'status', 'x');
says('no configuration', 2, qr/needs the daemon's configuration.*HINT/s, 'status');
says('server away', 4, qr/ERROR/, '-h', "$d->{dir}/nowhere", 'doctor');

# ---- init ---------------------------------------------------------------------------------------------------
says('init refuses unbounded WAL', 2, qr/max_slot_wal_keep_size is -1.*HINT.*--accept-unbounded-wal/s, @super, 'init');
is(sql(q{SELECT count(*) FROM pg_extension WHERE extname = 'walrank'}), 0, 'and changes nothing');
sql(q{ALTER SYSTEM SET max_slot_wal_keep_size = '64MB'});
sql('SELECT pg_reload_conf()');
my $printed = says('--print-sql says how many hours a stopped daemon has', 0, qr/max_slot_wal_keep_size is 64 MB: .* about [\d.]+ hours/, @super, 'init', '--print-sql');
is(sql(q{SELECT (SELECT count(*) FROM pg_extension WHERE extname = 'walrank') + (SELECT count(*) FROM pg_roles WHERE rolname LIKE 'walrank%') + (SELECT count(*) FROM pg_publication)}), 0, '--print-sql changes nothing');
like($printed, qr/part 1.*CREATE EXTENSION.*CREATE ROLE.*part 2.*walrank\.watch/s, 'in two parts');

my $state_sql = q{SELECT
	(SELECT string_agg(pubname || ' ' || pg_get_userbyid(pubowner), ',' ORDER BY pubname) FROM pg_publication),
	(SELECT string_agg(rolname || ' ' || rolreplication || rolcanlogin, ',' ORDER BY rolname) FROM pg_roles WHERE rolname LIKE 'walrank%'),
	(SELECT string_agg(a.rolname || ' in ' || b.rolname, ',' ORDER BY 1) FROM pg_auth_members m JOIN pg_roles a ON a.oid = m.member JOIN pg_roles b ON b.oid = m.roleid WHERE a.rolname LIKE 'walrank%'),
	(SELECT string_agg(relname || ' ' || relacl::text, ',' ORDER BY relname) FROM pg_class WHERE relnamespace = 'walrank'::regnamespace AND relkind = 'r'),
	(SELECT string_agg(array_to_string(setconfig, ';'), ',') FROM pg_db_role_setting)};
{
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', @super ], '<', \$printed, '>', \$out, '2>', \$err);
	is($? >> 8, 0, 'what --print-sql prints runs through psql') or diag($err);
}
my $by_hand = sql($state_sql);
like($by_hand, qr/walrank walrank_admin,walrank_config walrank_admin.*walrank_daemon truetrue.*walrank_daemon in walrank_reader/s, 'and makes publications, role and rights');
says('init', 0, qr/ALTER ROLE/, @super, 'init');
is(sql($state_sql), $by_hand, 'init makes the same');
says('init again', 0, qr/ALTER ROLE/, @super, 'init');
is(sql($state_sql), $by_hand, 'init is idempotent');

SKIP:
{
	diag('NOT RUN: output_plugin_libraries, which this server does not know') unless $known;
	skip 'the server does not know output_plugin_libraries', 12 unless $known;
	my $list = sub { my ($role, $db) = @_; my $out = `psql -X -At -h @{[ $source->host ]} -p @{[ $source->port ]} -U '$role' -d @{[ $db // 'postgres' ]} -c 'SHOW output_plugin_libraries'`; chomp $out; return join ',', sort map { s/^\s+|\s+$|"//gr } split /,/, $out };
	sql('GRANT pg_read_all_settings TO walrank_daemon');
	is($list->('walrank_daemon'), 'pgoutput,test_decoding,walrank', 'the role may use what the server allows, and walrank');
	is(sql('SHOW output_plugin_libraries'), 'pgoutput, test_decoding', 'nobody else may');

	# a role that uses another plugin keeps it, wherever it was given it
	sql(q{ALTER ROLE "Other-Daemon" SET output_plugin_libraries = 'wal2json', "my-plugin"});
	says('init for a role with a list', 0, qr/ALTER ROLE "Other-Daemon" SET output_plugin_libraries = "my-plugin", wal2json, walrank;|ALTER ROLE/, @super, 'init', '--role', 'Other-Daemon');
	is($list->('Other-Daemon'), 'my-plugin,wal2json,walrank', 'it keeps its plugins');
	my ($stored) = sql(q{SELECT c FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole, unnest(setconfig) c WHERE rolname = 'Other-Daemon'});
	unlike($stored, qr/"[^"]*,[^"]*"/, 'the list is stored as a list, not as one string');
	sql(q{ALTER ROLE "Other-Daemon" RESET output_plugin_libraries; ALTER DATABASE postgres SET output_plugin_libraries = pgoutput, decoderbufs});
	says('init where the database has a list', 0, qr/decoderbufs/, @super, 'init', '--role', 'Other-Daemon');
	is($list->('Other-Daemon'), 'decoderbufs,pgoutput,walrank', "the database's list is kept");
	sql(q{ALTER DATABASE postgres RESET output_plugin_libraries; ALTER ROLE "Other-Daemon" RESET output_plugin_libraries; ALTER ROLE "Other-Daemon" IN DATABASE postgres SET output_plugin_libraries = pgoutput, decoderbufs});
	says('doctor sees a list for role and database', 3, qr/refuses our plugin for role "Other-Daemon"/, @super, 'doctor', '--role', 'Other-Daemon');
	says('init where the role has a list in this database', 0, qr/IN DATABASE postgres/, @super, 'init', '--role', 'Other-Daemon');
	is($list->('Other-Daemon'), 'decoderbufs,pgoutput,walrank', 'the list that counts is the one that is set');
	sql(q{ALTER ROLE "Other-Daemon" IN DATABASE postgres RESET output_plugin_libraries});

	# what the superuser may use himself is no business of the daemon's
	my $me = sql('SELECT quote_ident(current_user)');
	sql("ALTER ROLE $me SET output_plugin_libraries = only_mine");
	says('init by a superuser with a list of his own', 0, qr/ALTER ROLE/, @super, 'init', '--role', 'Other-Daemon');
	is($list->('Other-Daemon'), 'pgoutput,test_decoding,walrank', "does not give it to the daemon");
	sql("ALTER ROLE $me RESET output_plugin_libraries; REVOKE pg_read_all_settings FROM walrank_daemon");
}
sql(q{DROP OWNED BY "Other-Daemon"; DROP ROLE "Other-Daemon"});

# ---- doctor -----------------------------------------------------------------------------------------------------
sql(q{SELECT walrank.watch('item'); INSERT INTO walrank.ranking (name, relation, definition) VALUES ('r', 'public.item', 'term v weight 1 v')});
$d->create;
$d->catch_up;
says('doctor finds nothing that blocks', 0, qr/0 blockers/, @super, @conf, 'doctor');
{
	my $json = eval { decode_json(says('doctor --json', 0, qr/^\{/, @super, @conf, '--json', 'doctor')) };
	ok($json && $json->{blockers} == 0 && ref $json->{findings} eq 'ARRAY', 'is JSON');
	ok(!(grep { !$_->{cure} || !$_->{finding} || !$_->{check} } @{ $json->{findings} }), 'every finding has a cure');
}

sub finding
{
	my ($check) = @_;
	my (undef, $out) = tool(@super, @conf, '--json', 'doctor');
	my $json = decode_json($out);
	return grep { $_->{check} eq $check && $_->{severity} eq 'blocker' } @{ $json->{findings} };
}

# Breaks something; doctor has to find it, and its cure has to cure it.
for my $case (
	($known ? [ 'allow-list', 'ALTER ROLE walrank_daemon RESET output_plugin_libraries' ] : ()),
	($known ? [ 'allow-list', q{ALTER ROLE walrank_daemon SET output_plugin_libraries = ''} ] : ()),
	($known ? [ 'allow-list', 'ALTER ROLE walrank_daemon IN DATABASE postgres SET output_plugin_libraries = pgoutput' ] : ()),
	[ 'role', 'ALTER ROLE walrank_daemon NOREPLICATION' ],
	[ 'reader', 'REVOKE walrank_reader FROM walrank_daemon' ],
	[ 'publications', 'DROP PUBLICATION walrank' ],
	[ 'captured', undef ],
	[ 'publications', 'DROP PUBLICATION walrank_config' ],
	[ 'publication form', 'ALTER PUBLICATION walrank SET (publish_via_partition_root = true)' ],
	[ 'watched tables', 'ALTER TABLE item REPLICA IDENTITY NOTHING' ],
	[ 'watched tables', 'ALTER TABLE item DROP CONSTRAINT item_pkey' ],
	[ 'captured', q{INSERT INTO walrank.watched (relation) VALUES ('public.gone')} ])
{
	my ($check, $break) = @$case;
	my $what = "$check: " . ($break // 'as the case before left it');
	sql($break) if $break;
	my @found = finding($check);
	is(scalar(@found), 1, "$what: found") or next;
	says("$what: exit code 3", 3, qr/\Q$found[0]{cure}\E/, @super, @conf, 'doctor');
	if ($found[0]{cure} =~ /^walrank (.*)/) { says("$what: the cure runs", 0, qr//, @super, split ' ', $1) }
	else { sql($found[0]{cure}) }
	is(scalar(finding($check)), 0, "$what: cured by $found[0]{cure}");
}
sql('ALTER ROLE walrank_daemon IN DATABASE postgres RESET output_plugin_libraries') if $known;
says('doctor after all that', 0, qr/0 blockers/, @super, @conf, 'doctor');
says('doctor for another slot name', 0, qr/blockers/, @super, 'doctor', '--slot', 'nothing');
sql('CREATE DATABASE bare');
says('doctor where there is nothing', 3, qr/extension walrank is not installed in database bare.*publication walrank does not exist/s, @super[ 0 .. 3, 6, 7 ], '-d', 'bare', 'doctor');
sql('DROP DATABASE bare');

# ---- where the source is ------------------------------------------------------------------------------------
{
	my $conf = slurp($d->{conf});
	my ($host, $port) = map { s{([^A-Za-z0-9])}{sprintf '%%%02X', ord $1}ger } $source->host, $source->port;
	spew("$d->{dir}/uri.conf", $conf =~ s{^conninfo = host=.*user=walrank_daemon$}{conninfo = postgresql://walrank_daemon@/postgres?host=$host&port=$port}mr);
	chmod 0600, "$d->{dir}/uri.conf";
	says('a conninfo of the configuration', 0, qr/connected as walrank_daemon.*0 blockers/s, @conf, 'doctor');
	says('an option goes over it', 0, qr/\A(?!.*connected as).*0 blockers/s, @conf, '-U', $super[-1], 'doctor');
	says('a URI of the configuration', 0, qr/connected as walrank_daemon.*0 blockers/s, '--config', "$d->{dir}/uri.conf", 'doctor');
	says('an option goes over a URI as well', 0, qr/\A(?!.*connected as).*0 blockers/s, '--config', "$d->{dir}/uri.conf", '-U', $super[-1], 'doctor');
	says('a conninfo string as -d', 0, qr/0 blockers/, '-d', "host=@{[ $source->host ]} port=@{[ $source->port ]} dbname=postgres", 'doctor');
}

# ---- status --------------------------------------------------------------------------------------------------------
sql('UPDATE item SET v = v + 1');
$d->catch_up;
says('status', 0, qr/^walrankd \S+ .*source +streaming.*public\.item +filled +10\b.*\nfile +file.*\ntable +postgres/s, @conf, 'status');
{
	my $json = eval { decode_json(says('status --json', 0, qr/^\{/, @conf, '--json', 'status')) };
	is($json && $json->{source}{state}, 'streaming', 'is JSON');
}

# ---- stream, from the server -------------------------------------------------------------------------------------------
my $written = sub { return "INSERT INTO item VALUES ($_[0], 1); UPDATE item SET v = v + 1 WHERE id = $_[0]; DELETE FROM item WHERE id = $_[0]" };
my $writer = sub { sql($written->(@_)) };
{
	my ($out, $err) = ('', '');
	my $h = IPC::Run::start([ $tool, @daemon, 'stream', '--publications', 'walrank', '--limit', '3' ], '<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	eval { poll('a temporary slot', sub { sql("SELECT count(*) FROM pg_replication_slots WHERE temporary AND active AND slot_name LIKE 'walrank_stream_%'") == 1 }) } or BAIL_OUT("$@" . do { eval { $h->finish }; $err });
	$writer->($_) for 100 .. 110;
	$h->finish;
	is($? >> 8, 0, 'stream --limit ends with 0') or diag($err);
	my @frames = map { eval { decode_json($_) } } split /\n/, $out;
	is(scalar(@frames), 3, 'after 3 frames');
	is(scalar(grep { ref $_ eq 'HASH' && $_->{head} } @frames), 3, 'each a line of JSON');
	poll('the temporary slot to go', sub { sql('SELECT count(*) FROM pg_replication_slots WHERE temporary') == 0 });
	pass('its slot is gone');

	my $session = $source->background_psql('postgres');
	($out, $err) = ('', '');
	$h = IPC::Run::start([ $tool, @daemon, 'stream', '--publications', 'walrank', '--format', 'pb', '--no-loop' ], '<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	eval { poll('a temporary slot', sub { sql("SELECT count(*) FROM pg_replication_slots WHERE temporary AND active") == 1 }) } or BAIL_OUT("$@" . do { eval { $h->finish }; $err });
	$session->query_safe($written->($_)) for 200 .. 203; # at once: it waits for a second
	$session->quit;
	$h->finish;
	is($? >> 8, 0, 'stream --no-loop ends when nothing comes') or diag($err);
	my ($n, $bad, $inserts) = (0, 0, 0);
	while (length $out)
	{
		my ($length, $shift, $byte) = (0, 0, 0);
		do { $byte = ord substr $out, 0, 1, ''; $length |= ($byte & 127) << $shift; $shift += 7 } while ($byte & 128);
		my ($frame, $text) = (substr($out, 0, $length, ''), '');
		$bad++ if length $frame != $length;
		IPC::Run::run([ 'protoc', '--decode', 'walrank.v1.Frame', "-I$ENV{WALRANK_TOP}/proto", 'walrank.proto' ], '<', \$frame, '>', \$text, '2>', '/dev/null');
		$bad++ if $? || $text !~ /^head \{/m;
		$inserts++ if $text =~ /op: OP_INSERT|op: INSERT/;
		$n++;
	}
	is($bad, 0, "frames in protobuf decode with protoc ($n frames)");
	is($inserts, 4, 'and are those that were written');

	($out, $err) = ('', '');
	$writer->(299); # after a checkpoint the first one logs whole pages, which are more than what is waited for
	$h = IPC::Run::start([ $tool, @daemon, 'stream', '--publications', 'walrank', '--endpos', sql(q{SELECT pg_current_wal_insert_lsn() + 3000}) ], '<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	eval { poll('a temporary slot', sub { sql("SELECT count(*) FROM pg_replication_slots WHERE temporary AND active") == 1 }) } or BAIL_OUT("$@" . do { eval { $h->finish }; $err });
	$writer->($_) for 300 .. 330;
	$h->finish;
	is($? >> 8, 0, 'stream --endpos ends there') or diag($err);
	my @lines = split /\n/, $out;
	ok(@lines > 0 && @lines < 93, 'with what came before (' . @lines . ' frames)');
}
{
	my ($out, $err) = ('', '');
	my $h = IPC::Run::start([ $tool, @daemon, 'stream', '--publications', 'walrank', '--no-loop', '--mode', 'delta', '--attributes', 'v', '--old-values', '--messages', 'tool*', '--origin', 'none' ],
		'<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	eval { poll('a temporary slot', sub { sql("SELECT count(*) FROM pg_replication_slots WHERE temporary AND active") == 1 }) } or BAIL_OUT("$@" . do { eval { $h->finish }; $err });
	sql(q{ALTER TABLE item REPLICA IDENTITY FULL; INSERT INTO item VALUES (400, 1); UPDATE item SET v = 2 WHERE id = 400; UPDATE item SET v = 2 WHERE id = 400;
		SELECT pg_logical_emit_message(true, 'tool1', 'said'), pg_logical_emit_message(true, 'other', 'not asked for');
		DELETE FROM item WHERE id = 400; ALTER TABLE item REPLICA IDENTITY DEFAULT});
	$h->finish;
	is($? >> 8, 0, 'stream with options of the plugin') or diag($err);
	my @entries = map { @{ decode_json($_)->{entries} } } split /\n/, $out;
	my @changes = map { $_->{change} // () } @entries;
	is_deeply([ map { $_->{op} } @changes ], [qw(INSERT UPDATE DELETE)], '--attributes: an update that touches none is left out');
	is_deeply([ map { [ $_->{oldValue}, $_->{value} ] } @{ $changes[1]{attributes} } ], [ [ { int => '1' }, { int => '2' } ] ], '--mode, --old-values');
	is_deeply([ map { $_->{message} // () } @entries ], [ { prefix => 'tool1', content => 'c2FpZA==' } ], '--messages');
}
says('stream: unknown mode', 2, qr/It is either "row" or "delta"/, @daemon, 'stream', '--mode', 'diff', '--no-loop');
says("stream refuses the daemon's slot while it runs", 2, qr/slot "walrank" belongs to a daemon.*HINT.*--from/s, @daemon, 'stream', '--slot', 'walrank', '--no-loop');
says('stream: unknown format', 2, qr/unknown format "xml": json or pb/, @daemon, 'stream', '--format', 'xml');
says('stream: bad LSN', 2, qr/"zero" is not an LSN/, @daemon, 'stream', '--endpos', 'zero');
says('stream: bad limit', 2, qr/--limit needs a number above 0, not "many"/, @daemon, 'stream', '--limit', 'many');
says('stream: bad unit', 2, qr/"last" is no unit number/, @conf, 'stream', '--from', 'last');
says('stream: unknown slot', 1, qr/nothing/, @daemon, 'stream', '--slot', 'nothing', '--no-loop');
says('stream: unknown publication', 1, qr/gone/, @daemon, 'stream', '--publications', 'gone', '--no-loop');
is(sql('SELECT count(*) FROM pg_replication_slots'), 1, 'no slot is left behind');

# ---- stream, from the feed ------------------------------------------------------------------------------------------------
{
	my $file = slurp($d->{ndjson});
	my $first = decode_json($file =~ /^(.*)\n/ ? $1 : '{}');
	my ($seq) = $first->{pos} =~ /^(\d+)/;
	is(says('stream --from', 0, qr/^\{/, @conf, 'stream', '--from', $seq, '--no-loop'), $file, 'writes what the file sink has, byte for byte');
	my $three = says('stream --from --limit', 0, qr/^\{/, @conf, 'stream', '--from', $seq, '--limit', 3);
	is($three, join('', ($file =~ /^(.*\n)/mg)[ 0 .. 2 ]), 'ends after so many lines');
}

# ---- replay, journal verify -----------------------------------------------------------------------------------------------------
says('journal verify', 0, qr/stream [0-9a-f-]{36}, \d+ segments, .* units 1 to \d+/, @conf, 'journal', 'verify');
is($d->stop, 0, 'stopped');
says('status: not running', 4, qr/could not reach walrankd.*HINT/s, @conf, 'status');
says("stream refuses the daemon's slot while it is down", 2, qr/belongs to a daemon/, @daemon, 'stream', '--slot', 'walrank', '--no-loop');
{
	my $json = eval { decode_json(says('journal verify --json', 0, qr/^\{/, @conf, '--json', 'journal', 'verify')) };
	ok($json && $json->{ok} && $json->{last_seq} > 1, 'is JSON');
}
says('replay: an unknown sink', 2, qr/there is no sink "fil".*HINT.*file, table/s, @conf, 'replay', '--sink', 'fil', '--from', 1);
says('replay: no position', 2, qr/replay needs --sink and --from/, @conf, 'replay', '--sink', 'file');
says('replay: a bad position', 2, qr/"soon" is neither an LSN nor a unit number.*HINT/s, @conf, 'replay', '--sink', 'file', '--from', 'soon');
says('replay: an LSN beyond the feed', 2, qr/the feed ends before LSN/, @conf, 'replay', '--sink', 'file', '--from', 'FF/0');
my $before = slurp($d->{ndjson});
my @lines = map { decode_json($_) } split /\n/, $before;
my ($middle) = grep { $_->{xid} } @lines[ int(@lines / 2) .. $#lines ];
my ($seq) = $middle->{pos} =~ /^(\d+)/;
for my $from ($seq, (grep { ($_->{pos} =~ /^(\d+)/)[0] < $seq } reverse @lines)[0]{lsn})
{
	my $out = says("replay --dry-run from $from", 0, qr/sink "file" would stand before unit \d+/, @conf, '--dry-run', 'replay', '--sink', 'file', '--from', $from);
	my ($unit) = $out =~ /unit (\d+)/;
	cmp_ok($unit, '<=', $seq, 'names a unit that is not beyond') and is(slurp($d->{ndjson}), $before, 'changes nothing');
	says("replay from $from", 0, qr/sink "$_" stands before unit $unit/, @conf, 'replay', '--sink', $_, '--from', $from) for qw(file table);
	cmp_ok(length slurp($d->{ndjson}), '<', length $before, 'the file is cut');
	$d->start;
	$d->ready;
	poll('the sinks to catch up', sub { length slurp($d->{ndjson}) >= length $before });
	$d->catch_up;
	is(substr(slurp($d->{ndjson}), 0, length $before), $before, 'and is written again, byte for byte');
	is($search->safe_psql('postgres', 'SELECT id, score FROM walrank_out.score_item ORDER BY id'), sql('SELECT id, v::float8 FROM item ORDER BY id'), 'the table is as before');
	is($d->stop, 0, 'stopped');
}

# ---- rules check ---------------------------------------------------------------------------------------------------------------
spew("$d->{dir}/good.rank", "where status = 'on_sale'\nterm v weight 2 log1p(views)\n");
spew("$d->{dir}/bad.rank", "term v weight 2 views\nterm w weight two views\n");
says('rules check', 0, qr/good\.rank: ok, reads .*views/, 'rules', 'check', "$d->{dir}/good.rank");
says('rules check: where and what', 2, qr/bad\.rank:2:\d+: /, 'rules', 'check', "$d->{dir}/bad.rank");
says('rules check of several files', 2, qr/good\.rank: ok.*bad\.rank:2:.*good\.rank: ok/s, 'rules', 'check', map { "$d->{dir}/$_.rank" } qw(good bad good));
says('rules check of standard input', 0, qr/^-: ok, reads x$/m, \"term a weight 1 x\n", 'rules', 'check', '-');
says('rules check of nothing', 2, qr/needs a file/, 'rules', 'check');
says('rules check of a file that is not there', 2, qr/could not open/, 'rules', 'check', "$d->{dir}/none.rank");
says('rules check of a directory', 2, qr/could not read/, 'rules', 'check', $d->{dir});
{
	my $out = says('rules check --json', 2, qr/^\{/, '--json', 'rules', 'check', map { "$d->{dir}/$_.rank" } qw(good bad));
	my @answers = map { eval { decode_json($_) } } split /\n/, $out;
	ok(@answers == 2 && $answers[0]{ok} && !$answers[1]{ok} && $answers[1]{line} == 2, 'is one JSON document a line');
}

# ---- a slot that is lost ----------------------------------------------------------------------------------------------------------
sql(q{ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'});
sql('SELECT pg_reload_conf()');
for (1 .. 8) { sql(q{CREATE TABLE fill AS SELECT repeat('x', 1000) FROM generate_series(1, 5000); DROP TABLE fill; SELECT pg_switch_wal(); CHECKPOINT}) }
is(sql("SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'walrank'"), 'lost', 'the slot is lost');
says('doctor finds a lost slot', 3, qr/blocker +slot walrank: wal_status is lost\n +cure: walrank rebuild --new-slot/, @super, @conf, 'doctor');
sql(q{ALTER SYSTEM SET max_slot_wal_keep_size = '64MB'});
sql('SELECT pg_reload_conf()');
sql(q{SELECT pg_drop_replication_slot('walrank')});
says('doctor finds a slot that is gone', 3, qr/blocker +slot walrank of stream \S+ does not exist/, @super, @conf, 'doctor');

# ---- teardown -----------------------------------------------------------------------------------------------------------------------
sql(q{CREATE TABLE theirs (id int PRIMARY KEY); ALTER TABLE theirs OWNER TO walrank_daemon});
sql(q{SELECT pg_create_logical_replication_slot('walrank', 'test_decoding')});
says('teardown leaves the slots of others alone', 2, qr/slot "walrank" is not ours: its plugin is "test_decoding"/, @super, @conf, 'teardown');
sql(q{SELECT pg_drop_replication_slot('walrank')});
says("teardown with the configuration's role", 2, qr/only a superuser may remove walrank.*HINT.*-U/s, @conf, 'teardown');
unlike(says('teardown leaves the tables of others alone', 0, qr/DROP ROLE/, @super, @conf, '--dry-run', 'teardown'), qr/(DROP OWNED BY|DROP ROLE) "?walrank_daemon/, 'and the role that owns them');
sql(q{DROP TABLE theirs});
my $dry = says('teardown --dry-run', 0, qr/DROP PUBLICATION.*DROP EXTENSION.*DROP ROLE/s, @super, @conf, '--dry-run', 'teardown');
is(sql(q{SELECT count(*) FROM pg_publication}), 2, 'removes nothing');
my $done = says('teardown', 0, qr/left alone: .*state/s, @super, @conf, 'teardown');
is($done, $dry, 'does what the dry run said');
is(sql(q{SELECT (SELECT count(*) FROM pg_extension WHERE extname = 'walrank') + (SELECT count(*) FROM pg_roles WHERE rolname LIKE 'walrank%') + (SELECT count(*) FROM pg_publication) + (SELECT count(*) FROM pg_replication_slots)}), 0, 'nothing of ours is left');
is(sql('SELECT count(*) FROM item'), 10, 'the tables are');
ok(-d $d->{state} && -s $d->{ndjson}, 'and so are state directory and sinks');
says('teardown again', 0, qr/left alone/, @super, @conf, 'teardown');

# ---- the cure as a whole ------------------------------------------------------------------------------------------------------------
rename $d->{state}, "$d->{dir}/away" or die;
unlink glob "$d->{ndjson}*";
$search->safe_psql('postgres', 'DROP SCHEMA walrank_out CASCADE');
says('init after teardown', 0, qr/CREATE ROLE walrank_daemon|CREATE ROLE "walrank_daemon"/, @super, 'init');
sql(q{SELECT walrank.watch('item'); INSERT INTO walrank.ranking (name, relation, definition) VALUES ('r', 'public.item', 'term v weight 1 v')});
$d->create;
$d->catch_up;
is($search->safe_psql('postgres', 'SELECT id, score FROM walrank_out.score_item ORDER BY id'), sql('SELECT id, v::float8 FROM item ORDER BY id'), 'and everything is there again');
says('teardown while the daemon runs', 2, qr/slot "walrank" is active.*HINT.*Stop walrankd first/s, @super, @conf, 'teardown');
is($d->stop, 0, 'ended');
done_testing();
