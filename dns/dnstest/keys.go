package dnstest

import (
	"encoding/hex"
	"slices"

	mdns "github.com/miekg/dns"

	"github.com/postino-mail/postino/dns"
)

// PublishKey adds another entry point to the keys of a signed zone, and signs
// them with it too, as in a roll-over (RFC 5011). The parent of the zone does
// not learn of it.
func (w *World) PublishKey(origin string) dns.Anchor {
	w.t.Helper()
	var a dns.Anchor
	w.changeKeys(origin, func(z *zone) {
		k, err := z.makeKey(mdns.ZONE | mdns.SEP)
		if err != nil {
			w.t.Fatal(err)
		}
		z.add(k.public)
		z.entries = append(z.entries, k)
		a = anchorOf(k.public)
	})
	return a
}

// RevokeKey has an entry point say that it must not be believed any more. It
// returns w.
func (w *World) RevokeKey(origin string, a dns.Anchor) *World {
	return w.changeKeys(origin, func(z *zone) { z.entry(a).public.Flags |= mdns.REVOKE })
}

// WithdrawKey takes an entry point away, which signs nothing any more. It
// returns w.
func (w *World) WithdrawKey(origin string, a dns.Anchor) *World {
	return w.changeKeys(origin, func(z *zone) {
		k := z.entry(a)
		z.entries = slices.DeleteFunc(z.entries, func(s signer) bool { return s == k })
		types := z.names[z.origin]
		types[mdns.TypeDNSKEY] = slices.DeleteFunc(types[mdns.TypeDNSKEY], func(rr mdns.RR) bool { return rr == k.public })
	})
}

// SilenceKey has an entry point stay among the keys, but sign them no more, or
// again. It returns w.
func (w *World) SilenceKey(origin string, a dns.Anchor, silent bool) *World {
	return w.changeKeys(origin, func(z *zone) { z.silent[a.KeyTag] = silent })
}

func (w *World) changeKeys(origin string, change func(z *zone)) *World {
	w.mu.Lock()
	defer w.mu.Unlock()
	z := w.zones[mdns.CanonicalName(origin)]
	change(z)
	z.signed = map[string][]*mdns.RRSIG{}
	return w
}

// entry finds the entry point that an anchor names, revoked or not.
func (z *zone) entry(a dns.Anchor) signer {
	for _, k := range z.entries {
		was := *k.public
		was.Flags &^= mdns.REVOKE
		if anchorOf(&was).KeyTag == a.KeyTag {
			return k
		}
	}
	panic("the zone " + z.origin + " has no such key")
}

// anchorOf is a key as a trust anchor.
func anchorOf(k *mdns.DNSKEY) dns.Anchor {
	ds := k.ToDS(mdns.SHA256)
	hash, err := hex.DecodeString(ds.Digest)
	if err != nil {
		panic(err)
	}
	return dns.Anchor{KeyTag: ds.KeyTag, Algorithm: ds.Algorithm, Digest: ds.DigestType, Hash: hash}
}
