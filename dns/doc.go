// Package dns asks questions of the Domain Name System whose answers say how
// far they can be trusted.
//
// Flow:
//  1. A caller asks a [Resolver] for the records of one type at one name; the
//     functions LookupIP and LookupAddr ask for what needs more than that.
//  2. [Stub] looks into its cache, then asks its servers by UDP, and by TCP
//     when the answer does not fit; [Fake] answers from zone texts, in the
//     process or on sockets that its caller opened.
//  3. A reply is checked against the question, its CNAME chain is followed, and
//     its records become an [Answer].
//
// Invariants:
//   - "There is no such name" and "the name has no such records" are definite
//     answers and of kind NotFound; everything that may be otherwise next time
//     is Transient. Mail never bounces for the second (DN2).
//   - Secure is said only on the word of a server that the operator trusts and
//     the network cannot imitate; other servers give Unknown.
//   - Names are absolute, in lower case, without the final dot.
//
// Limits (DN1, DN3): replies of 64 KiB, 200 records used, 8 CNAMEs; EDNS 1,232
// octets by UDP; a cache of 64 MiB, TTL up to a day, negative up to an hour.
//
// Standards: RFC 1034, 1035; RFC 2181 §5, §10.1; RFC 2308 §2, §5 (negative
// answers); RFC 5452 §9 (spoofing); RFC 6672 is left to the server; RFC 6698
// §2 (TLSA); RFC 6840 §5.7 (AD); RFC 6891 (EDNS); RFC 7505 (null MX); RFC 7766
// (TCP); RFC 8020 (nothing below NXDOMAIN); RFC 8914 (extended errors).
package dns
