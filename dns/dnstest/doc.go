// Package dnstest has what tests with names need: signed zones with faults by
// script, and the suite that every dns.Resolver passes.
//
// Flow:
//
//  1. A test makes a [World], gives it zones as text, says how each is signed
//     and what goes wrong; World.Resolver is a validating resolver of it in the
//     process, World.Serve puts its name server on loopback sockets:
//
//     r := dnstest.NewWorld(t).Zone("example.org", dnstest.Signed(), "@ MX 10 mx").Resolver(t)
//
//  2. The world answers like a recursive server that does not validate: it
//     finds the zone, signs what it hands out, and adds the proofs of denials.
//     Then it spoils the reply as the [Fault] of the name says.
//
//  3. [Run] is the suite: it fills a dns.Fake with zones and asks the
//     implementation for a resolver that gets its answers from it, directly or
//     over the network; then it compares answers with what the zones say.
//
// Invariants: zones without faults are what a correct name server would hand
// out, so that a resolver has no excuse. Keys are made when a zone is added and
// are new in each run. Nothing here is for production: RSA keys are short, and
// every signature is made at the first question.
//
// Limits: those of package dns; the requirements DN1 to DN3 are named at the
// tests. Standards: RFC 1035 §5 (zone texts), RFC 4034 and 4035 (signatures,
// NSEC), RFC 5155 (NSEC3), RFC 6672 (DNAME); the rest as in package dns.
package dnstest
