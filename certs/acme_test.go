package certs

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/test/memnet"
)

const day = 24 * time.Hour

// inBubble runs a test in fake time with an authority and an empty store.
func inBubble(t *testing.T, f func(t *testing.T, a *authority, store *memory)) {
	synctest.Test(t, func(t *testing.T) {
		f(t, newAuthority(t, memnet.New(), authorityAddr), &memory{m: map[string][]byte{}})
	})
}

// pass lets fake time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// Every way of proof works, and the start does not wait for it.
func TestIssue(t *testing.T) {
	for _, way := range []string{"http-01", "tls-alpn-01", "dns-01"} {
		t.Run(way, func(t *testing.T) {
			inBubble(t, func(t *testing.T, a *authority, store *memory) {
				h := newHost(t, a, store, func(o *ACMEOptions) {
					o.HTTP01, o.TLSALPN01 = way == "http-01", way == "tls-alpn-01"
					if way == "dns-01" {
						o.DNS01, o.DNSWait = a, time.Minute
					}
				})
				if got := h.source.For(mailName).Origin; got != FromItself {
					t.Errorf("at first it is from %s", got)
				}
				pass(10 * time.Minute)
				if i := h.source.For(mailName); i.Origin != FromACME || len(i.Chain) != 2 || !slices.Equal(i.Names, []string{mailName}) {
					t.Errorf("then it is %+v", i)
				}
				if !slices.Equal(a.solved, []string{way}) || len(a.txt["_acme-challenge."+mailName]) != 0 {
					t.Errorf("solved %s, left %v", a.solved, a.txt)
				}
				if _, ok := h.source.Challenge("token0"); ok || h.source.proof.certificate(mailName) != nil {
					t.Error("the answer stays")
				}
			})
		})
	}
}

// A certificate is renewed with a third of its life left, with the same key; one
// that lives shortly with half of it. A start shows what was there.
func TestRenew(t *testing.T) {
	for _, c := range []struct{ life, before, after time.Duration }{
		{90 * day, 59 * day, 61 * day}, {6 * day, 71 * time.Hour, 73 * time.Hour},
	} {
		inBubble(t, func(t *testing.T, a *authority, store *memory) {
			a.life = c.life
			h := newHost(t, a, store, nil)
			pass(c.before)
			first := h.leaf()
			if n, _ := a.count(); n != 1 {
				t.Errorf("%d certificates after %v", n, c.before)
			}
			pass(c.after - c.before)
			if n, _ := a.count(); n != 2 || h.leaf().Equal(first) {
				t.Errorf("%d certificates after %v", n, c.after)
			}
			if !bytes.Equal(first.RawSubjectPublicKeyInfo, h.leaf().RawSubjectPublicKeyInfo) {
				t.Error("the key has changed: TLSA records would be wrong")
			}
			h.stop()
			again, err := NewACME(t.Context(), ACMEOptions{Source: mustSource(t), Store: store})
			if err != nil {
				t.Fatal(err)
			}
			if got := again.opts.Source.For(mailName).Chain[0]; !got.Equal(h.leaf()) {
				t.Error("after a start another certificate is shown")
			}
			if a.accounts != 1 {
				t.Errorf("%d accounts", a.accounts)
			}
		})
	}
}

