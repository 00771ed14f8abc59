// Package mailauth knows how a domain proves that mail is its own, and how mail
// stays provable on its way. It holds the rules and nothing else: what it has to
// know comes in as arguments, and it neither stores nor listens.
//
// Flow of [SRS]: a message that is forwarded to another host gets a sender in our
// own domain ([SRS.Forward]), because the domain of the original one does not list
// us among its hosts; what comes back to that sender is given its original address
// ([SRS.Reverse]).
//
// Invariants: only addresses that Forward made under one of the secrets are
// reversed, and only for a time: the host is no open relay for bounces; an address
// that may have been through a system which changed the case of its letters still
// counts as ours; the time spent does not tell where a forged one differs.
//
// Limits: local parts of 64 octets (SS19): what would be longer is not rewritten.
//
// Standards: the Sender Rewriting Scheme (M. Weber, S. Rose, 2004), with SRS0, SRS1
// and the three separators; RFC 5321 §4.5.3.1.1 (local parts).
package mailauth
