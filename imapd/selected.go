package imapd

import (
	"context"
	"slices"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/imap"
	"github.com/postino-mail/postino/mailbox"
)

// selected is the mailbox that a session has open.
type selected struct {
	acct     *mailbox.Account
	view     *mailbox.View
	snap     *mailbox.Snapshot // what the client believes
	rights   mailbox.Rights    // when it was selected
	readOnly bool
	keywords int                     // how many of the mailbox's keywords the client was told
	own      map[mailbox.ModSeq]bool // changes of this session that the client knows of, see knows
	stop     func()                  // ends the notices
}

// knows notes a change that the session's own command reported.
func (sel *selected) knows(m mailbox.ModSeq) {
	if sel.own == nil {
		sel.own = map[mailbox.ModSeq]bool{}
	}
	sel.own[m] = true
}

// systemFlags pairs the engine's flags with the mailboxes' own.
var systemFlags = []struct {
	wire imap.Flag
	flag mailbox.Flags
}{
	{imap.Seen, mailbox.Seen}, {imap.Answered, mailbox.Answered}, {imap.Flagged, mailbox.Flagged},
	{imap.Deleted, mailbox.Deleted}, {imap.Draft, mailbox.Draft},
}

// changing are the rights of which one makes a mailbox READ-WRITE (RFC 4314 §5.2).
const changing = mailbox.RightSeen | mailbox.RightWrite | mailbox.RightInsert | mailbox.RightDeleted | mailbox.RightExpunge

// permanent are the system flags that the user may change (RFC 4314 §4, SELECT).
func (sel *selected) permanent() (f imap.Flag) {
	if sel.rights&mailbox.RightSeen != 0 {
		f |= imap.Seen
	}
	if sel.rights&mailbox.RightDeleted != 0 {
		f |= imap.Deleted
	}
	if sel.rights&mailbox.RightWrite != 0 {
		f |= imap.Answered | imap.Flagged | imap.Draft
	}
	return f
}

// newKeywords tells whether the user may make keywords.
func (sel *selected) newKeywords(snap *mailbox.Snapshot) bool {
	return sel.rights&mailbox.RightWrite != 0 && len(snap.Keywords()) < mailbox.MaxKeywords
}

// fromWire drops \Recent, which nobody may set (RFC 3501 §2.3.2).
func fromWire(f imap.Flag) (out mailbox.Flags) {
	for _, p := range systemFlags {
		if f&p.wire != 0 {
			out |= p.flag
		}
	}
	return out
}

// wireTable turns the five bits of mailbox.Flags to the engine's.
var wireTable = func() (t [32]imap.Flag) {
	for i := range t {
		for _, p := range systemFlags {
			if mailbox.Flags(i)&p.flag != 0 {
				t[i] |= p.wire
			}
		}
	}
	return t
}()

func toWire(f mailbox.Flags) imap.Flag { return wireTable[f&31] }

// keywordNames appends the names of a message's keywords to dst.
func keywordNames(dst []string, m mailbox.Mask, names []string) []string {
	for n := range m.Keywords() {
		if n < len(names) {
			dst = append(dst, names[n])
		}
	}
	return dst
}

// Select opens a mailbox.
func (s *session) Select(ctx context.Context, req imap.SelectRequest) (*imap.SelectData, error) {
	p, info, err := s.find(ctx, req.Mailbox)
	if err != nil {
		return nil, err
	}
	view, err := p.acct.Open(ctx, info.ID)
	if err != nil {
		return nil, err
	}
	snap, err := view.Sync(ctx)
	if err != nil {
		return nil, err
	}
	status := snap.Status()
	rights := p.acct.Rights(info.ID)
	s.sel = &selected{acct: p.acct, view: view, snap: snap, rights: rights, readOnly: req.ReadOnly || rights&changing == 0, keywords: len(snap.Keywords())}
	s.subscribe()
	return &imap.SelectData{
		Name: req.Mailbox, Attrs: attrs(info.SpecialUse), Messages: uint32(snap.Len()), FirstUnseen: firstUnseen(snap),
		UIDNext: uint32(status.UIDNext), UIDValidity: status.UIDValidity, HighestModSeq: max(1, uint64(status.HighestModSeq)),
		Keywords: snap.Keywords(), ReadOnly: s.sel.readOnly, Permanent: s.sel.permanent(), NewKeywords: s.sel.newKeywords(snap),
		MailboxID: mailboxObjectID(p.acct.ID(), info.ID),
	}, nil
}

// firstUnseen returns the sequence number of the first message without \Seen.
func firstUnseen(snap *mailbox.Snapshot) uint32 {
	if snap.Status().Unseen == 0 {
		return 0
	}
	for i, r := range snap.Rows(0, snap.Len()) {
		if r.Flags.System()&mailbox.Seen == 0 {
			return uint32(i + 1)
		}
	}
	return 0
}

// Unselect closes the mailbox.
func (s *session) Unselect(context.Context) error {
	if s.sel != nil {
		if s.sel.stop != nil {
			s.sel.stop()
		}
		s.sel = nil
	}
	return nil
}

