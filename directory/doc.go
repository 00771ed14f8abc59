// Package directory knows who is here: domains, users, aliases and their
// credentials, kept in the node's own key-value store.
//
// Flow:
//  1. Administration ([Directory.AddDomain], [Directory.AddUser],
//     [Directory.SetAlias] …) checks and writes records in one transaction of
//     the scope "d"; what other rooms keep per account follows in the same
//     transaction through [AccountHooks].
//  2. Every such write also moves a generation mark; a watch on that mark
//     empties the caches, on every node that shares the store.
//  3. [Directory.Resolve] turns a forward-path into mailboxes: exact address,
//     sub-address, whole-domain alias, postmaster, catch-all, in this order.
//     Answers, also "no such user", are cached.
//  4. [Directory.Authenticate] finds the account of a user name, then tries
//     app passwords (one SHA-256), verdicts of the last five minutes (one
//     HMAC) and at last the password's argon2id hash.
//
// Invariants:
//   - An account id is never given twice, also after its user was removed.
//   - Addresses are compared in one form: domain in lower-case A-labels, local
//     part in NFC and lower case. The spelling that was created is kept for
//     display.
//   - An address is a user or an alias, never both.
//   - postmaster, with or without a domain of ours, leads to somebody as soon
//     as there is one user (RFC 5321 §4.5.1).
//   - An alias that is written leads to at least one user and not to itself.
//   - Unknown user, disabled user and wrong password are one answer, in text
//     and in time.
//
// Limits: aliases lead over at most 10 steps to at most 1,000 mailboxes; 64 app
// passwords for a user; passwords up to 1 KiB; caches of 65,536 entries;
// (cores) password hashes at once and 64 waiting.
//
// Standards: RFC 5321 §4.5.1 (postmaster), §2.4 (local parts); RFC 5233
// (sub-addresses); RFC 5890 (A-labels); RFC 8265 §3.3 (user names), §4.2
// (passwords); RFC 9106 (argon2id); the PHC string format.
package directory
