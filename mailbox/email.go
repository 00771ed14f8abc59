package mailbox

import (
	"cmp"
	"context"
	"io"
	"slices"
	"strconv"
	"sync"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/kv"
)

// Email is a stored message apart from the mailboxes that it is in. Its octets
// are Prefix and then the blob: octet p of the blob, which is how Index counts,
// is octet len(Prefix)+p of the message, and the header ends len(Prefix) later
// than Index says. Envelope and BodyStructure do not depend on the prefix.
type Email struct {
	ID       EmailID
	Blob     postino.BlobID
	Size     int64 // RFC822.SIZE: len(Prefix) and the blob
	Received int64 // when it came into the account, Unix seconds
	Thread   ThreadID
	Prefix   []byte
	// Envelope and BodyStructure (with extension data) in IMAP notation.
	Envelope, BodyStructure []byte
	Index                   []byte // encoded, see message.DecodeIndex
	Summary                 Summary
	Body                    []byte // all octets when the blob is a small one, else nil
}

// Want says which fields of an [Email] to read.
type Want uint8

// What can be wanted. The fields from Blob to BodyStructure come with WantRow and
// with WantBody.
const (
	WantRow Want = 1 << iota
	WantIndex
	WantSummary
	WantBody // Body, when the blob is small enough to be stored inline; for others use OpenBody
)

// Emails reads emails and calls fn for each in the order of ids, with its place
// there; ids that are no more, and those in no mailbox that a guest has opened and
// may read, are passed over. Neighbours are read in one scan.
// fn runs outside of any transaction and may block; what e holds is valid until
// it returns. fn returning false ends the reading.
func (a *Account) Emails(ctx context.Context, ids []EmailID, want Want, fn func(i int, e *Email) bool) error {
	size := 512
	if want&WantBody != 0 {
		size, want = 64, want|WantRow
	}
	p := newPager(a, want)
	defer p.release()
	for base := 0; base < len(ids); base += size {
		page := ids[base:min(base+size, len(ids))]
		if err := a.s.view(ctx, a.id, func(r kv.Reader) error { return p.read(r, page) }); err != nil {
			return err
		}
		for i := range p.slots {
			e, err := p.email(&p.slots[i])
			if err != nil {
				return err
			}
			if e != nil && !fn(base+i, e) {
				return nil
			}
		}
	}
	return ctx.Err()
}

// pager reads a page of emails into a buffer of its own.
type pager struct {
	id    AccountID
	a     *Account
	blobs *blob.Store
	want  Want
	buf   []byte
	slots []slot // of the page, in the order of its ids
	order []int  // positions in slots, ascending by id
	found Email
}

var pagers = sync.Pool{New: func() any { return new(pager) }}

// maxPage is the largest buffer that is kept for the next command.
const maxPage = 1 << 20

func newPager(a *Account, want Want) *pager {
	p := pagers.Get().(*pager)
	p.id, p.a, p.blobs, p.want = a.id, a, a.s.blobs, want
	return p
}

// release gives the pager back with its memory; nothing that it read is valid
// any more.
func (p *pager) release() {
	if cap(p.buf) <= maxPage {
		*p = pager{buf: p.buf[:0], slots: p.slots[:0], order: p.order[:0]}
		pagers.Put(p)
	}
}

// slot is where the values of an email lie in the buffer.
type slot struct {
	id                        EmailID
	row, index, summary, body span
}

// span is a part of the buffer; end 0 means there is none.
type span struct{ start, end int }

func (p *pager) read(r kv.Reader, ids []EmailID) error {
	p.buf, p.slots, p.order = p.buf[:0], p.slots[:0], p.order[:0]
	may := p.a.mayRead(ids)
	for i, id := range ids {
		p.slots = append(p.slots, slot{id: id})
		if may == nil || may[i] {
			p.order = append(p.order, i)
		}
	}
	byID := func(i, j int) int { return cmp.Compare(p.slots[i].id, p.slots[j].id) }
	if !slices.IsSortedFunc(p.order, byID) {
		slices.SortFunc(p.order, byID)
	}
	for _, k := range [...]struct {
		want Want
		kind byte
		at   func(*slot) *span
	}{
		{WantRow, keyEmail, func(s *slot) *span { return &s.row }},
		{WantIndex, keyIndex, func(s *slot) *span { return &s.index }},
		{WantSummary, keySummary, func(s *slot) *span { return &s.summary }},
	} {
		if p.want&k.want != 0 {
			if err := p.scan(r, k.kind, k.at); err != nil {
				return err
			}
		}
	}
	if p.want&WantBody != 0 {
		return p.bodies(r)
	}
	return nil
}

// nearby is the distance of two ids over which one scan is cheaper than two.
const nearby = 16

