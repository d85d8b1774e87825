# Corpus.pm - other people's sources (tests/corpus/fetch) for the tests of tests/corpus.
package Corpus;

use strict;
use warnings;
use Exporter 'import';
use Test::More;
use Walrank;

our @EXPORT = qw(corpus_source pg_config build_library);

# A source directory, or the end of the test, said loudly.
sub corpus_source
{
	my ($name) = @_;
	my $dir = $ENV{CORPUS_DIR} // '';
	return "$dir/$name" if -d "$dir/$name";
	my $why = "NOT RUN: no sources of $name" . ($dir ? " in $dir" : '') . ' (tests/corpus/fetch, make full-corpus)';
	diag($why);
	plan(skip_all => $why);
}

sub pg_config
{
	my ($what) = @_;
	chomp(my $value = qx{"$ENV{PG_CONFIG}" $what});
	return $value;
}

sub build_library
{
	my ($source, $library) = @_;
	Walrank::run_quiet('gcc', '-w', '-O1', '-fPIC', '-shared', '-I', pg_config('--includedir-server'), '-o', $library, $source);
	return;
}

1;