// Watch passes the view's notices on, also for mailboxes selected later.
func (s *session) Watch(changed func()) {
	s.changed = changed
	s.subscribe()
	s.watchAccounts()
}

// subscribe makes the notices of the selected mailbox go where Watch said.
func (s *session) subscribe() {
	if s.sel == nil {
		return
	}
	if s.sel.stop != nil {
		s.sel.stop()
		s.sel.stop = nil
	}
	if s.changed != nil {
		s.sel.stop = s.sel.view.Notify(s.changed)
	}
}

// errGone ends a session whose mailbox was deleted or may no longer be read by it: there
// is no way to tell the client that a mailbox closed itself (RFC 2180 §3.3, §3.4).
var errGone = postino.E(postino.NotFound, "poll", "", nil)

// Poll tells what changed in the selected mailbox, then what Notify asked for.
func (s *session) Poll(ctx context.Context, w *imap.UpdateWriter, expunge bool) error {
	if s.sel != nil && s.sel.view.Snapshot().Gone() {
		return errGone
	}
	if s.sel != nil && !w.Others() {
		if err := s.pollSelected(ctx, w, expunge); err != nil {
			return err
		}
	}
	return s.pollNotified(ctx, w)
}

// pollSelected tells what changed between the client's snapshot and the newest one.
func (s *session) pollSelected(ctx context.Context, w *imap.UpdateWriter, expunge bool) error {
	next := s.sel.view.Snapshot()
	if s.changed == nil { // who watches is told of what is not published yet
		var err error
		if next, err = s.sel.view.Sync(ctx); err != nil {
			return err
		}
	}
	switch {
	case next == s.sel.snap:
		return nil
	case next.Gone():
		return errGone
	}
	if !expunge {
		next = s.sel.snap.Keep(next)
	}
	s.tell(w, next)
	return w.Err()
}

// tell writes the difference to next and makes it the client's snapshot.
func (s *session) tell(w *imap.UpdateWriter, next *mailbox.Snapshot) {
	sel := s.sel
	d := sel.snap.Diff(next)
	for _, i := range slices.Backward(d.Expunged) { // from the end, so that each number still holds
		w.Expunge(uint32(i+1), uint32(sel.snap.UID(i)))
	}
	if d.Exists {
		w.Exists(uint32(next.Len()))
	}
	s.tellKeywords(w, next)
	var names []string
	for _, i := range d.Changed {
		r := next.Row(i)
		if sel.own[r.ModSeq] {
			continue
		}
		names = keywordNames(names[:0], r.Flags, next.Keywords())
		w.Flags(uint32(i+1), uint32(r.UID), uint64(r.ModSeq), toWire(r.Flags.System()), names)
	}
	sel.snap = next
	sel.own = nil
}

// tellKeywords announces keywords that the client has not seen in FLAGS yet.
func (s *session) tellKeywords(w *imap.UpdateWriter, snap *mailbox.Snapshot) {
	if names := snap.Keywords(); len(names) > s.sel.keywords {
		s.sel.keywords = len(names)
		w.MailboxFlags(names, s.sel.permanent(), s.sel.newKeywords(snap))
	}
}

// storeOps pairs the engine's operations with the mailboxes' own.
var storeOps = [...]mailbox.FlagOp{
	imap.StoreReplace: mailbox.ReplaceFlags, imap.StoreAdd: mailbox.AddFlags, imap.StoreRemove: mailbox.RemoveFlags,
}

// Store changes flags in one commit and reports the flags of every message named.
func (s *session) Store(ctx context.Context, w *imap.UpdateWriter, req imap.StoreRequest) (*imap.StoreData, error) {
	spans, err := s.spans(req.Set)
	if err != nil || len(spans) == 0 {
		return &imap.StoreData{}, err
	}
	spans, over := s.limited(spans)
	change := mailbox.StoreRequest{UIDs: s.uids(spans), Op: storeOps[req.Op], Flags: fromWire(req.Flags), Keywords: req.Keywords}
	if req.Conditional {
		since := mailbox.ModSeq(req.UnchangedSince)
		change.UnchangedSince = &since
	}
	res, err := s.sel.acct.Store(ctx, s.sel.view.Mailbox(), change)
	if err != nil {
		return nil, err
	}
	if res.ModSeq != 0 {
		s.sel.knows(res.ModSeq)
	}
	s.tellKeywords(w, res.Snapshot)
	s.tellFlags(w, spans, res)
	if w.Err() != nil {
		return nil, w.Err()
	}
	return &imap.StoreData{Modified: s.numbers(req.Set.UID, res.Modified)}, orNil(over)
}

