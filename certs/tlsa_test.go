package certs

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/metric"
)

func TestMatches(t *testing.T) {
	leaf, err := selfSigned(time.Now(), []string{"leaf.example"})
	if err != nil {
		t.Fatal(err)
	}
	ca, err := selfSigned(time.Now(), []string{"ca.example"})
	if err != nil {
		t.Fatal(err)
	}
	chain := []*x509.Certificate{leaf.chain[0], ca.chain[0]}
	forms := func(c *x509.Certificate) map[[2]uint8][]byte {
		m := map[[2]uint8][]byte{}
		for sel, data := range [][]byte{c.Raw, c.RawSubjectPublicKeyInfo} {
			a, b := sha256.Sum256(data), sha512.Sum512(data)
			m[[2]uint8{uint8(sel), 0}], m[[2]uint8{uint8(sel), 1}], m[[2]uint8{uint8(sel), 2}] = data, a[:], b[:]
		}
		return m
	}
	for at, c := range chain {
		for form, data := range forms(c) {
			for usage := range uint8(5) {
				want := usage == 3 && at == 0 || usage == 2 && at == 1
				if got := Matches(dns.TLSA{Usage: usage, Selector: form[0], Matching: form[1], Data: data}, chain); got != want {
					t.Errorf("%d %d %d of certificate %d: %v", usage, form[0], form[1], at, got)
				}
			}
			if Matches(dns.TLSA{Usage: 3, Selector: form[0] + 2, Matching: form[1], Data: data}, chain) || Matches(dns.TLSA{Usage: 3, Selector: form[0], Matching: form[1] + 3, Data: data}, chain) {
				t.Error("an unknown selector or matching type matches")
			}
		}
	}
	if Matches(dns.TLSA{Usage: 3}, nil) || !Matches(TLSA(leaf.chain[0])[0], chain) {
		t.Error("no chain matches, or its own record does not")
	}
	want := fmt.Sprintf("_25._tcp.leaf.example. IN TLSA 3 1 1 %x", sha256.Sum256(leaf.chain[0].RawSubjectPublicKeyInfo))
	if got := TLSARecord("leaf.example", 25, TLSA(leaf.chain[0])[0]); got != want {
		t.Errorf("the record is %s", got)
	}
}

// Every answer of DNS decides whether a key from a file may change.
func TestGuard(t *testing.T) {
	f := files{}
	f.put(t, "old", nil, year, mailName)
	f.put(t, "new", nil, year, mailName)
	entries := func(n string) *entry {
		e, err := newEntry(FromFile, f[n+".pem"], f[n+".key"])
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	old, next := entries("old"), entries("new")
	o, n := record311(old.chain[0]), record311(next.chain[0])
	odd := "3 1 1 " + strings.Repeat("00", 32)
	for name, c := range map[string]struct {
		records  []string
		security dns.Security
		fault    dns.FaultKind
		held     bool
		waits    bool // and then not
	}{
		"no records":                           {security: dns.Secure},
		"the old key alone":                    {records: []string{o}, security: dns.Secure, held: true},
		"the old key, not known how secure":    {records: []string{o}, security: dns.Unknown, held: true},
		"the old key in a zone without DNSSEC": {records: []string{o}, security: dns.Insecure},
		"both":                                 {records: []string{o, n}, security: dns.Secure, waits: true},
		"the new key alone":                    {records: []string{n}, security: dns.Secure},
		"neither":                              {records: []string{odd}, security: dns.Secure},
		"the old key and an odd one":           {records: []string{o, odd}, security: dns.Secure, held: true},
		"usages that mail does not know":       {records: []string{"1" + o[1:]}, security: dns.Secure},
		"the name server fails":                {records: []string{o}, security: dns.Secure, fault: dns.FaultServFail, held: true},
		"the answer is forged":                 {records: []string{o}, security: dns.Secure, fault: dns.FaultBogus, held: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := files{"a.pem": f["old.pem"], "a.key": f["old.key"]}
				s := g.source(t, mailName, "a")
				names := dns.NewFake()
				text := "mail A 192.0.2.9\n"
				for _, r := range c.records {
					text += "_25._tcp.mail 3600 TLSA " + r + "\n"
				}
				if err := names.AddZone("example.org", text, c.security); err != nil {
					t.Fatal(err)
				}
				names.SetFault("_25._tcp."+mailName, 0, dns.Fault{Kind: c.fault})
				s.Watch(names, []uint16{993, 25, 25})
				g["a.pem"], g["a.key"] = f["new.pem"], f["new.key"]
				err := s.Reload()
				if (err != nil) != (c.held || c.waits) || err != nil && !postino.Is(err, postino.Conflict) || (s.Held() != "") != (err != nil) {
					t.Errorf("reload: %v; held: %s", err, s.Held())
				}
				if inUse := s.For(mailName).Chain[0].Equal(next.chain[0]); inUse == (c.held || c.waits) {
					t.Errorf("the new one is in use: %v", inUse)
				}
				time.Sleep(119 * time.Minute)
				if err := s.Reload(); (err != nil) != (c.held || c.waits) {
					t.Errorf("reload after 119 minutes: %v", err)
				}
				time.Sleep(2 * time.Minute)
				if err := s.Reload(); (err != nil) != c.held {
					t.Errorf("reload after two TTLs: %v", err)
				}
				if missing, err := s.Unpublished(t.Context()); c.fault == 0 && (err != nil || (len(missing) > 0) != (c.records != nil && !strings.Contains(strings.Join(c.records, "|"), record311(s.For(mailName).Chain[0])))) {
					t.Errorf("unpublished: %q, %v", missing, err)
				}
			})
		})
	}
}