func mustSource(t *testing.T) *Source {
	s, err := New(Options{Names: []string{mailName}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The authority says when to renew (RFC 9773), also at short notice; the order says
// what it replaces.
func TestRenewalInfo(t *testing.T) {
	inBubble(t, func(t *testing.T, a *authority, store *memory) {
		later := func(c *x509.Certificate) (time.Time, time.Time) {
			return c.NotBefore.Add(30 * day), c.NotBefore.Add(31 * day)
		}
		a.window = later
		h := newHost(t, a, store, nil)
		pass(29 * day)
		if n, _ := a.count(); n != 1 {
			t.Errorf("%d certificates before the window", n)
		}
		pass(2*day + time.Hour)
		if n, _ := a.count(); n != 2 || a.replaces[1] == "" || a.replaces[0] != "" {
			t.Errorf("%d certificates after the window, replacing %q", n, a.replaces)
		}
		revoked := h.leaf()
		a.set(func() {
			a.window = func(c *x509.Certificate) (time.Time, time.Time) {
				if c.Equal(revoked) {
					return c.NotBefore.Add(-2 * day), c.NotBefore.Add(-day)
				}
				return later(c)
			}
		})
		pass(7 * time.Hour)
		if n, _ := a.count(); n != 3 || h.leaf().Equal(revoked) {
			t.Errorf("%d certificates after an urgent wish", n)
		}
	})
}

// Failures are told, and do not become a flood: authorities allow five an hour.
func TestFailures(t *testing.T) {
	inBubble(t, func(t *testing.T, a *authority, store *memory) {
		a.deny = func(string, string) bool { return true }
		h := newHost(t, a, store, nil)
		pass(day)
		for i := range a.asked {
			if j := i + 5; j < len(a.asked) && a.asked[j].Sub(a.asked[i]) < time.Hour {
				t.Errorf("more than five orders between %v and %v", a.asked[i], a.asked[j])
			}
		}
		if n := len(a.asked); n < 6 || n > 14 {
			t.Errorf("%d orders in a day", n)
		}
		if s := h.States(); len(s) != 1 || !strings.Contains(s[0].Problem, "not proven") || s[0].Retry.Before(time.Now()) {
			t.Errorf("the state is %+v", s)
		}
		h.stop() // a start does not begin anew
		_, before := a.count()
		h = newHost(t, a, store, nil)
		pass(10 * time.Minute)
		if _, after := a.count(); after != before {
			t.Error("a start orders at once in spite of the pause")
		}
		a.set(func() { a.deny = func(string, string) bool { return false } })
		pass(6*time.Hour + 20*time.Minute)
		if s := h.States(); h.source.For(mailName).Origin != FromACME || s[0].Problem != "" || !s[0].Retry.IsZero() {
			t.Errorf("afterwards: %+v", s)
		}
	})
}

// When one way or one authority fails, there is the next.
func TestNextWay(t *testing.T) {
	inBubble(t, func(t *testing.T, a *authority, store *memory) {
		a.deny = func(_, challenge string) bool { return challenge == "http-01" }
		h := newHost(t, a, store, func(o *ACMEOptions) { o.TLSALPN01 = true })
		pass(10 * time.Minute)
		if h.source.For(mailName).Origin != FromACME || a.solved[len(a.solved)-1] != "tls-alpn-01" {
			t.Errorf("solved %v", a.solved)
		}
		other := newAuthority(t, a.net, "192.0.2.2:14000")
		a.set(func() { a.deny = func(string, string) bool { return true } })
		two := newHost(t, other, &memory{m: map[string][]byte{}}, func(o *ACMEOptions) { o.Directories = []string{a.base + "/dir", other.base + "/dir"} })
		pass(10 * time.Minute)
		if i := two.source.For(mailName); i.Origin != FromACME || i.From != other.base+"/dir" {
			t.Errorf("from the other authority: %+v", i)
		}
	})
}

// A name that has no address yet costs the authority nothing; names come and go.
func TestNames(t *testing.T) {
	inBubble(t, func(t *testing.T, a *authority, store *memory) {
		names := dns.NewFake()
		h := newHost(t, a, store, func(o *ACMEOptions) { o.DNS = names })
		pass(day)
		if _, asked := a.count(); asked != 0 || !strings.Contains(h.States()[0].Problem, "no address") {
			t.Errorf("%d orders, %+v", asked, h.States())
		}
		if err := names.AddZone("example.org", "mail A 192.0.2.9\nmta-sts A 192.0.2.9\n", dns.Insecure); err != nil {
			t.Fatal(err)
		}
		pass(20 * time.Minute) // the pause has not grown
		if h.source.For(mailName).Origin != FromACME {
			t.Errorf("%+v", h.States())
		}
		set := func(names ...string) {
			h.mu.Lock()
			h.names = names
			h.mu.Unlock()
			h.Wake()
		}
		set(mailName, "mta-sts.example.org")
		pass(time.Minute)
		if i := h.source.For("mta-sts.example.org"); i.Origin != FromACME || !slices.Equal(i.Names, []string{"mta-sts.example.org"}) {
			t.Errorf("a new name: %+v", i)
		}
		set(mailName)
		pass(100 * day)
		if keys, _ := store.Keys(t.Context(), ""); slices.Contains(keys, "name/mta-sts.example.org") || !slices.Contains(keys, "name/"+mailName) {
			t.Errorf("the store holds %v", keys)
		}
	})
}

// Of several nodes one asks, and one that died in the middle does not block the
// others for ever.
func TestLease(t *testing.T) {
	inBubble(t, func(t *testing.T, a *authority, store *memory) {
		other := &ACME{opts: ACMEOptions{Store: store, Holder: "other"}}
		if ok, err := other.take(t.Context(), mailName); !ok || err != nil {
			t.Fatal(ok, err)
		}
		h := newHost(t, a, store, nil)
		pass(leaseFor - time.Minute)
		if _, asked := a.count(); asked != 0 {
			t.Errorf("%d orders in spite of the lease", asked)
		}
		pass(lookEvery)
		if h.source.For(mailName).Origin != FromACME {
			t.Error("no certificate after the lease")
		}
		if ok, err := other.take(t.Context(), mailName); !ok || err != nil {
			t.Errorf("the lease was not given back: %v, %v", ok, err)
		}
	})
	inBubble(t, func(t *testing.T, a *authority, store *memory) {
		one := newHost(t, a, store, func(o *ACMEOptions) { o.Holder = "one" })
		two := newHost(t, a, store, func(o *ACMEOptions) { o.Holder = "two" })
		pass(30 * time.Minute)
		if n, _ := a.count(); n != 1 || !one.leaf().Equal(two.leaf()) || one.source.For(mailName).Origin != FromACME {
			t.Errorf("%d certificates for two nodes", n)
		}
	})
}

// tlsaZone publishes records for the host.
func tlsaZone(t *testing.T, names *dns.Fake, records ...string) {
	t.Helper()
	text := "mail A 192.0.2.9\n"
	for _, r := range records {
		text += "_25._tcp.mail 3600 TLSA " + r + "\n"
	}
	if err := names.AddZone("example.org", text, dns.Secure); err != nil {
		t.Fatal(err)
	}
}

func record311(c *x509.Certificate) string { return fmt.Sprintf("3 1 1 %x", TLSA(c)[0].Data) }

// The next key is used two TTLs after DNS vouches for it, and not before (RFC 7671
// §8.1).
func TestNextKey(t *testing.T) {
	inBubble(t, func(t *testing.T, a *authority, store *memory) {
		names := dns.NewFake()
		h := newHost(t, a, store, func(o *ACMEOptions) { o.DNS01 = a })
		h.source.Watch(names, []uint16{25})
		pass(time.Hour)
		first := h.leaf()
		tlsaZone(t, names, record311(first))
		next, err := h.NextKey(t.Context(), mailName)
		if err != nil {
			t.Fatal(err)
		}
		again, err := h.NextKey(t.Context(), mailName)
		if err != nil || !bytes.Equal(again[0].Data, next[0].Data) || !bytes.Equal(h.States()[0].NextTLSA[0].Data, next[0].Data) {
			t.Errorf("the next key is another one: %v", err)
		}
		if err := h.Rotate(t.Context(), mailName); err != nil {
			t.Fatal(err)
		}
		pass(day)
		if !h.leaf().Equal(first) {
			t.Fatal("the key changed although DNS knows the old one alone")
		}
		tlsaZone(t, names, record311(first), fmt.Sprintf("3 1 1 %x", next[0].Data))
		pass(110 * time.Minute)
		if !h.leaf().Equal(first) {
			t.Error("the key changed before two TTLs were over")
		}
		pass(30 * time.Minute)
		if got := TLSA(h.leaf())[0].Data; !bytes.Equal(got, next[0].Data) {
			t.Errorf("the key in use is %x, want %x", got, next[0].Data)
		}
		if s := h.States(); s[0].NextTLSA != nil || s[0].Problem != "" {
			t.Errorf("afterwards: %+v", s)
		}
		if n, _ := a.count(); n != 2 {
			t.Errorf("%d certificates", n)
		}
		if _, err := h.NextKey(t.Context(), "elsewhere.example"); !postino.Is(err, postino.NotFound) {
			t.Errorf("a name that is not ours: %v", err)
		}
	})
}

// Without TLSA records a key changes when it is asked for.
func TestRotate(t *testing.T) {
	inBubble(t, func(t *testing.T, a *authority, store *memory) {
		h := newHost(t, a, store, func(o *ACMEOptions) { o.DNS01 = a })
		h.source.Watch(dns.NewFake(), []uint16{25})
		pass(time.Hour)
		first := h.leaf()
		if _, err := h.NextKey(t.Context(), mailName); err != nil {
			t.Fatal(err)
		}
		pass(day)
		if !h.leaf().Equal(first) {
			t.Error("the next key was used before anybody asked for it")
		}
		if err := h.Rotate(t.Context(), mailName); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if bytes.Equal(h.leaf().RawSubjectPublicKeyInfo, first.RawSubjectPublicKeyInfo) {
			t.Error("the key is the same")
		}
	})
}

// A certificate that DNS does not vouch for waits in the store, over restarts, while
// the old one is good.
func TestHeldBack(t *testing.T) {
	inBubble(t, func(t *testing.T, a *authority, store *memory) {
		names := dns.NewFake()
		start := func() *host {
			h := newHost(t, a, store, func(o *ACMEOptions) { o.DNS01 = a })
			h.source.Watch(names, []uint16{25})
			return h
		}
		h := start()
		pass(time.Hour)
		first := h.leaf()
		whole := func(c *x509.Certificate) string { return fmt.Sprintf("3 0 0 %x", c.Raw) } // not only the key
		tlsaZone(t, names, whole(first))
		pass(62 * day)
		if n, _ := a.count(); n != 2 || !h.leaf().Equal(first) {
			t.Fatalf("%d certificates; the new one is in use: %v", n, !h.leaf().Equal(first))
		}
		if p := h.States()[0].Problem; !strings.Contains(p, "publish beside it\n  _25._tcp.mail.example.org. IN TLSA 3 1 1 ") {
			t.Errorf("it says %q", p)
		}
		h.stop()
		h = start()
		pass(time.Hour)
		if !h.leaf().Equal(first) {
			t.Error("a restart took it into use")
		}
		tlsaZone(t, names, whole(first), record311(a.issued[1]))
		pass(2*time.Hour + 30*time.Minute)
		if !h.leaf().Equal(a.issued[1]) || h.States()[0].Problem != "" {
			t.Errorf("not in use after it was published: %+v", h.States())
		}
		if n, _ := a.count(); n != 2 {
			t.Errorf("%d certificates", n)
		}
	})
	// It does not wait longer than the old one is good.
	inBubble(t, func(t *testing.T, a *authority, store *memory) {
		names := dns.NewFake()
		h := newHost(t, a, store, func(o *ACMEOptions) { o.DNS01 = a })
		h.source.Watch(names, []uint16{25})
		pass(time.Hour)
		tlsaZone(t, names, fmt.Sprintf("3 0 0 %x", h.leaf().Raw))
		pass(91 * day)
		if !h.leaf().Equal(a.issued[1]) {
			t.Error("the old certificate has ended and is still in use")
		}
	})
}

// Files come first, and nothing is asked for what they have.
func TestFilesFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, a *authority, store *memory) {
		f := files{}
		f.put(t, "host", nil, 10*day, mailName)
		s := f.source(t, mailName, "host")
		h := newHost(t, a, store, func(o *ACMEOptions) { o.Source = s })
		h.source = s
		a.set(func() { a.sources = append(a.sources, s) })
		pass(9 * day)
		if n, asked := a.count(); n+asked != 0 || s.For(mailName).Origin != FromFile {
			t.Errorf("%d orders", asked)
		}
		pass(2 * day)
		if got := s.Certificates(); a.issued == nil || len(got) != 2 || s.inUse.Load().choose(hello(mailName), time.Now()).origin != FromACME {
			t.Errorf("when the file has ended: %+v", got)
		}
	})
}

// What a newer version wrote is refused and left alone.
func TestStoredVersion(t *testing.T) {
	inBubble(t, func(t *testing.T, a *authority, store *memory) {
		store.m["name/"+mailName] = []byte{storeVersion + 1, '{', '}'}
		newHost(t, a, store, nil)
		pass(day)
		if !bytes.Equal(store.m["name/"+mailName], []byte{storeVersion + 1, '{', '}'}) {
			t.Error("it was overwritten")
		}
		var r record
		if err := decodeRow([]byte{storeVersion, '{'}, &r); !postino.Is(err, postino.Corrupt) {
			t.Errorf("half a row: %v", err)
		}
	})
}

// An authority that cannot be reached is a failure like any other.
func TestUnreachable(t *testing.T) {
	inBubble(t, func(t *testing.T, a *authority, store *memory) {
		h := newHost(t, a, store, func(o *ACMEOptions) {
			o.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no way") }
		})
		pass(time.Hour)
		if s := h.States(); !strings.Contains(s[0].Problem, "no way") || h.source.For(mailName).Origin != FromItself {
			t.Errorf("%+v", s)
		}
	})
}
