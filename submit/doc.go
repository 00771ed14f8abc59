// Package submit puts messages on the queue: those that come in over SMTP and
// LMTP, those that programs hand over on this machine, and those that the
// system writes itself. It knows where addresses lead and what a message from
// a user must look like, and nothing of the wire.
//
// Flow:
//  1. [Post.Begin] opens a [Letter] for an envelope.
//  2. [Letter.Rcpt] asks the directory where an address leads: to mailboxes here,
//     to addresses elsewhere that an alias names, or to another server.
//  3. [Letter.Write] sends the octets in one pass to the body store and to the
//     indexer. The header of a submission is held back until it is complete,
//     and mended (RFC 6409 §8). What is ours is hashed on the way and signed with
//     the keys of its author's domain; the signatures stand before the stored
//     octets in all copies. What aliases of a domain that seals send on gets an
//     ARC set, after all else.
//  4. [Letter.Commit] makes one queue item per transport and site, and commits
//     body, items and story at once.
//
// Post is also the queue's Reporter: it writes the reports that failed, delayed
// and delivered mail owes to its sender; and it takes what the sendmail command
// left in the spool while the server was down.
//
// It stands on a ledge between desks and work: every desk that accepts mail
// needs it, and no desk may lean on another (ADR 0004).
//
// Invariants: a Letter is committed once or leaves nothing. A recipient gets a
// message once, however many addresses lead to him. A forwarded message has a
// reverse-path of ours, unless the sender is ours or null, so that reports come
// back here (SRS). Bcc never leaves (RFC 5322 §3.6.3). What strangers send is
// never signed (MA5). What was signed is not changed any more.
//
// Limits: [Limits].
//
// Standards: RFC 3461 §5.2.7 (aliases and lists), RFC 3464, RFC 5321 §3.9, RFC
// 6376 §5, RFC 6409 §8, RFC 8617 §5.1, RFC 8689 §3 (TLS-Required), RFC 9228
// (Delivered-To).
package submit
