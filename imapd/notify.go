package imapd

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/imap"
	"github.com/postino-mail/postino/mailbox"
)

// maxNotified is of how many mailboxes a session keeps what its client was told.
const maxNotified = 10_000

// notified is what a client asked for by NOTIFY beside the selected mailbox.
type notified struct {
	groups   []imap.NotifyGroup
	accounts []*notifiedAccount
}

// notifiedAccount is what the client was told of one account.
type notifiedAccount struct {
	acct  *mailbox.Account
	root  string         // before the names of its mailboxes
	at    mailbox.ModSeq // up to where
	boxes map[mailbox.MailboxID]toldMailbox
	subs  map[string]bool
	own   []ownNotes // annotations that this session set since
	stop  func()     // ends the notices
}

// toldMailbox is a mailbox as the client was told of it; the name is the account's own.
type toldMailbox struct {
	name   string
	status mailbox.Status
}

// ownNotes are annotations that one command set.
type ownNotes struct {
	box   mailbox.MailboxID
	names []string
}

// Notify takes what the client wants to hear of (RFC 5465 §3.1).
func (s *session) Notify(ctx context.Context, req *imap.NotifyRequest) (*imap.NotifyData, error) {
	data := &imap.NotifyData{}
	if req == nil || !slices.ContainsFunc(req.Groups, func(g imap.NotifyGroup) bool { return g.Events != 0 }) {
		s.endNotify()
		return data, nil
	}
	accounts := []opened{{acct: s.acct}}
	if slices.ContainsFunc(req.Groups, func(g imap.NotifyGroup) bool { return g.Filter.Kind >= imap.FilterSubscribed }) {
		var err error
		if accounts, err = s.accounts(ctx); err != nil {
			return nil, err
		}
	}
	n, total := &notified{groups: req.Groups}, 0
	for _, o := range accounts {
		if err := o.acct.Sync(ctx); err != nil {
			return nil, err
		}
		a := &notifiedAccount{acct: o.acct, root: o.root, at: o.acct.ModSeq(), boxes: map[mailbox.MailboxID]toldMailbox{}, subs: subscriptions(o.acct)}
		infos := o.acct.Mailboxes()
		if total += len(infos); total > maxNotified {
			return nil, &imap.Error{Code: "NOTIFICATIONOVERFLOW", Text: "Too many mailboxes to notify of"}
		}
		for i := range infos {
			m := &infos[i]
			a.boxes[m.ID] = toldMailbox{m.Name, m.Status}
			events := n.events(a, m.Name, a.subs)
			switch {
			case events == 0:
			case o.root != "" && o.acct.Rights(m.ID)&mailbox.RightRead == 0:
				data.NoAccess = append(data.NoAccess, o.root+m.Name)
			case req.Status && events&messageEvents != 0:
				data.Status = append(data.Status, o.root+m.Name)
			}
		}
		n.accounts = append(n.accounts, a)
	}
	s.endNotify()
	s.notified = n
	s.watchAccounts()
	return data, nil
}

const messageEvents = imap.EventMessageNew | imap.EventMessageExpunge | imap.EventFlagChange

func subscriptions(a *mailbox.Account) map[string]bool {
	set := map[string]bool{}
	for _, name := range a.Subscriptions() {
		set[name] = true
	}
	return set
}

// endNotify goes back to the selected mailbox alone.
func (s *session) endNotify() {
	if s.notified == nil {
		return
	}
	for _, a := range s.notified.accounts {
		if a.stop != nil {
			a.stop()
		}
	}
	s.notified = nil
}

// watchAccounts makes the notices of the accounts go where Watch said.
func (s *session) watchAccounts() {
	if s.notified == nil {
		return
	}
	for _, a := range s.notified.accounts {
		if a.stop != nil {
			a.stop()
			a.stop = nil
		}
		if s.changed != nil {
			a.stop = a.acct.Notify(s.changed)
		}
	}
}

// events are those that the client wants to hear of a mailbox of an account.
func (n *notified) events(a *notifiedAccount, name string, subs map[string]bool) (e imap.NotifyEvent) {
	full := a.root + name
	for i := range n.groups {
		g := &n.groups[i]
		in := false
		switch g.Filter.Kind {
		case imap.FilterPersonal, imap.FilterInboxes: // a script may deliver to any (RFC 5465 §6.3)
			in = a.root == ""
		case imap.FilterSubscribed:
			in = subs[name]
		case imap.FilterMailboxes:
			in = slices.Contains(g.Filter.Names, full)
		case imap.FilterSubtree:
			in = slices.ContainsFunc(g.Filter.Names, func(top string) bool { return full == top || strings.HasPrefix(full, top+"/") })
		}
		if in {
			e |= g.Events
		}
	}
	return e
}

// pollNotified writes what happened to the accounts since the last Poll.
func (s *session) pollNotified(ctx context.Context, w *imap.UpdateWriter) error {
	if s.notified == nil {
		return nil
	}
	total := 0
	for _, a := range s.notified.accounts {
		since := a.at
		if a.at = a.acct.ModSeq(); a.at != since {
			if err := s.tellAccount(ctx, w, a, since); err != nil {
				return err
			}
		}
		total += len(a.boxes)
	}
	if total > maxNotified {
		w.Overflow()
		s.endNotify()
	}
	return w.Err()
}

