package dns

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestWorkIsBounded: whatever others send, one Lookup verifies no more than 128
// signatures, 32 of a message and 8 of a set, and hashes no more than 500 times
// (DN3, CVE-2023-50387, CVE-2023-50868).
func TestWorkIsBounded(t *testing.T) {
	k := &dns.DNSKEY{Hdr: dns.RR_Header{Name: "test.", Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 60}, Flags: 256, Protocol: 3, Algorithm: dns.ED25519}
	if _, err := k.Generate(256); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	set := func(i int) *rrset {
		rr, err := dns.NewRR(fmt.Sprintf("h%d.test. 60 A 192.0.2.1", i))
		if err != nil {
			t.Fatal(err)
		}
		s := &rrset{name: rr.Header().Name, t: dns.TypeA, records: []dns.RR{rr}}
		for range 100 {
			s.sigs = append(s.sigs, &dns.RRSIG{
				Hdr: dns.RR_Header{Name: s.name, Rrtype: dns.TypeRRSIG, Class: dns.ClassINET, Ttl: 60}, TypeCovered: dns.TypeA, Algorithm: k.Algorithm,
				Labels: 2, OrigTtl: 60, Inception: uint32(now.Unix() - 60), Expiration: uint32(now.Unix() + 60), KeyTag: k.KeyTag(), SignerName: "test.",
				Signature: strings.Repeat("A", 86) + "==",
			})
		}
		return s
	}
	w := &work{now: now}
	keys := []key{{k, k.KeyTag()}}
	sets, messages := 0, 0
	for w.total <= maxTotal && messages < 1000 {
		if err := w.next(); err != nil {
			t.Fatal(err)
		}
		messages++
		for i := range 10 {
			before := w.total
			if _, err := w.authenticate(set(i), "test.", keys); !errors.Is(err, ErrBogus) {
				t.Fatalf("forged signatures: %v", err)
			}
			if n := w.total - before; n > maxVerified {
				t.Errorf("%d signatures of one set were verified", n)
			}
			sets++
			if w.signatures > maxSignatures || w.total > maxTotal {
				break
			}
		}
		if w.signatures > maxSignatures+1 {
			t.Errorf("%d signatures of one message were verified", w.signatures)
		}
	}
	if messages != 4 || w.total > maxTotal+1 { // 33 each: the last is refused before it costs anything
		t.Errorf("%d signatures in %d messages, %d sets", w.total, messages, sets)
	}
	p := &proofs{w: &work{}, zone: "test.", iterations: 100, hashed: []span{{owner: "00", next: "01"}}}
	deep := strings.Repeat("a.", 60) + "test."
	var err error
	for n := 0; err == nil || !strings.Contains(err.Error(), "too many hashes"); n++ {
		if n > maxHashes {
			t.Fatalf("hashing goes on: %v", err)
		}
		_, err = p.denyHashed(deep, dns.TypeA, dns.RcodeNameError)
	}
	if p.w.hashes > maxHashes+1 {
		t.Errorf("%d hashes", p.w.hashes)
	}
}

// TestEscapedNames: labels may hold any octet, a dot too; what is read is asked
// for again as it was.
func TestEscapedNames(t *testing.T) {
	f := NewFake()
	if err := f.AddZone("example.org", "@ MX 1 a\\.b\nwww CNAME c\\032d\nc\\032d A 192.0.2.1\n@ TXT \"\" \"a\\\\b\" \"\\000\"\n@ SRV 1 2 3 A\\.B\n", Secure); err != nil {
		t.Fatal(err)
	}
	a, err := f.Lookup(t.Context(), "example.org", TypeMX)
	if err != nil || a.MX[0].Host != `a\.b.example.org` {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := f.Lookup(t.Context(), a.MX[0].Host, TypeA); err == nil { // no host name; never taken for a.b
		t.Error("a name with a dot in a label was looked up")
	}
	if a, err = f.Lookup(t.Context(), "www.example.org", TypeA); err != nil || a.Name != `c\032d.example.org` || len(a.Addrs) != 1 {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err = f.Lookup(t.Context(), "example.org", TypeTXT); err != nil || a.TXT[0] != "a\\b\x00" {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err = f.Lookup(t.Context(), "example.org", TypeSRV); err != nil || a.SRV[0].Host != `a\.b.example.org` {
		t.Errorf("%+v, %v", a, err)
	}
}
