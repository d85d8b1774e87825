# Untouched.pm - a start that is refused writes nothing anywhere: everything is compared, before and after.
package Walrank::Untouched;

use strict;
use warnings;
use Digest::MD5 qw(md5_hex);
use Exporter 'import';
use File::Find;
use Test::More;
use Walrank;

our @EXPORT = qw(everything refused);

sub answer
{
	my ($node, $db, $sql) = @_;
	my ($rc, $out) = $node->psql($db, $sql);
	return $rc == 0 ? $out : "cannot be asked: $rc";
}

# Whatever would show that something was written: journal, feed and items by content, all sinks, the control row, the slot.
# Only that the store was opened may show.  Options: node and db of the source; search, the cluster of a postgres sink.
sub everything
{
	my ($d, %o) = @_;
	my @files;
	my %all;
	my $node = $o{node} // $d->{node};
	my $db = $o{db} // 'postgres';

	find({ no_chdir => 1, wanted => sub { push @files, $_ if -f && !m{/(lock|lock\.mdb|mark)$} } }, $d->{state});
	$all{ s/^\Q$d->{state}\E//r } = md5_hex(slurp($_)) for @files;
	$all{"the file sink's $_"} = md5_hex(slurp($_)) for grep { !/\.lock$/ } glob "$d->{ndjson}*";
	if (my $search = $o{search})
	{
		for my $table (split /\n/, $search->safe_psql('postgres', q{SELECT oid::regclass FROM pg_class WHERE relnamespace = 'walrank_out'::regnamespace AND relkind = 'r' ORDER BY relname}))
		{
			$all{$table} = $search->safe_psql('postgres', "SELECT md5(string_agg(j::text, ',' ORDER BY j::text)) FROM (SELECT to_jsonb(t) AS j FROM $table t) x");
		}
	}
	$all{'walrank.control'} = answer($node, $db, 'SELECT * FROM walrank.control ORDER BY 1');
	$all{slots} = answer($node, $db, 'SELECT slot_name, plugin, database, confirmed_flush_lsn FROM pg_replication_slots ORDER BY 1');
	return \%all;
}

# Starts the daemon and expects it to stop by itself, naming the rule, with a hint, nothing written.
sub refused
{
	my ($d, $rule, $what, $when, %o) = @_;
	my $before = everything($d, %o);
	my ($code, $log) = $d->fails(@{ $o{arguments} // [] });

	is($code, 1, "$when: the daemon stops");
	like($log, $rule eq '' ? qr/$what/ : qr/rule $rule: $what/, "$when: the message names " . ($rule eq '' ? 'the damage' : "rule $rule"));
	like($log, qr/HINT: .*\w/, "$when: there is a hint");
	is_deeply(everything($d, %o), $before, "$when: nothing was written");
	return $log;
}

1;
