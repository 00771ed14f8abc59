package imap

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// belief is what a client knows of the open mailbox, from responses alone.
type belief struct {
	name              string
	msgs              []believed
	exists            bool // EXISTS came
	readOnly          bool
	validity, uidnext uint32
	highest           uint64
	flags, permanent  map[string]bool
}

// believed is a message as the client sees it.
type believed struct {
	uid    uint32          // 0: not known
	flags  map[string]bool // nil: not known
	modseq uint64
	back   string // MODSEQ went back: the message has to be gone after NOOP
}

func newBelief() *belief { return &belief{} }

// find is the position of a UID, or -1.
func (b *belief) find(uid uint32) int {
	return slices.IndexFunc(b.msgs, func(m believed) bool { return m.uid == uid })
}

// answers tells which commands a response may answer; responses that are not here
// may come at any time while a mailbox is open.
var answers = map[string]map[string]bool{
	"CAPABILITY": set("CAPABILITY LOGIN AUTHENTICATE"),
	"ENABLED":    set("ENABLE"),
	"LSUB":       set("LSUB"),
	"SEARCH":     set("SEARCH"),
	"SORT":       set("SORT"),
	"THREAD":     set("THREAD"),
	"NAMESPACE":  set("NAMESPACE LANGUAGE"),
	"ID":         set("ID"),
	"ACL":        set("GETACL"),
	"LISTRIGHTS": set("LISTRIGHTS"),
	"MYRIGHTS":   set("MYRIGHTS LIST"),
	"QUOTA":      set("GETQUOTA GETQUOTAROOT SETQUOTA"),
	"QUOTAROOT":  set("GETQUOTAROOT"),
	"METADATA":   set("GETMETADATA LIST"),
	"LANGUAGE":   set("LANGUAGE"),
	"COMPARATOR": set("COMPARATOR LANGUAGE"),
	"UIDBATCHES": set("UIDBATCHES"),
	"STATUS":     set("STATUS LIST NOTIFY"),
	"LIST":       set("LIST SELECT EXAMINE CREATE RENAME DELETE NOTIFY"),
	"BYE":        set("LOGOUT"),
}

// take applies an untagged response, after the rules of when it may come.
func (c *client) take(r *response) {
	verb := ""
	if c.cmd != nil {
		verb = c.cmd.verb
	}
	if verbs, ok := answers[r.kind]; ok && !verbs[verb] && !(r.kind == "BYE" && c.over) && !(c.notify && (r.kind == "STATUS" || r.kind == "LIST")) {
		c.fail("%s in answer to %q", r.kind, verb)
	}
	switch r.kind {
	case "OK", "NO", "BAD":
		c.status(r)
		return
	case "STATUS":
		c.remember(r)
		return
	case "ESEARCH":
		c.esearch(r)
		return
	case "SEARCH":
		if c.rev2 {
			c.fail("SEARCH after ENABLE IMAP4rev2 (RFC 9051 §7.3.4)")
		}
		return
	case "EXISTS", "RECENT", "EXPUNGE", "FETCH", "UIDFETCH", "VANISHED", "FLAGS":
	default:
		return
	}
	if c.box == nil {
		c.fail("%s and no mailbox is open", r.kind)
	}
	b := c.box
	switch r.kind {
	case "EXISTS":
		if b.exists && int(r.num) < len(b.msgs) {
			c.fail("EXISTS shrinks from %d to %d", len(b.msgs), r.num)
		}
		b.exists = true
		for len(b.msgs) < int(r.num) {
			b.msgs = append(b.msgs, believed{})
		}
	case "RECENT":
		if c.rev2 {
			c.fail("RECENT after ENABLE IMAP4rev2")
		}
	case "FLAGS":
		b.flags = r.flags
	case "EXPUNGE":
		c.mayRemove("EXPUNGE")
		if c.qresync || c.uidonly {
			c.fail("EXPUNGE in the place of VANISHED")
		}
		if int(r.num) > len(b.msgs) {
			c.fail("EXPUNGE %d of %d", r.num, len(b.msgs))
		}
		c.remove(int(r.num) - 1)
	case "VANISHED":
		c.vanished(r)
	case "FETCH":
		if c.uidonly {
			c.fail("FETCH after ENABLE UIDONLY (RFC 9586 §3)")
		}
		if int(r.num) > len(b.msgs) {
			c.fail("FETCH %d of %d", r.num, len(b.msgs))
		}
		c.fetched(int(r.num)-1, r.fetch)
	case "UIDFETCH":
		if !c.uidonly {
			c.fail("UIDFETCH without UIDONLY")
		}
		if r.fetch.uid != 0 && r.fetch.uid != r.num {
			c.fail("UIDFETCH %d of UID %d", r.num, r.fetch.uid)
		}
		r.fetch.uid = r.num
		i := b.find(r.num)
		if i < 0 { // one of those not known yet
			if i = b.find(0); i < 0 {
				c.fail("UIDFETCH %d, which is not there", r.num)
			}
			b.msgs[i].uid = r.num
			slices.SortFunc(b.msgs, func(x, y believed) int { return cmp.Compare(x.uid-1, y.uid-1) }) // unknown ones last
			i = b.find(r.num)
		}
		c.fetched(i, r.fetch)
	}
}

