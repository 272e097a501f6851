# Hashes, arrays, regular expressions and long strings.
use strict; use warnings;
my ($count, %index, @lines) = ($ARGV[0]);
my $state = 1;
for my $number (1 .. $count) {
    $state = ($state * 1103515245 + 12345) % 4294967296;
    push @lines, join ' ', map { sprintf '%s%x', chr(97 + $_), $state >> $_ } 0 .. $number % 12;
}
for my $line (@lines) {
    push @{ $index{$1} }, length $line while $line =~ /\b([a-z][0-9a-f]{1,3})/g;
}
my $text = join "\n", sort @lines;
(my $changed = $text) =~ s/([b-d])([0-9a-f]+)/$2$1/g;
print length $changed, ' ', unpack('%32C*', $changed), "\n";
print "$_ ", scalar @{ $index{$_} }, "\n" for (sort { @{ $index{$b} } <=> @{ $index{$a} } || $a cmp $b } keys %index)[0 .. 9];
my %copy = map { $_ => [ @{ $index{$_} } ] } keys %index;
delete @index{ grep { /0/ } keys %index };
print scalar(keys %index), ' ', scalar(keys %copy), "\n";
