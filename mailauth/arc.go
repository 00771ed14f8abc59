package mailauth

import (
	"bytes"
	"context"
	"strconv"
	"time"
)

// Chain is the Authenticated Received Chain of a message (RFC 8617). Anybody can
// make one that passes: it counts only as far as its sealers are trusted (MA6).
type Chain struct {
	// Result is None, Pass or Fail; there is no other (RFC 8617 §4.4, §5.2.1).
	Result Result
	// Reason says in plain English why it failed; fit for logs.
	Reason string
	// Sets in the order of their instances, the first is 1; empty when the
	// structure of the chain is not valid.
	Sets []Set
	// OldestPass is the lowest instance whose message signature still holds, with
	// all above it; 0 when all hold (RFC 8617 §5.2, step 5).
	OldestPass int
}

// Set is what one host added to a chain.
type Set struct {
	// Results is the value of ARC-Authentication-Results behind its instance, for
	// ParseAuthResults.
	Results []byte
	// Message is the signature of the message; in sets but the last one it is
	// judged only if the chain passes. Seal is the one of the chain.
	Message, Seal Signature
}

type arcSet struct {
	results       *headerField
	message, seal *signature
	claim         []byte // what the results say
	cv            string
}

// arcChain is a chain under work.
type arcChain struct {
	sets   []arcSet
	fault  string
	fields int
}

func (c *arcChain) fail(reason string) {
	if c.fault == "" {
		c.fault = reason
	}
	c.sets = nil
}

// parse collects the sets (RFC 8617 §5.2, steps 1 to 3).
func (c *arcChain) parse(h *header, now time.Time) {
	names := [3]string{"arc-authentication-results", "arc-message-signature", "arc-seal"}
	var found [3][]int
	for k, name := range names {
		var more bool
		if found[k], more = h.all(name, maxSets); more {
			c.fields++
			c.fail("more than 50 sets")
			return
		}
		c.fields += len(found[k])
	}
	n := len(found[0])
	if len(found[1]) != n || len(found[2]) != n {
		c.fail("a set is not complete")
		return
	}
	sets := make([]arcSet, n)
	for k := range names {
		for _, i := range found[k] {
			f := &h.fields[i]
			at, rest := instance(f, k)
			if at < 1 || at > n {
				c.fail("the instances have gaps")
				return
			}
			s := &sets[at-1]
			if k == 0 && s.results == nil {
				s.results, s.claim = f, rest
			} else if k == 1 && s.message == nil {
				s.message = parseSignature(f, arcMessage, now)
			} else if k == 2 && s.seal == nil {
				s.seal = parseSignature(f, arcSeal, now)
				s.cv = s.seal.tags.text("cv", "")
			} else {
				c.fail("an instance appears twice")
				return
			}
		}
	}
	c.sets = sets
	c.checkStructure()
}

// instance reads i= of a field of the chain, 0 when it is not there.
func instance(f *headerField, kind int) (n int, rest []byte) {
	first, rest, more := bytes.Cut(f.Value, []byte{';'})
	list := f.Value
	if kind == 0 { // what follows is no tag list
		if !more {
			return 0, nil
		}
		list = first
	}
	tags, err := parseTags(list)
	if err != nil {
		return 0, nil
	}
	v := tags.text("i", "")
	if n, err = strconv.Atoi(v); err != nil || strconv.Itoa(n) != v {
		return 0, nil
	}
	return n, rest
}

func (c *arcChain) checkStructure() {
	for i, s := range c.sets {
		want := "pass"
		if i == 0 {
			want = "none"
		}
		if _, ok := s.seal.tags.get("h"); ok {
			c.fault = "a seal has h=" // RFC 8617 §4.1.3
		} else if s.cv != want {
			c.fault = "cv=" + want + " is missing in set " + strconv.Itoa(i+1)
		}
	}
}

// judgeChain follows RFC 8617 §5.2.
func (v *Verifier) judgeChain(ctx context.Context, keys *keyring, scratch []byte) Chain {
	c, n := &v.chain, len(v.chain.sets)
	if c.fields == 0 {
		return Chain{Result: None}
	}
	max := v.opts.Limits.Keys + maxARCKeys
	if c.fault == "" {
		scratch = v.judge(ctx, c.sets[n-1].message, keys, max, scratch)
		if s := c.sets[n-1].message; s.Result != Pass {
			c.fault = "the message signature of set " + strconv.Itoa(n) + ": " + s.Reason
		}
	}
	for i := n - 1; i >= 0 && c.fault == ""; i-- {
		s := c.sets[i].seal
		scratch = s.judge(ctx, keys, max, scratch, func(dst []byte) []byte { return c.appendSets(dst, 0, i) })
		if s.Result != Pass {
			c.fault = "the seal of set " + strconv.Itoa(i+1) + ": " + s.Reason
		}
	}
	chain := Chain{Result: Pass, Reason: c.fault}
	if c.fault != "" {
		chain.Result = Fail
	}
	for i := n - 2; i >= 0 && c.fault == "" && chain.OldestPass == 0; i-- {
		scratch = v.judge(ctx, c.sets[i].message, keys, max, scratch)
		if c.sets[i].message.Result != Pass {
			chain.OldestPass = i + 2
		}
	}
	for _, s := range c.sets {
		chain.Sets = append(chain.Sets, Set{s.claim, s.message.Signature, s.seal.Signature})
	}
	return chain
}

// appendSets appends what the seal of the set last signs, but itself, from the set
// first on (RFC 8617 §5.1.1).
func (c *arcChain) appendSets(dst []byte, first, last int) []byte {
	for i := first; i <= last; i++ {
		s := &c.sets[i]
		dst = appendField(dst, s.results.Raw, Relaxed)
		dst = appendField(dst, s.message.field.Raw, Relaxed)
		if i < last {
			dst = appendField(dst, s.seal.field.Raw, Relaxed)
		}
	}
	return dst
}