// scan reads the rows of one kind, one scan for each run of nearby ids.
func (p *pager) scan(r kv.Reader, kind byte, at func(*slot) *span) error {
	for rest := p.order; len(rest) > 0; {
		n := 1
		for n < len(rest) && p.slots[rest[n]].id-p.slots[rest[n-1]].id <= nearby {
			n++
		}
		run := rest[:n]
		rest = rest[n:]
		first, last := uint64(p.slots[run[0]].id), uint64(p.slots[run[n-1]].id)
		rng := kv.Range{Start: numberKey(nil, p.id, kind, first), End: numberKey(nil, p.id, kind, last+1)}
		err := r.Scan(rng, func(key, value []byte) bool {
			id := EmailID(keyNumber(key))
			for len(run) > 0 && p.slots[run[0]].id < id {
				run = run[1:]
			}
			if len(run) == 0 || p.slots[run[0]].id != id {
				return len(run) > 0
			}
			where := span{len(p.buf), len(p.buf) + len(value)}
			p.buf = append(p.buf, value...)
			for len(run) > 0 && p.slots[run[0]].id == id {
				*at(&p.slots[run[0]]) = where
				run = run[1:]
			}
			return len(run) > 0
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// bodies reads the small bodies behind their prefixes.
func (p *pager) bodies(r kv.Reader) error {
	var ids []postino.BlobID
	var prefixes [][]byte
	var slots []int
	for i := range p.slots {
		s := &p.slots[i]
		if s.row.end == 0 {
			continue
		}
		row, err := decodeEmail(p.bytes(s.row))
		if err != nil {
			return err
		}
		ids, prefixes, slots = append(ids, row.blob), append(prefixes, row.prefix), append(slots, i)
	}
	return p.blobs.GetMany(r, ids, func(i int, body []byte) error {
		if body != nil {
			start := len(p.buf)
			p.buf = append(append(p.buf, prefixes[i]...), body...)
			p.slots[slots[i]].body = span{start, len(p.buf)}
		}
		return nil
	})
}

func (p *pager) bytes(s span) []byte { return p.buf[s.start:s.end:s.end] }

// email makes the email of a slot, nil when it was not found.
func (p *pager) email(s *slot) (*Email, error) {
	e := &p.found
	*e = Email{ID: s.id}
	if s.row.end|s.index.end|s.summary.end == 0 {
		return nil, nil
	}
	if s.row.end != 0 {
		row, err := decodeEmail(p.bytes(s.row))
		if err != nil {
			return nil, err
		}
		e.Blob, e.Size, e.Received, e.Thread = row.blob, row.size, row.received, row.thread
		e.Prefix, e.Envelope, e.BodyStructure = row.prefix, row.envelope, row.bodyStructure
	}
	if s.index.end != 0 {
		e.Index = p.bytes(s.index)
	}
	if s.body.end != 0 {
		e.Body = p.bytes(s.body)
	}
	if s.summary.end != 0 {
		var err error
		if e.Summary, err = decodeSummary(p.bytes(s.summary)); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// Body reads the octets of an email: its prefix and its blob.
type Body struct {
	prefix []byte
	blob   *blob.Reader
}

// OpenBody opens the octets of an email that was read with WantRow. The caller
// closes it. Of what a guest gives only the number counts, and that as in Emails.
func (a *Account) OpenBody(ctx context.Context, e *Email) (*Body, error) {
	if !a.full() {
		var found *Email
		err := a.Emails(ctx, []EmailID{e.ID}, WantRow, func(_ int, e *Email) bool {
			found = &Email{Blob: e.Blob, Prefix: slices.Clone(e.Prefix)}
			return false
		})
		if err != nil {
			return nil, err
		}
		if found == nil {
			return nil, postino.E(postino.NotFound, "open email", strconv.FormatUint(uint64(e.ID), 10), nil)
		}
		e = found
	}
	b, err := a.s.blobs.Open(ctx, e.Blob)
	if err != nil {
		return nil, err
	}
	return &Body{slices.Clone(e.Prefix), b}, nil
}

// mayRead tells which of the emails the holder of the handle may read, nil for all.
func (a *Account) mayRead(ids []EmailID) []bool {
	switch {
	case a.full():
		return nil
	case a.lens == nil:
		return make([]bool, len(ids))
	}
	return a.lens.readable(a.current(), ids)
}

// Size returns the number of octets.
func (b *Body) Size() int64 { return int64(len(b.prefix)) + b.blob.Size() }

// Close ends the reading.
func (b *Body) Close() error { return b.blob.Close() }

// ReadAt implements [io.ReaderAt].
func (b *Body) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, postino.E(postino.Invalid, "read body", "", nil)
	}
	if off < int64(len(b.prefix)) {
		n = copy(p, b.prefix[off:])
		if n == len(p) {
			return n, nil
		}
	}
	m, err := b.blob.ReadAt(p[n:], off+int64(n)-int64(len(b.prefix)))
	return n + m, err
}

// WriteTo implements [io.WriterTo].
func (b *Body) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(b.prefix)
	if err != nil {
		return int64(n), err
	}
	m, err := b.blob.WriteTo(w)
	return int64(n) + m, err
}
