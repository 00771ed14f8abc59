// Package dns asks questions of the Domain Name System whose answers say how
// far they can be trusted.
//
// Flow:
//  1. A caller asks a [Resolver] for the records of one type at one name; the
//     functions LookupIP and LookupAddr ask for what needs more than that.
//  2. [Auto] is the one resolver of a node. It finds out what its name servers
//     can do, by a signed name and a bogus one, and lets one of the two that
//     follow judge; it probes again when questions fail.
//  3. [Stub] looks into its cache, then asks recursive servers by UDP, by TCP
//     when the answer does not fit, or by TLS only; [Fake] answers from zone
//     texts, in the process or on sockets that its caller opened. A reply is
//     checked against the question, its CNAME chain is followed, and its records
//     become an [Answer], as secure as a trusted server says.
//  4. [Validator] asks servers that it need not trust for records with their
//     signatures, one link of the chain of aliases at a time. For each it finds
//     the zone: from the root's [Anchor] downwards it asks for the DS records
//     of each name, until it is at the zone that signed, or a proof says that a
//     zone on the way is not signed. Then it verifies the set with the keys of
//     the zone, or the proof that there is no such set.
//  5. Instead of servers, the Validator may have a recursor, which asks the name
//     servers of the zones: from the deepest zone that it knows it follows
//     referrals, each of which it believes only about what lies below.
//  6. Auto follows the keys of the root: one that was seen for 30 days is an
//     anchor, one that revokes itself is none any more.
//
// Invariants:
//   - "There is no such name" and "the name has no such records" are definite
//     answers and of kind NotFound; everything that may be otherwise next time
//     is Transient. Mail never bounces for the second (DN2).
//   - Stub says Secure only on the word of a server that the operator trusts
//     and the network cannot imitate; other servers give Unknown.
//   - A node that has validated does not stop because its servers begin to strip
//     signatures, not even over a restart: only the operator can switch it off.
//   - Validator says Secure only of what signatures prove, records and denials
//     alike, and Insecure only after a proof that a zone from the root down is
//     unsigned, or signed in ways that nobody has to know. All else is
//     ErrBogus, never an answer (TL3). The proof decides between "no name" and
//     "no records", not the response code, which nobody signs.
//   - No answer is kept for longer than its signature lasts.
//   - Names are absolute, in lower case, without the final dot.
//
// Limits (DN1, DN3): replies of 64 KiB, 200 records used, 8 CNAMEs; EDNS 1,232
// octets by UDP; a cache of 64 MiB, TTL up to a day, negative up to an hour.
// To validate: 8 signatures tried per set, 32 per message, 128 and 80 messages
// in all for one Lookup, 500 hashes, 64 keys of a zone and 4 of the same tag.
// NSEC3 of more than 100 iterations is Insecure, of more than 500 bogus.
// Algorithms 8, 10, 13, 14, 15 with digests 2 and 4; a zone that is signed with
// others only counts as unsigned. 50,000 names of the chain of trust are kept,
// a day at most; bogus answers for 5 seconds.
//
// Standards: RFC 1034, 1035; RFC 2181 §5, §10.1; RFC 2308 §2, §5 (negative
// answers); RFC 1034 §5.3.3 and RFC 9156 (recursion); RFC 9609 (the root's
// servers); RFC 5452 §6, §9 (spoofing); RFC 7858, 8310 (TLS); RFC 8467
// (padding); RFC 6672 §2.2 (DNAME); RFC 6698 §2 (TLSA); RFC 6840 §5.7 (AD); RFC
// 6891 (EDNS); RFC 7505 (null MX); RFC 7766 (TCP); RFC 8020 (nothing below
// NXDOMAIN); RFC 8659 (CAA); RFC 8914 (extended errors). DNSSEC: RFC 4033, 4034,
// 4035 §5; RFC 5155 §8 (NSEC3); RFC 6840; RFC 7646 (negative anchors); RFC 9276
// §3.2 (iterations); RFC 9520 (failures are kept); RFC 9718 (anchors); RFC 9904,
// 9905 (algorithms); RFC 5011 (the root's keys are followed as they change).
package dns
