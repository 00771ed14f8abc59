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
	at    mailbox.ModSeq // up to where
	boxes map[mailbox.MailboxID]toldMailbox
	subs  map[string]bool
	stop  func() // ends the notices
}

// toldMailbox is a mailbox as the client was told of it.
type toldMailbox struct {
	name   string
	status mailbox.Status
}

// Notify takes what the client wants to hear of (RFC 5465 §3.1).
func (s *session) Notify(ctx context.Context, req *imap.NotifyRequest) ([]string, error) {
	if req == nil || !slices.ContainsFunc(req.Groups, func(g imap.NotifyGroup) bool { return g.Events != 0 }) {
		s.endNotify()
		return nil, nil
	}
	if err := s.acct.Sync(ctx); err != nil {
		return nil, err
	}
	n := &notified{groups: req.Groups}
	a := &notifiedAccount{acct: s.acct, at: s.acct.ModSeq(), boxes: map[mailbox.MailboxID]toldMailbox{}, subs: subscriptions(s.acct)}
	var tell []string
	infos := s.acct.Mailboxes()
	if len(infos) > maxNotified {
		return nil, &imap.Error{Code: "NOTIFICATIONOVERFLOW", Text: "Too many mailboxes to notify of"}
	}
	for i := range infos {
		m := &infos[i]
		a.boxes[m.ID] = toldMailbox{m.Name, m.Status}
		if req.Status && n.events(m.Name, a.subs)&messageEvents != 0 {
			tell = append(tell, m.Name)
		}
	}
	s.endNotify()
	n.accounts = []*notifiedAccount{a}
	s.notified = n
	s.watchAccounts()
	return tell, nil
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

// events are those that the client wants to hear of a mailbox name.
func (n *notified) events(name string, subs map[string]bool) (e imap.NotifyEvent) {
	for i := range n.groups {
		g := &n.groups[i]
		in := false
		switch g.Filter.Kind {
		case imap.FilterPersonal, imap.FilterInboxes: // a script may deliver to any (RFC 5465 §6.3)
			in = true
		case imap.FilterSubscribed:
			in = subs[name]
		case imap.FilterMailboxes:
			in = slices.Contains(g.Filter.Names, name)
		case imap.FilterSubtree:
			in = slices.ContainsFunc(g.Filter.Names, func(top string) bool { return name == top || strings.HasPrefix(name, top+"/") })
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
	for _, a := range s.notified.accounts {
		since := a.at
		if a.at = a.acct.ModSeq(); a.at == since {
			continue
		}
		if err := s.notified.tellMetadata(ctx, w, a, since); err != nil {
			return err
		}
		s.tellMailboxes(w, a)
		s.tellSubscriptions(w, a)
	}
	return w.Err()
}

// tellMailboxes compares the mailboxes with those that the client was told of.
func (s *session) tellMailboxes(w *imap.UpdateWriter, a *notifiedAccount) {
	n, subs := s.notified, subscriptions(a.acct)
	gone := maps.Clone(a.boxes)
	parents := map[string]bool{}
	renamed := map[string]string{}
	var selected mailbox.MailboxID
	if s.sel != nil && a.acct == s.sel.acct {
		selected = s.sel.view.Mailbox()
	}
	for _, m := range a.acct.Mailboxes() {
		told, known := a.boxes[m.ID]
		delete(gone, m.ID)
		a.boxes[m.ID] = toldMailbox{m.Name, m.Status}
		events := n.events(m.Name, subs)
		switch {
		case !known:
			if events&imap.EventMailboxName != 0 {
				w.Mailbox(imap.Mailbox{Name: m.Name, Attrs: attrs(m.SpecialUse), Subscribed: subs[m.Name]}, "")
				parents[parent(m.Name)] = true
			}
		case told.name != m.Name:
			renamed[m.Name] = told.name
			// Children follow without a word (RFC 5465 §5.4).
			old, with := renamed[parent(m.Name)]
			with = with && parent(told.name) == old && m.Name[len(parent(m.Name)):] == told.name[len(old):]
			if (events|n.events(told.name, a.subs))&imap.EventMailboxName != 0 && !with {
				w.Mailbox(imap.Mailbox{Name: m.Name, Attrs: attrs(m.SpecialUse), Subscribed: subs[m.Name]}, told.name)
			}
		}
		if known && m.ID != selected {
			tellStatus(w, &m, &told.status, events)
		}
	}
	for id, m := range gone {
		delete(a.boxes, id)
		if n.events(m.name, a.subs)&imap.EventMailboxName != 0 {
			w.Mailbox(imap.Mailbox{Name: m.name, Attrs: imap.AttrNonExistent, Subscribed: subs[m.name]}, "")
			parents[parent(m.name)] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(parents)) {
		if name != "" {
			w.Mailbox(named(a.acct, name, subs), "") // its children changed
		}
	}
}

// parent returns the name of the level above, empty at the top.
func parent(name string) string {
	return name[:max(0, strings.LastIndexByte(name, '/'))]
}

// named is what LIST would say of a name.
func named(a *mailbox.Account, name string, subs map[string]bool) imap.Mailbox {
	m := imap.Mailbox{Name: name, Attrs: imap.AttrNonExistent, Subscribed: subs[name]}
	if info, err := a.Mailbox(name); err == nil {
		m.Attrs = attrs(info.SpecialUse)
	}
	return m
}

// tellStatus writes the items that changed of those that the events concern
// (RFC 5465 §5.1 to §5.3).
func tellStatus(w *imap.UpdateWriter, m *mailbox.Info, told *mailbox.Status, events imap.NotifyEvent) {
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
		w.Status(m.Name, items, &imap.StatusData{Messages: m.Messages, UIDNext: uint32(m.UIDNext), UIDValidity: m.UIDValidity,
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
	slices.Sort(changed)
	for _, name := range changed {
		if (s.notified.events(name, now)|s.notified.events(name, before))&imap.EventSubscription != 0 {
			w.Mailbox(named(a.acct, name, now), "")
		}
	}
}

// tellMetadata writes the names of entries that changed (RFC 5465 §5.6, §5.7). Beyond
// what the log still tells nothing is said.
func (n *notified) tellMetadata(ctx context.Context, w *imap.UpdateWriter, a *notifiedAccount, since mailbox.ModSeq) error {
	const events = imap.EventMailboxMetadata | imap.EventServerMetadata
	if !slices.ContainsFunc(n.groups, func(g imap.NotifyGroup) bool { return g.Events&events != 0 }) {
		return nil
	}
	err := a.acct.Changes(ctx, since, func(c *mailbox.Change) bool {
		if c.Kind != mailbox.MetadataChanged || c.Viewer != 0 && c.Viewer != a.acct.ID() {
			return true
		}
		if c.Mailbox == 0 {
			if slices.ContainsFunc(n.groups, func(g imap.NotifyGroup) bool { return g.Events&imap.EventServerMetadata != 0 }) {
				w.Annotations("", c.Names)
			}
		} else if m, err := a.acct.Status(c.Mailbox); err == nil && n.events(m.Name, a.subs)&imap.EventMailboxMetadata != 0 {
			w.Annotations(m.Name, c.Names)
		}
		return true
	})
	if postino.Is(err, postino.Conflict) {
		return nil
	}
	return err
}