// tellAccount writes what happened to an account. While there are but messages that came,
// went and changed, only their mailboxes are looked at, however many there are.
func (s *session) tellAccount(ctx context.Context, w *imap.UpdateWriter, a *notifiedAccount, since mailbox.ModSeq) error {
	touched, all := map[mailbox.MailboxID]bool{}, a.root != "" // a guest is not told of all that concerns him
	own := a.own
	a.own = nil
	err := a.acct.Changes(ctx, since, func(c *mailbox.Change) bool {
		switch c.Kind {
		case mailbox.Appended, mailbox.FlagsChanged, mailbox.Expunged, mailbox.SeenChanged:
			touched[c.Mailbox] = true
		case mailbox.MetadataChanged:
			own = s.notified.tellMetadata(w, a, c, own)
		default:
			all = true
		}
		return true
	})
	if postino.Is(err, postino.Conflict) { // the log was trimmed
		all, err = true, nil
	}
	if err != nil {
		return err
	}
	if all {
		s.tellMailboxes(w, a)
		s.tellSubscriptions(w, a)
		return nil
	}
	for box := range touched {
		m, err := a.acct.Status(box)
		if err != nil {
			continue // it is gone meanwhile, which the next change tells
		}
		s.tellOne(w, a, &m, s.notified.events(a, m.Name, a.subs))
	}
	return nil
}

// tellOne writes what changed in a mailbox that is not the selected one.
func (s *session) tellOne(w *imap.UpdateWriter, a *notifiedAccount, m *mailbox.Info, events imap.NotifyEvent) {
	told := a.boxes[m.ID]
	a.boxes[m.ID] = toldMailbox{m.Name, m.Status}
	if s.sel == nil || a.acct != s.sel.acct || m.ID != s.sel.view.Mailbox() {
		tellStatus(w, a.root+m.Name, m, &told.status, events)
	}
}

