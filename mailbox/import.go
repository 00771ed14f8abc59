package mailbox

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// Mail that moves in keeps its UIDs where that breaks no promise, and leaves rows in
// a journal in the commit that stores it: a move that was cut off goes on where it
// stopped. A source is a mailbox elsewhere, an item a message in it; both are known
// by 128 bits of the hash of their names.

// ImportMessage is a message that moves in.
type ImportMessage struct {
	AppendMessage
	Mailbox MailboxID
	// UID is the one that it keeps, 0 for the next free one.
	UID UID
	// UIDL is the unique-id that it had for POP3 clients, or empty.
	UIDL string
	// Item names the message in its source; what the journal has is not stored again.
	Item string
}

// ImportRequest moves messages in, in one commit.
type ImportRequest struct {
	// Source names where the messages come from.
	Source string
	// SourceValidity is the UIDVALIDITY there, kept in the journal; 0: it has none.
	SourceValidity uint32
	// UIDValidity is what a mailbox must have for messages with a UID; one that is
	// empty and has always been gets it.
	UIDValidity uint32
	// OverQuota stores what the quota has no room for.
	OverQuota bool
	Messages  []ImportMessage
}

// Imported tells where a message is that was moved in, or that it was not.
type Imported struct {
	Mailbox MailboxID // 0: it was not
	UID     UID
	// Again tells that it had come before.
	Again bool
	// Dropped are keywords that a mailbox has no room for or that cannot be.
	Dropped []string
}

// maxImportUID leaves room for the mail of a long life.
const maxImportUID = maxUID - 1<<28

// Import stores messages that come from elsewhere, all or none, and tells where each
// one is. UIDs given have to ascend and be free: Conflict when one is not, or when a
// mailbox cannot have the UIDVALIDITY (IM9); nothing is stored then, and the same
// messages without UIDs are always taken. Full when they do not fit in the quota,
// NotFound when a mailbox does not exist. For the owner only.
func (a *Account) Import(ctx context.Context, req ImportRequest) ([]Imported, error) {
	var done []Imported
	_, err := a.update(ctx, nil, func(w *writer) (err error) {
		done, err = w.importAll(a, &req)
		return err
	})
	return done, err
}

func (w *writer) importAll(a *Account, req *ImportRequest) ([]Imported, error) {
	done := make([]Imported, len(req.Messages))
	uidls := map[MailboxID]map[UID]string{}
	if req.OverQuota {
		defer func(q Quota) { w.head.quota = q }(w.head.quota)
		w.head.quota.Bytes, w.head.quota.Messages = 0, 0
	}
	for i := range req.Messages {
		msg := &req.Messages[i]
		if err := a.may(w.st, msg.Mailbox, actOwn); err != nil {
			return nil, err
		}
		item := w.itemKey(req.Source, msg.Item)
		if v, ok, err := w.tx.Get(item); err != nil {
			return nil, err
		} else if ok && msg.Item != "" {
			if done[i], err = decodeImported(v); err != nil {
				return nil, err
			}
			done[i].Again = true
			continue
		}
		m, err := w.row(msg.Mailbox)
		if err != nil {
			return nil, err
		}
		if msg.UID != 0 {
			if err := w.keepUID(m, req.UIDValidity, msg.UID); err != nil {
				return nil, err
			}
		}
		kept, dropped := m.roomFor(msg.Keywords)
		d, err := w.deliver(m, &Delivery{Message: msg.Message, Prefix: msg.Prefix, Flags: msg.Flags, Keywords: kept, Date: msg.Date})
		if err != nil {
			return nil, err
		}
		done[i] = Imported{Mailbox: m.id, UID: d.UID, Dropped: dropped}
		if msg.UIDL != "" {
			if uidls[m.id] == nil {
				uidls[m.id] = map[UID]string{}
			}
			uidls[m.id][d.UID] = msg.UIDL
		}
		if msg.Item == "" {
			continue
		}
		w.buf = done[i].append(w.buf[:0])
		if err := w.tx.Set(item, w.buf); err != nil {
			return nil, err
		}
	}
	for box, ids := range uidls {
		if err := w.importUIDLs(w.rows[box], ids); err != nil {
			return nil, err
		}
	}
	return done, w.tx.Set(sourceKey(w.id, req.Source), appendSource(nil, req.Source, req.SourceValidity))
}

