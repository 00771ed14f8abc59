package crash

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The mailbox that ana shares, as she and bob name it, and one of bob's own.
const (
	hers  = "box"
	his   = "Other Users/ana@b.example/box"
	apart = "mine"
)

// tenant is a message in one of these mailboxes.
type tenant struct {
	box              string // hers or apart
	flags            string // without \Seen
	seenAna, seenBob bool
}

// flat is what ana and bob must see: messages by tag, and what bob may do.
type flat struct {
	mails  map[string]tenant
	rights string
}

// chore is what one of them does.
type chore struct {
	kind, tag string
}

func (f *flat) apply(c chore) *flat {
	next := &flat{maps.Clone(f.mails), f.rights}
	m := next.mails[c.tag]
	switch c.kind {
	case "":
		return next
	case "append by ana":
		m = tenant{box: hers}
	case "append by bob":
		m = tenant{box: hers, seenBob: true}
	case "seen by ana":
		m.seenAna = true
	case "seen by bob":
		m.seenBob = true
	case "unseen by bob":
		m.seenBob = false
	case "flag by bob":
		m.flags = changeFlags(m.flags, "add", []string{`\Flagged`})
	case "delete by ana":
		m.flags = changeFlags(m.flags, "add", []string{`\Deleted`})
	case "move by bob":
		m.box = apart
	case "return by bob":
		m.box, m.seenAna = hers, false
	case "expunge by ana":
		maps.DeleteFunc(next.mails, func(_ string, m tenant) bool { return m.box == hers && strings.Contains(m.flags, `\Deleted`) })
		return next
	default: // rights
		next.rights = c.tag
		return next
	}
	next.mails[c.tag] = m
	return next
}

// flatmates do one chore after the other until the program is killed.
type flatmates struct {
	flat
	ana, bob *imapConn
	uids     map[string]uint32 // by mailbox and tag
	flight   chore
	number   int
	done     int
}

func (m *flatmates) login(p *program) (err error) {
	if m.ana, err = dialIMAP(p.imap, "ana@b.example"); err == nil {
		m.bob, err = dialIMAP(p.imap, "bob@b.example")
	}
	return err
}

func (m *flatmates) close() {
	for _, c := range []*imapConn{m.ana, m.bob} {
		if c != nil {
			c.Close()
		}
	}
	m.ana, m.bob = nil, nil
}

// look returns what both see.
func (m *flatmates) look() (*flat, error) {
	m.uids = map[string]uint32{}
	got := &flat{mails: map[string]tenant{}}
	list, _, err := m.ana.do(fmt.Sprintf("GETACL %q", hers))
	if err != nil {
		return nil, err
	}
	for _, r := range list {
		if _, rest, ok := strings.Cut(r.text, " bob@b.example "); ok {
			got.rights = strings.TrimRight(strings.Fields(rest)[0], "cd") // the elder rights follow
		}
	}
	for _, from := range []struct {
		c   *imapConn
		box string
	}{{m.ana, hers}, {m.bob, his}, {m.bob, apart}} {
		if err := from.c.choose(""); err != nil && !errors.Is(err, errRefused) {
			return nil, err
		}
		if err := from.c.choose(from.box); err != nil {
			return nil, err
		}
		list, _, err := from.c.do("UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (X-TAG)])")
		if err != nil {
			return nil, err
		}
		for _, r := range list {
			if len(r.literals) == 0 {
				continue
			}
			uid, flags, err := fetched(r)
			if err != nil {
				return nil, err
			}
			tag := tagOf(append([]byte("\r\n"), r.literals[0]...))
			t, known := got.mails[tag]
			rest, seen := changeFlags(flags, "remove", []string{`\Seen`}), strings.Contains(flags, `\Seen`)
			if from.box == his && (!known || t.box != hers || t.flags != rest) || from.box != his && known {
				return nil, fmt.Errorf("%w: %s has %s, %q, it was %+v", errAstray, from.box, tag, flags, t)
			}
			t.flags = rest
			switch from.box {
			case hers:
				t.box, t.seenAna = hers, seen
			case his:
				t.seenBob = seen
			default:
				t.box, t.seenBob = apart, seen
			}
			got.mails[tag], m.uids[from.box+tag] = t, uid
		}
	}
	return got, nil
}

var errAstray = errors.New("not what it should be")

