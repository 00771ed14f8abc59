// Package receive is the desk where mail comes in: everything that is decided
// while the client is connected. It binds the SMTP engine to the directory,
// the bodies, the queue and the stories.
//
// Flow:
//  1. A connection gets a session. On a submission listener MAIL needs a login,
//     and whoever is logged in sends only as himself (SS22).
//  2. RCPT resolves the address: unknown, disabled, full and foreign ones are
//     refused here and never bounced later (SS18, SS20).
//  3. The content goes in one pass to the body store and to the indexer, behind
//     our Received field (RFC 5321 §4.4).
//  4. At its end header limits (SS9) and loops (SS24) are looked at; then body,
//     queue item and story are committed at once, and the reply is 250 (SS21).
//
// Everything that is refused becomes an event: within a transaction that ends
// well in its commit, otherwise by [story.Store.Note].
//
// Invariants: no lock and no store transaction is held while the client is
// waited for. Nothing is kept of a transaction that was not committed (SS3), and
// nothing is cached from one to the next (SS4).
//
// Limits: those of the engine and the indexer; [Limits] for what is decided here.
//
// Standards: RFC 5321 §3.3, §3.6, §4.4, §6.3; RFC 3848; RFC 6409 §4.3, §6.1;
// RFC 6531 §3.7.3; RFC 8314 §4.3; RFC 9228.
package receive
