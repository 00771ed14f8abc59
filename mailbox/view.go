package mailbox

import (
	"context"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/postino-mail/postino"
)

// View is an open mailbox. All views of a mailbox share its columns.
type View struct {
	a    *Account
	box  MailboxID
	last atomic.Pointer[Snapshot] // what to show once the mailbox is gone
}

// Open opens a mailbox; NotFound when there is none. Right r. The view is good
// until the account is closed.
func (a *Account) Open(ctx context.Context, box MailboxID) (*View, error) {
	if !a.full() { // who may not read does not wait for columns either
		if err := a.refresh(ctx); err != nil {
			return nil, err
		}
		if err := a.may(a.published.Load(), box, actRead); err != nil {
			return nil, err
		}
	}
	if err := a.refresh(ctx, box); err != nil {
		return nil, err
	}
	v := &View{a: a, box: box}
	if v.Snapshot() == nil {
		return nil, noMailbox(box)
	}
	return v, nil
}

// Mailbox returns the number of the mailbox.
func (v *View) Mailbox() MailboxID { return v.box }

// Snapshot returns the newest durable state that is known; the same pointer as
// long as nothing changed. After the mailbox was deleted, or may no longer be
// read by the viewer, it is the last one, with Gone set.
func (v *View) Snapshot() *Snapshot {
	last := v.last.Load()
	if s := v.a.current().box(v.box); s != nil && s.table != nil {
		if s != last {
			v.last.Store(s)
		}
		return s
	}
	if last != nil && !last.gone {
		gone := *last
		gone.gone = true
		v.last.CompareAndSwap(last, &gone)
		last = v.last.Load()
	}
	return last
}

// Sync makes visible all that was durable before the call, and returns it.
func (v *View) Sync(ctx context.Context) (*Snapshot, error) {
	err := v.a.refresh(ctx)
	return v.Snapshot(), err
}

// Notify calls fn after a newer snapshot is there, until stop; see
// [Account.Notify].
func (v *View) Notify(fn func()) (stop func()) { return v.a.notify(v.box, fn) }

// Changes is what happened to a mailbox since a mod-sequence.
type Changes struct {
	// Vanished are the UIDs that were expunged since; some may have arrived
	// since, too (RFC 7162 §3.2.10).
	Vanished Ranges
	// Flagged are the messages that are there and changed or arrived since.
	Flagged Ranges
	// Complete is false when the log was trimmed beyond since: Vanished is not
	// known then, and every UID below UIDNEXT that has no message may be meant.
	Complete bool
}

// Changes answers CONDSTORE and QRESYNC (RFC 7162 §3.1.4.1, §3.2.6) for
// snapshot s of this mailbox. Right r.
func (v *View) Changes(ctx context.Context, s *Snapshot, since ModSeq) (Changes, error) {
	if err := v.a.may(v.a.current(), v.box, actRead); err != nil {
		return Changes{}, err
	}
	c := Changes{Complete: true}
	for _, k := range s.table.chunks {
		for i, m := range k.modseqs {
			if m > since {
				c.Flagged.Append(k.uids[i])
			}
		}
	}
	err := v.a.Changes(ctx, since, func(ch *Change) bool {
		if ch.ModSeq > s.modseq {
			return false
		}
		if ch.Kind == Expunged && ch.Mailbox == v.box {
			c.Vanished = append(c.Vanished, ch.UIDs...)
		}
		return true
	})
	if postino.Is(err, postino.Conflict) {
		return Changes{Flagged: c.Flagged}, nil
	}
	c.Vanished = slices.Clip(c.Vanished.Normalize())
	return c, err
}

func errTrimmed(id AccountID) error {
	return postino.E(postino.Conflict, "read log", "account "+strconv.FormatUint(uint64(id), 16)+": trimmed", nil)
}
