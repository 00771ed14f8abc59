// Package interop drives the real program with real clients from the
// distribution: curl, swaks, msmtp, mbsync, OfflineIMAP, InterIMAP, fetchmail, getmail,
// mpop, Mutt, NeoMutt, Alpine, s-nail, openssl, Perl's Mail::IMAPClient, Python's imaplib,
// poplib and smtplib, and with the IMAP client of another Go project; and lets it
// exchange mail with Postfix, Exim and Dovecot, and get
// certificates from Pebble, with Knot as the name server. It has only tests.
//
// Flow:
//  1. harness_test.go builds postino, writes a configuration for loopback
//     ports below a temporary directory, creates users through the command
//     line and starts "postino serve"; all of this once, at the first need.
//  2. Each test drives one client and asks over IMAP, with a client of its
//     own, what has really happened. Tests do not share users.
//  3. Peers are started at the first need too, each below one directory and on
//     loopback ports (peer_test.go, and a file for each). Routes of a test are for
//     its own sender or domain. A peer puts all mail into one Maildir, where a test
//     finds its own by Message-ID and compares it octet by octet; what was said on
//     the way stands in trace fields and in the peer's log.
//  4. Servers are ended by SIGTERM; an exit code of ours other than 0 is a failure.
//
// A missing program skips its test, but fails it in CI (CI set) and for root,
// who can run scripts/install-test-deps. Peers need root.
//
// To know that the client side is right, the same tests run against Postfix
// and Dovecot: start "test/peers/peers up DIR reference" and set
// INTEROP_REFERENCE=DIR. What only Postino promises is left out then.
package interop
