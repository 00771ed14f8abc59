package crash

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/message"
)

// session is a client that calls the mailboxes without a protocol, one
// operation after the other.
type session struct {
	h    *house
	id   mailbox.AccountID
	sums *digests
}

var systemFlags = map[string]mailbox.Flags{`\Seen`: mailbox.Seen, `\Answered`: mailbox.Answered, `\Flagged`: mailbox.Flagged,
	`\Deleted`: mailbox.Deleted, `\Draft`: mailbox.Draft}

func splitFlags(flags []string) (system mailbox.Flags, keywords []string) {
	for _, f := range flags {
		if bit, ok := systemFlags[f]; ok {
			system |= bit
		} else {
			keywords = append(keywords, f)
		}
	}
	return system, keywords
}

func flagNames(m mailbox.Mask, keywords []string) string {
	var names []string
	for name, bit := range systemFlags {
		if m.System()&bit != 0 {
			names = append(names, name)
		}
	}
	for k := range m.Keywords() {
		names = append(names, keywords[k])
	}
	return joinFlags(names)
}

func uidRanges(uids []uint32) (r mailbox.Ranges) {
	for _, u := range uids {
		r.Append(mailbox.UID(u))
	}
	return r
}

func uidList(r mailbox.Ranges) (uids []uint32) {
	for _, x := range r {
		for u := x.Lo; u <= x.Hi; u++ {
			uids = append(uids, uint32(u))
		}
	}
	return uids
}

// stage writes a text as the body of a message that is yet to be stored.
func (s *session) stage(tag string) (*mailbox.Message, *blob.Writer, error) {
	s.sums.of(tag)
	return s.h.stage(textOf(tag))
}

func (h *house) stage(text []byte) (*mailbox.Message, *blob.Writer, error) {
	w := h.blobs.Create(time.Now())
	if _, err := w.Write(text); err != nil {
		return nil, w, err
	}
	x := message.NewIndexer(message.Limits{})
	if _, err := x.Write(text); err != nil {
		return nil, w, err
	}
	ix := x.Finish()
	staged, err := w.Finish()
	if err != nil {
		return nil, w, err
	}
	m := mailbox.NewMessage(staged.ID, ix, ix.Header())
	m.Staged = &staged
	m.Size = staged.Size
	return m, w, nil
}

// do performs an operation; it returns the UIDs that the answer tells.
func (s *session) do(ctx context.Context, a *mailbox.Account, o *operation) (uids []uint32, err error) {
	var box, to mailbox.MailboxID
	if o.kind != "create" && !strings.HasSuffix(o.kind, "subscribe") {
		info, err := a.Mailbox(o.box)
		if err != nil {
			return nil, err
		}
		box = info.ID
	}
	if o.kind == "copy" || o.kind == "move" {
		info, err := a.Mailbox(o.to)
		if err != nil {
			return nil, err
		}
		to = info.ID
	}
	system, keywords := splitFlags(o.flags)
	switch o.kind {
	case "append":
		return s.append(ctx, a, box, o, system, keywords)
	case "add", "remove", "replace":
		op := map[string]mailbox.FlagOp{"add": mailbox.AddFlags, "remove": mailbox.RemoveFlags, "replace": mailbox.ReplaceFlags}[o.kind]
		_, err = a.Store(ctx, box, mailbox.StoreRequest{UIDs: uidRanges(o.uids), Op: op, Flags: system, Keywords: keywords})
	case "expunge":
		_, err = a.Expunge(ctx, box, uidRanges(o.uids))
	case "copy", "move":
		transfer := a.Copy
		if o.kind == "move" {
			transfer = a.Move
		}
		res, err := transfer(ctx, box, uidRanges(o.uids), to)
		if err == nil && !slices.Equal(uidList(res.Source), o.uids) {
			err = fmt.Errorf("%v transferred %v", o, res.Source)
		}
		return uidList(res.Dest), err
	case "create":
		_, err = a.Create(ctx, o.box, mailbox.UseNone)
	case "delete":
		err = a.Delete(ctx, box)
	case "rename":
		err = a.Rename(ctx, box, o.to)
	case "subscribe":
		err = a.Subscribe(ctx, o.box)
	case "unsubscribe":
		err = a.Unsubscribe(ctx, o.box)
	}
	return nil, err
}

func (s *session) append(ctx context.Context, a *mailbox.Account, box mailbox.MailboxID, o *operation, system mailbox.Flags, keywords []string) ([]uint32, error) {
	var msgs []mailbox.AppendMessage
	for _, tag := range o.tags {
		m, w, err := s.stage(tag)
		defer w.Abort()
		if err != nil {
			return nil, err
		}
		msgs = append(msgs, mailbox.AppendMessage{Message: m, Flags: system, Keywords: keywords})
	}
	res, err := a.Append(ctx, box, msgs)
	return uidList(mailbox.Ranges{res.UIDs}), err
}

