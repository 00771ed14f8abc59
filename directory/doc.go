// Package directory knows who is here and which way leads elsewhere: domains,
// users, aliases, credentials and routes, kept in the node's own key-value store.
//
// Flow:
//  1. Administration ([Directory.AddDomain], [Directory.AddUser],
//     [Directory.SetAlias] …) checks and writes records in one transaction of
//     the scope "d"; what other rooms keep per account follows in the same
//     transaction through [AccountHooks].
//  2. Every such write also moves a generation mark; a watch on that mark
//     empties the caches, on every node that shares the store.
//  3. [Directory.Resolve] turns a forward-path into mailboxes and into addresses
//     elsewhere: exact address, sub-address, recipient of a relay domain,
//     whole-domain alias, postmaster, catch-all, in this order. Answers, also "no
//     such user", are cached.
//  4. [Directory.Authenticate] finds the account of a user name, then tries
//     app passwords (one SHA-256), verdicts of the last five minutes (one
//     HMAC) and at last the password's argon2id hash. [Directory.SASL] binds all
//     mechanisms to a connection. Every login is one attempt: admitted, verified
//     in its own way, counted.
//  5. A user who submits is asked for his right to the reverse-path
//     ([Directory.MaySendAs]) and for the number of recipients
//     ([Directory.TakeSend]); the counts live in memory and are written behind.
//  6. What is not delivered here goes the way of [Directory.RouteFor], from a
//     table of all routes that is read again when one has changed.
//  7. Every domain has keys that sign its mail. A [Keeper] makes them, looks for
//     their records in the DNS and changes from old ones to new ones;
//     [Directory.SignKeys] gives those that sign, from memory.
//
// Invariants:
//   - An account id is never given twice, also after its user was removed.
//   - Addresses are compared in one form: domain in lower-case A-labels, local
//     part in NFC and lower case. The spelling that was created is kept for
//     display.
//   - An address is a user or an alias, never both.
//   - postmaster, with or without a domain of ours, leads to somebody as soon
//     as there is one user (RFC 5321 §4.5.1).
//   - An alias that is written leads to at least one user or address elsewhere, to
//     nothing unknown in a domain of ours, and not to itself.
//   - All mail of an address that one may send as leads to him or to the one whose
//     delegate he is, unless it is a list that says that its members may.
//   - The passwords of routes and the private parts of keys are in no list, log or
//     reply.
//   - A DKIM key signs only after its record was seen in DNS; of each algorithm at
//     most one signs for a domain. The one before it goes in the transaction in
//     which it comes. No selector is used twice.
//   - Unknown user, disabled user and wrong password are one answer, in text
//     and in time; every name has a SCRAM salt, the same for ever.
//   - A login goes on only as long as what it stands on: user, domain, password.
//   - Nobody acts for another, and is told no more about one who exists.
//   - The keys of SCRAM are of the password that the hash is of. What CRAM-MD5 and
//     DIGEST-MD5 need is kept only while they are offered.
//
// Limits: aliases lead over at most 10 steps to at most 1,000 mailboxes and
// addresses; 64 app passwords for a user; passwords up to 1 KiB; caches and
// counts of 65,536 entries; (cores) password hashes at once and 64 waiting; 10,000
// routes of 10 hosts; 500 recipients an hour and 2,000 a day for a user who has no
// limits of his own, of which a crash forgets the last 10 seconds or a tenth of
// the hour, whichever is less.
//
// Standards: RFC 5321 §4.5.1 (postmaster), §2.4 (local parts), §3.6 (relaying),
// §3.9 (aliases and lists); RFC 2033 §5 (ports of LMTP); RFC 2142 and RFC 7293 §5
// (roles, changes of hands); RFC 6409 §6.1 (who may send as whom); RFC 5233
// (sub-addresses); RFC 5890 (A-labels); RFC 8265 §3.3 (user names), §4.2
// (passwords); RFC 5802 §3 (SCRAM keys); RFC 5280 §4.2.1.6 (addresses in client
// certificates); RFC 9106 (argon2id); the PHC string format; RFC 5863 §3.5, RFC
// 6376 §3.6 and §6.1.1, RFC 8463 (DKIM keys); PKCS #11 (tokens, by build tag).
package directory
