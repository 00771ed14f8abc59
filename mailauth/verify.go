package mailauth

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/postino-mail/postino/dns"
)

// Limits bound the work for one message; zero fields mean the default.
type Limits struct {
	Signatures int // DKIM signatures that are judged, from the top: 10, at most 50 (MA4)
	Keys       int // keys that they may need: 5, at most 50 (MA4)
	Fields     int // header fields: 10,000, at most 100,000
	// Timeout bounds the waiting for all lookups: 30 s, at most 5 min (MA7).
	Timeout time.Duration
	// Queries bounds their number in an Inquiry: 100, at most 1,000 (MA7).
	Queries int
}

const (
	maxSets    = 50 // RFC 8617 §4.2.1
	maxARCKeys = 60 // with those of DKIM less than MA7 allows
	maxBodies  = 16 // different hashes of one body
)

func bound[T int | time.Duration](v, def, most T) T {
	if v <= 0 {
		return def
	}
	return min(v, most)
}

func (l Limits) withDefaults() Limits {
	return Limits{
		Signatures: bound(l.Signatures, 10, 50),
		Keys:       bound(l.Keys, 5, 50),
		Fields:     bound(l.Fields, 10_000, 100_000),
		Timeout:    bound(l.Timeout, 30*time.Second, 5*time.Minute),
		Queries:    bound(l.Queries, 100, 1000),
	}
}

// VerifyOptions are the parameters of a Verifier.
type VerifyOptions struct {
	Resolver dns.Resolver
	// Now is the time of arrival, which t= and x= are compared with.
	Now    time.Time
	Limits Limits
}

// Verdict is what the signatures of a message prove.
type Verdict struct {
	// DKIM has the signatures from the top of the header; Skipped counts those
	// beyond the limit.
	DKIM    []Signature
	Skipped int
	ARC     Chain
}

// Verifier judges the DKIM signatures and the ARC chain of a message. The header
// is given to NewVerifier; the body is written once, in pieces of any size; then
// Verify asks for the keys. It belongs to one goroutine.
type Verifier struct {
	opts    VerifyOptions
	header  *header
	sigs    []*signature
	skipped int
	chain   arcChain
	bodies  [2]*canon // by Canonicalization; nil when nobody needs it
	sums    int
}

// NewVerifier reads the raw header of a message, which is not copied: with or
// without the empty line at its end.
func NewVerifier(rawHeader []byte, opts VerifyOptions) *Verifier {
	opts.Limits = opts.Limits.withDefaults()
	v := &Verifier{opts: opts, header: parseHeader(rawHeader, opts.Limits.Fields)}
	fields, _ := v.header.all("dkim-signature", opts.Limits.Signatures)
	v.skipped = v.header.count("dkim-signature") - len(fields)
	for _, i := range fields {
		s := parseSignature(&v.header.fields[i], dkimSignature, opts.Now)
		v.hash(s)
		v.sigs = append(v.sigs, s)
	}
	v.chain.parse(v.header, opts.Now)
	for i := len(v.chain.sets) - 1; i >= 0; i-- { // the newest set counts most
		v.hash(v.chain.sets[i].message)
	}
	return v
}

// hash finds or makes the hash of the body that a signature needs.
func (v *Verifier) hash(s *signature) {
	if s.Result != "" {
		return
	}
	c := v.bodies[s.Body]
	if c == nil {
		c = &canon{simple: s.Body == Simple}
		v.bodies[s.Body] = c
	}
	for _, sum := range c.sums {
		if sum.limit == s.Length {
			s.body = sum
			return
		}
	}
	if v.sums == maxBodies {
		s.refuse(Policy, "the message needs too many hashes of its body")
		return
	}
	v.sums++
	s.body = &bodySum{Hash: sha256.New(), limit: s.Length}
	c.sums = append(c.sums, s.body)
}

// Write takes the next piece of the body, which follows the empty line after the
// header. It never fails. After Verify it must not be called.
func (v *Verifier) Write(p []byte) (int, error) {
	for _, c := range v.bodies {
		if c != nil {
			c.Write(p)
		}
	}
	return len(p), nil
}

// Verify ends the body and judges all signatures. What the resolver cannot tell in
// time makes a TempError (MA7); there is no other error. It is called once.
func (v *Verifier) Verify(ctx context.Context) *Verdict {
	ctx, cancel := context.WithTimeout(ctx, v.opts.Limits.Timeout)
	defer cancel()
	for _, c := range v.bodies {
		if c != nil {
			c.close()
		}
	}
	verdict := &Verdict{Skipped: v.skipped}
	keys := &keyring{resolver: v.opts.Resolver, keys: map[string]*publicKey{}}
	var scratch []byte
	for _, s := range v.sigs {
		scratch = v.judge(ctx, s, keys, v.opts.Limits.Keys, scratch)
		verdict.DKIM = append(verdict.DKIM, s.Signature)
	}
	verdict.ARC = v.judgeChain(ctx, keys, scratch)
	return verdict
}

// judge judges a signature of header fields and body.
func (v *Verifier) judge(ctx context.Context, s *signature, keys *keyring, max int, scratch []byte) []byte {
	scratch = s.judge(ctx, keys, max, scratch, func(dst []byte) []byte {
		v.header.pick(s.Fields, s.field, func(raw []byte) { dst = appendField(dst, raw, s.Header) })
		return dst
	})
	s.doubt(v.header)
	return scratch
}
