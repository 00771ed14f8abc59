package submit

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/message"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/story"
)

// maxHeader is how much of a header is held back to be mended (SS9).
const maxHeader = 512 << 10

// ErrHeader refuses a header that is too large (Full; SS9).
var ErrHeader = errors.New("message header is too large")

// Open begins the content.
func (l *Letter) Open(now time.Time) {
	l.body = l.p.opts.Blobs.Create(now)
	l.index = message.NewIndexer(l.p.opts.Limits.Message)
	l.ended = !l.Repair && !l.Outward && !l.seals()
}

// Write takes content as it is to be stored: to the body store, to the indexer and
// to the hashes for signatures in one pass.
func (l *Letter) Write(b []byte) (int, error) {
	n := len(b)
	if !l.ended {
		from := max(0, len(l.held)-3)
		l.held = append(l.held, b...)
		end := headerEnd(l.held, from)
		if end < 0 && len(l.held) > maxHeader {
			return 0, postino.E(postino.Full, "take message", l.ID.String(), ErrHeader)
		}
		if end < 0 {
			return n, nil
		}
		b = l.held[end:]
		if err := l.endHeader(l.held[:end]); err != nil {
			return 0, err
		}
	}
	l.proof.Write(b)
	if err := l.write(b); err != nil {
		return 0, err
	}
	return n, nil
}

// headerEnd finds the end of the line that ends the header, or -1.
func headerEnd(b []byte, from int) int {
	if bytes.HasPrefix(b, []byte("\r\n")) {
		return 0
	}
	if i := bytes.Index(b[from:], []byte("\r\n\r\n")); i >= 0 {
		return from + i + 2
	}
	return -1
}

// endHeader writes the header that was held back, mended if need be; what follows
// begins with the empty line.
func (l *Letter) endHeader(h []byte) error {
	l.ended = true
	if l.Repair {
		var err error
		if h, err = l.mend(h); err != nil {
			return err
		}
	}
	if err := l.prove(h); err != nil {
		return err
	}
	return l.write(h)
}

func (l *Letter) write(b []byte) error {
	if _, err := l.index.Write(b); err != nil {
		return err
	}
	if l.index.HeaderTooLarge() {
		return postino.E(postino.Full, "take message", l.ID.String(), ErrHeader)
	}
	_, err := l.body.Write(b)
	return err
}

// Finish ends the content and returns its index.
func (l *Letter) Finish(ctx context.Context) (*message.Index, error) {
	if !l.ended { // a message without an empty line is all header
		if err := l.endAll(); err != nil {
			return nil, err
		}
	}
	l.held = nil
	l.ix = l.index.Finish()
	l.index = nil
	if l.ix.HeaderTooLarge() {
		return nil, postino.E(postino.Full, "take message", l.ID.String(), ErrHeader)
	}
	if err := l.fits(ctx, l.body.Size()); err != nil {
		return nil, err
	}
	var err error
	l.signatures, err = l.proof.sign()
	return l.ix, err
}

// endAll ends a header that was held back and is all there is. Only what is mended
// gets an empty line.
func (l *Letter) endAll() error {
	if n := len(l.held); l.Repair && n > 0 && l.held[n-1] != '\n' {
		l.held = append(l.held, "\r\n"...)
	}
	if err := l.endHeader(l.held); err != nil || !l.Repair {
		return err
	}
	return l.write([]byte("\r\n"))
}

// Accepted is the event that begins the story of a letter that Finish has
// ended: from whom, to which addresses, what and how large.
func (l *Letter) Accepted(rcpts []postino.Address) *story.Event {
	e := l.p.opts.Stories.Event(l.ID, story.Accepted, time.Now()).Address(story.Sender, l.Envelope.From)
	for _, a := range rcpts {
		e.Address(story.Recipient, a)
	}
	if v, ok := message.FirstField(l.ix.Header(), "message-id"); ok {
		if ids := message.ParseMessageIDs(v, 1); len(ids) > 0 {
			e.Text(story.MessageID, "<"+ids[0]+">")
		}
	}
	return e.Int(story.Size, l.body.Size()).Text(story.Signed, l.proof.signedBy())
}

