// Package certs gives listeners their certificates: from files that are read
// again on reload, from authorities that issue them by ACME, or made on the spot
// and signed by themselves, so that no start waits for one.
//
// Flow:
//  1. app makes a [Source] from the configuration, and an [ACME] that gets
//     certificates into it and keeps them in a [Store].
//  2. Each listener asks [Source.Config] for its TLS settings; the certificate for
//     the name that a client asks for is chosen at every handshake, so a change
//     needs no restart: exact name, wildcard, that of the host; files before what
//     was issued, and what has not ended before what has.
//  3. On reload app calls [Source.Reload]: all files take effect or none.
//  4. [ACME.Run] looks after each name in turn: asks when to renew, takes a lease,
//     orders from one authority after the other, stores, shows. One row of the
//     store holds all of a name: what is in use, what waits, the key that is next.
//  5. Authorities look for proofs by [Source.Challenge] on port 80, by TLS-ALPN-01
//     on port 443, or in DNS through an [Updater].
//  6. Before a certificate takes the place of another, [Source.Watch]'s resolver is
//     asked for TLSA records: while they vouch for the old chain alone it waits, and
//     for two TTLs after they began to vouch for both.
//  7. [Source.Run] tells what ends soon and tries again what waits.
//
// Invariants: TLS 1.2 at the least, AEAD suites with forward secrecy only, no
// renegotiation (TL1); a client that offers ALPN must offer a name of this
// service (TL2); tickets are good for the listener that gave them and for the
// certificates that it had, whose channel bindings they carry on; names are SANs,
// wildcards the leftmost label (TL4); a renewed certificate keeps its key unless
// somebody asked for another; at most five orders an hour for a name that fails.
//
// Limits: 10,000 names, one order at a time of at most 10 minutes; replies of
// authorities 1 MiB; client chains of 10; crypto/tls bounds handshake messages to
// 64 KiB, those with certificates to 256 KiB.
//
// Standards: RFC 9325 (TLS settings), RFC 7301 (ALPN), RFC 8446, RFC 9525 §6;
// RFC 8555 (ACME), RFC 8737 (TLS-ALPN-01), RFC 9773 (renewal info); RFC 6698,
// RFC 7671 §5 and §8 (TLSA).
package certs