// unknown is the place among the messages without a known UID where one would
// stand, or -1.
func (b *belief) unknown(uid uint32) int {
	for i, m := range b.msgs {
		if m.uid == 0 {
			before, after := uint32(0), ^uint32(0)
			for _, o := range b.msgs[:i] {
				before = max(before, o.uid)
			}
			for _, o := range b.msgs[i:] {
				if o.uid != 0 {
					after = min(after, o.uid)
				}
			}
			if before < uid && uid < after {
				return i
			}
		}
	}
	return -1
}

// mayRemove is RFC 9051 §7.5.1 and RFC 7162 §3.2.10.2.
func (c *client) mayRemove(what string) {
	if c.cmd == nil || !c.cmd.sent {
		c.fail("%s while no command is in progress", what)
	}
	if c.cmd.uid {
		return
	}
	switch c.cmd.verb {
	case "FETCH", "STORE", "SEARCH", "SORT", "THREAD":
		c.fail("%s during %s", what, c.cmd.verb)
	}
}

func (c *client) vanished(r *response) {
	if !c.qresync && !c.uidonly {
		c.fail("VANISHED without QRESYNC")
	}
	if r.early {
		text := strings.ToUpper(c.cmd.text)
		if v := c.cmd.verb; !(v == "SELECT" || v == "EXAMINE") && !(v == "FETCH" && c.cmd.uid && strings.Contains(text, "VANISHED")) {
			c.fail("VANISHED (EARLIER) in answer to %s", v)
		}
		for _, uid := range expand(r.set) {
			if c.box.find(uid) >= 0 && c.box.exists {
				c.fail("VANISHED (EARLIER) %d, which is there", uid)
			}
		}
		return
	}
	c.mayRemove("VANISHED")
	for _, uid := range expand(r.set) {
		i := c.box.find(uid)
		if i < 0 && c.uidonly {
			i = c.box.find(0)
		} else if i < 0 {
			i = c.box.unknown(uid)
		}
		if i < 0 {
			c.fail("VANISHED %d, which is not there (RFC 7162 §3.2.10.2)", uid)
		}
		if c.box.msgs[i].uid == 0 {
			c.box.msgs[i].uid = uid
		}
		c.remove(i)
	}
}

func (c *client) remove(i int) {
	if c.removed != nil {
		c.removed(c.box.msgs[i].uid)
	}
	c.box.msgs = slices.Delete(c.box.msgs, i, i+1)
}

