// Package dnstest is the suite that every dns.Resolver passes.
//
// Flow: [Run] fills a dns.Fake with zones and asks the implementation for a
// resolver that gets its answers from it, directly or over the network; then
// it compares answers with what the zones say.
//
// Invariants and limits: those of package dns; the requirements DN1 to DN3 are
// named at the tests. Standards: as there.
package dnstest