// look returns the account as it is shown; with bodies it reads and compares
// every octet.
func (s *session) look(ctx context.Context, bodies bool) (*found, error) {
	a, err := s.h.mailboxes.Account(ctx, s.id)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	if err := a.Sync(ctx); err != nil {
		return nil, err
	}
	got := &found{folders: map[string]*folder{}, subs: map[string]bool{}, modseq: uint64(a.ModSeq())}
	for _, name := range a.Subscriptions() {
		got.subs[name] = true
	}
	tags := map[mailbox.EmailID]string{}
	for _, info := range a.Mailboxes() {
		v, err := a.Open(ctx, info.ID)
		if err != nil {
			return nil, err
		}
		snap := v.Snapshot()
		st := snap.Status()
		f := &folder{validity: st.UIDValidity, next: uint32(st.UIDNext), modseq: uint64(st.HighestModSeq), mails: map[uint32]mail{}}
		got.folders[info.Name] = f
		for _, r := range snap.Rows(0, snap.Len()) {
			if _, ok := tags[r.Email]; !ok {
				if tags[r.Email], err = s.identify(ctx, a, r.Email, bodies, got); err != nil {
					return nil, err
				}
			}
			if _, twice := f.mails[uint32(r.UID)]; twice || uint64(r.ModSeq) > uint64(st.HighestModSeq) {
				got.problems = append(got.problems, fmt.Sprintf("%s: row %+v, %+v", info.Name, r, st))
			}
			f.mails[uint32(r.UID)] = mail{tags[r.Email], flagNames(r.Flags, snap.Keywords())}
		}
	}
	return got, nil
}

// identify finds the tag of an email and checks its octets.
func (s *session) identify(ctx context.Context, a *mailbox.Account, id mailbox.EmailID, body bool, got *found) (tag string, err error) {
	there := false
	rerr := a.Emails(ctx, []mailbox.EmailID{id}, mailbox.WantRow|mailbox.WantSummary, func(_ int, e *mailbox.Email) bool {
		there = true
		tag = strings.TrimSuffix(e.Summary.MessageID, "@a.example")
		if !body {
			return false
		}
		r, oerr := a.OpenBody(ctx, e)
		if oerr != nil {
			err = oerr
			return false
		}
		defer r.Close()
		var b bytes.Buffer
		if _, err = r.WriteTo(&b); err != nil {
			return false
		}
		if what := s.sums.check(tag, b.Bytes()); what != "" || int64(b.Len()) != e.Size {
			got.problems = append(got.problems, fmt.Sprintf("email %d, size %d: %s", id, e.Size, what))
		}
		return false
	})
	if rerr == nil && !there {
		rerr = fmt.Errorf("email %d is gone", id)
	}
	if err == nil {
		err = rerr
	}
	return tag, err
}

// history is what one account's client did: the account after each step that
// was answered or shown. Steps are only added.
type history struct {
	session
	name  string
	steps []*model
	ops   int // operations among the steps
}

func (h *history) now() *model { return h.steps[len(h.steps)-1] }

// step performs one operation and looks at the account. done is called with
// each model that becomes known.
func (h *history) step(ctx context.Context, rng *rand.Rand, tag func(string) string, sent func() map[string]bool, done func(*model, bool)) error {
	a, err := h.h.mailboxes.Account(ctx, h.id)
	if err != nil {
		return err
	}
	defer a.Close()
	o := h.now().nextOperation(rng, tag)
	uids, err := h.do(ctx, a, o)
	if err != nil {
		return fmt.Errorf("%s: %v: %w", h.name, o, err)
	}
	if strings.Contains("append copy move", o.kind) && len(uids) == 0 {
		return fmt.Errorf("%s: %v told no UIDs", h.name, o)
	}
	next := h.now().apply(o, uids)
	done(next, true)
	got, err := h.look(ctx, false)
	if err != nil {
		return err
	}
	if _, problems := next.judge(got, nil, sent()); len(problems) > 0 {
		return fmt.Errorf("%s: after %v: %s", h.name, o, strings.Join(problems, "; "))
	}
	done(next.observe(got), false)
	return nil
}

// accounts returns the number of each user's account.
func (h *house) accounts(ctx context.Context) (map[string]mailbox.AccountID, error) {
	ids := map[string]mailbox.AccountID{}
	for _, name := range users {
		u, err := h.users.User(ctx, address(name+"@b.example"))
		if err != nil {
			return nil, err
		}
		ids[name] = mailbox.AccountID(u.ID)
	}
	return ids, nil
}

var users = []string{"ana", "bob", "postmaster"}