func (f *flat) differs(o *flat) string {
	if f.rights != o.rights {
		return fmt.Sprintf("rights %q, should be %q", f.rights, o.rights)
	}
	for tag, t := range o.mails {
		w := f.mails[tag]
		if w.box == apart { // ana does not see it
			w.seenAna = t.seenAna
		}
		if w != t {
			return fmt.Sprintf("%s is %+v, should be %+v", tag, f.mails[tag], t)
		}
	}
	for tag, t := range f.mails {
		if _, ok := o.mails[tag]; !ok {
			return fmt.Sprintf("%s should not be there: %+v", tag, t)
		}
	}
	return ""
}

const (
	manyRights = "lrswite"
	fewRights  = "lrs"
)

// choose chooses what to do next.
func (m *flatmates) choose(rng *rand.Rand) chore {
	var inHers, inMine []string
	for _, tag := range slices.Sorted(maps.Keys(m.mails)) {
		if m.mails[tag].box == hers {
			inHers = append(inHers, tag)
		} else {
			inMine = append(inMine, tag)
		}
	}
	kinds := []string{"seen by ana", "seen by bob", "unseen by bob", "delete by ana", "expunge by ana", "rights"}
	if m.rights == manyRights {
		kinds = append(kinds, "flag by bob", "move by bob", "move by bob", "append by bob")
		if len(inMine) > 0 {
			kinds = append(kinds, "return by bob", "return by bob")
		}
	}
	c := chore{kind: kinds[rng.IntN(len(kinds))]}
	switch {
	case len(inHers) < 4 || c.kind == "append by bob":
		if c.kind != "append by bob" {
			c.kind = "append by ana"
		}
		m.number++
		c.tag = fmt.Sprintf("A%d%s", m.number, small)
	case c.kind == "rights":
		if c.tag = manyRights; m.rights == manyRights {
			c.tag = fewRights
		}
	case c.kind == "return by bob":
		c.tag = pick(rng, inMine)
	case c.kind != "expunge by ana":
		c.tag = pick(rng, inHers)
	}
	return c
}

// do does a chore; it is acknowledged when there is no error.
func (m *flatmates) do(c chore) error {
	conn, box, command := m.bob, his, ""
	if strings.HasSuffix(c.kind, "ana") || c.kind == "rights" {
		conn, box = m.ana, hers
	}
	uid := m.uids[box+c.tag]
	switch c.kind {
	case "append by ana", "append by bob":
		text := textOf(c.tag)
		flags := map[string]string{"append by bob": `\Seen`}[c.kind]
		command = fmt.Sprintf("APPEND %q (%s) {%d+}\r\n%s", box, flags, len(text), text)
	case "seen by ana", "seen by bob":
		command = fmt.Sprintf(`UID STORE %d +FLAGS.SILENT (\Seen)`, uid)
	case "unseen by bob":
		command = fmt.Sprintf(`UID STORE %d -FLAGS.SILENT (\Seen)`, uid)
	case "flag by bob":
		command = fmt.Sprintf(`UID STORE %d +FLAGS.SILENT (\Flagged)`, uid)
	case "delete by ana":
		command = fmt.Sprintf(`UID STORE %d +FLAGS.SILENT (\Deleted)`, uid)
	case "expunge by ana":
		command = "EXPUNGE"
	case "move by bob":
		command = fmt.Sprintf("UID MOVE %d %q", uid, apart)
	case "return by bob":
		box = apart
		command = fmt.Sprintf("UID MOVE %d %q", m.uids[apart+c.tag], his)
	default:
		command = fmt.Sprintf("SETACL %q bob@b.example %s", hers, c.tag)
	}
	if err := conn.choose(box); err != nil {
		return &before{err}
	}
	_, _, err := conn.do(command)
	return err
}

// live works until the connection breaks.
func (m *flatmates) live(t *testing.T, rng *rand.Rand) {
	for {
		c := m.choose(rng)
		err := m.do(c)
		if errors.As(err, new(*before)) {
			if errors.Is(err, errRefused) {
				t.Errorf("%v: %v", c, err)
			}
			return
		}
		if m.flight = c; err == nil {
			m.flat, m.flight = *m.apply(c), chore{}
			m.done++
			var got *flat
			if got, err = m.look(); err == nil {
				if diff := got.differs(&m.flat); diff != "" {
					t.Errorf("after %v: %s", c, diff)
					return
				}
			}
		}
		if errors.Is(err, errRefused) || errors.Is(err, errAstray) {
			t.Errorf("%v: %v", c, err)
		}
		if err != nil {
			return
		}
	}
}

