// Package check looks at this server and at domains the way others see them, and
// says what is well, what is to be mended and how.
//
// Flow:
//  1. app makes a Checker with the facts: what this server knows of itself (Node)
//     and of its domains (Domain), and the ways to ask others.
//  2. Checker.Node or Checker.Domain starts all checks side by side. Each asks the
//     DNS through one inquiry, which asks a question once and few at a time, or
//     speaks with the listeners of this server.
//  3. The findings are put in the order of the checks and told as soon as those
//     before them are known.
//  4. What a domain should publish comes from Zone alone: findings pick their
//     records from it, zone files print it.
//
// Invariants:
//   - What cannot be told now is Unknown, never OK and never Fix (DN2).
//   - A record to publish keeps what the domain has of its own: senders in SPF,
//     the policy of DMARC.
//   - Connections go to this server only; nothing is ever sent: the test of an
//     open relay ends before the content.
//   - Block lists count after they passed a self-test, and only with answers
//     inside 127.0.0.0/8.
//
// Limits: 500 questions and 60 s for a report, 8 at once; 15 s for a dialogue.
//
// Standards: RFC 1912 §2.1 (PTR); RFC 2142 (addresses); RFC 5321 §4.5.1, §5.1; RFC
// 5617 (ADSP); RFC 5782 (block lists); RFC 6186, 8314 §5.1 (SRV); RFC 6376 §3.6;
// RFC 7208; RFC 7505; RFC 7672; RFC 8460; RFC 8461; RFC 8659 (CAA); RFC 9989, 9990.
package check
