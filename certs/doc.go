// Package certs gives listeners their certificates: from files that are read
// again on reload, or made on the spot and signed by themselves for
// development and for a first start.
//
// Flow:
//  1. app makes a [Source] from the configuration.
//  2. Each listener asks [Source.Config] for its TLS settings; the certificate
//     is looked up at every handshake, so a reload needs no restart.
//  3. On reload app calls [Source.Reload]: a pair that does not load leaves the
//     old one in use and is reported.
//
// Invariants: TLS 1.2 at the least, AEAD suites with forward secrecy only, no
// renegotiation (TL1); a client that offers ALPN must offer a name of this
// service (TL2); tickets of one service are not taken by another, as each
// Config has keys of its own.
//
// Standards: RFC 9325 (TLS settings), RFC 7301 (ALPN), RFC 8446.
package certs
