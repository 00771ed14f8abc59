package imap

import (
	"maps"
	"slices"
	"strings"
)

// mailboxFilter reads a filter-mailboxes (RFC 5465 §8, RFC 7377 §4).
func (c *conn) mailboxFilter() (f MailboxFilter, err error) {
	label, err := c.p.Label()
	if err != nil {
		return f, err
	}
	named := false
	switch string(label) {
	case "SELECTED":
		f.Kind = FilterSelected
	case "SELECTED-DELAYED":
		f.Kind = FilterSelectedDelayed
	case "INBOXES":
		f.Kind = FilterInboxes
	case "PERSONAL":
		f.Kind = FilterPersonal
	case "SUBSCRIBED":
		f.Kind = FilterSubscribed
	case "SUBTREE":
		f.Kind, named = FilterSubtree, true
	case "SUBTREE-ONE":
		f.Kind, named = FilterSubtreeOne, true
	case "MAILBOXES":
		f.Kind, named = FilterMailboxes, true
	default:
		return f, syntax("Unknown mailbox filter")
	}
	if !named {
		return f, nil
	}
	if err := c.p.SP(); err != nil {
		return f, err
	}
	item := func() error {
		name, _, err := c.mailboxName()
		f.Names = append(f.Names, name)
		return err
	}
	if c.p.Peek() != '(' {
		return f, item()
	}
	if err = c.parenthesised(item); err == nil && len(f.Names) == 0 {
		err = syntax("Expected a mailbox name")
	}
	return f, err
}

// sources are the mailboxes that filters name, each once, in the order of their
// names. Those named outright need not be in the list of mailboxes: to see them
// there takes a right that searching does not (RFC 7377 §2.2).
func (c *conn) sources(filters []MailboxFilter) ([]string, error) {
	set := map[string]struct{}{}
	var rest []MailboxFilter
	for _, f := range filters {
		switch f.Kind {
		case FilterSelected, FilterSelectedDelayed:
			set[c.mailbox] = struct{}{}
			continue
		case FilterMailboxes, FilterSubtree, FilterSubtreeOne:
			for _, name := range f.Names {
				set[name] = struct{}{}
			}
		}
		if f.Kind != FilterMailboxes {
			rest = append(rest, f)
		}
	}
	if len(rest) > 0 {
		boxes, err := c.sess.Mailboxes(c.ctx)
		if err != nil {
			return nil, err
		}
		ns, err := c.sess.Namespaces(c.ctx)
		if err != nil {
			return nil, err
		}
		for i := range boxes {
			if slices.ContainsFunc(rest, func(f MailboxFilter) bool { return f.lists(&boxes[i], ns) }) {
				set[boxes[i].Name] = struct{}{}
			}
		}
	}
	return slices.Sorted(maps.Keys(set)), nil
}

// lists tells whether a filter that is not about the selected mailbox names one
// of the list of mailboxes.
func (f *MailboxFilter) lists(m *Mailbox, ns *Namespaces) bool {
	if m.Attrs&(AttrNoSelect|AttrNonExistent) != 0 {
		return false
	}
	switch f.Kind {
	case FilterSubscribed:
		return m.Subscribed
	case FilterPersonal, FilterInboxes: // rules may deliver anywhere: RFC 5465 §6.3 wants the same then
		return ns.personal(m.Name)
	case FilterMailboxes:
		return slices.Contains(f.Names, m.Name)
	}
	for _, root := range f.Names {
		below, ok := strings.CutPrefix(m.Name, root)
		if ok && (below == "" || below[0] == delimiter[0] &&
			(f.Kind == FilterSubtree || !strings.Contains(below[1:], delimiter))) {
			return true
		}
	}
	return false
}

// personal tells whether a name is in none of the namespaces of others.
func (ns *Namespaces) personal(name string) bool {
	within := func(n Namespace) bool { return n.Prefix != "" && strings.HasPrefix(name, n.Prefix) }
	return !slices.ContainsFunc(ns.Other, within) && !slices.ContainsFunc(ns.Shared, within)
}
