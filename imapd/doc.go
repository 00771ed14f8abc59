// Package imapd is the desk where the IMAP engine meets the mailboxes: it
// implements imap.Session on mailbox, directory, blob and message.
//
// Flow of a session:
//  1. The engine calls [Desk.NewSession] for a connection; Login or
//     Authenticate asks the directory and opens the account.
//  2. Select opens the mailbox's shared view. The session keeps one immutable
//     snapshot: what its client believes. Sequence numbers are positions in it.
//  3. Every command works on that snapshot. What others changed since is told
//     by Poll, which moves the session to a newer snapshot; while EXPUNGE may
//     not be sent, removed messages are kept in it.
//  4. Fetch reads pages of columns, stored rows and bodies and gives them to
//     the engine's writer; no transaction is open while it writes.
//
// Invariants: an operation that changes something returns after its commit is
// durable (IM8); a session reaches only the account that it logged in to
// (AU8); octets of a message are those that were stored (PA7).
//
// Limits: those of the engine (security.md section 6) and of mailbox (quota,
// names, keywords). Sequence sets are kept as ranges, never expanded.
//
// Standards: RFC 9051, RFC 3501, RFC 7162 (CONDSTORE, QRESYNC), RFC 5465 (NOTIFY), RFC 3516 (BINARY),
// RFC 4315 (UIDPLUS), RFC 6851 (MOVE), RFC 6154 (SPECIAL-USE), RFC 4314 (ACL),
// RFC 4469 (CATENATE), RFC 5464 (METADATA), RFC 8474 (OBJECTID), RFC 8508 (REPLACE),
// RFC 8514 (SAVEDATE), RFC 8970 (PREVIEW), RFC 9208 (QUOTA), RFC 5256 (SORT,
// THREAD), RFC 7377 (MULTISEARCH), RFC 9394 (PARTIAL), RFC 9738 (MESSAGELIMIT).
package imapd