// logged collects lines.
type logged struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// Run tells once a day what ends, and takes files into use that were held back.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := files{}
		f.put(t, "a", nil, 25*day, mailName)
		out := new(logged)
		s, err := New(Options{
			Names: []string{mailName}, Files: []Pair{{"a.pem", "a.key"}}, Read: f.read, Metrics: metric.New(),
			Logger: slog.New(slog.NewTextHandler(out, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		go func() { defer close(done); _ = s.Run(ctx) }()
		defer func() { cancel(); <-done }()
		pass(4*day + 23*time.Hour)
		if n := out.count("certificate ends soon"); n != 0 {
			t.Errorf("%d warnings with 20 days left", n)
		}
		pass(10*day + 2*time.Hour)
		if w, e := out.count("level=WARN"), out.count("level=ERROR"); w < 10 || w > 11 || e != 0 {
			t.Errorf("%d warnings and %d alarms in ten days", w, e)
		}
		pass(10 * day)
		if e := out.count("level=ERROR"); e < 6 || e > 8 || out.count("certificate has ended") == 0 {
			t.Errorf("%d alarms in the last week", e)
		}
		names := dns.NewFake()
		s.Watch(names, []uint16{25})
		f.put(t, "a", nil, year, mailName)
		if err := s.Reload(); err != nil { // the old one has ended: nothing to wait for
			t.Fatal(err)
		}
		old := s.For(mailName).Chain[0]
		tlsaZone(t, names, record311(old))
		f.put(t, "a", nil, year, mailName)
		if err := s.Reload(); !postino.Is(err, postino.Conflict) {
			t.Fatal(err)
		}
		next, err := newEntry(FromFile, f["a.pem"], f["a.key"])
		if err != nil {
			t.Fatal(err)
		}
		tlsaZone(t, names, record311(old), record311(next.chain[0]))
		pass(2*time.Hour + 30*time.Minute)
		if !s.For(mailName).Chain[0].Equal(next.chain[0]) || s.Held() != "" {
			t.Errorf("still held back: %s", s.Held())
		}
	})
}

// What we sign ourselves does not end while we run.
func TestStandIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(Options{Names: []string{mailName}})
		if err != nil {
			t.Fatal(err)
		}
		first := s.For(mailName)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = s.Run(ctx) }()
		defer func() { cancel(); <-done }()
		pass(340 * day)
		if next := s.For(mailName); !next.NotAfter.After(first.NotAfter) || next.Origin != FromItself {
			t.Errorf("after 340 days it ends at %v", next.NotAfter)
		}
	})
}

// Alarms fit the life of a certificate: one of 45 days that is renewed 15 days
// before its end is no reason for any.
func TestAlarm(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		life, left time.Duration
		level      slog.Level
		ok         bool
	}{
		{90 * day, 21 * day, 0, false}, {90 * day, 20 * day, slog.LevelWarn, true}, {90 * day, 7 * day, slog.LevelError, true},
		{year, 21 * day, 0, false}, {year, 19 * day, slog.LevelWarn, true}, {year, -time.Hour, slog.LevelError, true},
		{45 * day, 14 * day, 0, false}, {45 * day, 11 * day, slog.LevelWarn, true}, {45 * day, 3 * day, slog.LevelError, true},
		{6 * day, 2 * day, 0, false}, {6 * day, 36 * time.Hour, slog.LevelWarn, true}, {6 * day, 12 * time.Hour, slog.LevelError, true},
	} {
		i := Info{NotBefore: now.Add(c.left - c.life), NotAfter: now.Add(c.left)}
		if level, ok := i.Alarm(now); level != c.level || ok != c.ok {
			t.Errorf("%v of %v left: %v, %v", c.left, c.life, level, ok)
		}
	}
}
