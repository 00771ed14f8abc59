package imapd

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/postino-mail/postino/imap"
	"github.com/postino-mail/postino/mailbox"
)

// fetchPage is how many messages one page of stored rows may ask for.
const fetchPage = 4096

// progressEvery is after how many messages FETCH looks whether to tell its progress.
const progressEvery = 64

// fetch is one FETCH under way.
type fetch struct {
	s     *session
	w     *imap.FetchWriter
	req   imap.FetchRequest
	want  mailbox.Want      // what the stored rows must bring; 0: columns suffice
	after *mailbox.Snapshot // flags as they are after \Seen was set; nil: the client's snapshot
	seen  mailbox.Ranges    // messages that this FETCH gave \Seen
	names []string          // keywords of the message being written
	down  bool              // the highest UID comes first
	done  int               // messages so far
	total int               // and in all
}

// Fetch answers from the columns alone where it can, and else reads rows page
// by page.
func (s *session) Fetch(ctx context.Context, w *imap.FetchWriter, req imap.FetchRequest) error {
	spans, err := s.spans(req.Set)
	if err != nil {
		return err
	}
	spans, over := s.limited(window(spans, req.Partial))
	if over != nil && req.Partial != nil {
		return &imap.Limited{Refused: true}
	}
	if req.Vanished {
		if err := s.fetchVanished(ctx, w, &req); err != nil {
			return err
		}
	}
	f := &fetch{s: s, w: w, req: req, want: wants(&req)}
	if req.MarkSeen && !s.sel.readOnly {
		if err := f.markSeen(ctx, spans); err != nil {
			return err
		}
	}
	gone := false
	f.total, f.down = count(spans), over != nil
	if f.down { // from the highest UID to the lowest (RFC 9738 §3.1)
		slices.Reverse(spans)
	}
	for _, sp := range spans {
		if f.want == 0 {
			err = f.columns(sp)
		} else {
			err = f.rows(ctx, sp, &gone)
		}
		if err != nil {
			return err
		}
	}
	if gone && !req.Set.UID {
		return errors.Join(imap.ErrExpungeIssued, orNil(over))
	}
	return orNil(over)
}

// wants tells what of the stored rows the items need.
func wants(req *imap.FetchRequest) (want mailbox.Want) {
	if req.Items&(imap.FetchEnvelope|imap.FetchBodyStructure) != 0 {
		want |= mailbox.WantRow
	}
	if req.Items&imap.FetchBody != 0 {
		want |= mailbox.WantRow | mailbox.WantIndex
	}
	if req.Items&imap.FetchPreview != 0 {
		want |= mailbox.WantRow | mailbox.WantIndex | mailbox.WantBody
	}
	for i := range req.Sections {
		want |= mailbox.WantRow | mailbox.WantBody
		if s := &req.Sections[i]; s.Text != imap.SectionAll || len(s.Path) > 0 || s.Kind != imap.BodySection {
			want |= mailbox.WantIndex
		}
	}
	return want
}

// markSeen sets \Seen on the messages that lack it (RFC 9051 §6.4.5).
func (f *fetch) markSeen(ctx context.Context, spans []span) error {
	sel := f.s.sel
	if sel.acct.Rights(sel.view.Mailbox())&mailbox.RightSeen == 0 {
		return nil // who may not keep it reads all the same (RFC 4314 §4)
	}
	snap, now := sel.snap, sel.view.Snapshot()
	var unseen []mailbox.UID
	for _, sp := range spans {
		for i, r := range snap.Rows(sp.lo, sp.hi) {
			seen := r.Flags.System()&mailbox.Seen != 0
			if seen && now != snap { // somebody may have taken it, and the client not know yet
				if j, ok := locate(now, i, r.UID); ok {
					seen = now.Row(j).Flags.System()&mailbox.Seen != 0
				}
			}
			if !seen && uint64(r.ModSeq) > f.req.ChangedSince {
				unseen = append(unseen, r.UID)
			}
		}
	}
	if len(unseen) == 0 {
		return nil
	}
	f.seen = mailbox.RangesOf(unseen)
	res, err := f.s.sel.acct.Store(ctx, f.s.sel.view.Mailbox(), mailbox.StoreRequest{UIDs: f.seen, Op: mailbox.AddFlags, Flags: mailbox.Seen})
	if err != nil {
		return err
	}
	f.after = res.Snapshot
	if res.ModSeq != 0 {
		f.s.sel.knows(res.ModSeq)
	}
	return nil
}

// columns writes the messages of a span from memory.
func (f *fetch) columns(sp span) error {
	if f.down {
		for i := sp.hi - 1; i >= sp.lo; i-- {
			if err := f.column(i, f.s.sel.snap.Row(i)); err != nil {
				return err
			}
		}
		return nil
	}
	for i, r := range f.s.sel.snap.Rows(sp.lo, sp.hi) {
		if err := f.column(i, r); err != nil {
			return err
		}
	}
	return nil
}

