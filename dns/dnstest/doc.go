// Package dnstest is the suite that every dns.Resolver passes, and a tree of
// signed zones to try validators on.
//
// Flow: [Run] fills a dns.Fake with zones and asks the implementation for a
// resolver that gets its answers from it, directly or over the network; then
// it compares answers with what the zones say. A [World] reads zones from text
// and links them from the root down; its Dial leads to a recursive server in
// the process, which signs what is asked for, proves what is not there, and
// misbehaves where told.
//
// Invariants: a World signs with fresh keys, so nothing outside it trusts its
// answers; all that it starts ends when the connections are closed. The
// requirements DN1 to DN3 are named at the tests.
//
// Limits: chains of 12 aliases, messages of 64 KiB.
//
// Standards: as in package dns; RFC 4035 §2, §3.1 (signing, serving), RFC 5155
// §7 (NSEC3).
package dnstest