func (c *client) fetched(i int, f *fetched) {
	m := &c.box.msgs[i]
	if f.uid != 0 {
		if m.uid != 0 && m.uid != f.uid {
			c.fail("message %d changes its UID from %d to %d", i+1, m.uid, f.uid)
		}
		m.uid = f.uid
		for j, o := range c.box.msgs {
			if !c.uidonly && o.uid != 0 && (j < i && o.uid >= f.uid || j > i && o.uid <= f.uid) {
				c.fail("message %d has UID %d, message %d has %d", j+1, o.uid, i+1, f.uid)
			}
		}
	}
	if c.cmd != nil && c.cmd.uid && c.cmd.verb == "FETCH" && f.uid == 0 {
		c.fail("FETCH without UID during UID FETCH (RFC 9051 §6.4.9)")
	}
	if f.hasFl {
		if c.condstore && f.modseq == 0 && (c.cmd == nil || c.cmd.verb != "FETCH") {
			c.fail("FETCH of flags without MODSEQ (RFC 7162 §3.2)")
		}
		if c.qresync && f.uid == 0 && (c.cmd == nil || c.cmd.verb != "FETCH") {
			c.fail("FETCH of flags without UID (RFC 7162 §3.2.4)")
		}
		if f.flags[`\recent`] {
			if c.rev2 {
				c.fail(`\Recent after ENABLE IMAP4rev2`)
			}
			delete(f.flags, `\recent`)
		}
		m.flags = f.flags
	}
	if f.modseq != 0 {
		if !c.condstore && c.cmd != nil && !strings.Contains(strings.ToUpper(c.cmd.text), "MODSEQ") && !strings.Contains(c.cmd.text, "SINCE") {
			c.fail("MODSEQ, and CONDSTORE is off")
		}
		if f.modseq < m.modseq { // only for what others expunged and this client was not told of yet
			m.back = fmt.Sprintf("MODSEQ of message %d goes from %d to %d", i+1, m.modseq, f.modseq)
		}
		m.modseq = f.modseq
		c.condstore = true
	}
}

// status applies untagged OK, NO and BAD.
func (c *client) status(r *response) {
	if c.cmd == nil || c.cmd.verb != "SELECT" && c.cmd.verb != "EXAMINE" {
		switch r.code {
		case "HIGHESTMODSEQ":
			c.newer(r)
		case "UIDNEXT", "UIDVALIDITY", "CLOSED":
			c.fail("%s outside of SELECT", r.code)
		}
		return
	}
	num := func() (n uint64) { fmt.Sscan(r.args[0], &n); return n }
	switch r.code {
	case "CLOSED":
		if c.old == nil {
			c.fail("CLOSED, and nothing was open")
		}
		c.box, c.cmd.closed = newBelief(), true
	case "UIDVALIDITY":
		c.box.validity = uint32(num())
	case "UIDNEXT":
		c.box.uidnext = uint32(num())
	case "HIGHESTMODSEQ":
		c.box.highest = num()
	case "PERMANENTFLAGS":
		c.box.permanent = r.flags
	}
}

// newer takes HIGHESTMODSEQ outside of SELECT (RFC 7162 §3.1.2.1).
func (c *client) newer(r *response) {
	if c.box == nil || r.code != "HIGHESTMODSEQ" {
		return
	}
	var n uint64
	fmt.Sscan(r.args[0], &n)
	if n < c.box.highest {
		c.fail("HIGHESTMODSEQ goes from %d to %d", c.box.highest, n)
	}
	c.box.highest = n
}

