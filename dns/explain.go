package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/postino-mail/postino"
)

// Explanation tells what a name holds and why that is believed or not, for
// people.
type Explanation struct {
	Name, Type string
	// Records are as a zone file has them, but for the names before them.
	Records  []string
	TTL      time.Duration
	Security Security
	// Canonical is the last of the chain of aliases.
	Canonical string
	// Why there is no answer: that there are no such records, or what failed.
	Failure string
	// Chain are the steps of the proof from the root down, one sentence each; the
	// last tells how it ended.
	Chain []string
	// Mode is how the node judges answers, and Judged what its judgement is when
	// that is not by own validation.
	Mode   Mode
	Judged string
}

// Explain proves an answer anew, without what is cached, and tells each step.
// Only a name that is none is an error.
func (a *Auto) Explain(ctx context.Context, name string, t Type) (*Explanation, error) {
	name, err := canonical(name)
	if err != nil {
		return nil, err
	}
	opts := a.opts.ValidatorOptions
	opts.shared = &a.anchors
	v, err := NewValidator(opts)
	if err != nil {
		return nil, err
	}
	j := a.current.Load()
	x := &Explanation{Name: name, Type: t.String(), Mode: j.mode}
	answer, err := v.explain(ctx, name, t, func(step string) { x.Chain = append(x.Chain, postino.Printable(step)) })
	verdict := "Bogus"
	switch {
	case answer != nil:
		x.Canonical, x.TTL, x.Security, x.Records = answer.Name, answer.TTL, answer.Security, answer.strings()
		verdict = map[Security]string{Secure: "Secure: every step is proven", Insecure: "Insecure: a zone on the way is not signed, so nothing can be proven"}[x.Security]
	case errors.Is(err, ErrBogus):
		x.Security, verdict = Bogus, "Bogus"
	default:
		verdict = "No answer"
	}
	if err != nil {
		x.Failure = postino.Printable(reason(err))
		if answer == nil {
			verdict += ": " + x.Failure
		}
	}
	x.Chain = append(x.Chain, verdict+".")
	if j.mode != Validating {
		answer, err := j.Lookup(ctx, name, t)
		switch {
		case answer != nil:
			x.Judged = answer.Security.String()
		default:
			x.Judged = postino.Printable(reason(err))
		}
	}
	return x, nil
}

// reason is an error without what the question was.
func reason(err error) string {
	var e *postino.Error
	if errors.As(err, &e) && e.Err != nil {
		return e.Err.Error()
	}
	return err.Error()
}

// explain is Lookup without caches.
func (v *Validator) explain(ctx context.Context, name string, t Type, trace func(string)) (a *Answer, err error) {
	fresh := *v
	for _, source := range v.sources {
		fresh.trusts = otter.Must(&otter.Options[string, *trust]{MaximumSize: 1000})
		if len(v.sources) > 1 {
			trace("Of the name server " + source.String() + ":")
		}
		l := &lookup{&work{now: time.Now(), skew: v.skew, trace: trace, avoid: map[netip.Addr]bool{}}, &fresh, source}
		if a, err = l.answer(ctx, name, t); a != nil {
			break
		}
	}
	return a, err
}

// strings are the records as text.
func (a *Answer) strings() (all []string) {
	dot := func(name string) string { return name + "." }
	add := func(format string, args ...any) { all = append(all, postino.Printable(fmt.Sprintf(format, args...))) }
	for _, x := range a.Addrs {
		add("%v", x)
	}
	for _, x := range a.MX {
		add("%d %s", x.Preference, dot(x.Host))
	}
	for _, x := range a.TXT {
		add("%s", strconv.Quote(x))
	}
	for _, x := range a.Hosts {
		add("%s", dot(x))
	}
	for _, x := range a.TLSA {
		add("%d %d %d %x", x.Usage, x.Selector, x.Matching, x.Data)
	}
	for _, x := range a.SRV {
		add("%d %d %d %s", x.Priority, x.Weight, x.Port, dot(x.Host))
	}
	for _, x := range a.CAA {
		add("%d %s %s", x.Flags, x.Tag, strconv.Quote(x.Value))
	}
	if x := a.SOA; x != nil {
		add("%s %s %d %d %d %d %d", dot(x.Primary), dot(x.Mailbox), x.Serial, int(x.Refresh.Seconds()), int(x.Retry.Seconds()), int(x.Expire.Seconds()), int(x.Minimum.Seconds()))
	}
	for _, x := range a.DS {
		add("%d %d %d %x", x.KeyTag, x.Algorithm, x.Digest, x.Hash)
	}
	for _, x := range a.Keys {
		add("%d 3 %d (key %d)", x.Flags, x.Algorithm, x.KeyTag)
	}
	return all
}

// ParseType reads the mnemonic of a type, as Type.String writes it. The error is
// Invalid.
func ParseType(text string) (Type, error) {
	for _, t := range []Type{TypeA, TypeNS, TypeCNAME, TypeSOA, TypePTR, TypeMX, TypeTXT, TypeAAAA, TypeSRV, TypeDS, TypeDNSKEY, TypeTLSA, TypeCAA} {
		if strings.EqualFold(text, t.String()) {
			return t, nil
		}
	}
	return 0, postino.E(postino.Invalid, "read type", postino.Printable(text[:min(len(text), 100)]), errors.New("not a type of records that is asked for here"))
}
