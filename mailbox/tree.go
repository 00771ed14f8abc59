package mailbox

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// Status are the counters of a mailbox (RFC 9051 §6.3.11).
type Status struct {
	UIDValidity   uint32
	UIDNext       UID
	Messages      uint32
	Unseen        uint32 // messages without \Seen
	Deleted       uint32 // messages with \Deleted
	Size          int64  // octets of all messages
	HighestModSeq ModSeq
}

// Info is a mailbox as LIST and STATUS show it.
type Info struct {
	ID         MailboxID
	Name       string
	SpecialUse SpecialUse
	Subscribed bool
	Status
}

// CanonicalName checks a mailbox name and returns the one form in which it is
// kept: UTF-8 in normalization form C, levels joined by "/", INBOX in capitals
// (RFC 9051 §5.1), no separator at the end (§6.3.4). Invalid when a level is
// empty, "." or "..", too long, too deep, or has control characters (IM10), or
// when the name is that of a mailbox of somebody else, see [Outside].
func (s *Store) CanonicalName(name string) (string, error) {
	bad := func(why string) (string, error) {
		return "", postino.E(postino.Invalid, "name mailbox", why, nil)
	}
	if len(name) > (s.limits.NameLevel+1)*s.limits.NameLevels {
		return bad("too long")
	}
	if !utf8.ValidString(name) {
		return bad("not UTF-8")
	}
	name = norm.NFC.String(strings.TrimSuffix(name, "/"))
	for _, r := range name {
		// Line and paragraph separators and bidi controls would let a name
		// pass for another one in a list.
		if unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control) || r == utf8.RuneError {
			return bad("control character")
		}
	}
	levels := strings.Split(name, "/")
	if len(levels) > s.limits.NameLevels {
		return bad("too many levels")
	}
	for _, l := range levels {
		switch {
		case l == "" || l == "." || l == "..":
			return bad("empty or relative level")
		case len(l) > s.limits.NameLevel:
			return bad("level too long")
		}
	}
	if _, _, _, outside := Outside(name); outside {
		return bad("reserved for mailboxes of others")
	}
	if strings.EqualFold(levels[0], "INBOX") {
		levels[0] = "INBOX"
		name = strings.Join(levels, "/")
	}
	return name, nil
}

// The roots under which people see what others share (RFC 2342): below them stands
// the address of the account, below that its own names. No account has mailboxes
// of such names itself.
const (
	OtherUsers  = "Other Users/"
	SharedUsers = "Shared/"
)

// Outside cuts a name under one of the roots into its root with the address, the
// address, and the name in that account. A name that merely begins alike has no
// address there.
func Outside(name string) (root, address, rest string, ok bool) {
	for _, prefix := range [...]string{OtherUsers, SharedUsers} {
		if below, found := strings.CutPrefix(name, prefix); found {
			address, rest, _ = strings.Cut(below, "/")
			if strings.Contains(address, "@") {
				return prefix + address + "/", address, rest, true
			}
		}
	}
	return "", "", "", false
}

func (st *state) info(s *Snapshot) Info {
	_, subscribed := slices.BinarySearch(st.subs, s.row.name)
	return Info{s.row.id, s.row.name, s.row.use, subscribed, s.row.status}
}

