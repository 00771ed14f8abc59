// Package mailauth knows how a domain proves that mail is its own, and how mail
// stays provable on its way. It holds the rules and nothing else: what it has to
// know comes in as arguments, and it neither stores nor listens.
//
// Flow of a message that arrives:
//  1. [NewVerifier] reads the raw header, the DKIM signatures and the ARC sets in
//     it; the body passes once through [Verifier.Write] and is hashed once for each
//     canonical form, length and hash that any signature needs.
//  2. [Verifier.Verify] compares the hashes, asks the DNS for the keys of the
//     signatures whose body holds, and makes a [Verdict].
//  3. [RemoveAuthResults] takes away what others claim in our name;
//     [AppendAuthResults] writes what [Verdict.Results] found.
//
// Flow of a message that leaves: [NewSigner] and [Signer.Sign] make
// DKIM-Signature fields; of one that passes through, [NewSealer] and
// [Sealer.Seal] make the next ARC set, after all other changes.
//
// Flow of [SRS]: a message that is forwarded to another host gets a sender in our
// own domain ([SRS.Forward]), because the domain of the original one does not list
// us among its hosts; what comes back to that sender is given its original address
// ([SRS.Reverse]).
//
// Invariants:
//   - A signature passes only if the fields and the body octets that any reader
//     could take for the message are the ones that were signed: a header that can
//     be read in two ways, a field beside its signed namesake, or octets beyond l=
//     make it [Policy] (MA4, RFC 6376 §8).
//   - What the DNS cannot tell now is [TempError] for DKIM; for ARC every failure
//     is final (RFC 8617 §5.2.1).
//   - A chain that passes proves who sealed it and no more: whose seals count is
//     for the administrator to say (MA6).
//   - Only addresses that [SRS.Forward] made under one of the secrets are reversed,
//     and only for a time: the host is no open relay for bounces; an address that
//     may have been through a system which changed the case of its letters still
//     counts as ours; the time spent does not tell where a forged one differs.
//
// Limits: [Limits] (MA4, MA7); RSA keys of 1,024 to 4,096 bits to verify, from
// 2,048 to sign; no SHA-1; 50 ARC sets, 60 keys for them; 16 hashes of a body; 64
// tags; key records of 16 KiB; 100 results with 64 properties. Local parts of
// rewritten senders have 64 octets (SS19): what would be longer is not rewritten.
//
// Standards: RFC 6376 (DKIM), 6008 (header.b), 8301 (algorithms), 8463 (Ed25519),
// 8616 (internationalized names), 8601 (Authentication-Results), 8617 (ARC). The
// Sender Rewriting Scheme (M. Weber, S. Rose, 2004), with SRS0, SRS1 and the three
// separators; RFC 5321 §4.5.3.1.1 (local parts).
package mailauth