func (f *fetch) column(i int, r mailbox.Row) error {
	if uint64(r.ModSeq) <= f.req.ChangedSince && f.req.ChangedSince > 0 {
		return nil
	}
	f.begin(i, r)
	return f.w.End()
}

// rows writes the messages of a span from stored rows; gone tells that some of
// them had none any more.
func (f *fetch) rows(ctx context.Context, sp span, gone *bool) error {
	snap := f.s.sel.snap
	at := make([]int, 0, min(sp.hi-sp.lo, fetchPage))
	ids := make([]mailbox.EmailID, 0, cap(at))
	for n := 0; n < sp.hi-sp.lo; {
		at, ids = at[:0], ids[:0]
		for ; n < sp.hi-sp.lo && len(at) < fetchPage; n++ {
			i := sp.lo + n
			if f.down {
				i = sp.hi - 1 - n
			}
			if r := snap.Row(i); f.req.ChangedSince == 0 || uint64(r.ModSeq) > f.req.ChangedSince {
				at, ids = append(at, i), append(ids, r.Email)
			}
		}
		var failed error
		found := 0
		err := f.s.sel.acct.Emails(ctx, ids, f.want, func(i int, e *mailbox.Email) bool {
			found++
			failed = f.message(ctx, at[i], e)
			if f.done++; f.done%progressEvery == 0 {
				imap.Progress(ctx, f.done, f.total)
			}
			return failed == nil
		})
		if failed != nil {
			return failed
		}
		if err != nil {
			return err
		}
		*gone = *gone || found < len(ids)
	}
	return nil
}

// begin writes what the columns hold of the message at position i.
func (f *fetch) begin(i int, r mailbox.Row) {
	f.w.Begin(uint32(i+1), uint32(r.UID))
	if f.req.Items&imap.FetchUID != 0 {
		f.w.UID(uint32(r.UID))
	}
	flags, keywords := f.req.Items&imap.FetchFlags != 0, f.s.sel.snap.Keywords()
	if len(f.seen) > 0 && f.seen.Contains(r.UID) {
		if j, ok := locate(f.after, i, r.UID); ok {
			r, flags, keywords = f.after.Row(j), true, f.after.Keywords()
		}
	}
	if flags {
		f.names = keywordNames(f.names[:0], r.Flags, keywords)
		f.w.Flags(toWire(r.Flags.System()), f.names)
	}
	if flags || f.req.Items&imap.FetchModSeq != 0 {
		f.w.ModSeq(uint64(r.ModSeq))
	}
	if f.req.Items&imap.FetchInternalDate != 0 {
		f.w.InternalDate(time.Unix(r.Date, 0))
	}
	if f.req.Items&imap.FetchSize != 0 {
		f.w.Size(r.Size)
	}
	if f.req.Items&imap.FetchSaveDate != 0 {
		f.w.SaveDate(time.Unix(r.Saved, 0))
	}
	if f.req.Items&imap.FetchEmailID != 0 {
		f.w.EmailID(emailObjectID(f.s.sel.acct.ID(), r.Email))
	}
	if f.req.Items&imap.FetchThreadID != 0 {
		f.w.ThreadID(threadObjectID(f.s.sel.acct.ID(), r.Thread))
	}
}

// message writes all items of one message.
func (f *fetch) message(ctx context.Context, i int, e *mailbox.Email) error {
	f.begin(i, f.s.sel.snap.Row(i))
	if f.req.Items&imap.FetchEnvelope != 0 {
		f.w.Envelope(e.Envelope)
	}
	if f.req.Items&imap.FetchBodyStructure != 0 {
		f.w.BodyStructure(e.BodyStructure)
	}
	if f.req.Items&(imap.FetchBody|imap.FetchPreview) != 0 || len(f.req.Sections) > 0 {
		o, err := f.s.octets(ctx, e)
		if err != nil {
			return err
		}
		defer o.close()
		if err := f.bodies(o); err != nil {
			return err
		}
	}
	return f.w.End()
}

// bodies writes the items that need the index or the octets.
func (f *fetch) bodies(o *octets) error {
	if f.req.Items&imap.FetchBody != 0 {
		ix, err := o.index()
		if err != nil {
			return err
		}
		f.w.Body(ix.AppendBodyStructure(nil, false))
	}
	if f.req.Items&imap.FetchPreview != 0 {
		text, err := o.preview(f.req.LazyPreview)
		if err != nil {
			return err
		}
		f.w.Preview(text)
	}
	for k := range f.req.Sections {
		if err := o.write(f.w, &f.req.Sections[k]); err != nil {
			return err
		}
	}
	return nil
}