// verify compares with what is there after a restart.
func (m *flatmates) verify(t *testing.T, p *program) {
	m.close()
	must(t, m.login(p))
	got, err := m.look()
	must(t, err)
	first, second := got.differs(&m.flat), got.differs(m.apply(m.flight))
	if first != "" && second != "" {
		t.Errorf("%s; with %v, which was under way: %s", first, m.flight, second)
	}
	m.flat, m.flight = *got, chore{}
}

// collector takes letters away by POP3.
type collector struct {
	acked   map[string]bool // letters that are there or on the queue
	sent    map[string]bool
	gone    map[string]bool // that were deleted
	leaving []string        // that a QUIT without an answer deletes
	number  int
	quits   int
}

// pop3Conn is a plain POP3 client.
type pop3Conn struct {
	net.Conn
	r *bufio.Reader
}

func dialPOP3(addr, user string) (*pop3Conn, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &pop3Conn{conn, bufio.NewReader(conn)}
	if _, err = c.reply(); err == nil {
		if _, err = c.do("USER " + user); err == nil {
			_, err = c.do("PASS correct horse")
		}
	}
	if err == nil {
		return c, nil
	}
	conn.Close()
	if strings.Contains(err.Error(), "[IN-USE]") { // the session before is yet to give it back
		time.Sleep(5 * time.Millisecond)
		return dialPOP3(addr, user)
	}
	return nil, err
}

func (c *pop3Conn) reply() (string, error) {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	line, err := c.r.ReadString('\n')
	if err == nil && !strings.HasPrefix(line, "+OK") {
		err = fmt.Errorf("%w: %q", errRefused, line)
	}
	return strings.TrimRight(line, "\r\n"), err
}

func (c *pop3Conn) do(command string) (string, error) {
	if _, err := io.WriteString(c, command+"\r\n"); err != nil {
		return "", err
	}
	return c.reply()
}

// retr returns the tag of a message.
func (c *pop3Conn) retr(n int) (tag string, err error) {
	if _, err = c.do(fmt.Sprintf("RETR %d", n)); err != nil {
		return "", err
	}
	for {
		line, err := c.r.ReadString('\n')
		if err != nil || line == ".\r\n" {
			return tag, err
		}
		if rest, ok := strings.CutPrefix(line, "X-Tag: "); ok {
			tag = strings.TrimRight(rest, "\r\n")
		}
	}
}

// drop returns the tags of all messages.
func (c *pop3Conn) drop() (tags []string, err error) {
	stat, err := c.do("STAT")
	if err != nil {
		return nil, err
	}
	n := 0
	if _, err := fmt.Sscanf(stat, "+OK %d", &n); err != nil {
		return nil, err
	}
	for i := range n {
		tag, err := c.retr(i + 1)
		if err != nil {
			return nil, err
		}
		tags = append(tags, tag)
	}
	return tags, nil
}

// collect posts letters and takes them away until the connection breaks.
func (k *collector) collect(t *testing.T, p *program, rng *rand.Rand) {
	post, err := dialSMTP(p.smtp)
	if err != nil {
		return
	}
	defer post.Close()
	for {
		for range rng.IntN(3) {
			k.number++
			tag := fmt.Sprintf("L%d%s", k.number, small)
			k.sent[tag] = true
			reply, err := post.post(textOf(tag), "postmaster@b.example")
			if err != nil {
				return
			}
			if strings.HasPrefix(reply, "250 ") {
				k.acked[tag] = true
			}
		}
		c, err := dialPOP3(p.pop3, "postmaster@b.example")
		if err != nil {
			return
		}
		err = k.session(t, c, rng)
		c.Close()
		if errors.Is(err, errRefused) {
			t.Error("POP3: ", err)
		}
		if err != nil {
			return
		}
	}
}

