// Package receive is the desk where mail comes in: everything that is decided
// while the client is connected. It binds the SMTP engine to the directory,
// the bodies, the queue and the stories.
//
// Flow:
//  1. A connection gets a session. On a submission listener MAIL needs a login,
//     and whoever is logged in sends only as he may (SS22). On LMTP listeners and
//     on the socket of the sendmail command the peer is this machine's.
//  2. RCPT goes to a submit.Letter, which finds out where the address leads:
//     unknown, disabled, full and foreign ones are refused here and never
//     bounced later (SS18, SS20).
//     With the first of a stranger's the trial begins: SPF and the name of the
//     client are looked up in the background.
//  3. DATA takes the recipients from what the user may send to in an hour, and
//     writes our Received field (RFC 5321 §4.4); the content follows. Its header is
//     held back until it is complete, and loses what it claims in our name (MA2);
//     its signatures are hashed as it passes.
//  4. At its end loops are looked for (SS24), and the trial comes to its verdict:
//     the message is refused, put off, taken as junk or taken. Then the letter
//     commits body, queue items and story at once, and the reply is 250 (SS21).
//     Domains that want to know of their mail are told by [Reports].
//  5. ETRN starts the queue for domains that we keep mail for; BURL opens messages
//     in the user's own mailboxes.
//
// Everything that is refused becomes an event: within a transaction that ends
// well in its commit, otherwise by story.Store.Note.
//
// Invariants: what the DNS cannot tell is never taken for a pass (DN2), and nobody
// but those that the administrator trusts changes a verdict (MA6). No lock and no
// store transaction is held while the client is waited for. Nothing is kept of a transaction that was not committed (SS3), and
// nothing is cached from one to the next (SS4). What runs in the background ends
// with its transaction (G11).
//
// Limits: those of the engine and of submit; Limits for what is decided here.
//
// Standards: RFC 1985; RFC 2033; RFC 3865 §2.5, §2.6; RFC 4468 §3.3 (regular IMAP
// URLs of RFC 5092); RFC 5321 §3.3, §3.6, §4.4, §6.3; RFC 3848; RFC 6409 §4.3,
// §6.1; RFC 6531 §3.7.3; RFC 6710 §4.1; RFC 7293 §3; RFC 8314 §4.3; RFC 9228;
// RFC 7372 (codes), RFC 8601 §4, §5 (Authentication-Results), RFC 8617 §7.2, RFC
// 9989 §5.3, §7 (what follows from DMARC), RFC 7960 (why forwarders are trusted).
package receive
