# Publications mean what they mean to pgoutput: the same changes of the same tables with the same columns, on random
# publications (filters, lists, operations, schemas, partition roots) and random writes, read from the same WAL.
#
# SEED and ROUNDS choose others than the fixed ones.
use strict;
use warnings;
use Walrank;
use JSON::XS;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{SEED} // 20261201;
my $rounds = $ENV{ROUNDS} // ($ENV{WALRANK_TIER} eq 'check' ? 30 : 300);
srand($seed);
my $node = source('pgoutput', allow => 1, conf => "max_replication_slots = 5\n");
my $major = int($node->safe_psql('postgres', 'SHOW server_version_num') / 10000);
my $generated = $major >= 18 ? ', g int GENERATED ALWAYS AS (v * 2) STORED' : '';
$node->safe_psql('postgres', qq{
	CREATE TABLE a (gone int, id int PRIMARY KEY, v int, note text$generated);
	ALTER TABLE a DROP COLUMN gone;
	CREATE SCHEMA s;
	CREATE TABLE s.b (v int, id int PRIMARY KEY, note text);
	CREATE TABLE root (id int PRIMARY KEY, v int, note text) PARTITION BY RANGE (id);
	CREATE TABLE leaf1 PARTITION OF root FOR VALUES FROM (0) TO (10);
	CREATE TABLE s.mid (note text, gone int, v int, id int NOT NULL) PARTITION BY RANGE (id);
	ALTER TABLE s.mid DROP COLUMN gone;
	CREATE TABLE leaf2 (v int, note text, id int NOT NULL);
	ALTER TABLE s.mid ATTACH PARTITION leaf2 FOR VALUES FROM (10) TO (20);
	CREATE TABLE s.leaf3 PARTITION OF s.mid FOR VALUES FROM (20) TO (30);
	ALTER TABLE root ATTACH PARTITION s.mid FOR VALUES FROM (10) TO (30);
	SELECT pg_create_logical_replication_slot('theirs', 'pgoutput'), pg_create_logical_replication_slot('ours', 'walrank');
});
my @tables = qw(a s.b root leaf1 s.mid leaf2 s.leaf3);
my %partitioned = (root => 1, 's.mid' => 1);
my @identities = grep { !$partitioned{$_} } @tables;

sub one { return $_[ rand @_ ] }
sub chance { return rand() < $_[0] }

# ---- what they say --------------------------------------------------------------------------------
# Both readers give lines "op schema.table column=value ..", values of keys alone for deletes.
my %their_tables;

sub their_tuple
{
	my ($bytes) = @_;
	my $n = unpack 'n', substr($$bytes, 0, 2, '');
	my @values;
	for (1 .. $n)
	{
		my $kind = substr($$bytes, 0, 1, '');
		push @values, $kind eq 't' ? do { my $l = unpack 'N', substr($$bytes, 0, 4, ''); substr($$bytes, 0, $l, '') } : $kind eq 'n' ? undef : \'untouched';
	}
	return \@values;
}

