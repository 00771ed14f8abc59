package submit

import (
	"context"
	"crypto/rsa"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/mailauth"
	"github.com/postino-mail/postino/message"
	"github.com/postino-mail/postino/queue"
)

// proof is what hashes the body of a letter while it streams by.
type proof struct {
	skip   int // octets of the empty line after the header
	keys   []mailauth.SignKey
	signer *mailauth.Signer
	sealer *mailauth.Sealer
	// unsigned says why a message of ours gets no signature.
	unsigned string
}

// Write takes what follows the header.
func (w *proof) Write(b []byte) {
	n := min(w.skip, len(b))
	w.skip -= n
	if w.signer != nil {
		w.signer.Write(b[n:])
	}
	if w.sealer != nil {
		w.sealer.Write(b[n:])
	}
}

// prove begins to hash for the signatures of a message that is ours, and for the
// seal of one that aliases may send on (MA5). Strangers' messages are not signed,
// whatever they say in From.
func (l *Letter) prove(header []byte) (err error) {
	l.proof.skip = len("\r\n")
	if l.Outward {
		err = l.beginSignature(header)
	} else if l.seals() {
		l.proof.sealer, err = l.p.newSealer(header, l.ID.Time())
	}
	return err
}

// beginSignature finds the keys of the author's domain.
func (l *Letter) beginSignature(header []byte) error {
	w := &l.proof
	keys, err := l.p.opts.Directory.SignKeys(context.Background(), authorDomain(header))
	if err != nil || len(keys) == 0 {
		return err
	}
	now := l.ID.Time()
	life := directory.SignatureLife
	if hold := l.Envelope.HoldUntil.Sub(now); hold > 0 { // it counts from when it leaves
		life += hold
	}
	w.keys = keys
	w.signer, err = mailauth.NewSigner(header, mailauth.SignOptions{Keys: keys, Time: now, Lifetime: life})
	if postino.Is(err, postino.Invalid) { // a header that no verifier would take
		w.unsigned, err = err.Error(), nil
	}
	return err
}

// authorDomain is the canonical domain of the first author, "" without one.
func authorDomain(header []byte) string {
	from, ok := message.FirstField(header, "from")
	if !ok {
		return ""
	}
	for _, a := range message.ParseAddressList(from, maxAuthors) {
		if a.Host != "" { // no group
			domain, _ := postino.CanonicalDomain(a.Host)
			return domain
		}
	}
	return ""
}

// sign ends the body and makes the signatures. A key that cannot be used now, as
// when a token is away, makes the client come again: unsigned the message might
// be refused for good.
func (w *proof) sign() (fields []byte, err error) {
	if w.signer == nil {
		return nil, nil
	}
	if fields, err = w.signer.Sign(); err != nil {
		return nil, postino.E(postino.Transient, "sign", w.keys[0].Domain, err)
	}
	return fields, nil
}

// signedBy words who signed, for the story.
func (w *proof) signedBy() string {
	switch {
	case w.unsigned != "":
		return "nobody, since " + w.unsigned
	case w.signer == nil:
		return ""
	}
	names := make([]string, len(w.keys))
	for i := range w.keys {
		names[i] = w.keys[i].Selector
	}
	return w.keys[0].Domain + " (" + strings.Join(names, ", ") + ")"
}

// seals tells whether the letter goes on from a domain that seals.
func (l *Letter) seals() bool {
	for at := range l.sites {
		if at.seal != "" {
			return true
		}
	}
	return false
}

// newSealer returns nil for a header that cannot be sealed.
func (p *Post) newSealer(header []byte, now time.Time) (*mailauth.Sealer, error) {
	s, err := mailauth.NewSealer(header, mailauth.SealOptions{AuthServID: p.opts.Hostname, Time: now})
	if postino.Is(err, postino.Invalid) || postino.Is(err, postino.Full) {
		return nil, nil
	}
	return s, err
}

// sets makes the ARC sets of all domains that send the message on. Without a key a
// domain seals nothing.
func (p *Post) sets(ctx context.Context, s *mailauth.Sealer, domains []string, found *Arrival) (map[string][]byte, error) {
	if s == nil || found == nil {
		return nil, nil
	}
	all := map[string][]byte{}
	for _, domain := range domains {
		keys, err := p.opts.Directory.SignKeys(ctx, domain)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(keys, func(k mailauth.SignKey) bool { // RFC 8617 knows no other algorithm
			_, ok := k.Key.Public().(*rsa.PublicKey)
			return ok
		})
		if i < 0 {
			continue
		}
		if all[domain], err = s.Seal(keys[i], found.Results, found.Chain); err != nil {
			return nil, postino.E(postino.Transient, "seal", domain, err)
		}
	}
	return all, nil
}

// sealing are the domains that send the letter on and seal it.
func (l *Letter) sealing() []string {
	domains := map[string]bool{}
	for at := range l.sites {
		if at.seal != "" {
			domains[at.seal] = true
		}
	}
	return slices.Sorted(maps.Keys(domains))
}

// sealStored makes the set for a message that is on the queue already and turns
// out to be sent on: its body is read once more. What was found when it arrived
// stands in our results before it; one without them came from ourselves.
func (p *Post) sealStored(ctx context.Context, it *queue.Item, domains []string) (map[string][]byte, error) {
	found := p.arrival(it.Prefix)
	if found == nil || len(domains) == 0 {
		return nil, nil
	}
	r, err := p.opts.Blobs.Open(ctx, it.Blob)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	header := make([]byte, min(it.Size, maxHeader))
	if _, err := r.ReadAt(header, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	end := headerEnd(header, 0)
	if end < 0 {
		return nil, nil
	}
	s, err := p.newSealer(header[:end], time.Now())
	if err != nil || s == nil {
		return nil, err
	}
	body := int64(end + len("\r\n"))
	if _, err := io.Copy(s, io.NewSectionReader(r, body, it.Size-body)); err != nil {
		return nil, err
	}
	return p.sets(ctx, s, domains, found)
}

// arrival reads back what was found about a message from the results that stand
// before it, nil when there are none of ours.
func (p *Post) arrival(prefix []byte) *Arrival {
	v, ok := message.FirstField(prefix, "authentication-results")
	if !ok {
		return nil
	}
	ours, err := mailauth.ParseAuthResults(v, 0)
	if err != nil || ours.ID != p.opts.Hostname {
		return nil
	}
	a := &Arrival{Results: ours.Results, Chain: mailauth.Chain{Result: mailauth.None}}
	for _, r := range ours.Results {
		switch {
		case r.Method == "auth":
			return nil // a user of ours
		case r.Method == "arc":
			a.Chain.Result = r.Result
		}
	}
	return a
}
