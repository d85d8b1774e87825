# What only newer servers have: columns computed when read (18), tables left out of a publication of all (19).
use strict;
use warnings;
use Walrank;
use JSON::XS;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = source('majors', allow => 1);
my $major = int($node->safe_psql('postgres', 'SHOW server_version_num') / 10000);
my @slot = ('SELECT', "pg_create_logical_replication_slot('walrank_majors', 'walrank')");
$node->safe_psql('postgres', "@slot");

# name => columns of each table that the stream describes since the last call
sub described
{
	my ($publication) = @_;
	my $names = $publication ? ", 'publication_names', '$publication'" : '';
	my $frames = $node->safe_psql('postgres', "SELECT data FROM pg_logical_slot_get_changes('walrank_majors', NULL, NULL, 'format', 'json'$names)");
	my %tables;
	for my $frame (map { decode_json($_) } split /\n/, $frames)
	{
		for my $relation (map { $_->{relation} // () } @{ $frame->{entries} })
		{
			$tables{"$relation->{schema}.$relation->{table}"} = join ',', map { $_->{name} } @{ $relation->{columns} };
		}
	}
	return \%tables;
}

# the server's own answer to what a publication holds
sub published
{
	my ($publication) = @_;
	return [ sort split /\n/, $node->safe_psql('postgres',
			"SELECT schemaname || '.' || tablename FROM pg_publication_tables WHERE pubname = '$publication'") ];
}

$node->safe_psql('postgres', q{
	CREATE TABLE kept (id int PRIMARY KEY);
	CREATE TABLE left_out (id int PRIMARY KEY);
	CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id);
	CREATE TABLE branch PARTITION OF root FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (id);
	CREATE TABLE leaf PARTITION OF branch FOR VALUES FROM (0) TO (100);
	CREATE TABLE other_root (id int PRIMARY KEY) PARTITION BY RANGE (id);
	CREATE TABLE other_leaf PARTITION OF other_root FOR VALUES FROM (0) TO (100);
	CREATE TABLE parent (id int PRIMARY KEY);
	CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent);
	CREATE PUBLICATION everything FOR ALL TABLES;
});
my $write = join ';', map { "INSERT INTO $_ VALUES (1)" } qw(kept left_out root other_root parent child);

$node->safe_psql('postgres', $write);
is_deeply([ sort keys %{ described('everything') } ], published('everything'), 'FOR ALL TABLES: what the server says it publishes is sent');

SKIP:
{
	skip "publications without some tables came with 19, this is $major", 2 if $major < 19;
	my $except = q{CREATE PUBLICATION except_some FOR ALL TABLES EXCEPT (TABLE left_out, root, parent)};
	$node->safe_psql('postgres', "$except; " . join ';', map { "DELETE FROM $_" } qw(kept left_out root other_root parent));
	# the slot reads the catalog as it was at each change
	my $sent = [ sort keys %{ described('except_some') } ];
	is_deeply($sent, published('except_some'), 'EXCEPT: partitions and children of what is left out are left out too');
	is_deeply($sent, [qw(public.kept public.other_leaf)], 'EXCEPT: the others are sent');
}

SKIP:
{
	skip "virtual generated columns, and publications that say what they want of stored ones, came with 18, this is $major", 5 if $major < 18;
	$node->safe_psql('postgres', q{
		CREATE TABLE computed (id int PRIMARY KEY, v int, stored int GENERATED ALWAYS AS (v + 1) STORED, virtual int GENERATED ALWAYS AS (v + 2) VIRTUAL, last int);
		CREATE PUBLICATION stored FOR TABLE computed WITH (publish_generated_columns = stored);
		CREATE PUBLICATION listed FOR TABLE computed (id, stored)});
	# a column computed when it is read is not in the log, and never in the stream
	for my $case ([ everything => 'id,v,last' ], [ stored => 'id,v,stored,last' ], [ listed => 'id,stored' ], [ 'everything, listed' => 'id,v,stored,last' ], [ '' => 'id,v,stored,last' ])
	{
		$node->safe_psql('postgres', 'INSERT INTO computed VALUES (1, 1, DEFAULT, DEFAULT, 5); UPDATE computed SET v = 2; DELETE FROM computed');
		is(described($case->[0])->{'public.computed'}, $case->[1], "generated columns: publications \"$case->[0]\"");
	}
}
$node->stop;
done_testing();
