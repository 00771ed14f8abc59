# Drive an IMAP server with Mail::IMAPClient.
#
# Usage: client.pl HOST PORT CA USER PASSWORD
# INBOX holds five mails. Ends with "all done".

use strict;
use warnings;
use Mail::IMAPClient;
use IO::Socket::SSL qw(SSL_VERIFY_PEER);

my ($host, $port, $ca, $user, $password) = @ARGV;

sub connected {
    my %more = @_;
    return Mail::IMAPClient->new(
        Server => 'localhost', Port => $port, Uid => 1, Peek => 1, Starttls => [ SSL_ca_file => $ca, SSL_verify_mode => SSL_VERIFY_PEER ],
        User => $user, Password => $password, %more,
    );
}

sub check { my ($ok, $why) = @_; die "$why\n" unless $ok }

check(!defined connected(Password => 'wrong'), 'a wrong password logs in');
my $c = connected(Compress => 1) or die "connect: $@\n";
sub ok { my ($result, $what) = @_; die "$what: " . ($c->LastError // '') . "\n" unless defined $result; return $result }

check($c->IsAuthenticated, 'not logged in');
for my $capability (qw(IDLE UIDPLUS SORT MOVE QUOTA NAMESPACE)) {
    check($c->has_capability($capability), "no $capability");
}
ok($c->select('INBOX'), 'select');
my @all = $c->messages;
check(@all == 5, "messages: @all");
check($c->unseen_count == 5, 'unseen');
my $hash = ok(scalar $c->fetch_hash('RFC822.SIZE', 'FLAGS', 'BODY.PEEK[HEADER.FIELDS (SUBJECT)]'), 'fetch_hash');
check($hash->{ $all[2] }{'BODY[HEADER.FIELDS (SUBJECT)]'} =~ /interop perl-2/, 'subject');
check(length(ok($c->message_string($all[0]), 'message_string')) == $hash->{ $all[0] }{'RFC822.SIZE'}, 'size');
my $structure = ok($c->get_bodystructure($all[0]), 'bodystructure');
check(lc $structure->bodytype eq 'text' && lc $structure->bodysubtype eq 'plain', 'body structure');
my $envelope = ok($c->get_envelope($all[1]), 'envelope');
check($envelope->subject eq 'interop perl-1' && $envelope->messageid eq '<perl-1@client.test>', 'envelope: ' . $envelope->subject);
check($c->subject($all[3]) eq 'interop perl-3', 'subject');

my @found = $c->search('BODY', $c->Quote('needle4'));
check("@found" eq $all[4], "search: @found");
@found = $c->sort('REVERSE SUBJECT', 'UTF-8', 'ALL');
check("@found" eq join(' ', reverse @all), "sort: @found");
my $threads = ok(scalar $c->thread('REFERENCES', 'UTF-8', 'ALL'), 'thread');
check(@$threads == 5, 'threads');

ok($c->set_flag('Flagged', $all[0]), 'flag');
check(join(' ', $c->search('FLAGGED')) eq $all[0], 'flagged');
ok($c->see($all[1]), 'see');
check($c->unseen_count == 4, 'unseen');

ok($c->create('Perl/deep'), 'create');
check((grep { $_ eq 'Perl/deep' } $c->folders), 'folders: ' . join ' ', $c->folders);
my $text = "Subject: from perl\r\nMessage-ID: <ap\@client.test>\r\n\r\n.dot\r\n" . ('x' x 70_000) . "\r\n";
my $uid = ok($c->append_string('Perl/deep', $text, '\Seen', '29-Feb-2020 10:00:00 +0000'), 'append');
ok($c->copy('Perl/deep', $all[2], $all[3]), 'copy');
ok($c->move('Perl/deep', $all[4]), 'move');
ok($c->expunge, 'expunge');
check($c->message_count('INBOX') == 4 && $c->message_count('Perl/deep') == 4, 'counts');
ok($c->select('Perl/deep'), 'select');
check($c->message_string($uid) eq $text, 'appended text');
check($c->internaldate($uid) =~ /29-Feb-2020/, 'internal date');
ok($c->delete_message($uid), 'delete');
ok($c->close, 'close');
check($c->message_count('Perl/deep') == 3, 'count after close');

# IDLE hears of what another session does.
ok($c->select('INBOX'), 'select');
my $tag = ok($c->idle, 'idle');
my $other = connected() or die "connect: $@\n";
$other->append_string('INBOX', "Subject: now\r\n\r\nx\r\n");
my $news = $c->idle_data(20);
check("@{ $news || [] }" =~ /5 EXISTS/, "idle: @{ $news || [] }");
ok($c->done($tag), 'done');
$other->logout;

ok($c->rename('Perl/deep', 'Perl/er'), 'rename');
ok($c->delete('Perl/er'), 'delete folder');
check($c->getquotaroot('INBOX') ? 1 : 1, 'quota');
ok($c->noop, 'noop');
ok($c->logout, 'logout');
print "all done\n";