// keepUID makes uid the next one of a mailbox.
func (w *writer) keepUID(m *boxRow, validity uint32, uid UID) error {
	conflict := func(why string) error { return postino.E(postino.Conflict, "keep UIDs in", m.name, errors.New(why)) }
	if m.status.UIDValidity != validity {
		if m.status.UIDNext != 1 {
			return conflict("it had messages with another UIDVALIDITY before")
		}
		past, err := w.pastValidity(m.name)
		if err != nil {
			return err
		}
		if validity <= past || validity >= 1<<31 {
			return conflict("this UIDVALIDITY was in use or is out of range")
		}
		m.status.UIDValidity = validity
		w.head.lastValidity = max(w.head.lastValidity, validity)
		w.record(&Change{Kind: MailboxUpdated, Mailbox: m.id})
	}
	if uid < m.status.UIDNext {
		return conflict("the UID is not greater than those that it had")
	}
	if uid > maxImportUID {
		return conflict("the UID is too large")
	}
	m.status.UIDNext = uid
	return nil
}

// A mailbox that goes, or gets another name, leaves its UIDVALIDITY under the old
// name if it ever had a message: nothing that moves in may bring it back.

func pastKey(id AccountID, name string) []byte { return append(accountKey(nil, id, keyPast), name...) }

// outlive notes the UIDVALIDITY of a mailbox that loses its name.
func (w *writer) outlive(m *boxRow) error {
	past, err := w.pastValidity(m.name)
	if err != nil || m.status.UIDNext == 1 || past >= m.status.UIDValidity {
		return err
	}
	return w.tx.Set(pastKey(w.id, m.name), binary.AppendUvarint([]byte{importVersion}, uint64(m.status.UIDValidity)))
}

func (w *writer) pastValidity(name string) (uint32, error) {
	v, ok, err := w.tx.Get(pastKey(w.id, name))
	if err != nil || !ok {
		return 0, err
	}
	d := decoder{b: v}
	if err := d.version(importVersion, "past UIDVALIDITY"); err != nil {
		return 0, err
	}
	n := uint32(d.upTo(1<<32 - 1))
	return n, d.end("past UIDVALIDITY")
}

// roomFor returns the keywords that the mailbox has or can still take.
func (m *boxRow) roomFor(keywords []string) (kept, dropped []string) {
	added := 0
	for _, k := range keywords {
		switch {
		case m.keyword(k) >= 0:
		case !ValidKeyword(k) || len(m.keywords)+added >= MaxKeywords:
			dropped = append(dropped, k)
			continue
		default:
			added++
		}
		kept = append(kept, k)
	}
	return kept, dropped
}

// importUIDLs gives messages the unique-ids they had; one that would be there twice
// is left out, and the message gets the usual one.
func (w *writer) importUIDLs(m *boxRow, ids map[UID]string) error {
	all, err := readUIDLs(w.tx, w.id, m.id)
	if err != nil {
		return err
	}
	pages := map[uint32]bool{}
	seen := make(map[string]bool, len(all))
	for _, s := range all {
		seen[s] = true
	}
	for _, uid := range sortedUIDs(ids) {
		s := ids[uid]
		if !validUIDL(s) || seen[s] {
			continue
		}
		all[uid], seen[s] = s, true
		if distinct(map[UID]string{uid: s}, m.status.UIDValidity) != nil {
			delete(all, uid)
			continue
		}
		pages[uint32(uid)>>chunkBits] = true
	}
	for base := range pages {
		if err := w.setUIDLs(m.id, base, all); err != nil {
			return err
		}
	}
	return nil
}

func sortedUIDs(ids map[UID]string) []UID {
	uids := make([]UID, 0, len(ids))
	for uid := range ids {
		uids = append(uids, uid)
	}
	slices.Sort(uids)
	return uids
}

