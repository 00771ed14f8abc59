package dns_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/dns/dnstest"
)

const day = 24 * time.Hour

// TestRollOver: the root's keys change, and a node follows when it has seen the
// new one for 30 days (RFC 5011), over restarts too; but not the key that is
// there for a short while only.
func TestRollOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := dnstest.NewWorld(t).Zone(".", dnstest.Signing{Algorithm: 13, Until: 400 * day}, "").
			Zone("good.test", dnstest.Signing{Algorithm: 13, Until: 400 * day}, "@ A 192.0.2.1\n").
			Zone("bad.test", dnstest.BogusZone(), "")
		old, keep := w.Anchors()[0], new(memory)
		var a *dns.Auto
		var stop context.CancelFunc
		start := func() { // a node, which is restarted now and then
			if stop != nil {
				stop()
			}
			a = auto(t, w, func(o *dns.AutoOptions) { o.Keep, o.Anchors = keep, []dns.Anchor{old} })
			ctx, cancel := context.WithCancel(t.Context())
			stop = cancel
			go a.Run(ctx)
			synctest.Wait()
			time.Sleep(time.Minute)
		}
		trusts := func(when string, want ...dns.Anchor) {
			t.Helper()
			synctest.Wait()
			got := a.Anchors()
			if len(got) != len(want) {
				t.Errorf("%s: %d anchors, want %d", when, len(got), len(want))
				return
			}
			for i, x := range want {
				if got[i].KeyTag != x.KeyTag {
					t.Errorf("%s: anchor %d, want %d", when, got[i].KeyTag, x.KeyTag)
				}
			}
		}
		start()
		trusts("at first", old)

		brief := w.PublishKey(".")
		time.Sleep(20 * day)
		start()
		w.WithdrawKey(".", brief)
		time.Sleep(3 * day)
		trusts("a key that was there for 20 days", old)

		next := w.PublishKey(".")
		time.Sleep(15 * day)
		start()
		time.Sleep(14 * day)
		trusts("a key after 29 days", old)
		time.Sleep(3 * day)
		trusts("a key after 32 days", old, next)
		start()
		trusts("after a restart", old, next)

		w.RevokeKey(".", old)
		time.Sleep(2 * day)
		trusts("the old key is revoked", next)
		start()
		trusts("and a restart does not bring it back", next)
		w.WithdrawKey(".", old)
		time.Sleep(2 * day)
		expect(t, a, "good.test", dns.TypeA, "secure")

		w.WithdrawKey(".", next) // nothing to believe any more
		time.Sleep(2 * day)
		trusts("the new key is gone, but was not revoked", next)
		expect(t, a, "good.test", dns.TypeA, "bogus")
		stop()
		time.Sleep(time.Minute)
	})
}

// TestStolenKey: what a revoked key alone vouched for is not believed (RFC 5011
// §2.2).
func TestStolenKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := dnstest.NewWorld(t).Zone(".", dnstest.Signing{Algorithm: 13, Until: 400 * day}, "").Zone("good.test", dnstest.Signed(), "").Zone("bad.test", dnstest.BogusZone(), "")
		stolen := w.Anchors()[0]
		good := w.PublishKey(".")
		keep := new(memory)
		a := auto(t, w, func(o *dns.AutoOptions) { o.Keep, o.Anchors = keep, []dns.Anchor{stolen, good} })
		ctx, stop := context.WithCancel(t.Context())
		go a.Run(ctx)
		w.SilenceKey(".", good, true) // the thief signs with what he has
		thief := w.PublishKey(".")
		w.SilenceKey(".", thief, true)
		time.Sleep(20 * day)
		w.SilenceKey(".", good, false).RevokeKey(".", stolen)
		time.Sleep(15 * day)
		if got := a.Anchors(); len(got) != 1 || got[0].KeyTag != good.KeyTag {
			t.Errorf("anchors are %v, want %d only", got, good.KeyTag)
		}
		stop()
		time.Sleep(time.Minute)
	})
}

// TestForgedRoot: keys that no anchor signed change nothing.
func TestForgedRoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, other := towns(t), towns(t)
		keep := new(memory)
		a := auto(t, other, func(o *dns.AutoOptions) { o.Keep, o.Anchors = keep, w.Anchors() })
		ctx, stop := context.WithCancel(t.Context())
		go a.Run(ctx)
		time.Sleep(60 * day)
		if got := a.Anchors(); len(got) != 1 || got[0].KeyTag != w.Anchors()[0].KeyTag {
			t.Errorf("anchors are %v", got)
		}
		stop()
		time.Sleep(time.Minute)
	})
}
