// Package interop drives the real program with real clients from the
// distribution: curl, swaks, msmtp, mbsync, Python's imaplib and smtplib, and
// with the IMAP client of another Go project. It has only tests.
//
// Flow:
//  1. harness_test.go builds postino, writes a configuration for loopback
//     ports below a temporary directory, creates users through the command
//     line and starts "postino serve"; all of this once, at the first need.
//  2. Each test drives one client and asks over IMAP, with a client of its
//     own, what has really happened. Tests do not share users.
//  3. The server is ended by SIGTERM; an exit code other than 0 is a failure.
//
// A missing program skips its test, but fails it in CI (CI set) and for root,
// who can run scripts/install-test-deps.
//
// To know that the client side is right, the same tests run against Postfix
// and Dovecot: start "test/peers/peers up DIR reference" and set
// INTEROP_REFERENCE=DIR. What only Postino promises is left out then.
package interop
