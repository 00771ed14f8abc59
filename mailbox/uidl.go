package mailbox

import (
	"context"
	"encoding/binary"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// POP3 clients that leave mail on the server remember messages by a unique-id. Ours
// is UIDVALIDITY and UID and is not stored. Messages that came from another server
// may keep the ones they had there, so that nobody downloads them again: a row for
// the up to 512 messages of a chunk holds them, and goes with them when the log is folded.

// maxUIDL is the longest unique-id (RFC 1939 §7).
const maxUIDL = 70

// AppendUIDL appends the unique-id of a message that has not got another one by
// [Account.SetUIDLs].
func AppendUIDL(dst []byte, validity uint32, uid UID) []byte {
	dst = strconv.AppendUint(dst, uint64(validity), 10)
	dst = append(dst, '.')
	return strconv.AppendUint(dst, uint64(uid), 10)
}

// validUIDL tells whether s can be a unique-id: 1 to 70 octets from 0x21 to 0x7E
// (RFC 1939 §7).
func validUIDL(s string) bool {
	for i := range len(s) {
		if s[i] < '!' || s[i] > '~' {
			return false
		}
	}
	return s != "" && len(s) <= maxUIDL
}

// UIDLs returns the unique-ids that SetUIDLs gave to messages of a mailbox; some of
// them may have been expunged since. For all others AppendUIDL is right. NotFound when
// there is no such mailbox; for the owner only.
func (a *Account) UIDLs(ctx context.Context, box MailboxID) (map[UID]string, error) {
	if err := a.may(a.published.Load(), box, actOwn); err != nil {
		return nil, err
	}
	var ids map[UID]string
	err := a.s.view(ctx, a.id, func(r kv.Reader) (err error) {
		ids, err = readUIDLs(r, a.id, box)
		return err
	})
	return ids, err
}

func readUIDLs(r kv.Reader, id AccountID, box MailboxID) (map[UID]string, error) {
	ids := map[UID]string{}
	var fail error
	err := r.Scan(kv.Prefix(numberKey(nil, id, keyUIDL, uint64(box))), func(k, v []byte) bool {
		var page map[UID]string
		if page, fail = decodeUIDLs(v); fail != nil {
			return false
		}
		maps.Copy(ids, page)
		return true
	})
	if err == nil {
		err = fail
	}
	return ids, err
}

// SetUIDLs gives messages of a mailbox the unique-ids that they had elsewhere, all or
// none. UIDs without a message are skipped. Invalid when one cannot be a unique-id,
// Conflict when two messages would have the same, whether given or by default;
// NotFound when there is no such mailbox. For the owner only.
func (a *Account) SetUIDLs(ctx context.Context, box MailboxID, ids map[UID]string) error {
	for _, s := range ids {
		if !validUIDL(s) {
			return postino.E(postino.Invalid, "set unique-id", postino.Printable(s), nil)
		}
	}
	_, err := a.update(ctx, []MailboxID{box}, func(w *writer) error {
		if err := a.may(w.st, box, actOwn); err != nil {
			return err
		}
		s := w.st.box(box)
		all, err := readUIDLs(w.tx, w.id, box)
		if err != nil {
			return err
		}
		pages := map[uint32]bool{}
		for uid, id := range ids {
			if _, ok := s.Find(uid); ok {
				all[uid] = id
				pages[uint32(uid)>>chunkBits] = true
			}
		}
		if err := distinct(all, s.Status().UIDValidity); err != nil {
			return err
		}
		for base := range pages {
			if err := w.setUIDLs(box, base, all); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// distinct refuses two messages with one unique-id, one of them perhaps by default.
func distinct(all map[UID]string, validity uint32) error {
	of := make(map[string]UID, len(all))
	own := strconv.FormatUint(uint64(validity), 10) + "."
	for uid, s := range all {
		other, twice := of[s]
		of[s] = uid
		if !twice && strings.HasPrefix(s, own) {
			n, err := strconv.ParseUint(s[len(own):], 10, 32)
			other, twice = UID(n), err == nil && UID(n) != uid
		}
		if twice {
			return postino.E(postino.Conflict, "set unique-id", s, postino.E(postino.Conflict, "same as of message", strconv.FormatUint(uint64(other), 10), nil))
		}
	}
	return nil
}

// setUIDLs writes the row of a chunk.
func (w *writer) setUIDLs(box MailboxID, base uint32, all map[UID]string) error {
	var uids []UID
	for uid := range all {
		if uint32(uid)>>chunkBits == base {
			uids = append(uids, uid)
		}
	}
	w.key = uidlKey(w.key[:0], w.id, box, base)
	if len(uids) == 0 {
		return w.tx.Delete(w.key)
	}
	slices.Sort(uids)
	w.buf = appendUIDLs(w.buf[:0], uids, all)
	return w.tx.Set(w.key, w.buf)
}

// pruneUIDLs drops the unique-ids of messages that a chunk lost. Those of messages
// that came after the chunk was read stay.
func (w *writer) pruneUIDLs(c *chunkWrite) error {
	v, ok, err := w.tx.Get(uidlKey(w.key[:0], w.id, c.box, c.base))
	if !ok || err != nil {
		return err
	}
	page, err := decodeUIDLs(v)
	if err != nil {
		return err
	}
	n := len(page)
	maps.DeleteFunc(page, func(uid UID, _ string) bool {
		if uid >= c.next {
			return false
		}
		if c.chunk == nil {
			return true
		}
		_, ok := slices.BinarySearch(c.chunk.uids, uid)
		return !ok
	})
	if len(page) == n {
		return nil
	}
	return w.setUIDLs(c.box, c.base, page)
}

func uidlKey(dst []byte, id AccountID, box MailboxID, base uint32) []byte {
	return binary.BigEndian.AppendUint32(numberKey(dst, id, keyUIDL, uint64(box)), base)
}

// appendUIDLs encodes a row: version, number, then UID and unique-id of each.
func appendUIDLs(dst []byte, uids []UID, ids map[UID]string) []byte {
	dst = append(dst, uidlVersion)
	dst = binary.AppendUvarint(dst, uint64(len(uids)))
	for _, uid := range uids {
		dst = binary.AppendUvarint(dst, uint64(uid))
		dst = appendString(dst, ids[uid])
	}
	return dst
}

func decodeUIDLs(b []byte) (map[UID]string, error) {
	d := decoder{b: b}
	if err := d.version(uidlVersion, "unique-ids"); err != nil {
		return nil, err
	}
	n := d.count(3)
	ids := make(map[UID]string, n)
	for range n {
		uid := UID(d.upTo(1<<32 - 1))
		s := string(d.bytes())
		if !validUIDL(s) {
			d.fail()
		}
		ids[uid] = s
	}
	return ids, d.end("unique-ids")
}

// EndSession is what QUIT does in POP3, in one commit: messages are removed,
// whatever their flags, and others get \Seen. UIDs without a message are skipped.
// NotFound when the mailbox does not exist. For the owner only.
func (a *Account) EndSession(ctx context.Context, box MailboxID, remove, seen Ranges) (ExpungeResult, error) {
	var res ExpungeResult
	st, err := a.update(kv.Deleting(ctx), []MailboxID{box}, func(w *writer) error {
		res = ExpungeResult{}
		if err := a.may(w.st, box, actOwn); err != nil {
			return err
		}
		m, err := w.row(box)
		if err != nil {
			return err
		}
		s := w.st.box(box)
		var rows []Row
		s.each(remove, func(c *chunk, i int) {
			rows = append(rows, c.row(i))
			res.Expunged.Append(c.uids[i])
		})
		if len(rows) > 0 {
			c, err := w.remove(m, res.Expunged, rows)
			if err != nil {
				return err
			}
			res.ModSeq = c.ModSeq
		}
		// What was removed must not be flagged: the counters would count it.
		var rest Ranges
		s.each(seen, func(c *chunk, i int) {
			if !res.Expunged.Contains(c.uids[i]) {
				rest.Append(c.uids[i])
			}
		})
		c := &Change{Kind: FlagsChanged, Mailbox: box, Added: Mask{uint64(Seen)}}
		if c.UIDs, _ = m.flag(s, c, &StoreRequest{UIDs: rest}); len(c.UIDs) > 0 {
			res.ModSeq = w.record(c).ModSeq
		}
		if res.ModSeq == 0 {
			delete(w.rows, box)
		}
		return nil
	})
	if err == nil {
		res.Snapshot = st.box(box)
	}
	return res, err
}