// Imports tells of each item of a source where it is, if it was moved in.
func (a *Account) Imports(ctx context.Context, source string, items []string) ([]Imported, error) {
	if !a.full() {
		return nil, denied(0)
	}
	done := make([]Imported, len(items))
	w := writer{id: a.id}
	err := a.s.view(ctx, a.id, func(r kv.Reader) error {
		for i, item := range items {
			v, ok, err := r.Get(w.itemKey(source, item))
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			if done[i], err = decodeImported(v); err != nil {
				return err
			}
			done[i].Again = true
		}
		return nil
	})
	return done, err
}

// ImportedFrom tells whether the journal knows a source, and its UIDVALIDITY.
func (a *Account) ImportedFrom(ctx context.Context, source string) (validity uint32, known bool, err error) {
	if !a.full() {
		return 0, false, denied(0)
	}
	err = a.s.view(ctx, a.id, func(r kv.Reader) error {
		v, ok, err := r.Get(sourceKey(a.id, source))
		if err != nil || !ok {
			return err
		}
		known = true
		validity, err = decodeSource(v)
		return err
	})
	return validity, known, err
}

// forgetPage is how many rows of the journal go in one transaction.
const forgetPage = 5000

// ForgetImport empties the journal of a source: the next import takes everything
// anew. The messages stay.
func (a *Account) ForgetImport(ctx context.Context, source string) error {
	if !a.full() {
		return denied(0)
	}
	// The row of the source goes last, with the items that are left then.
	prefix := sourceKey(a.id, source)
	for more := true; more; {
		err := a.s.db.Update(kv.Deleting(ctx), []kv.Scope{a.s.Scope(a.id)}, func(tx kv.Tx) error {
			var keys [][]byte
			err := tx.Scan(kv.Prefix(prefix), func(k, _ []byte) bool {
				if len(k) > len(prefix) {
					keys = append(keys, slices.Clone(k))
				}
				return len(keys) < forgetPage
			})
			if more = len(keys) == forgetPage; !more {
				keys = append(keys, prefix)
			}
			for _, k := range keys {
				if err == nil {
					err = tx.Delete(k)
				}
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Newborn makes the mailbox that a name has, with its parents, when there is none;
// use is given to it if no other mailbox has it and it had none. It is how the tree
// of an account that moves in is made.
func (a *Account) Newborn(ctx context.Context, name string, use SpecialUse) (Info, error) {
	box, err := a.Mailbox(name)
	if !postino.Is(err, postino.NotFound) {
		return box, err
	}
	box, err = a.Create(ctx, name, use)
	if postino.Is(err, postino.Conflict) && use != UseNone {
		box, err = a.Create(ctx, name, UseNone)
	}
	if postino.Is(err, postino.Conflict) { // somebody else made it
		box, err = a.Mailbox(name)
	}
	return box, err
}

const importVersion = 1

// sourceKey is the row of a source; those of its items begin with it.
func sourceKey(id AccountID, source string) []byte {
	h := sha256.Sum256([]byte(source))
	return append(accountKey(nil, id, keyImport), h[:16]...)
}

func (w *writer) itemKey(source, item string) []byte {
	h := sha256.Sum256([]byte(item))
	return append(sourceKey(w.id, source), h[:16]...)
}

func appendSource(dst []byte, source string, validity uint32) []byte {
	dst = append(dst, importVersion)
	dst = binary.AppendUvarint(dst, uint64(validity))
	return appendString(dst, source[:min(len(source), 4096)])
}

func decodeSource(b []byte) (validity uint32, err error) {
	d := decoder{b: b}
	if err := d.version(importVersion, "source of mail"); err != nil {
		return 0, err
	}
	validity = uint32(d.upTo(1<<32 - 1))
	d.bytes()
	return validity, d.end("source of mail")
}

func (i Imported) append(dst []byte) []byte {
	dst = append(dst, importVersion)
	dst = binary.AppendUvarint(dst, uint64(i.Mailbox))
	return binary.AppendUvarint(dst, uint64(i.UID))
}

func decodeImported(b []byte) (i Imported, err error) {
	d := decoder{b: b}
	if err := d.version(importVersion, "imported message"); err != nil {
		return i, err
	}
	i.Mailbox, i.UID = MailboxID(d.uvarint()), UID(d.upTo(1<<32-1))
	return i, d.end("imported message")
}