sub line
{
	my ($op, $table, $names, $values, $only) = @_;
	my %by_name;
	@by_name{@$names} = @$values;
	return join ' ', $op, $table, map { "$_=" . ($by_name{$_} // 'NULL') } grep { !$only || $_ eq $only } sort keys %by_name;
}

sub theirs
{
	my ($publications, $full) = @_;
	my @lines;
	my ($rc, $out, $err) = $node->psql('postgres',
		"SELECT encode(data, 'hex') FROM pg_logical_slot_get_binary_changes('theirs', NULL, NULL, 'proto_version', '1', 'publication_names', '$publications')");
	if ($rc != 0)
	{
		# it refuses publications that differ in columns, where we take all of them
		die $err if $err !~ /cannot use different (column lists|values of publish_generated_columns)/;
		$node->safe_psql('postgres', q{SELECT pg_replication_slot_advance('theirs', pg_current_wal_lsn())});
		return;
	}
	for my $hex (split /\n/, $out)
	{
		my $bytes = pack 'H*', $hex;
		my $kind = substr($bytes, 0, 1, '');
		if ($kind eq 'R')
		{
			my ($oid, $schema, $table, undef, $n) = unpack 'N Z* Z* C n', $bytes;
			$bytes = substr $bytes, 4 + length($schema) + 1 + length($table) + 1 + 3;
			my @names;
			push @names, (unpack 'C Z* N N', $bytes)[1] and $bytes = substr $bytes, 1 + length($names[-1]) + 1 + 8 for 1 .. $n;
			$their_tables{$oid} = { name => "$schema.$table", columns => \@names };
		}
		elsif ($kind eq 'T')
		{
			my (undef, undef, @oids) = unpack 'N C N*', $bytes;
			push @lines, 'TRUNCATE ' . join ',', sort map { $their_tables{$_}{name} } @oids;
		}
		elsif ($kind =~ /[IUD]/)
		{
			my $t = $their_tables{ unpack 'N', substr($bytes, 0, 4, '') };
			my ($old, $new);
			while (length $bytes)
			{
				my $which = substr($bytes, 0, 1, '');
				my $tuple = their_tuple(\$bytes);
				$which eq 'N' ? ($new = $tuple) : ($old = $tuple);
			}
			# O or K says what the root's identity is, not the partition's
			if ($kind eq 'U' && $full)
			{
				ref $new->[$_] and $new->[$_] = $old->[$_] for 0 .. $#$new;
				# what changed nothing is not sent by us
				next if line('', '', $t->{columns}, $old) eq line('', '', $t->{columns}, $new);
			}
			ref and $_ = $$_ for @{ $new // [] };
			push @lines, $kind eq 'D' ? line('DELETE', $t->{name}, $t->{columns}, $old, 'id')
			  : line($kind eq 'I' ? 'INSERT' : 'UPDATE', $t->{name}, $t->{columns}, $new);
		}
	}
	return \@lines;
}

# ---- what we say ----------------------------------------------------------------------------------
sub value { my ($v) = @_; return exists $v->{null} ? undef : (values %$v)[0] }

sub ours
{
	my ($publications) = @_;
	my (%tables, @lines);
	for my $frame (map { decode_json($_) } split /\n/, $node->safe_psql('postgres',
			"SELECT data FROM pg_logical_slot_get_changes('ours', NULL, NULL, 'format', 'json', 'publication_names', '$publications')"))
	{
		for my $entry (@{ $frame->{entries} })
		{
			if (my $r = $entry->{relation}) { $tables{ $r->{fingerprint} } = $r }
			elsif (my $t = $entry->{truncate})
			{
				my @emptied = map { "$tables{$_}{schema}.$tables{$_}{table}" } @{ $t->{relations} // [] };
				push @lines, 'TRUNCATE ' . join ',', sort @emptied if @emptied;
			}
			elsif (my $c = $entry->{change})
			{
				my $r = $tables{ $c->{relation} };
				my @columns = @{ $r->{columns} };
				my @key = map { value($_) } @{ $c->{key} // [] };
				my @values = map { $_->{key} ? shift @key : undef } @columns;
				$values[ $_->{column} // 0 ] = ($_->{state} // '') eq 'UNCHANGED_TOAST' ? 'untouched' : value($_->{value}) for @{ $c->{attributes} // [] };
				push @lines, line($c->{op}, "$r->{schema}.$r->{table}", [ map { $_->{name} } @columns ], \@values, $c->{op} eq 'DELETE' ? 'id' : undef);
			}
			else { push @lines, encode_json($entry) }
		}
	}
	return @lines;
}

# ---- publications and writes -----------------------------------------------------------------------
sub operations { return join ', ', grep { chance(0.75) } qw(insert update delete truncate) }

# What a publication says of a table; lists are one per table in a round, as pgoutput wants it.
sub listed
{
	my ($table, $lists, $full, $root) = @_;
	my $text = $table . ($lists->{$table} && ($root || !$partitioned{$table}) ? " ($lists->{$table})" : '');
	my @on_key = ('id > 12', 'id % 2 = 0', 'id BETWEEN 5 AND 25', 'id IS NULL OR id < 15', 'false');
	my @on_rest = ('v > 50', 'v IS NULL OR id < 9', 'length(note) > 3000', "note LIKE '%a%' AND v < 80");
	return $text if chance(0.4) || ($partitioned{$table} && !$root);
	return "$text WHERE (" . one(@on_key, $full && !%$lists ? @on_rest : ()) . ')';
}

sub publication
{
	my ($name, $lists, $full) = @_;
	my $root = chance(0.5);
	my @with = ("publish = '" . operations() . "'", 'publish_via_partition_root = ' . ($root ? 'true' : 'false'));
	my $what = 'FOR ALL TABLES';
	push @with, 'publish_generated_columns = ' . one('none', 'stored') if $major >= 18 && !%$lists && $name eq 'p1';
	if (%$lists || chance(0.8))
	{
		my %chosen = map { $_ => 1 } map { one(@tables) } 1 .. 1 + rand 4;
		$what = 'FOR TABLE ' . join ', ', map { listed($_, $lists, $full, $root) } sort keys %chosen;
		$what .= ', TABLES IN SCHEMA s' if !%$lists && chance(0.2);
	}
	return "CREATE PUBLICATION $name $what WITH (" . join(', ', @with) . ')';
}

sub text_value { return one("'x'", "'banana'", 'NULL', 'note', q{(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 150))}) }

sub statement
{
	my $table = one(qw(a s.b root root leaf1 leaf2 s.mid s.leaf3));
	my $id = int rand 30;
	my $v = one(int rand 100, 'NULL');
	my $note = text_value();
	$note = "'y'" if $note eq 'note';
	my $columns = "INSERT INTO $table (id, v, note) VALUES ($id, $v, $note) ON CONFLICT DO NOTHING";
	return one($columns, $columns, "UPDATE $table SET v = $v WHERE id % 3 = $id % 3", "UPDATE $table SET id = " . int(rand 30) . " WHERE id = $id",
		"UPDATE $table SET note = " . text_value() . " WHERE id < $id", "DELETE FROM $table WHERE id % 7 = $id % 7", chance(0.3) ? "TRUNCATE $table" : $columns,
		chance(0.3) ? 'ALTER TABLE root DETACH PARTITION leaf1' : $columns, chance(0.5) ? 'ALTER TABLE root ATTACH PARTITION leaf1 FOR VALUES FROM (0) TO (10)' : $columns);
}

my ($same, $compared) = (0, 0);
for my $round (1 .. $rounds)
{
	my %lists = chance(0.4) ? map { $_ => one('id, v', 'note, id', 'id') } @tables : ();
	my $full = !%lists && chance(0.6);
	my @setup = map { "ALTER TABLE $_ REPLICA IDENTITY " . ($full ? 'FULL' : 'DEFAULT') } @identities;
	my @names = map { "p$_" } 1 .. 1 + rand 3;
	my @publications = map { publication($_, \%lists, $full) } @names;
	my (@created, @writes);
	# what the server itself does not allow is left out
	for my $sql (@setup, @publications)
	{
		my ($rc, undef, $err) = $node->psql('postgres', $sql);
		push @created, $1 if $rc == 0 && $sql =~ /^CREATE PUBLICATION (\S+)/;
	}
	next if !@created;
	push @writes, chance(0.3) ? ('BEGIN', (map { statement() } 1 .. 4), 'SAVEPOINT s', statement(), chance(0.5) ? 'ROLLBACK TO s' : 'RELEASE s', statement(), 'COMMIT')
	  : statement() for 1 .. 15;
	# one that fails is undone alone
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'psql', '-X', '-q', '-v', 'ON_ERROR_ROLLBACK=on', '-d', $node->connstr('postgres') ], '<', \join('', map { "$_;\n" } @writes), '>', \$out, '2>', \$err);
	my $list = join ',', @created;
	my $theirs = theirs($list, $full);
	my @ours = ours($list);
	my @theirs = @{ $theirs // [] };
	$compared += @theirs;
	my $ok = !$theirs || join("\n", @ours) eq join("\n", @theirs);
	$same++ if $ok && $theirs;
	if (!$ok)
	{
		my ($n) = grep { ($ours[$_] // '') ne ($theirs[$_] // '') } 0 .. @ours + @theirs;
		fail("round $round, change $n");
		diag join "\n", map { substr $_, 0, 300 } 'ours:', @ours[ ($n ? $n - 1 : 0) .. $n + 2 ], 'theirs:', @theirs[ ($n ? $n - 1 : 0) .. $n + 2 ], @publications, @writes;
		last;
	}
	$node->safe_psql('postgres', join ';', map { "DROP PUBLICATION $_" } @created);
}
cmp_ok($same, '>', $rounds / 2, "the same changes as pgoutput's in every one of $same rounds (seed $seed)");
cmp_ok($compared, '>', $rounds, "and there were some: $compared");
$node->stop;
done_testing();
