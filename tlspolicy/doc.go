// Package tlspolicy knows what TLS the domains of others require of who sends
// them mail: DANE, MTA-STS and what reports about both say.
//
// Flow, for one host that mail may go to:
//  1. [Policies.Find] asks for the TLSA records of the host where the exchangers
//     of the domain and the addresses of the host are proven (lookupTLSA), and
//     for the MTA-STS policy of the domain: the TXT record, the policy by https
//     when its id is new, else the one that is kept (sts). What comes out are
//     [Findings].
//  2. [Decide], a pure function of [Facts], says what the connection must be:
//     DANE, then MTA-STS, then opportunistic, and what route and message add.
//     testdata/decisions.txt has what it says to everything there is.
//  3. [Findings.Verify] judges the certificate that the host shows: by TLSA
//     records, or for its name by the roots of the system.
//  4. [Classify] and [Findings.Report] put how it went in the words of reports.
//
// [Policies.Run] fetches policies again long before they end. The records and
// policies of a domain can be read by themselves: [ParseSTSRecord],
// [ParseSTSPolicy], [ParseTLSRPT].
//
// Invariants (TL3):
//   - An answer that is bogus, or that does not come, about TLSA records makes
//     mail wait: it never goes with less than it would with the answer. So does a
//     bogus one about MTA-STS, where no policy is kept.
//   - A policy with mode enforce holds until it ends or the domain publishes
//     another one, whatever becomes of its record and its web server meanwhile;
//     it is on stable storage. One with mode testing stops nothing.
//   - DANE has the word where there are usable TLSA records: MTA-STS neither
//     replaces nor weakens it (RFC 8461 §2).
//   - No message gets less TLS than its route wants, and only one that says
//     "TLS-Required: No" less than its destination does.
//   - Names of certificates are subject alternative names (TL4).
//
// Limits: policies of 64 KiB, 200 patterns and 60 s, max_age of a year (TL5);
// 10,000 policies kept; one fetch per domain at a time, and none for 5 minutes
// after one that failed; 10 certificates of a server (TL1).
//
// Standards: RFC 6698, RFC 7671 and RFC 7672 (DANE); RFC 8461 (MTA-STS); RFC 8460
// §3 and §4.3 (TLS-RPT); RFC 8689 §4.2 (REQUIRETLS, TLS-Required); RFC 7435
// (opportunistic security); RFC 9525 and RFC 5280 (names and paths).
package tlspolicy
