package transfer

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/mailfile"
)

// Outgoing is where mail is moved from: a [Desk], or one behind a control socket.
type Outgoing interface {
	Boxes(ctx context.Context, account string) ([]Box, error)
	List(ctx context.Context, q ListQuery) ([]Listed, error)
	// ReadBodies calls fn with what [Desk.Bodies] writes.
	ReadBodies(ctx context.Context, q BodiesQuery, fn func(io.Reader) error) error
}

// Export moves mail out.
type Export struct {
	Store   Outgoing
	Account string // an address
	// Wanted chooses mailboxes; nil takes all.
	Wanted   func(name string) bool
	To       mailfile.Writer
	Progress func(Progress)

	report ExportReport
}

// ExportReport is what an export did.
type ExportReport struct {
	Mailboxes int
	Exported  int64 // messages
	Octets    int64
	Before    int64 // messages that were there
	Gone      int64 // messages that were deleted meanwhile
	Notes     []string
}

// exportBatch bounds what is asked for at once.
const (
	exportMessages = 256
	exportOctets   = 64 << 20
)

// Run writes everything. After an error, or when ctx ends, the same export goes on
// with what is missing.
func (x *Export) Run(ctx context.Context) (ExportReport, error) {
	x.report = ExportReport{}
	all, err := x.Store.Boxes(ctx, x.Account)
	if err != nil {
		return x.report, err
	}
	var boxes []Box
	var folders []mailfile.Folder
	for _, b := range all {
		if x.Wanted == nil || x.Wanted(b.Name) {
			boxes = append(boxes, b)
			folders = append(folders, mailfile.Folder{Name: b.Name, UIDValidity: b.UIDValidity, UIDNext: b.UIDNext, Subscribed: b.Subscribed})
		}
	}
	for i := range boxes {
		p := Progress{Mailbox: boxes[i].Name, Done: i, Folders: len(boxes), Total: boxes[i].Messages}
		if err := x.box(ctx, &boxes[i], &folders[i], p); err != nil {
			return x.report, postino.E(postino.Internal, "export", postino.Printable(boxes[i].Name), err)
		}
		x.report.Mailboxes++
	}
	return x.report, x.To.Close(folders)
}

// box writes one mailbox.
func (x *Export) box(ctx context.Context, b *Box, f *mailfile.Folder, p Progress) error {
	if err := x.To.Begin(f); err != nil {
		return err
	}
	q := ListQuery{Account: x.Account, Mailbox: b.ID}
	for {
		list, err := x.Store.List(ctx, q)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			break
		}
		q.After = list[len(list)-1].UID
		f.UIDNext = max(f.UIDNext, q.After+1)
		var want []*mailfile.Entry
		var octets int64
		for _, l := range list {
			e := &mailfile.Entry{UID: l.UID, Flags: l.Flags, Date: time.Unix(l.Date, 0), Size: l.Size}
			if x.To.Has(e) {
				x.report.Before++
				p.Messages++
				continue
			}
			if len(want) == exportMessages || octets+l.Size > exportOctets && len(want) > 0 {
				if err := x.write(ctx, b, want, &p); err != nil {
					return err
				}
				want, octets = want[:0], 0
			}
			want, octets = append(want, e), octets+l.Size
		}
		if err := x.write(ctx, b, want, &p); err != nil {
			return err
		}
	}
	lost, err := x.To.End()
	for _, l := range lost {
		if len(x.report.Notes) < maxNotes {
			x.report.Notes = append(x.report.Notes, postino.Printable(fmt.Sprintf("%s: %s cannot be written in this format", b.Name, l)))
		}
	}
	return err
}

// write writes some messages of a mailbox.
func (x *Export) write(ctx context.Context, b *Box, list []*mailfile.Entry, p *Progress) error {
	if len(list) == 0 {
		return nil
	}
	q := BodiesQuery{Account: x.Account, Mailbox: b.ID}
	for _, e := range list {
		q.UIDs = append(q.UIDs, e.UID)
	}
	err := x.Store.ReadBodies(ctx, q, func(r io.Reader) error {
		return readBodies(r, func(uid uint32, body io.Reader) error {
			for len(list) > 0 && list[0].UID != uid {
				x.report.Gone++
				list = list[1:]
			}
			if len(list) == 0 {
				return postino.E(postino.Invalid, "read messages", "", errFrames)
			}
			e := list[0]
			list = list[1:]
			if err := ctx.Err(); err != nil {
				return err
			}
			n := &counter{r: body}
			if err := x.To.Put(e, n); err != nil {
				return err
			}
			x.report.Exported++
			x.report.Octets += n.n
			p.Messages++
			p.Octets = x.report.Octets
			if x.Progress != nil {
				x.Progress(*p)
			}
			return nil
		})
	})
	x.report.Gone += int64(len(list))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