// Mailboxes returns all mailboxes, INBOX first, then by name. It reads memory;
// [Account.Sync] brings it up to date. A parent that is only a level in the
// names of others is not among them. A guest gets those on which he has l; without
// r their counters are zero.
func (a *Account) Mailboxes() []Info {
	st := a.current()
	list := make([]Info, len(st.boxes))
	for i, s := range st.boxes {
		list[i] = st.info(s)
	}
	slices.SortFunc(list, func(x, y Info) int {
		if x.ID == inbox || y.ID == inbox {
			return cmp.Compare(btoi(x.ID != inbox), btoi(y.ID != inbox))
		}
		return strings.Compare(x.Name, y.Name)
	})
	return list
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Subscriptions returns the subscribed names, sorted; they need not exist. Those
// of a guest are his own, and exist.
func (a *Account) Subscriptions() []string { return slices.Clone(a.current().subs) }

// Mailbox finds a mailbox by name in memory; NotFound.
func (a *Account) Mailbox(name string) (Info, error) {
	name, err := a.s.CanonicalName(name)
	if err != nil {
		return Info{}, err
	}
	st := a.current()
	s := st.byName(name)
	if s == nil {
		return Info{}, postino.E(postino.NotFound, "find mailbox", name, nil)
	}
	return st.info(s), nil
}

// Status returns a mailbox with its counters from memory; NotFound. Right r.
func (a *Account) Status(box MailboxID) (Info, error) {
	st := a.current()
	if err := a.may(st, box, actRead); err != nil {
		return Info{}, err
	}
	return st.info(st.box(box)), nil
}

// Create makes a mailbox and the parents that it lacks (RFC 9051 §6.3.4).
// Conflict when it exists, or when another mailbox has the special use already;
// Full at the limit; Invalid for a name that cannot be. Right k on the nearest
// parent that there is; the access lists of parents are inherited (RFC 4314 §4).
func (a *Account) Create(ctx context.Context, name string, use SpecialUse) (Info, error) {
	name, err := a.s.CanonicalName(name)
	if err != nil {
		return Info{}, err
	}
	st, err := a.update(ctx, nil, func(w *writer) error {
		if err := a.mayCreate(w.st, name); err != nil {
			return err
		}
		if use != UseNone && !a.full() {
			return postino.E(postino.Denied, "set special use of mailbox", name, nil)
		}
		if err := w.freeUse(use, 0); err != nil {
			return err
		}
		if w.st.byName(name) != nil {
			return postino.E(postino.Conflict, "create mailbox", name, nil)
		}
		_, err := w.createPath(name, use)
		return err
	})
	if err != nil {
		return Info{}, err
	}
	st = a.seen(st)
	if s := st.byName(name); s != nil {
		return st.info(s), nil
	}
	return Info{Name: name}, nil // in a place that he may not look up
}

// mayCreate tells whether the holder of the handle may make a mailbox with a
// canonical name: right k on the nearest parent that there is. Where only its
// owner can look, everything is denied to guests alike.
func (a *Account) mayCreate(st *state, name string) error {
	if a.full() {
		return nil
	}
	if s := st.byName(name); s != nil && a.may(st, s.row.id, actLookup) == nil {
		return postino.E(postino.Conflict, "create mailbox", name, nil)
	} else if s == nil {
		for at := strings.LastIndexByte(name, '/'); at > 0; at = strings.LastIndexByte(name[:at], '/') {
			if parent := st.byName(name[:at]); parent != nil {
				if a.may(st, parent.row.id, actCreateBelow) == nil {
					return nil
				}
				break
			}
		}
	}
	return postino.E(postino.Denied, "create mailbox", name, nil)
}

// freeUse returns an error when a mailbox other than except has one of the uses
// (RFC 6154 §3 leaves it to the server; one mailbox for a use is what clients
// expect).
func (w *writer) freeUse(use SpecialUse, except MailboxID) error {
	for _, s := range w.st.boxes {
		if s.row.id != except && s.row.use&use != 0 {
			return postino.E(postino.Conflict, "set special use of mailbox", (s.row.use & use).String(), nil)
		}
	}
	return nil
}

// createPath makes the mailbox with a canonical name and its parents, as far as
// they are missing, and returns the new ones, in the order of their depth.
func (w *writer) createPath(name string, use SpecialUse) (made []*boxRow, err error) {
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' || w.st.byName(name[:i]) != nil {
			continue
		}
		u := UseNone
		if i == len(name) {
			u = use
		}
		if q := w.head.quota.Mailboxes; q > 0 && int64(w.head.boxes) >= q {
			return nil, postino.E(postino.Full, "create mailbox", "", postino.ErrQuota)
		}
		m, err := w.createBox(name[:i], u)
		if err != nil {
			return nil, err
		}
		if at := strings.LastIndexByte(name[:i], '/'); at > 0 {
			if err := w.inherit(m, w.named(name[:at], made)); err != nil {
				return nil, err
			}
		}
		made = append(made, m)
	}
	return made, nil
}

// named returns the mailbox with a canonical name, which is among made or was
// there before.
func (w *writer) named(name string, made []*boxRow) *boxRow {
	for _, m := range made {
		if m.name == name {
			return m
		}
	}
	return w.st.byName(name).row
}

// Delete removes a mailbox and its messages. Its children stay, and so does its
// subscription (RFC 9051 §6.3.5, §6.3.7). Denied for INBOX. Right x.
func (a *Account) Delete(ctx context.Context, box MailboxID) error {
	_, err := a.update(kv.Deleting(ctx), nil, func(w *writer) error {
		if err := a.may(w.st, box, actDelete); err != nil {
			return err
		}
		if box == inbox {
			return postino.E(postino.Denied, "delete mailbox", "INBOX", nil)
		}
		m, err := w.row(box)
		if err != nil {
			return err
		}
		if err := w.outlive(m); err != nil {
			return err
		}
		w.head.used.Bytes -= m.status.Size
		w.head.used.Messages -= int64(m.status.Messages)
		w.head.dead += int64(m.status.Messages)
		w.head.boxes--
		w.rows[box] = nil
		w.record(&Change{Kind: MailboxDeleted, Mailbox: box})
		if err := w.setACL(box, w.listOf(box), nil); err != nil {
			return err
		}
		if err := w.deleteNotes(numberKey(nil, w.id, keyNote, uint64(box))); err != nil {
			return err
		}
		for _, kind := range []byte{keyChunk, keyPrivate, keyUIDL} {
			if err := w.deleteAll(kind, box); err != nil {
				return err
			}
		}
		return w.tx.Delete(numberKey(nil, w.id, keyBox, uint64(box)))
	})
	return err
}

// deleteAll deletes the rows of a kind whose keys begin with the mailbox.
func (w *writer) deleteAll(kind byte, box MailboxID) error {
	return w.deletePrefix(numberKey(nil, w.id, kind, uint64(box)), func(k, v []byte) {})
}

