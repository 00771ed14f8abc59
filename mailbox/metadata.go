package mailbox

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// Annotation is an entry of metadata (RFC 5464 §3). The name is in lower case and
// begins with "/private/" or "/shared/".
type Annotation struct {
	Name  string
	Value []byte // when setting, nil removes the entry
}

// maxNote is the longest name of an entry in octets.
const maxNote = 255

// ValidAnnotation tells whether name can be the name of an entry: in lower case,
// printable ASCII without "*" and "%", at least two components, four below
// vendor, none of them empty (RFC 5464 §3.2).
func ValidAnnotation(name string) bool {
	if len(name) > maxNote {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || c == '*' || c == '%' || 'A' <= c && c <= 'Z' {
			return false
		}
	}
	parts := strings.Split(name, "/")
	if len(parts) < 3 || parts[0] != "" || parts[1] != "private" && parts[1] != "shared" || slices.Contains(parts[1:], "") {
		return false
	}
	return parts[2] != "vendor" || len(parts) >= 5
}

func sharedNote(name string) bool { return strings.HasPrefix(name, "/shared/") }

const noteVersion = 1

func appendNote(dst, value []byte) []byte { return appendBytes(append(dst, noteVersion), value) }

func decodeNote(b []byte) ([]byte, error) {
	d := decoder{b: b}
	if err := d.version(noteVersion, "metadata"); err != nil {
		return nil, err
	}
	value := append([]byte{}, d.bytes()...)
	return value, d.end("metadata")
}

// noteKeys returns the beginning of the keys of entries of a mailbox, or of the
// account: those private to a viewer, or shared ones.
func noteKeys(id AccountID, box MailboxID, viewer AccountID) []byte {
	return binary.BigEndian.AppendUint64(numberKey(nil, id, keyNote, uint64(box)), uint64(viewer))
}

// serverNotes is the beginning of the keys of the entries that the whole server
// shares.
var serverNotes = []byte("wn")

// scanNotes calls fn for entries.
func scanNotes(r kv.Reader, prefix []byte, match func(string) bool, fn func(Annotation)) error {
	var fail error
	err := r.Scan(kv.Prefix(prefix), func(k, v []byte) bool {
		n := Annotation{Name: string(k[len(prefix):])}
		if match != nil && !match(n.Name) {
			return true
		}
		if n.Value, fail = decodeNote(v); fail == nil {
			fn(n)
		}
		return fail == nil
	})
	if err == nil {
		err = fail
	}
	return err
}

// noter is whose private entries the holder of the handle uses.
func (a *Account) noter() AccountID {
	if a.role == asGuest {
		return a.lens.Account
	}
	return a.id
}

// mayNote tells whether the holder of the handle may use metadata of a mailbox:
// l and one of r, s, w, i and p (RFC 5464 §3.3); to change what is shared, w.
func (a *Account) mayNote(st *state, box MailboxID, change bool) error {
	if box == 0 {
		if change && a.role != asSystem || a.role == 0 {
			return denied(0)
		}
		return nil
	}
	if err := a.may(st, box, actLookup); err != nil {
		return err
	}
	if change {
		return a.may(st, box, actSharedNote)
	}
	if a.rightsOn(st.box(box))&(RightRead|RightSeen|RightWrite|RightInsert|RightPost) == 0 {
		return denied(box)
	}
	return nil
}

// Metadata returns the entries of a mailbox whose names match, in the order of
// their names: the viewer's private ones and the shared ones. Mailbox 0 means the
// viewer's private ones beside mailboxes, and those that the server shares with
// all. A nil match means all. Rights l and one of r, s, w, i and p.
func (a *Account) Metadata(ctx context.Context, box MailboxID, match func(name string) bool) ([]Annotation, error) {
	var list []Annotation
	err := a.refresh(ctx)
	if err == nil {
		err = a.mayNote(a.published.Load(), box, false)
	}
	if err != nil {
		return nil, err
	}
	err = a.s.view(ctx, a.id, func(r kv.Reader) error {
		list = nil
		shared := noteKeys(a.id, box, 0)
		if box == 0 {
			shared = serverNotes
		}
		for _, prefix := range [][]byte{noteKeys(a.id, box, a.noter()), shared} {
			if err := scanNotes(r, prefix, match, func(n Annotation) { list = append(list, n) }); err != nil {
				return err
			}
		}
		return nil
	})
	return list, err
}

