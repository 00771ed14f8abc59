package crash

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
)

// The outside ledger: what an account must hold, made only of what was answered
// to clients and shown to them. It knows nothing of how things are stored.

// mail is a message in a folder. The tag names its text.
type mail struct {
	tag   string
	flags string // sorted, joined by spaces
}

// folder is a mailbox as a client knows it.
type folder struct {
	validity uint32 // 0: not yet seen
	next     uint32 // the greatest UIDNEXT that was shown
	modseq   uint64 // the greatest HIGHESTMODSEQ that was shown
	mails    map[uint32]mail
	fresh    []mail // brought by an operation whose answer was not seen: UIDs from next on
	arrivals bool   // letters that nobody has seen yet may be here
}

// model is an account as its client knows it. It is not changed once another
// goroutine can see it.
type model struct {
	folders    map[string]*folder
	subs       map[string]bool
	seen       map[string]bool   // letters that were shown, also those that are gone since
	validities map[uint32]string // every UIDVALIDITY ever shown, and to which name it was given
	modseq     uint64            // the greatest of the account that was shown
}

func (m *model) clone() *model {
	c := *m
	c.folders = make(map[string]*folder, len(m.folders))
	for name, f := range m.folders {
		g := *f
		g.mails, g.fresh = maps.Clone(f.mails), slices.Clone(f.fresh)
		c.folders[name] = &g
	}
	c.subs, c.seen, c.validities = maps.Clone(m.subs), maps.Clone(m.seen), maps.Clone(m.validities)
	return &c
}

// operation is a command of a client.
type operation struct {
	kind    string
	box, to string
	uids    []uint32 // of box, ascending
	flags   []string
	tags    []string // of the messages of an append
}

func (o *operation) String() string {
	return fmt.Sprintf("%s %s %s %d %s %s", o.kind, o.box, o.to, o.uids, o.flags, o.tags)
}

// apply returns the account after an operation. got are the UIDs that the
// answer told, nil when there was no answer.
func (m *model) apply(o *operation, got []uint32) *model {
	m = m.clone()
	f := m.folders[o.box]
	switch o.kind {
	case "append":
		flags := joinFlags(o.flags)
		for i, tag := range o.tags {
			f.put(got, i, mail{tag, flags})
		}
	case "add", "remove", "replace":
		for _, u := range o.uids {
			f.mails[u] = mail{f.mails[u].tag, changeFlags(f.mails[u].flags, o.kind, o.flags)}
		}
	case "copy", "move":
		dst := m.folders[o.to]
		for i, u := range o.uids {
			dst.put(got, i, f.mails[u])
		}
		if o.kind == "move" {
			f.remove(o.uids)
		}
	case "expunge":
		f.remove(slices.DeleteFunc(slices.Clone(o.uids), func(u uint32) bool { return !strings.Contains(f.mails[u].flags, `\Deleted`) }))
	case "create":
		m.create(o.box)
	case "delete":
		delete(m.folders, o.box)
	case "rename":
		m.rename(o.box, o.to)
	case "subscribe":
		m.subs[o.box] = true
	case "unsubscribe":
		delete(m.subs, o.box)
	}
	return m
}

func (f *folder) put(uids []uint32, i int, x mail) {
	if uids == nil {
		f.fresh = append(f.fresh, x)
		return
	}
	f.mails[uids[i]] = x
	f.next = max(f.next, uids[i]+1)
}

func (f *folder) remove(uids []uint32) {
	for _, u := range uids {
		delete(f.mails, u)
	}
}

// inbox returns the UIDs in INBOX.
func (m *model) inbox() []uint32 { return slices.Sorted(maps.Keys(m.folders["INBOX"].mails)) }

// create makes a folder and the parents that it lacks.
func (m *model) create(name string) {
	for i := 0; i <= len(name); i++ {
		if (i == len(name) || name[i] == '/') && m.folders[name[:i]] == nil {
			m.folders[name[:i]] = &folder{next: 1, mails: map[uint32]mail{}}
		}
	}
}