// deletePrefix deletes all rows under a prefix and shows each to gone before.
func (w *writer) deletePrefix(prefix []byte, gone func(k, v []byte)) error {
	var keys [][]byte
	err := w.tx.Scan(kv.Prefix(prefix), func(k, v []byte) bool {
		gone(k, v)
		keys = append(keys, slices.Clone(k))
		return true
	})
	for _, k := range keys {
		if err == nil {
			err = w.tx.Delete(k)
		}
	}
	return err
}

// Rename gives a mailbox another name, makes the parents that this lacks, and
// its children follow (RFC 9051 §6.3.6). Renaming INBOX moves its messages to a
// new mailbox; its children stay. Conflict when a name is taken, Invalid when
// the mailbox would come below itself. Rights x, and k as in Create for the new
// name; only the owner renames INBOX. Access lists stay as they are.
func (a *Account) Rename(ctx context.Context, box MailboxID, name string) error {
	name, err := a.s.CanonicalName(name)
	if err != nil {
		return err
	}
	_, err = a.update(ctx, a.renameNeeds(box), func(w *writer) error {
		if err := a.may(w.st, box, actDelete); err != nil {
			return err
		}
		s := w.st.box(box)
		if !a.full() && box == inbox {
			return denied(box)
		}
		if err := a.mayCreate(w.st, name); err != nil {
			return err
		}
		if w.st.byName(name) != nil || name == "INBOX" {
			return postino.E(postino.Conflict, "rename mailbox to", name, nil)
		}
		if strings.HasPrefix(name, s.row.name+"/") && box != inbox {
			return postino.E(postino.Invalid, "rename mailbox below itself", name, nil)
		}
		if box == inbox {
			return w.renameInbox(a, name)
		}
		return w.rename(s.row.name, name)
	})
	return err
}

func (a *Account) renameNeeds(box MailboxID) []MailboxID {
	if box == inbox {
		return []MailboxID{inbox}
	}
	return nil
}

// rename moves the mailbox old and all below it to name.
func (w *writer) rename(old, name string) error {
	if i := strings.LastIndexByte(name, '/'); i > 0 {
		if _, err := w.createPath(name[:i], UseNone); err != nil {
			return err
		}
	}
	c := &Change{Kind: MailboxRenamed}
	for _, s := range w.st.boxes {
		rest, ok := strings.CutPrefix(s.row.name, old)
		if !ok || rest != "" && rest[0] != '/' {
			continue
		}
		to, err := w.s.CanonicalName(name + rest)
		if err != nil {
			return err
		}
		if other := w.st.byName(to); other != nil {
			return postino.E(postino.Conflict, "rename mailbox to", to, nil)
		}
		m, err := w.row(s.row.id)
		if err != nil {
			return err
		}
		if err := w.outlive(m); err != nil {
			return err
		}
		m.name = to
		c.Boxes, c.Names = append(c.Boxes, m.id), append(c.Names, to)
	}
	w.record(c)
	return nil
}

// renameInbox moves all messages of INBOX to a new mailbox, which gets a copy of
// its metadata (RFC 5464 §4.1).
func (w *writer) renameInbox(a *Account, name string) error {
	made, err := w.createPath(name, UseNone)
	if err != nil {
		return err
	}
	to := made[len(made)-1]
	if err := w.copyNotes(inbox, to.id); err != nil {
		return err
	}
	_, err = w.transfer(a, w.st.box(inbox), All(), to, true)
	return err
}

// Subscribe adds a name to the subscriptions; a mailbox with it need not exist
// (RFC 9051 §6.3.7). Guests need l: what they subscribe to is the mailbox, whatever
// it will be called.
func (a *Account) Subscribe(ctx context.Context, name string) error {
	if !a.full() {
		return a.subscribeAs(ctx, name, true)
	}
	return a.subscription(ctx, name, (*writer).subscribe)
}

// Unsubscribe takes a name off the subscriptions.
func (a *Account) Unsubscribe(ctx context.Context, name string) error {
	ctx = kv.Deleting(ctx)
	if !a.full() {
		return a.subscribeAs(ctx, name, false)
	}
	return a.subscription(ctx, name, (*writer).unsubscribe)
}

func (a *Account) subscription(ctx context.Context, name string, do func(*writer, string) error) error {
	name, err := a.s.CanonicalName(name)
	if err != nil {
		return err
	}
	_, err = a.update(ctx, nil, func(w *writer) error { return do(w, name) })
	return err
}

// SetSpecialUse changes what a mailbox is for; Conflict when another one has
// the use, Invalid for INBOX. Only for the owner.
func (a *Account) SetSpecialUse(ctx context.Context, box MailboxID, use SpecialUse) error {
	_, err := a.update(ctx, nil, func(w *writer) error {
		if err := a.may(w.st, box, actOwn); err != nil {
			return err
		}
		if box == inbox && use != UseNone {
			return postino.E(postino.Invalid, "set special use of mailbox", "INBOX", nil)
		}
		m, err := w.row(box)
		if err != nil || m.use == use {
			return err
		}
		if err := w.freeUse(use, box); err != nil {
			return err
		}
		m.use = use
		w.record(&Change{Kind: MailboxUpdated, Mailbox: box})
		return nil
	})
	return err
}
