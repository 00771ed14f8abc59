package receive

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestAppendFrom(t *testing.T) {
	for _, tc := range []struct{ name, remote, want string }{
		{"mail.a.example", "192.0.2.1", "mail.a.example ([192.0.2.1])"},
		{"[192.0.2.1]", "2001:db8::1", "[192.0.2.1] ([IPv6:2001:db8::1])"},
		{"", "192.0.2.1", "unknown ([192.0.2.1])"},
		{"a(b) by evil; x", "192.0.2.1", "unknown ([192.0.2.1])"},
		{"evil\r\nX: y", "192.0.2.1", "unknown ([192.0.2.1])"},
		{strings.Repeat("a", 256), "192.0.2.1", "unknown ([192.0.2.1])"},
	} {
		if got := string(appendFrom(nil, tc.name, netip.MustParseAddr(tc.remote))); got != tc.want {
			t.Errorf("appendFrom(%q, %s) = %q, want %q", tc.name, tc.remote, got, tc.want)
		}
	}
	if got := string(appendFrom(nil, "x", netip.Addr{})); got != "x (local)" {
		t.Errorf("without address: %q", got)
	}
}

// Many Delivered-To fields and many recipients cost their sum, not their product.
func TestLoopsWithMany(t *testing.T) { // G2, SS24
	lim := Limits{Received: 99, Own: 4}
	var header []byte
	for i := range 2000 {
		header = fmt.Appendf(header, "Delivered-To: other%d@b.example\r\n", i)
	}
	to := make([][]byte, 10_000)
	for i := range to {
		to[i] = fmt.Appendf(nil, "u%d@b.example", i)
	}
	if n := testing.AllocsPerRun(1, func() {
		if loops(header, "mx.b.example", &lim, slices.Values(to)) {
			t.Error("found a loop")
		}
	}); n > 40_000 {
		t.Errorf("%v allocations for 2,000 fields and 10,000 recipients", n)
	}
	to[9999] = []byte("OTHER1999@b.example")
	if !loops(header, "mx.b.example", &lim, slices.Values(to)) {
		t.Error("missed a loop")
	}
}

// The Solicitation field counts in any case and folding (RFC 3865 §2.5).
func TestSolicits(t *testing.T) {
	unwanted := []string{"org.example:ADV", "net.example:ADV:ADLT"}
	for header, want := range map[string]string{
		"Subject: x\r\n":                    "",
		"Solicitation: org.example:ADV\r\n": "org.example:ADV",
		"SOLICITATION: com.example:X,\r\n NET.example:adv:adlt , org.example:ADV\r\n": "net.example:ADV:ADLT",
		"Solicitation: org.example:ADVERT\r\nX-Solicitation: org.example:ADV\r\n":     "",
	} {
		if got := solicits([]byte(header), unwanted); got != want {
			t.Errorf("%q gives %q, want %q", header, got, want)
		}
	}
}

func FuzzLoops(f *testing.F) {
	f.Add([]byte("Received: from a by b\r\nDelivered-To: x@y\r\n\r\n"))
	lim := Limits{Received: 99, Own: 4}
	f.Fuzz(func(t *testing.T, header []byte) {
		if loops(header, "mx.b.example", &lim, slices.Values([][]byte(nil))) && strings.Count(strings.ToLower(string(header)), "received") < 5 {
			t.Error("a loop without traces")
		}
	})
}