// SetMetadata sets entries in one commit, all or none. Rights as for Metadata,
// and w for shared ones; those of the server only the system sets. Invalid for a
// name that cannot be or a value that is too long, Full for too many of them.
func (a *Account) SetMetadata(ctx context.Context, box MailboxID, entries []Annotation) error {
	if err := a.s.validNotes(entries); err != nil {
		return err
	}
	ctx = freeing(ctx, entries)
	if box == 0 && slices.ContainsFunc(entries, func(n Annotation) bool { return sharedNote(n.Name) }) {
		if err := a.mayNote(nil, 0, true); err != nil {
			return err
		}
		return postino.E(postino.Invalid, "set metadata", "those of the server are set by SetServerMetadata", nil)
	}
	_, err := a.update(ctx, nil, func(w *writer) error {
		if err := a.mayNote(w.st, box, false); err != nil {
			return err
		}
		for _, viewer := range []AccountID{0, a.noter()} {
			var set []Annotation
			for _, n := range entries {
				if sharedNote(n.Name) == (viewer == 0) {
					set = append(set, n)
				}
			}
			if len(set) == 0 {
				continue
			}
			if viewer == 0 {
				if err := a.mayNote(w.st, box, true); err != nil {
					return err
				}
			}
			if err := w.setNotes(box, viewer, set); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// freeing lets entries be removed on a full disk.
func freeing(ctx context.Context, entries []Annotation) context.Context {
	if slices.ContainsFunc(entries, func(n Annotation) bool { return n.Value != nil }) {
		return ctx
	}
	return kv.Deleting(ctx)
}

func (s *Store) validNotes(entries []Annotation) error {
	for _, n := range entries {
		if !ValidAnnotation(n.Name) {
			return postino.E(postino.Invalid, "set metadata", "bad name", nil)
		}
		if len(n.Value) > s.limits.MetadataValue {
			return postino.E(postino.Invalid, "set metadata", n.Name+" is too long", nil)
		}
	}
	return nil
}

// setNotes sets entries that are private to a viewer, or shared ones.
func (w *writer) setNotes(box MailboxID, viewer AccountID, entries []Annotation) error {
	prefix := noteKeys(w.id, box, viewer)
	size, names, err := putNotes(w.tx, prefix, entries, w.s.limits.Metadata)
	if err != nil || len(names) == 0 {
		return err
	}
	if w.head.notes += size; size > 0 && w.head.notes > int64(w.s.limits.MetadataBytes) {
		return postino.E(postino.Full, "set metadata", "too much in the account", nil)
	}
	w.record(&Change{Kind: MetadataChanged, Mailbox: box, Viewer: viewer, Names: names})
	return nil
}

// putNotes writes entries under a prefix. It returns by how many octets they grew,
// and the names of those that changed.
func putNotes(tx kv.Tx, prefix []byte, entries []Annotation, limit int) (size int64, names []string, err error) {
	count := 0
	if err := tx.Scan(kv.Prefix(prefix), func(_, _ []byte) bool { count++; return true }); err != nil {
		return 0, nil, err
	}
	before := count
	for _, n := range entries {
		key := append(slices.Clip(prefix), n.Name...)
		old, there, err := tx.Get(key)
		if err != nil {
			return 0, nil, err
		}
		value := appendNote(nil, n.Value)
		if there == (n.Value != nil) && (!there || bytes.Equal(old, value)) {
			continue
		}
		if there {
			size -= noteSize(n.Name, old)
			count--
		}
		if n.Value == nil {
			err = tx.Delete(key)
		} else {
			size += noteSize(n.Name, value)
			count++
			err = tx.Set(key, value)
		}
		if err != nil {
			return 0, nil, err
		}
		names = append(names, n.Name)
	}
	if count > limit && count > before {
		return 0, nil, postino.E(postino.Full, "set metadata", "too many entries", nil)
	}
	return size, names, nil
}

// noteSize is what an entry counts, given its stored value.
func noteSize(name string, stored []byte) int64 { return int64(len(name) + len(stored)) }

// deleteNotes deletes the entries under a prefix that ends with the mailbox or
// with the viewer.
func (w *writer) deleteNotes(prefix []byte) error {
	name := len(noteKeys(0, 0, 0))
	return w.deletePrefix(prefix, func(k, v []byte) { w.head.notes -= noteSize(string(k[name:]), v) })
}

// countNotes returns the octets of all entries of an account.
func countNotes(r kv.Reader, id AccountID) (size int64, err error) {
	name := len(noteKeys(0, 0, 0))
	err = r.Scan(kv.Prefix(accountKey(nil, id, keyNote)), func(k, v []byte) bool {
		size += noteSize(string(k[name:]), v)
		return true
	})
	return size, err
}

// copyNotes gives a new mailbox the entries of another one.
func (w *writer) copyNotes(from, to MailboxID) error {
	prefix := numberKey(nil, w.id, keyNote, uint64(from))
	all := map[AccountID][]Annotation{}
	var fail error
	err := w.tx.Scan(kv.Prefix(prefix), func(k, v []byte) bool {
		viewer := AccountID(binary.BigEndian.Uint64(k[len(prefix):]))
		n := Annotation{Name: string(k[len(prefix)+8:])}
		n.Value, fail = decodeNote(v)
		all[viewer] = append(all[viewer], n)
		return fail == nil
	})
	if err == nil {
		err = fail
	}
	for viewer, entries := range all {
		if err == nil {
			err = w.setNotes(to, viewer, entries)
		}
	}
	return err
}

// SetServerMetadata sets entries that the server shares with all its users, like
// "/shared/admin" and "/shared/comment" (RFC 5464 §3.2.1.1). Errors as for
// [Account.SetMetadata].
func (s *Store) SetServerMetadata(ctx context.Context, entries []Annotation) error {
	if err := s.validNotes(entries); err != nil {
		return err
	}
	if slices.ContainsFunc(entries, func(n Annotation) bool { return !sharedNote(n.Name) }) {
		return postino.E(postino.Invalid, "set metadata", "not shared", nil)
	}
	return s.db.Update(freeing(ctx, entries), []kv.Scope{"wn"}, func(tx kv.Tx) error {
		_, _, err := putNotes(tx, serverNotes, entries, s.limits.Metadata)
		return err
	})
}