// Commit makes the letter durable, with its story: when it returns nil the
// queue is responsible for it (SS21, QU1).
func (l *Letter) Commit(ctx context.Context, events ...*story.Event) error {
	m, err := l.message(ctx)
	if err != nil {
		return err
	}
	m.Events = append(events, m.Events...)
	return l.p.opts.Queue.Put(ctx, m)
}

// message is the letter as the queue takes it.
func (l *Letter) message(ctx context.Context) (*queue.Message, error) {
	sets, err := l.p.sets(ctx, l.proof.sealer, l.sealing(), l.Arrival)
	if err != nil {
		return nil, err
	}
	prefix := slices.Concat(l.signatures, l.Prefix)
	staged, err := l.body.Finish()
	if err != nil {
		return nil, err
	}
	now, m := time.Now(), &queue.Message{Staged: &staged}
	item := func(transport string) *queue.Item {
		e := &l.Envelope
		it := &queue.Item{
			Message: l.ID, Transport: transport, From: e.From, SMTPUTF8: e.SMTPUTF8, Body: e.Body, EnvID: e.EnvID, Ret: e.Ret,
			Terms: e.Terms, User: l.User.ID, Received: now, Prefix: prefix,
		}
		if m.Items = append(m.Items, it); len(m.Items) == 1 {
			it.ID = l.ID
		}
		return it
	}
	if len(l.local) > 0 {
		it, msg := item(queue.Local), mailbox.NewMessage(staged.ID, l.ix, l.ix.Header())
		it.Rcpts, it.Junk, it.Carry = l.local, l.Junk, msg
		it.CarryBytes = len(msg.Index) + len(msg.Envelope) + len(msg.BodyStructure)
	}
	if len(l.reports) > 0 {
		item(queue.Reader).Rcpts = l.reports
	}
	if len(l.sites) > 0 && !l.Envelope.RequireTLS {
		l.Envelope.TLSOptional = tlsOptional(l.ix.Header())
	}
	for at, s := range l.sites {
		it := item(queue.Relay)
		it.Dest, it.From, it.Prefix, it.Rcpts = at.dest, at.from, slices.Concat(sets[at.seal], []byte(at.trace), prefix), s.rcpts
		if at.trace != "" {
			m.Events = append(m.Events, l.p.forwardEvent(it, now))
		}
	}
	m.Items[0].Rcpts = append(m.Items[0].Rcpts, l.owed...)
	return m, nil
}

// forwardEvent tells that a message goes on, so that its story is found by the
// addresses that it went to.
func (p *Post) forwardEvent(it *queue.Item, now time.Time) *story.Event {
	how := "forwarded"
	if bytes.HasPrefix(it.Prefix, []byte("ARC-Seal:")) {
		how = "forwarded with an ARC set"
	}
	e := p.opts.Stories.Event(it.Message, story.Queued, now).Text(story.Reason, how)
	for i := range it.Rcpts {
		e.Address(story.Recipient, it.Rcpts[i].Address)
	}
	return e
}

// tlsOptional tells whether the sender wants the message delivered even if the
// destination's TLS policy cannot be met: exactly one field that says No (RFC
// 8689 §3).
func tlsOptional(header []byte) bool {
	found := 0
	for f := range message.Fields(header) {
		if f.Is("tls-required") {
			if !bytes.EqualFold(bytes.TrimSpace(f.Value), []byte("no")) {
				return false
			}
			found++
		}
	}
	return found == 1
}

// Size is how many octets were written so far.
func (l *Letter) Size() int64 { return l.body.Size() }

// Close frees what the letter holds; unless it was committed nothing remains.
func (l *Letter) Close() {
	if l.index != nil {
		l.index.Release()
		l.index = nil
	}
	if l.body != nil {
		l.body.Abort()
		l.body = nil
	}
}