// tellMailboxes compares the mailboxes with those that the client was told of.
func (s *session) tellMailboxes(w *imap.UpdateWriter, a *notifiedAccount) {
	n, infos := s.notified, a.acct.Mailboxes()
	t := &tree{a: a, subs: subscriptions(a.acct), parents: map[string]bool{}}
	for i := range infos {
		t.parents[parent(infos[i].Name)] = true
	}
	gone := maps.Clone(a.boxes)
	parents := map[string]bool{}
	renamed := map[string]string{}
	for i := range infos {
		m := &infos[i]
		told, known := a.boxes[m.ID]
		delete(gone, m.ID)
		events := n.events(a, m.Name, t.subs)
		switch {
		case !known:
			a.boxes[m.ID] = toldMailbox{m.Name, m.Status}
			if events&imap.EventMailboxName != 0 {
				w.Mailbox(t.mailbox(m.Name), "")
				parents[parent(m.Name)] = true
			}
			continue
		case told.name != m.Name:
			renamed[m.Name] = told.name
			// Children follow without a word (RFC 5465 §5.4).
			old, with := renamed[parent(m.Name)]
			with = with && parent(told.name) == old && m.Name[len(parent(m.Name)):] == told.name[len(old):]
			if (events|n.events(a, told.name, a.subs))&imap.EventMailboxName != 0 && !with {
				w.Mailbox(t.mailbox(m.Name), a.root+told.name)
			}
		}
		s.tellOne(w, a, m, events)
	}
	for id, m := range gone {
		delete(a.boxes, id)
		if n.events(a, m.name, a.subs)&imap.EventMailboxName != 0 {
			w.Mailbox(t.mailbox(m.name), "")
			parents[parent(m.name)] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(parents)) {
		if name != "" {
			w.Mailbox(t.mailbox(name), "") // its children changed
		}
	}
}

// parent returns the name of the level above, empty at the top.
func parent(name string) string {
	return name[:max(0, strings.LastIndexByte(name, '/'))]
}

// tree is what LIST would say of the names of an account.
type tree struct {
	a       *notifiedAccount
	subs    map[string]bool
	parents map[string]bool // names right above others
}

// mailbox is what LIST would say of a name. To a guest one that was deleted and one that
// he may not see any more are alike (RFC 5465 §5.4, §5.9).
func (t *tree) mailbox(name string) imap.Mailbox {
	m := imap.Mailbox{Name: t.a.root + name, Attrs: imap.AttrNonExistent, Subscribed: t.subs[name]}
	if info, err := t.a.acct.Mailbox(name); err == nil {
		m.Attrs = attrs(info.SpecialUse)
	} else if t.a.root != "" {
		m.Attrs |= imap.AttrNoAccess
	}
	if t.parents[name] {
		m.Attrs |= imap.AttrHasChildren
	} else {
		m.Attrs |= imap.AttrHasNoChildren
	}
	return m
}

// tellStatus writes the items that changed of those that the events concern
// (RFC 5465 §5.1 to §5.3).
func tellStatus(w *imap.UpdateWriter, name string, m *mailbox.Info, told *mailbox.Status, events imap.NotifyEvent) {
	var items imap.StatusItem
	if events&imap.EventMessageNew != 0 && (m.Messages != told.Messages || m.UIDNext != told.UIDNext) {
		items |= imap.StatusMessages | imap.StatusUIDNext
	}
	if events&imap.EventFlagChange != 0 {
		if m.Unseen != told.Unseen {
			items |= imap.StatusUnseen | imap.StatusUIDValidity
		}
		if m.HighestModSeq != told.HighestModSeq && w.CondStore() || m.UIDValidity != told.UIDValidity {
			items |= imap.StatusUIDValidity
		}
	}
	if items != 0 {
		w.Status(name, items, &imap.StatusData{Messages: m.Messages, UIDNext: uint32(m.UIDNext), UIDValidity: m.UIDValidity,
			Unseen: m.Unseen, HighestModSeq: uint64(m.HighestModSeq)})
	}
}

// tellSubscriptions compares the subscriptions with those that the client was told
// of (RFC 5465 §5.5).
func (s *session) tellSubscriptions(w *imap.UpdateWriter, a *notifiedAccount) {
	before, now := a.subs, subscriptions(a.acct)
	a.subs = now
	var changed []string
	for name := range before {
		if !now[name] {
			changed = append(changed, name)
		}
	}
	for name := range now {
		if !before[name] {
			changed = append(changed, name)
		}
	}
	if len(changed) == 0 {
		return
	}
	t := &tree{a: a, subs: now, parents: map[string]bool{}}
	for _, m := range a.acct.Mailboxes() {
		t.parents[parent(m.Name)] = true
	}
	slices.Sort(changed)
	for _, name := range changed {
		if (s.notified.events(a, name, now)|s.notified.events(a, name, before))&imap.EventSubscription != 0 {
			w.Mailbox(t.mailbox(name), "")
		}
	}
}

// tellMetadata writes the names of entries that changed (RFC 5465 §5.6, §5.7), unless
// this session set them, and returns what is left of those.
func (n *notified) tellMetadata(w *imap.UpdateWriter, a *notifiedAccount, c *mailbox.Change, own []ownNotes) []ownNotes {
	if c.Viewer != 0 && c.Viewer != n.accounts[0].acct.ID() { // the first one is the user's
		return own
	}
	if i := slices.IndexFunc(own, func(o ownNotes) bool { return o.box == c.Mailbox && slices.Equal(o.names, c.Names) }); i >= 0 {
		return slices.Delete(own, i, i+1)
	}
	if c.Mailbox == 0 {
		if a.root == "" && slices.ContainsFunc(n.groups, func(g imap.NotifyGroup) bool { return g.Events&imap.EventServerMetadata != 0 }) {
			w.Annotations("", c.Names)
		}
	} else if m, err := a.acct.Status(c.Mailbox); err == nil && n.events(a, m.Name, a.subs)&imap.EventMailboxMetadata != 0 {
		w.Annotations(a.root+m.Name, c.Names)
	}
	return own
}

// told notes, after a command of this session that made, removed, renamed or
// subscribed mailboxes of an account, what its client knows by it: the mailboxes whose
// names are the one given or below or above it (RFC 5465 §5).
func (s *session) told(acct *mailbox.Account, names ...string) {
	a := s.notified.account(acct)
	if a == nil {
		return
	}
	concerns := func(name string) bool {
		return slices.ContainsFunc(names, func(n string) bool {
			return name == n || strings.HasPrefix(name, n+"/") || strings.HasPrefix(n, name+"/")
		})
	}
	there := map[mailbox.MailboxID]bool{}
	for _, m := range acct.Mailboxes() {
		there[m.ID] = true
		if old, known := a.boxes[m.ID]; known {
			if old.name != m.Name && concerns(m.Name) {
				a.boxes[m.ID] = toldMailbox{m.Name, old.status}
			}
		} else if concerns(m.Name) {
			a.boxes[m.ID] = toldMailbox{m.Name, m.Status}
		}
	}
	maps.DeleteFunc(a.boxes, func(id mailbox.MailboxID, m toldMailbox) bool { return !there[id] && concerns(m.name) })
	now := subscriptions(acct)
	for _, n := range names {
		if delete(a.subs, n); now[n] {
			a.subs[n] = true
		}
	}
}

// account is what the client was told of an account, nil when it asked for nothing.
func (n *notified) account(acct *mailbox.Account) *notifiedAccount {
	if n == nil {
		return nil
	}
	for _, a := range n.accounts {
		if a.acct == acct {
			return a
		}
	}
	return nil
}

// toldAppended notes messages that this session put into a mailbox, unless somebody
// else did meanwhile, too.
func (s *session) toldAppended(acct *mailbox.Account, box mailbox.MailboxID, lo, hi mailbox.UID) {
	a := s.notified.account(acct)
	if a == nil || lo == 0 {
		return
	}
	told := a.boxes[box]
	if m, err := acct.Status(box); err == nil && told.status.UIDNext == lo && m.UIDNext == hi+1 {
		a.boxes[box] = toldMailbox{told.name, m.Status}
	}
}
