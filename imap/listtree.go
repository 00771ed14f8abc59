package imap

import (
	"slices"
	"strings"
)

// listEntry is a name in the tree that LIST shows.
type listEntry struct {
	Mailbox
	parent   int  // index of the level above, -1 at the top
	exists   bool // as a mailbox, and not only as a level or a subscription
	selected bool // meets the selection options
	matched  bool // matches a pattern
	levels   bool // matches one that asks for levels
	// What is below it.
	children       bool // mailboxes
	childSelected  bool // names that meet the selection options
	childUnmatched bool // such that no pattern matches
}

// compareNames puts INBOX first and each name right before those below it.
func compareNames(a, b string) int {
	if a == b {
		return 0
	}
	if in := strings.HasPrefix(a+delimiter, "INBOX/"); in != strings.HasPrefix(b+delimiter, "INBOX/") {
		if in {
			return -1
		}
		return 1
	}
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			switch {
			case a[i] == delimiter[0]:
				return -1
			case b[i] == delimiter[0]:
				return 1
			}
			return int(a[i]) - int(b[i])
		}
	}
	return len(a) - len(b)
}

// listTree sorts the names and adds the levels above them that are no mailboxes.
func listTree(mailboxes []Mailbox) []listEntry {
	sorted := slices.Clone(mailboxes)
	slices.SortFunc(sorted, func(a, b Mailbox) int { return compareNames(a.Name, b.Name) })
	entries := make([]listEntry, 0, len(sorted))
	top := -1 // the last entry; the ones above it are its parents
	for _, m := range sorted {
		for top >= 0 && !strings.HasPrefix(m.Name, entries[top].Name+delimiter) {
			top = entries[top].parent
		}
		from := 0
		if top >= 0 {
			from = len(entries[top].Name) + 1
		}
		for {
			i := strings.Index(m.Name[from:], delimiter)
			if i < 0 {
				break
			}
			level := Mailbox{Name: m.Name[:from+i], Attrs: AttrNonExistent}
			entries = append(entries, listEntry{Mailbox: level, parent: top})
			top, from = len(entries)-1, from+i+1
		}
		entries = append(entries, listEntry{Mailbox: m, parent: top, exists: m.Attrs&AttrNonExistent == 0})
		top = len(entries) - 1
	}
	return entries
}

// judge decides what each name is for the request. What is below a name stands
// after it, so one pass from the end carries it up.
func (req *listRequest) judge(entries []listEntry) {
	for i := range entries {
		e := &entries[i]
		e.selected = e.exists || req.subscribed && e.Subscribed
		if req.subscribed {
			e.selected = e.Subscribed
		}
		if req.specialUse {
			e.selected = e.selected && e.Attrs&specialUse != 0
		}
		for j := range req.patterns {
			if req.patterns[j].match(e.Name) {
				e.matched = true
				e.levels = e.levels || req.patterns[j].levels
			}
		}
	}
	for i := len(entries) - 1; i >= 0; i-- {
		e := &entries[i]
		if e.parent < 0 {
			continue
		}
		p := &entries[e.parent]
		p.children = p.children || e.exists || e.children
		p.childSelected = p.childSelected || e.selected || e.childSelected
		p.childUnmatched = p.childUnmatched || e.selected && !e.matched || e.childUnmatched
	}
}

// shows tells whether a name is returned.
func (req *listRequest) shows(e *listEntry) bool {
	switch {
	case !e.matched:
		return false
	case e.selected:
		return true
	case req.recursive:
		// Not when all that is below shows itself (RFC 9051 §6.3.9.6).
		return e.childUnmatched
	case req.lsub:
		return e.levels && e.childUnmatched // RFC 3501 §6.3.9
	}
	return e.levels && e.children && !req.subscribed && !req.specialUse
}