func (m *model) rename(old, name string) {
	if old == "INBOX" { // its messages move to a new folder
		m.create(name)
		inbox, to := m.folders[old], m.folders[name]
		to.arrivals = true
		for _, u := range m.inbox() {
			to.fresh = append(to.fresh, inbox.mails[u])
		}
		inbox.mails = map[uint32]mail{}
		return
	}
	if i := strings.LastIndexByte(name, '/'); i > 0 {
		m.create(name[:i])
	}
	for _, was := range slices.Collect(maps.Keys(m.folders)) {
		if rest, ok := strings.CutPrefix(was, old); ok && (rest == "" || rest[0] == '/') {
			m.folders[name+rest] = m.folders[was]
			delete(m.folders, was)
		}
	}
}

func joinFlags(flags []string) string {
	flags = slices.Clone(flags)
	slices.Sort(flags)
	return strings.Join(flags, " ")
}

func changeFlags(have, kind string, flags []string) string {
	set := map[string]bool{}
	if kind != "replace" {
		for _, f := range strings.Fields(have) {
			set[f] = true
		}
	}
	for _, f := range flags {
		if set[f] = true; kind == "remove" {
			delete(set, f)
		}
	}
	return joinFlags(slices.Collect(maps.Keys(set)))
}

// found is an account as the server shows it.
type found struct {
	folders  map[string]*folder // next is UIDNEXT
	subs     map[string]bool
	modseq   uint64   // of the account, where it is shown
	problems []string // damaged bodies and the like
}

// judge compares what is there with the ledger. letters are those that were
// acknowledged for this account, sent all that may be there. It returns the
// letters that are missing, and what is wrong.
func (m *model) judge(got *found, letters []string, sent map[string]bool) (missing, problems []string) {
	problems = slices.Clone(got.problems)
	fail := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	arrived := map[string]bool{}
	for name, f := range m.folders {
		g := got.folders[name]
		if g == nil {
			fail("folder %s is lost", name)
			continue
		}
		problems = append(problems, m.judgeFolder(name, f, g, arrived, sent)...)
	}
	for name, g := range got.folders {
		if m.folders[name] == nil {
			fail("folder %s with %d messages is back", name, len(g.mails))
		}
	}
	if !maps.Equal(m.subs, got.subs) {
		fail("subscriptions are %v, should be %v", got.subs, m.subs)
	}
	if got.modseq < m.modseq {
		fail("MODSEQ %d went back, it was %d", got.modseq, m.modseq)
	}
	for _, tag := range letters {
		if !m.seen[tag] && !arrived[tag] {
			missing = append(missing, tag)
		}
	}
	return missing, problems
}

func (m *model) judgeFolder(name string, f, g *folder, arrived, sent map[string]bool) (problems []string) {
	fail := func(format string, args ...any) {
		problems = append(problems, name+": "+fmt.Sprintf(format, args...))
	}
	if owner, used := m.validities[g.validity]; f.validity != 0 && g.validity != f.validity || f.validity == 0 && used {
		fail("UIDVALIDITY %d, should be %d; it was given to %q", g.validity, f.validity, owner)
	}
	if g.next < f.next {
		fail("UIDNEXT %d went back, it was %d", g.next, f.next)
	}
	if g.modseq < f.modseq {
		fail("HIGHESTMODSEQ %d went back, it was %d", g.modseq, f.modseq)
	}
	for u, x := range f.mails {
		if g.mails[u] != x {
			fail("UID %d is %v, should be %v", u, g.mails[u], x)
		}
	}
	fresh := slices.Clone(f.fresh)
	for _, u := range slices.Sorted(maps.Keys(g.mails)) {
		x := g.mails[u]
		if u >= g.next {
			fail("UID %d, UIDNEXT %d", u, g.next)
		}
		if _, known := f.mails[u]; known {
			continue
		}
		if u < f.next && strings.HasPrefix(x.tag, "A") {
			fail("UID %d is used again, or expunged and back: %v", u, x)
		}
		if i := slices.Index(fresh, x); i >= 0 {
			if u < f.next {
				fail("UID %d of a new message, UIDNEXT was %d", u, f.next)
			}
			fresh = slices.Delete(fresh, i, i+1)
			continue
		}
		switch {
		case !f.arrivals || !sent[x.tag]:
			fail("UID %d should not be there: %v", u, x)
		case m.seen[x.tag]:
			fail("UID %d: letter %v was delivered before: it is duplicated or back", u, x)
		case arrived[x.tag]:
			fail("UID %d: letter %v is there twice", u, x)
		case x.flags != "":
			fail("UID %d: letter %v has flags", u, x)
		}
		arrived[x.tag] = true
	}
	if len(fresh) > 0 {
		fail("lacks %v", fresh)
	}
	return problems
}