// tellFlags writes the flags after a Store of every message in spans that is
// still there and was not left alone by UNCHANGEDSINCE.
func (s *session) tellFlags(w *imap.UpdateWriter, spans []span, res mailbox.StoreResult) {
	var names []string
	after := res.Snapshot
	for _, sp := range spans {
		for i := sp.lo; i < sp.hi; i++ {
			uid := s.sel.snap.UID(i)
			j, ok := locate(after, i, uid)
			if !ok || len(res.Modified) > 0 && res.Modified.Contains(uid) {
				continue
			}
			r := after.Row(j)
			names = keywordNames(names[:0], r.Flags, after.Keywords())
			w.Flags(uint32(i+1), uint32(uid), uint64(r.ModSeq), toWire(r.Flags.System()), names)
		}
	}
}

// locate finds a UID in a snapshot, first where it stood in another one.
func locate(snap *mailbox.Snapshot, hint int, uid mailbox.UID) (int, bool) {
	if hint < snap.Len() && snap.UID(hint) == uid {
		return hint, true
	}
	return snap.Find(uid)
}

// Copy copies by reference.
func (s *session) Copy(ctx context.Context, set imap.NumSet, to string) (*imap.CopyData, error) {
	return s.transfer(ctx, set, to, false, (*mailbox.Account).Copy, s.desk.opts.Mailboxes.CopyBetween)
}

// Move moves in one commit (RFC 6851 §3.3).
func (s *session) Move(ctx context.Context, set imap.NumSet, to string) (*imap.CopyData, error) {
	return s.transfer(ctx, set, to, true, (*mailbox.Account).Move, s.desk.opts.Mailboxes.MoveBetween)
}

// transfer copies or moves within an account, or between two. Too many messages may be
// moved in part, not copied (RFC 9738 §3.1).
func (s *session) transfer(ctx context.Context, set imap.NumSet, to string, partly bool,
	within func(*mailbox.Account, context.Context, mailbox.MailboxID, mailbox.Ranges, mailbox.MailboxID) (mailbox.CopyResult, error),
	between func(context.Context, *mailbox.Account, mailbox.MailboxID, mailbox.Ranges, *mailbox.Account, mailbox.MailboxID) (mailbox.CopyResult, error),
) (*imap.CopyData, error) {
	spans, err := s.spans(set)
	if err != nil {
		return nil, err
	}
	p, dst, err := s.find(ctx, to)
	if err != nil {
		return nil, err
	}
	if len(spans) == 0 {
		return &imap.CopyData{}, nil
	}
	spans, over := s.limited(spans)
	if over != nil && !partly {
		over.Refused = true
		return nil, over
	}
	var res mailbox.CopyResult
	if from := s.sel.view.Mailbox(); p.acct == s.sel.acct {
		res, err = within(p.acct, ctx, from, s.uids(spans), dst.ID)
	} else {
		res, err = between(ctx, s.sel.acct, from, s.uids(spans), p.acct, dst.ID)
	}
	if postino.Is(err, postino.NotFound) {
		if _, e := s.sel.acct.Status(s.sel.view.Mailbox()); e != nil { // not the mailbox to create: this one
			err = &imap.Error{Code: "NONEXISTENT", Text: "No such mailbox", Err: err}
		}
	}
	if err != nil {
		return nil, err
	}
	if k := len(res.Dest); k > 0 {
		s.toldAppended(p.acct, dst.ID, res.Dest[0].Lo, res.Dest[k-1].Hi)
	}
	d := &imap.CopyData{UIDValidity: res.UIDValidity, Source: wireRanges(res.Source), Dest: wireRanges(res.Dest)}
	if res.Snapshot != nil && len(d.Source) > 0 {
		d.HighestModSeq = uint64(res.Snapshot.Status().HighestModSeq)
	}
	return d, orNil(over)
}

// Expunge removes messages with \Deleted. Without uids only those go that the
// client knows of: what arrived later is not its to remove.
func (s *session) Expunge(ctx context.Context, uids *imap.NumSet) (*imap.ExpungeData, error) {
	spans := []span{{0, s.sel.snap.Len()}}
	var over *imap.Limited
	if uids != nil {
		var err error
		if spans, err = s.spans(*uids); err != nil {
			return nil, err
		}
		spans, over = s.limitedDeleted(spans)
	}
	res, err := s.sel.acct.Expunge(ctx, s.sel.view.Mailbox(), s.uids(spans))
	if err != nil {
		return nil, err
	}
	return &imap.ExpungeData{HighestModSeq: uint64(res.ModSeq)}, orNil(over)
}

// limitedDeleted leaves of runs the last ones, with as many messages that have
// \Deleted as one UID EXPUNGE removes; EXPUNGE has no limit (RFC 9738 §3.1).
func (s *session) limitedDeleted(spans []span) ([]span, *imap.Limited) {
	n := s.conn.MessageLimit
	if count(spans) <= n {
		return spans, nil
	}
	last := 0 // the lowest that goes
	for _, sp := range slices.Backward(spans) {
		for i := sp.hi - 1; i >= sp.lo; i-- {
			if s.sel.snap.Row(i).Flags.System()&mailbox.Deleted == 0 {
				continue
			}
			if n == 0 {
				return from(spans, last), &imap.Limited{UID: uint32(s.sel.snap.UID(last))}
			}
			n, last = n-1, i
		}
	}
	return spans, nil
}
