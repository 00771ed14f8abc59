package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/mailbox"
)

// Box is a mailbox to be moved out.
type Box struct {
	ID                   mailbox.MailboxID
	Name                 string
	Subscribed           bool
	UIDValidity, UIDNext uint32
	Messages             int64
}

// Boxes lists the mailboxes of an account.
func (d *Desk) Boxes(ctx context.Context, account string) (list []Box, err error) {
	err = d.with(ctx, account, func(a *mailbox.Account) error {
		if err := a.Sync(ctx); err != nil {
			return err
		}
		for _, b := range a.Mailboxes() {
			list = append(list, Box{b.ID, b.Name, b.Subscribed, b.UIDValidity, uint32(b.UIDNext), int64(b.Messages)})
		}
		return nil
	})
	return list, err
}

// ListQuery asks for messages with a UID greater than After.
type ListQuery struct {
	Account string
	Mailbox mailbox.MailboxID
	After   uint32
}

// Listed is a message to be moved out.
type Listed struct {
	UID   uint32
	Flags []string `json:",omitempty"`
	Date  int64    // Unix seconds
	Size  int64
}

// listPage is how many messages one List tells.
const listPage = 2000

// List tells up to 2,000 messages of a mailbox by UID; none: there are no more.
func (d *Desk) List(ctx context.Context, q ListQuery) (list []Listed, err error) {
	err = d.with(ctx, q.Account, func(a *mailbox.Account) error {
		v, err := a.Open(ctx, q.Mailbox)
		if err != nil {
			return err
		}
		s := v.Snapshot()
		names := s.Keywords()
		for i := range s.Select(mailbox.Ranges{{Lo: mailbox.UID(q.After) + 1, Hi: ^mailbox.UID(0)}}) {
			r := s.Row(i)
			var kw []string
			for n := range r.Flags.Keywords() {
				if n < len(names) {
					kw = append(kw, names[n])
				}
			}
			list = append(list, Listed{uint32(r.UID), flagNames(r.Flags.System(), kw), r.Date, r.Size})
			if len(list) == listPage {
				break
			}
		}
		return nil
	})
	return list, err
}

// BodiesQuery asks for the octets of messages.
type BodiesQuery struct {
	Account string
	Mailbox mailbox.MailboxID
	UIDs    []uint32
}

// BodyMeta begins a message in the frames that Bodies writes.
type BodyMeta struct{ UID uint32 }

// Bodies writes the messages as frames, in the order asked for; those that are gone
// are passed over. What goes wrong is the last frame.
func (d *Desk) Bodies(ctx context.Context, q BodiesQuery, out io.Writer) error {
	f := newFrameWriter(out)
	err := d.with(ctx, q.Account, func(a *mailbox.Account) error {
		v, err := a.Open(ctx, q.Mailbox)
		if err != nil {
			return err
		}
		s := v.Snapshot()
		var ids []mailbox.EmailID
		var uids []uint32
		for _, u := range q.UIDs {
			if i, ok := s.Find(mailbox.UID(u)); ok {
				ids, uids = append(ids, s.Email(i)), append(uids, u)
			}
		}
		var fail error
		err = a.Emails(ctx, ids, mailbox.WantRow|mailbox.WantBody, func(i int, e *mailbox.Email) bool {
			if fail = f.meta(BodyMeta{uids[i]}); fail == nil {
				fail = body(ctx, a, e, f)
			}
			return fail == nil
		})
		return errors.Join(fail, err)
	})
	if err == nil {
		return f.end()
	}
	return f.fail(err)
}

func body(ctx context.Context, a *mailbox.Account, e *mailbox.Email, f *frameWriter) error {
	if e.Body != nil {
		_, err := f.Write(e.Body)
		return err
	}
	b, err := a.OpenBody(ctx, e)
	if err != nil {
		return err
	}
	defer b.Close()
	_, err = b.WriteTo(f)
	return err
}

// readBodies reads what Bodies writes and calls fn for each message, whose octets it
// reads to the end or not.
func readBodies(r io.Reader, fn func(uid uint32, body io.Reader) error) error {
	b := bodyReader{f: newFrameReader(r)}
	if err := b.next(); err != nil {
		return err
	}
	for b.meta != nil {
		uid := b.meta.UID
		if err := b.next(); err != nil {
			return err
		}
		if err := fn(uid, &b); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, &b); err != nil {
			return err
		}
	}
	return nil
}

// bodyReader reads the octets of a message, up to the frame that begins another one
// or ends all.
type bodyReader struct {
	f    *frameReader
	rest []byte
	meta *BodyMeta // of the message that comes next
	end  bool      // of the octets
}

// next reads a frame.
func (b *bodyReader) next() error {
	kind, p, err := b.f.next()
	if err != nil {
		return err
	}
	b.rest, b.meta, b.end = nil, nil, true
	switch kind {
	case frameData:
		b.rest, b.end = p, false
	case frameMeta:
		b.meta = new(BodyMeta)
		err = json.Unmarshal(p, b.meta)
	case frameEnd:
	default:
		err = errFrames
	}
	if err != nil {
		return postino.E(postino.Invalid, "read messages", "", err)
	}
	return nil
}

func (b *bodyReader) Read(p []byte) (int, error) {
	for len(b.rest) == 0 {
		if b.end {
			return 0, io.EOF
		}
		if err := b.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}
