// Package fetch is the one guarded dialer: what outside data makes this node
// connect to, it connects to here (DN4).
//
// Flow, for one request:
//  1. The URL must be https on port 443, or http on port 80 where the caller
//     takes that, without a user and a password in it (check).
//  2. The name of the host is looked up once. Of its addresses those that the
//     [Guard] refuses are left out; the connection goes to one of the others and
//     to nothing else, so that no second answer of a name server leads astray.
//  3. TLS, then HTTP/1.1: headers and body are read up to their limits, all
//     within one time. A redirect is an error, unless the caller allows some:
//     then each is a new request from step 1.
//
// The same [Guard] says which addresses no mail is sent to (SC7).
//
// Invariants:
//   - No connection to loopback, private, shared, link-local, multicast and
//     reserved networks, to an IPv6 address that stands for an IPv4 one, or to
//     this node itself, unless the operator listed the address.
//   - No proxy and no setting of the environment has a say; no cookies, no
//     Referer, no credentials.
//   - TLS 1.2 or newer, with a certificate that names the host among its subject
//     alternative names.
//   - No connection outlives its request.
//
// Limits: those of [Request]; 64 KiB of response headers, 20 addresses.
//
// Standards: RFC 9110, RFC 9112 (HTTP); RFC 9325 (TLS); RFC 9525 §6 (names);
// RFC 6890 and the registries of special-purpose addresses.
package fetch
