package dns

import (
	"errors"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/postino-mail/postino"
)

// cacheKey names a question. A name that does not exist has none of any type,
// so that is kept under type 0 (RFC 2308 §5).
type cacheKey struct {
	name string
	t    Type
}

// cached is an answer, or a definite no, and its end.
type cached struct {
	answer  *Answer
	err     error
	expires time.Time
}

// cache keeps answers for their TTL within a number of octets.
type cache struct {
	entries          *otter.Cache[cacheKey, cached]
	most, mostIfNone time.Duration
}

func newCache(o Options) *cache {
	limit := func(v, d time.Duration) time.Duration {
		if v <= 0 || v > d {
			return d
		}
		return v
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = 64 << 20
	}
	return &cache{
		entries: otter.Must(&otter.Options[cacheKey, cached]{MaximumWeight: uint64(o.CacheBytes), Weigher: weight}),
		most:    limit(o.MaxTTL, 24*time.Hour), mostIfNone: limit(o.MaxNegativeTTL, time.Hour),
	}
}

// weight estimates the octets of an entry.
func weight(k cacheKey, c cached) uint32 {
	n := 400 + 2*len(k.name) + len(c.answer.Name) + 24*len(c.answer.Addrs)
	for _, x := range c.answer.TXT {
		n += 16 + len(x)
	}
	for _, x := range c.answer.Hosts {
		n += 16 + len(x)
	}
	for _, x := range c.answer.MX {
		n += 24 + len(x.Host)
	}
	for _, x := range c.answer.SRV {
		n += 24 + len(x.Host)
	}
	for _, x := range c.answer.TLSA {
		n += 32 + len(x.Data)
	}
	for _, x := range c.answer.CAA {
		n += 48 + len(x.Tag) + len(x.Value)
	}
	for _, x := range c.answer.DS {
		n += 32 + len(x.Hash)
	}
	n += 8 * len(c.answer.Keys)
	if c.answer.SOA != nil {
		n += 100 + len(c.answer.SOA.Primary) + len(c.answer.SOA.Mailbox)
	}
	return uint32(n)
}

// get returns what is known of a question, with the time that is left.
func (c *cache) get(name string, t Type, now time.Time) (*Answer, error, bool) {
	if a, err, ok := c.find(cacheKey{name, t}, now); ok {
		return a, err, true
	}
	// RFC 8020 §2: nothing exists below a name that does not exist.
	for above := name; above != ""; {
		if a, _, ok := c.find(cacheKey{name: above}, now); ok {
			a.Name = name
			return a, postino.E(postino.NotFound, "look up", name, ErrNXDomain), true
		}
		_, above, _ = strings.Cut(above, ".")
	}
	return nil, nil, false
}

func (c *cache) find(k cacheKey, now time.Time) (*Answer, error, bool) {
	e, ok := c.entries.GetIfPresent(k)
	if !ok {
		return nil, nil, false
	}
	left := e.expires.Sub(now)
	if left <= 0 {
		return nil, nil, false
	}
	a := *e.answer
	a.TTL = left
	return &a, e.err, true
}

// put keeps an answer, or that there is none.
func (c *cache) put(name string, t Type, a *Answer, err error, now time.Time) {
	most := c.most
	if err != nil {
		most = c.mostIfNone
	}
	ttl := min(a.TTL, most)
	if ttl <= 0 {
		return
	}
	e := cached{a, err, now.Add(ttl)}
	c.entries.Set(cacheKey{name, t}, e)
	if errors.Is(err, ErrNXDomain) { // of a chain, the last name does not exist (RFC 6604 §3)
		c.entries.Set(cacheKey{name: a.Name}, e)
	}
}
