// Package imapclient is the side of IMAP that asks: what is needed to read all
// mail of an account on another server, and no more.
//
// Flow: (1) [New] takes a connection and its greeting; (2) [Client.StartTLS] and
// [Client.Login]; (3) [Client.Mailboxes]; (4) for each mailbox [Client.Examine],
// which changes nothing, not even \Recent; (5) [Client.Envelopes] tells UIDs,
// flags, dates and sizes of all messages in one pass; (6) [Client.Bodies] streams
// the octets of those that are wanted.
//
// Invariants: nothing is written to the other server's mailboxes; a body is
// streamed, never held; after an error of the connection every call fails.
//
// Limits: see [Limits]; a server that sends more is cut off (security IM2, IM3
// turned round).
//
// Standards: RFC 3501 and RFC 9051 as a client, RFC 2683 (what clients must
// bear), RFC 4959 (SASL-IR), RFC 6154 (special use), RFC 7888 (literals),
// RFC 8314 (TLS).
package imapclient
