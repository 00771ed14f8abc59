// Package mailauth knows how a domain proves that mail is its own, and how mail
// stays provable on its way. It holds the rules and nothing else: what it has to
// know comes in as arguments, and it neither stores nor listens.
//
// Flow of a message that arrives:
//  1. [NewInquiry] makes the one resolver for all that follows: it bounds the DNS
//     work for the message and remembers the answers ([Inquiry.Facts]).
//     [CheckIPRev] and [CheckSPF] need only what the client says before DATA.
//  2. [NewVerifier] reads the raw header, the DKIM signatures and the ARC sets in
//     it; the body passes once through [Verifier.Write] and is hashed once for each
//     canonical form, length and hash that any signature needs.
//  3. [Verifier.Verify] compares the hashes, asks the DNS for the keys of the
//     signatures whose body holds, and makes a [Verdict].
//  4. [CheckDMARC] reads the author from the raw header, finds the policy of the
//     author's domain and whether SPF or a signature stands for it; [CheckADSP]
//     does the like by the historic standard.
//  5. [RemoveAuthResults] takes away what others claim in our name;
//     [AppendAuthResults] writes what [Judgement.Results] has.
//
// SPF is evaluated by blitiri.com.ar/go/spf. Around it are the parser of records,
// which refuses a faulty record as a whole (RFC 7208 §4.6), the choice of the two
// identities, the explanations, and the words for what decided. The library does
// not understand a "/" inside of a domain-spec of a or mx (permerror), and %{p}
// always is "unknown", as RFC 7208 §7.3 permits.
//
// DMARC is that of RFC 9989. The policy of a domain and its organization are found
// by the DNS tree walk. The public suffix list has two uses. A record without psd=
// at a suffix of ICANN's part counts as psd=y: registries published by RFC 9091
// before there was the tag, and their registrants must not stand for each other.
// And [DMARCOptions].OlderLookup finds policy and organization by RFC 7489 and that
// list, to compare with receivers that still do. pct=, ri= and rf= are read and
// have no effect (RFC 9989 §A.6). Several records at a name are none; what is
// malformed in a record is passed over; without a valid p=, or with an invalid sp=
// or np=, a record with rua= counts as p=none, one without as permerror.
//
// Flow of a message that leaves: [NewSigner] and [Signer.Sign] make
// DKIM-Signature fields; of one that passes through, [NewSealer] and
// [Sealer.Seal] make the next ARC set, after all other changes. [KeyRecord] is what
// is published of a key, and [CheckKeyRecord] looks whether it is.
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
//   - DMARC passes only if SPF or a signature passed for a domain of the author's
//     organization, and only if there is one From field with one address that every
//     program reads alike; else the strictest policy of all domains that it names
//     applies (MA1). Groups, routes, comments or space inside of an address, "@"
//     of other domains outside of quotes, NUL and stray CR anywhere in the header
//     are not read alike.
//   - What the DNS cannot tell now is [TempError], never a pass and never a fail
//     (DN2); for ARC every failure is final (RFC 8617 §5.2.1).
//   - A chain that passes proves who sealed it and no more: whose seals count is
//     for the administrator to say (MA6).
//   - Only addresses that [SRS.Forward] made under one of the secrets are reversed,
//     and only for a time: the host is no open relay for bounces; an address that
//     may have been through a system which changed the case of its letters still
//     counts as ours; the time spent does not tell where a forged one differs.
//
// Limits: [Limits] (MA4, MA7: 100 questions and 30 s of waiting in an Inquiry). SPF
// (MA3): 10 terms that ask, 2 void lookups, 10 names per mx and ptr, records of 4
// KiB, 20 s, explanations of 500 octets. DMARC: 8 names in a tree walk, [MaxAuthors]
// domains of From, records of 16 KiB, 20 report addresses. 10 names of an address.
// RSA keys of 1,024 to 4,096 bits to verify, from 2,048 to sign; no SHA-1; 50 ARC
// sets, 60 keys for them; 16 hashes of a body; 64 tags; key records of 16 KiB; 100
// results with 64 properties. Local parts of rewritten senders have 64 octets
// (SS19): what would be longer is not rewritten.
//
// Standards: RFC 6376 (DKIM), 6008 (header.b), 8301 (algorithms), 8463 (Ed25519),
// 8616 (internationalized names), 8601 (Authentication-Results, iprev), 8617 (ARC),
// 7208 (SPF), 9989 (DMARC), 7489 §3.2, §6.6.3 (its older lookup), 5617 (ADSP). The
// Sender Rewriting Scheme (M. Weber, S. Rose, 2004), with SRS0, SRS1 and the three
// separators; RFC 5321 §4.5.3.1.1 (local parts).
package mailauth