// observe returns the account with what was shown: letters that arrived, UIDs,
// validities. The caller has judged it.
func (m *model) observe(got *found) *model {
	m = m.clone()
	m.modseq = max(m.modseq, got.modseq)
	for name, f := range m.folders {
		g := got.folders[name]
		if f.validity == 0 {
			m.validities[g.validity] = name
		}
		f.validity, f.next, f.modseq, f.mails, f.fresh = g.validity, g.next, g.modseq, maps.Clone(g.mails), nil
		f.arrivals = name == "INBOX"
		for _, x := range f.mails {
			if strings.HasPrefix(x.tag, "L") {
				m.seen[x.tag] = true
			}
		}
	}
	return m
}

// firstModel is an account as it is when a client meets it first.
func firstModel(got *found) *model {
	m := &model{folders: map[string]*folder{}, subs: maps.Clone(got.subs), seen: map[string]bool{}, validities: map[uint32]string{}}
	for name := range got.folders {
		m.folders[name] = &folder{mails: map[uint32]mail{}}
	}
	return m.observe(got)
}

// Texts. A tag begins with L for a letter that is delivered and with A for a
// message that is appended, and ends with its class of size.
const (
	small = "s" // some hundreds of octets
	large = "l" // more than 64 KiB: a file
	edge  = "e" // about 64 KiB
	huge  = "h" // some hundreds of KiB
)

// textOf is the text that a tag names.
func textOf(tag string) []byte {
	h := fnv.New64a()
	h.Write([]byte(tag))
	rng := rand.New(rand.NewPCG(h.Sum64(), 1))
	size := 100 + rng.IntN(2000)
	switch tag[len(tag)-1:] {
	case large:
		size = 70_000 + rng.IntN(60_000)
	case huge:
		size = 300_000 + rng.IntN(400_000)
	case edge:
		size = 65_536 - 300 + rng.IntN(600)
	}
	b := fmt.Appendf(make([]byte, 0, size+200), "Message-ID: <%s@a.example>\r\nFrom: x@a.example\r\nSubject: %s\r\nX-Tag: %s\r\n\r\n", tag, tag, tag)
	for len(b) < size {
		b = fmt.Appendf(b, "%x%x%x%x\r\n", rng.Uint64(), rng.Uint64(), rng.Uint64(), rng.Uint64())
	}
	return b
}

type digest struct {
	size int
	sum  [sha256.Size]byte
}

// digests remembers the digests of texts by tag.
type digests struct{ known sync.Map }

func (d *digests) of(tag string) digest {
	if v, ok := d.known.Load(tag); ok {
		return v.(digest)
	}
	text := textOf(tag)
	v := digest{len(text), sha256.Sum256(text)}
	d.known.Store(tag, v)
	return v
}

// check tells what is wrong with the octets of a message, "" when nothing is.
func (d *digests) check(tag string, body []byte) string {
	want := d.of(tag)
	if len(body) < want.size {
		return fmt.Sprintf("message %s has %d octets, at least %d were stored", tag, len(body), want.size)
	}
	head, text := body[:len(body)-want.size], body[len(body)-want.size:]
	if sha256.Sum256(text) != want.sum {
		return "message " + tag + " is damaged"
	}
	letter := strings.HasPrefix(tag, "L")
	if letter && !bytes.HasPrefix(head, []byte("Return-Path: <x@a.example>\r\n")) || !letter && len(head) > 0 || bytes.Contains(head, []byte("\r\n\r\n")) {
		return fmt.Sprintf("message %s begins with %q", tag, head)
	}
	return ""
}