func (k *collector) session(t *testing.T, c *pop3Conn, rng *rand.Rand) error {
	tags, err := c.drop()
	if err != nil {
		return err
	}
	k.judge(t, "working", tags)
	var leaving []string
	for i, tag := range tags {
		if rng.IntN(3) > 0 {
			if _, err := c.do(fmt.Sprintf("DELE %d", i+1)); err != nil {
				return err
			}
			leaving = append(leaving, tag)
		}
	}
	k.leaving = leaving // from now on they may be gone
	if _, err := c.do("QUIT"); err != nil {
		return err
	}
	k.left()
	return nil
}

// left notes that a QUIT deleted.
func (k *collector) left() {
	for _, tag := range k.leaving {
		k.gone[tag] = true
		delete(k.acked, tag)
	}
	k.leaving = nil
	k.quits++
}

// judge looks at the letters that are there; it tells which are missing.
func (k *collector) judge(t *testing.T, when string, tags []string) (missing []string) {
	there := map[string]bool{}
	for _, tag := range tags {
		if there[tag] || k.gone[tag] || !k.sent[tag] {
			t.Errorf("%s: letter %q is there twice, or deleted and back, or never sent", when, tag)
		}
		there[tag] = true
	}
	for tag := range k.acked {
		if !there[tag] {
			missing = append(missing, tag)
		}
	}
	return missing
}

// verify compares what POP3 shows with what was answered. Letters on the queue may
// take a moment.
func (k *collector) verify(t *testing.T, p *program, when string) {
	first := true
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, err := dialPOP3(p.pop3, "postmaster@b.example")
		must(t, err)
		tags, err := c.drop()
		c.Close()
		must(t, err)
		if first && len(k.leaving) > 0 {
			still := 0
			for _, tag := range k.leaving {
				if slices.Contains(tags, tag) {
					still++
				}
			}
			if still != 0 && still != len(k.leaving) {
				t.Errorf("%s: QUIT without an answer deleted %d of %d letters", when, len(k.leaving)-still, len(k.leaving))
			}
			if still == 0 {
				k.left()
			}
			k.leaving = nil
		}
		first = false
		missing := k.judge(t, when, tags)
		if len(missing) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Errorf("%s: letters lost: %v", when, missing)
			return
		}
	}
}

// TestKillShared kills the real program again and again while two users work in a
// mailbox that one of them shares, with rights that come and go, and while letters
// are taken away by POP3 (IM8, IM12, AU8, QU2). POSTINO_SHAREDKILLS says how often.
func TestKillShared(t *testing.T) {
	cycles := 4
	if long() {
		cycles = 100
	}
	if cycles = setting("POSTINO_SHAREDKILLS", cycles); testing.Short() {
		cycles = 2
	}
	rng := rand.New(rand.NewPCG(uint64(setting("POSTINO_SEED", 1)), 78))
	p := newProgram(t, filepath.Join(t.TempDir(), "data"))
	m := &flatmates{flat: flat{mails: map[string]tenant{}, rights: manyRights}}
	must(t, m.login(p))
	for c, command := range map[*imapConn]string{m.ana: fmt.Sprintf("CREATE %q", hers), m.bob: fmt.Sprintf("CREATE %q", apart)} {
		_, _, err := c.do(command)
		must(t, err)
	}
	_, _, err := m.ana.do(fmt.Sprintf("SETACL %q bob@b.example %s", hers, manyRights))
	must(t, err)
	k := &collector{acked: map[string]bool{}, sent: map[string]bool{}, gone: map[string]bool{}}
	for cycle := range cycles {
		var wg sync.WaitGroup
		one, two := rng.Uint64(), rng.Uint64()
		wg.Go(func() { m.live(t, rand.New(rand.NewPCG(one, 1))) })
		wg.Go(func() { k.collect(t, p, rand.New(rand.NewPCG(two, 2))) })
		time.Sleep(time.Duration(50+rng.IntN(500)) * time.Millisecond)
		p.kill()
		wg.Wait()
		p.begin()
		m.verify(t, p)
		k.verify(t, p, fmt.Sprintf("cycle %d", cycle))
		if t.Failed() {
			t.Fatalf("cycle %d\n%s", cycle, p.log())
		}
	}
	m.close()
	p.kill()
	s := &siege{T: t, p: p}
	s.checkStores()
	t.Logf("kill -9: %d cycles, %d operations on shared mailboxes, %d letters, %d sessions of POP3 acknowledged: lost 0, back 0", cycles, m.done, len(k.gone)+len(k.acked), k.quits)
}
