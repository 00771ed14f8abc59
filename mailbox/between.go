package mailbox

import (
	"context"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// maxBetween is how many octets of rows one step between two accounts writes.
const maxBetween = 32 << 20

// CopyBetween puts messages of a mailbox into one of another account, in one
// commit over both, all or none; bodies are shared, threads are those of the
// destination. Rights, flags, result and errors are as for [Account.Copy]; the
// messages that a guest saw are seen in an account of his own. Invalid when what is
// stored of the messages beside their bodies is more than 32 MiB.
func (s *Store) CopyBetween(ctx context.Context, src *Account, from MailboxID, uids Ranges, dst *Account, to MailboxID) (CopyResult, error) {
	if src.id == dst.id {
		return src.Copy(ctx, from, uids, to)
	}
	return s.between(ctx, src, from, uids, dst, to, false)
}

// MoveBetween takes messages to a mailbox of another account in one commit over
// both (IM8). Rights as for [Account.Move]; it needs room in the destination's
// quota.
func (s *Store) MoveBetween(ctx context.Context, src *Account, from MailboxID, uids Ranges, dst *Account, to MailboxID) (CopyResult, error) {
	if src.id == dst.id {
		return src.Move(ctx, from, uids, to)
	}
	return s.between(ctx, src, from, uids, dst, to, true)
}

func (s *Store) between(ctx context.Context, src *Account, from MailboxID, uids Ranges, dst *Account, to MailboxID, move bool) (res CopyResult, err error) {
	var out, in *writer
	var left, arrived *state
	err = s.db.Update(ctx, []kv.Scope{s.Scope(src.id), s.Scope(dst.id)}, func(tx kv.Tx) (err error) {
		if out, err = src.writer(tx); err != nil {
			return err
		}
		if in, err = dst.writer(tx); err != nil {
			return err
		}
		do := actRead
		if move {
			do = actMoveFrom
		}
		if err = src.may(out.st, from, do); err != nil {
			return err
		}
		if err = dst.may(in.st, to, actInsert); err != nil {
			return err
		}
		if out.st, err = load(tx, src.id, out.st, from); err != nil {
			return err
		}
		if res, err = in.bring(out, src.seen(out.st).box(from), uids, dst, to); err != nil {
			return err
		}
		if move {
			if err = out.leave(from, &res); err != nil {
				return err
			}
		}
		for _, w := range []*writer{out, in} {
			if err = w.flush(); err != nil {
				return err
			}
		}
		left, arrived = out.next(), in.next()
		return nil
	})
	if err != nil {
		return CopyResult{}, err
	}
	if err := dst.committed(ctx, in, arrived); err != nil {
		return CopyResult{}, err
	}
	if err := src.committed(ctx, out, left); err != nil {
		return CopyResult{}, err
	}
	if dst.rightsOn(arrived.box(to))&RightRead == 0 {
		res = CopyResult{ModSeq: res.ModSeq}
	}
	res.Snapshot = src.seen(left).box(from)
	return res, nil
}

// bring puts messages of s, a mailbox of out's account as its holder sees it, into
// a mailbox of w's account, which a holds.
func (w *writer) bring(out *writer, s *Snapshot, uids Ranges, a *Account, to MailboxID) (res CopyResult, err error) {
	m, err := w.row(to)
	if err != nil {
		return res, err
	}
	res.UIDValidity = m.status.UIDValidity
	rights := a.rightsOn(w.st.box(to))
	allowed := rights.flagsFor()
	source := *s.row
	source.id = 0 // numbers of mailboxes mean nothing in another account
	translate := newTranslation(&source, m)
	emails := map[EmailID]Row{} // that came already
	written := 0
	var seen Ranges
	for i := range s.Select(uids) {
		r := s.Row(i)
		if err := m.room(1); err != nil {
			return res, err
		}
		if !w.head.fits(1, r.Size) {
			return res, postino.E(postino.Full, "copy messages", "", postino.ErrQuota)
		}
		came, ok := emails[r.Email]
		if !ok {
			var n int
			if came.Email, came.Thread, n, err = w.takeOver(out, r.Email); err != nil {
				return res, err
			}
			if written += n; written > maxBetween {
				return res, postino.E(postino.Invalid, "copy messages", "too many at once", nil)
			}
			emails[r.Email] = came
		}
		res.Source.Append(r.UID)
		r.Email, r.Thread = came.Email, came.Thread
		mask := r.Flags.and(allowed)
		sees := mask.System()&Seen != 0
		if a.role == asGuest {
			mask[0] &^= uint64(Seen)
		}
		if r.Flags, err = translate.mask(mask); err != nil {
			return res, err
		}
		added := w.add(m, r)
		if sees {
			seen.Append(added.UID)
		}
		res.Dest.Append(added.UID)
		res.ModSeq = added.ModSeq
	}
	return res, w.seeNew(a, m, seen)
}

// takeOver stores an email of another account as a new one, and tells how many
// octets that took.
func (w *writer) takeOver(out *writer, id EmailID) (EmailID, ThreadID, int, error) {
	var rows [3][]byte
	size := 0
	for i, kind := range []byte{keyEmail, keyIndex, keySummary} {
		v, ok, err := w.tx.Get(numberKey(nil, out.id, kind, uint64(id)))
		if err != nil {
			return 0, 0, 0, err
		}
		if !ok {
			return 0, 0, 0, corrupt("email row")
		}
		rows[i], size = v, size+len(v)
	}
	row, err := decodeEmail(rows[0])
	if err != nil {
		return 0, 0, 0, err
	}
	m := Message{Blob: row.blob, Size: row.size - int64(len(row.prefix)), Index: rows[1], Envelope: row.envelope, BodyStructure: row.bodyStructure}
	if m.Summary, err = decodeSummary(rows[2]); err != nil {
		return 0, 0, 0, err
	}
	email, thread, err := w.newEmail(&m, row.prefix, true)
	return email, thread, size, err
}

// leave expunges the messages that went to another account.
func (w *writer) leave(from MailboxID, res *CopyResult) error {
	if len(res.Source) == 0 {
		return nil
	}
	m, err := w.row(from)
	if err != nil {
		return err
	}
	var rows []Row
	w.st.box(from).each(res.Source, func(c *chunk, i int) { rows = append(rows, c.row(i)) })
	c, err := w.remove(m, res.Source, rows)
	if err != nil {
		return err
	}
	res.ModSeq = c.ModSeq
	return nil
}

// Replace appends a message and expunges another one in one commit (RFC 8508). Only
// the difference counts for the quota. NotFound when a mailbox or the old message
// is not there. Rights r, t and e on src, i on dst.
func (a *Account) Replace(ctx context.Context, src MailboxID, uid UID, dst MailboxID, msg AppendMessage) (AppendResult, ExpungeResult, error) {
	var res AppendResult
	var gone ExpungeResult
	st, err := a.update(ctx, []MailboxID{src}, func(w *writer) (err error) {
		res, gone = AppendResult{}, ExpungeResult{}
		if err := a.may(w.st, src, actDestroy); err != nil {
			return err
		}
		s := w.st.box(src)
		i, ok := s.Find(uid)
		if !ok {
			return postino.E(postino.NotFound, "replace message", "", nil)
		}
		old := s.Row(i)
		// The limits are moved for this one message, so that an account that is
		// over them already can still replace it by a smaller one.
		quota := w.head.quota
		w.head.quota = quota.atLeast(w.head.used)
		m, err := w.row(src)
		if err != nil {
			return err
		}
		gone.Expunged = Ranges{{uid, uid}}
		c, err := w.remove(m, gone.Expunged, []Row{old})
		if err != nil {
			return err
		}
		gone.ModSeq = c.ModSeq
		res, err = w.appendAs(a, dst, []AppendMessage{msg})
		w.head.quota = quota
		return err
	})
	if err == nil {
		gone.Snapshot = a.seen(st).box(src)
	}
	return res, gone, err
}

// atLeast returns limits that are not below what is used.
func (q Quota) atLeast(used Quota) Quota {
	if q.Bytes != 0 {
		q.Bytes = max(q.Bytes, used.Bytes)
	}
	if q.Messages != 0 {
		q.Messages = max(q.Messages, used.Messages)
	}
	return q
}

// SetQuota changes the limits of the account; mailboxes beyond a limit of
// mailboxes stay. Only the system may: Denied on handles of viewers.
func (a *Account) SetQuota(ctx context.Context, q Quota) error {
	if a.role != asSystem {
		return postino.E(postino.Denied, "set quota", "", nil)
	}
	err := a.s.db.Update(ctx, []kv.Scope{a.s.Scope(a.id)}, func(tx kv.Tx) error { return a.s.SetQuota(tx, a.id, q) })
	if err != nil {
		return err
	}
	return a.refresh(ctx)
}