// nextOperation chooses what a client does next with the account that it knows.
func (m *model) nextOperation(rng *rand.Rand, tag func(class string) string) *operation {
	names := slices.Sorted(maps.Keys(m.folders))
	var extra []string // those that may be deleted
	for _, n := range names {
		if n[0] == 'p' {
			extra = append(extra, n)
		}
	}
	o := &operation{box: "INBOX"}
	if rng.IntN(3) == 0 {
		o.box = pick(rng, names)
	}
	all := slices.Sorted(maps.Keys(m.folders[o.box].mails))
	some := slices.DeleteFunc(slices.Clone(all), func(uint32) bool { return rng.IntN(3) > 0 })
	if len(all) > 25 { // keep accounts small
		some = all[:12]
		if strings.Contains(m.folders[o.box].mails[all[0]].flags, `\Deleted`) {
			o.kind, o.uids = "expunge", all
		} else {
			o.kind, o.uids, o.flags = "add", some, []string{`\Deleted`}
		}
		return o
	}
	if len(all) > 0 && len(some) == 0 {
		some = all[:1]
	}
	o.flags = randomFlags(rng)
	switch n := rng.IntN(100); {
	case n < 20:
		o.kind = "append"
		for range 1 + rng.IntN(8)/6 {
			o.tags = append(o.tags, "A"+tag([]string{small, small, small, small, edge, large}[rng.IntN(6)]))
		}
		return o
	case n < 28:
		return &operation{kind: "create", box: pick(rng, pool(m, names))}
	case n < 32 && len(extra) > 0:
		return &operation{kind: "delete", box: pick(rng, extra)}
	case n < 37 && len(extra) > 0:
		o.kind, o.box, o.to = "rename", pick(rng, extra), pick(rng, pool(m, names))
		if strings.HasPrefix(o.to, o.box+"/") || !m.mayRename(o.box, o.to) {
			return &operation{kind: "subscribe", box: o.to}
		}
		return o
	case n < 39 && len(m.folders["INBOX"].mails) > 0:
		return &operation{kind: "rename", box: "INBOX", to: pick(rng, pool(m, names))}
	case n < 42:
		return &operation{kind: "subscribe", box: pick(rng, pool(m, names))}
	case n < 44 && len(m.subs) > 0:
		return &operation{kind: "unsubscribe", box: pick(rng, slices.Sorted(maps.Keys(m.subs)))}
	case n < 62:
		o.kind, o.uids = []string{"add", "remove", "replace"}[rng.IntN(3)], some
	case n < 70:
		o.kind, o.uids, o.flags = "add", some, []string{`\Deleted`}
	case n < 80:
		o.kind, o.uids = "expunge", all
	case n < 90:
		o.kind, o.uids, o.to = "copy", some, pick(rng, names)
	default:
		o.kind, o.uids, o.to = "move", some, pick(rng, names)
	}
	if len(o.uids) == 0 || o.kind == "move" && o.to == o.box {
		return &operation{kind: "append", box: o.box, tags: []string{"A" + tag(small)}}
	}
	return o
}

// mayRename tells that no name which a rename gives is taken.
func (m *model) mayRename(old, name string) bool {
	for was := range m.folders {
		if rest, ok := strings.CutPrefix(was, old+"/"); ok && m.folders[name+"/"+rest] != nil {
			return false
		}
	}
	return true
}

func pick(rng *rand.Rand, from []string) string { return from[rng.IntN(len(from))] }

// pool are names that no folder has.
func pool(m *model, taken []string) (free []string) {
	for i := range 4 {
		for _, name := range []string{fmt.Sprintf("p%d", i), fmt.Sprintf("p%d/c%d", i%2, i)} {
			if !slices.Contains(taken, name) {
				free = append(free, name)
			}
		}
	}
	for n := len(m.validities); ; n++ {
		if name := fmt.Sprintf("p9/n%d", n); !slices.Contains(taken, name) {
			return append(free, name)
		}
	}
}

func randomFlags(rng *rand.Rand) (flags []string) {
	for _, f := range []string{`\Seen`, `\Flagged`, `\Answered`, `\Draft`, "$Work", "$Label1"} {
		if rng.IntN(4) == 0 {
			flags = append(flags, f)
		}
	}
	if flags == nil {
		flags = []string{`\Seen`}
	}
	return flags
}