// opened checks what SELECT has brought (RFC 9051 §6.3.2).
func (c *client) opened(r *reply) {
	if !r.ok() {
		if r.kind == "NO" {
			c.box = nil
		} else {
			if !c.cmd.closed {
				c.box = c.old
			}
		}
		c.old = nil
		return
	}
	if c.old != nil && !c.cmd.closed {
		c.fail("no CLOSED (RFC 9051 §7.1)")
	}
	c.old = nil
	b := c.box
	if !b.exists || b.flags == nil || b.permanent == nil || b.validity == 0 || b.uidnext == 0 {
		c.fail("SELECT lacks something: %+v", b)
	}
	if b.highest == 0 && r.coded("NOMODSEQ") == nil {
		c.fail("SELECT without HIGHESTMODSEQ")
	}
	if r.code != "READ-ONLY" && r.code != "READ-WRITE" {
		c.fail("SELECT ends with %s", r.code)
	}
	b.readOnly = r.code == "READ-ONLY"
	if c.cmd.verb == "EXAMINE" && !b.readOnly {
		c.fail("EXAMINE for writing")
	}
	lists := r.of("LIST")
	if len(lists) != 1 && c.rev2 {
		c.fail("LIST %d times (RFC 9051 §6.3.2)", len(lists))
	}
	if len(lists) == 1 {
		b.name = lists[0].name
	}
	for f := range b.permanent {
		if !b.flags[f] && f != `\*` {
			c.fail("%s is permanent, and FLAGS does not have it", f)
		}
	}
	for i, m := range b.msgs {
		if m.uid >= b.uidnext {
			c.fail("message %d has UID %d, UIDNEXT is %d", i+1, m.uid, b.uidnext)
		}
	}
	if len(b.msgs) >= int(b.uidnext) {
		c.fail("%d messages below UIDNEXT %d", len(b.msgs), b.uidnext)
	}
	if b.name != "" {
		c.grows(b.name, uint64(b.validity), uint64(b.uidnext), b.highest)
	}
}

// grows holds that UIDNEXT and HIGHESTMODSEQ of one mailbox never go back.
func (c *client) grows(name string, validity, uidnext, highest uint64) {
	key := fmt.Sprint(name, " ", validity)
	m := c.mem[key]
	if m == nil {
		m = &memory{}
		c.mem[key] = m
	}
	if uidnext != 0 && uidnext < m.uidnext || highest != 0 && highest < m.highest {
		c.fail("%s: UIDNEXT %d, HIGHESTMODSEQ %d; they were %d, %d", key, uidnext, highest, m.uidnext, m.highest)
	}
	m.uidnext, m.highest = max(uidnext, m.uidnext), max(highest, m.highest)
}

func (c *client) remember(r *response) {
	n := func(item string) uint64 { v, _ := r.data[item].(uint64); return v }
	if v := n("UIDVALIDITY"); v != 0 {
		c.grows(r.name, v, n("UIDNEXT"), n("HIGHESTMODSEQ"))
	}
}

func (c *client) esearch(r *response) {
	f := r.find
	switch {
	case f.updates:
	case c.cmd == nil || !set("SEARCH SORT ESEARCH FETCH")[c.cmd.verb]:
		c.fail("ESEARCH out of place")
	case f.tag != c.cmd.tag:
		c.fail("ESEARCH for %q", f.tag)
	}
	if (f.mailbox != "") != (f.validity != 0) {
		c.fail("correlators %q", r.raw)
	}
}

// stored applies STORE with .SILENT, whose effect the server need not tell.
func (c *client) stored(r *reply) {
	if !r.ok() || !strings.Contains(strings.ToUpper(c.cmd.text), ".SILENT") {
		return
	}
	for i := range c.box.msgs { // ask again: cheaper than to be wrong
		c.box.msgs[i].flags = nil
	}
}

// resolve asks for what is not known of the messages, and again when more has come
// meanwhile.
func (c *client) resolve() {
	for range 10 {
		var ask []string
		for i := range c.msgs() {
			if m := c.box.msgs[i]; m.uid == 0 || m.flags == nil {
				ask = append(ask, fmt.Sprint(i+1))
			}
		}
		switch {
		case len(ask) == 0:
			return
		case c.uidonly:
			c.must("UID FETCH 1:* (FLAGS)")
		default:
			c.must("FETCH " + strings.Join(ask, ",") + " (UID FLAGS)")
		}
	}
}

// msgs is the number of messages, 0 when no mailbox is open.
func (c *client) msgs() int {
	if c.box == nil {
		return 0
	}
	return len(c.box.msgs)
}

func (b *belief) String() string {
	var sb strings.Builder
	for i, m := range b.msgs {
		fmt.Fprintf(&sb, "%d:%d%v ", i+1, m.uid, slices.Sorted(maps.Keys(m.flags)))
	}
	return sb.String()
}
