package imap

import (
	"bufio"
	"bytes"
	"compress/flate"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// broken is what a client panics with when the server breaks a rule; guard takes it.
type broken struct{ text string }

// guard runs a part of a test and reports what the server broke.
func guard(t testing.TB, f func()) (ok bool) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			b, is := p.(broken)
			if !is {
				panic(p)
			}
			t.Error(b.text)
			ok = false
		}
	}()
	f()
	return true
}

// client is a strict client.
type client struct {
	name, user string
	nc         net.Conn
	w          io.Writer
	flush      func() error
	scan       *scanner
	log        bytes.Buffer // both sides of the dialogue
	n          int          // commands

	caps                        map[string]bool
	rev2, condstore, qresync    bool
	uidonly, utf8, over, logged bool
	notify                      bool // STATUS and LIST may come unasked

	cmd *command // under way
	box *belief  // the open mailbox
	old *belief  // what SELECT is about to close
	mem map[string]*memory

	removed func(uid uint32) // is told of messages that went
}

// command is a command under way.
type command struct {
	tag, verb, text string
	uid             bool
	sent            bool // completely
	untagged        []*response
	closed          bool // CLOSED came
}

// memory is what may not go back, by mailbox and UIDVALIDITY.
type memory struct{ uidnext, highest uint64 }

// reply is what a command brought.
type reply struct {
	*response
	all []*response
}

func (r *reply) ok() bool { return r.kind == "OK" }

// of lists the untagged responses of a kind.
func (r *reply) of(kind string) []*response {
	var out []*response
	for _, u := range r.all {
		if u.kind == kind {
			out = append(out, u)
		}
	}
	return out
}

// coded is the untagged status response with a code, nil when there is none.
func (r *reply) coded(code string) *response {
	for _, u := range r.all {
		if u.code == code {
			return u
		}
	}
	if r.code == code {
		return r.response
	}
	return nil
}

func (c *client) fail(format string, args ...any) {
	panic(broken{fmt.Sprintf("%s: %s\n%s", c.name, fmt.Sprintf(format, args...), tail(c.log.Bytes(), 6000))})
}

// connect begins a session and reads the greeting.
func connect(name string, nc net.Conn) *client {
	c := &client{name: name, nc: nc, mem: map[string]*memory{}}
	c.attach(nc, nc)
	nc.SetDeadline(time.Now().Add(5 * time.Minute))
	r := c.read()
	if r.tag != "*" || r.kind != "OK" && r.kind != "PREAUTH" && r.kind != "BYE" {
		c.fail("greeting %q", r.raw)
	}
	if r.code == "CAPABILITY" {
		c.setCaps(r.words)
	}
	return c
}

func (c *client) attach(r io.Reader, w io.Writer) {
	c.w = w
	c.scan = &scanner{r: bufio.NewReaderSize(r, 64<<10), utf8: c.utf8 || c.rev2}
}

func (c *client) setCaps(words []string) {
	c.caps = map[string]bool{}
	for _, w := range words {
		c.caps[w] = true
	}
	if !c.caps["IMAP4REV1"] || !c.caps["IMAP4REV2"] {
		c.fail("capabilities %v", words)
	}
	if c.logged && (c.caps["STARTTLS"] || c.caps["LOGINDISABLED"]) {
		c.fail("STARTTLS after login: %v", words)
	}
	if c.caps["STARTTLS"] && c.secure() {
		c.fail("STARTTLS under TLS")
	}
}

func (c *client) secure() bool { _, ok := c.nc.(*tls.Conn); return ok }

// read reads a response and applies it.
func (c *client) read() *response {
	r, err := c.scan.response()
	if err != nil {
		c.log.WriteString("S: " + c.scan.seen.String() + "\n")
		c.fail("read: %v", err)
	}
	c.log.WriteString("S: " + strings.TrimSuffix(r.raw, "\r\n") + "\n")
	if r.tag == "*" && c.mem != nil {
		c.take(r)
	}
	return r
}

// pieces of a literal: the mark says where to wait for "+".
const mark = "\x01"

// literal makes a literal: synchronising when the length is even, so that both come.
func literal(data string) string {
	if len(data)%2 == 0 {
		return fmt.Sprintf("{%d}\r\n%s%s", len(data), mark, data)
	}
	return fmt.Sprintf("{%d+}\r\n%s", len(data), data)
}

// quote makes an astring of any text without NUL.
func quote(v string) string {
	for i := range len(v) {
		if v[i] < ' ' || v[i] > '~' {
			return literal(v)
		}
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v) + `"`
}

// do runs a command.
func (c *client) do(text string) *reply {
	c.start(text)
	return c.finish()
}

// must is do for a command that has to succeed.
func (c *client) must(text string) *reply {
	r := c.do(text)
	if !r.ok() {
		c.fail("%.200s is refused: %s", text, r.raw)
	}
	return r
}

func (c *client) mustf(format string, args ...any) *reply {
	return c.must(fmt.Sprintf(format, args...))
}

func (c *client) write(s string) {
	c.log.WriteString("C: " + strings.TrimSuffix(s, "\r\n") + "\n")
	_, err := io.WriteString(c.w, s)
	if err == nil && c.flush != nil {
		err = c.flush()
	}
	if err != nil && !errors.Is(err, net.ErrClosed) {
		c.fail("write: %v", err)
	}
}

// start sends a command, waiting for the server where a literal synchronises.
func (c *client) start(text string) {
	c.n++
	fields := strings.Fields(text)
	cmd := &command{tag: "t" + strconv.Itoa(c.n), text: text, verb: strings.ToUpper(fields[0])}
	if cmd.verb == "UID" {
		cmd.uid, cmd.verb = true, strings.ToUpper(fields[1])
	}
	c.cmd = cmd
	if cmd.verb == "SELECT" || cmd.verb == "EXAMINE" {
		c.old = c.box
		if c.box == nil {
			c.box = newBelief()
		}
	}
	pieces := strings.Split(cmd.tag+" "+text+"\r\n", mark)
	for i, p := range pieces {
		c.write(p)
		if i == len(pieces)-1 {
			break
		}
		for {
			r := c.read()
			if r.tag == "+" {
				break
			}
			if r.tag != "*" {
				c.early(r)
				return
			}
			cmd.untagged = append(cmd.untagged, r)
		}
	}
	cmd.sent = true
}

// early is a tagged reply in the place of "+": the literal is refused.
func (c *client) early(r *response) {
	if r.tag != c.cmd.tag || r.kind == "OK" {
		c.fail("%q in the place of +", r.raw)
	}
	c.cmd.untagged = append(c.cmd.untagged, r)
}

// finish reads until the tagged reply.
func (c *client) finish() *reply {
	cmd := c.cmd
	if n := len(cmd.untagged); n > 0 && cmd.untagged[n-1].tag != "*" {
		return c.end(&reply{cmd.untagged[n-1], cmd.untagged[:n-1]})
	}
	for {
		r := c.read()
		switch r.tag {
		case "*":
			cmd.untagged = append(cmd.untagged, r)
			continue
		case cmd.tag:
			return c.end(&reply{r, cmd.untagged})
		}
		c.fail("unexpected %q", r.raw)
	}
}

// end applies a tagged reply.
func (c *client) end(r *reply) *reply {
	cmd := c.cmd
	switch cmd.verb {
	case "SELECT", "EXAMINE":
		c.opened(r)
	case "CLOSE", "UNSELECT":
		if r.ok() {
			c.box = nil
		}
	case "LOGIN", "AUTHENTICATE":
		if r.ok() {
			c.logged = true
			if r.code == "CAPABILITY" {
				c.setCaps(r.words)
			}
		}
	case "UNAUTHENTICATE":
		if r.ok() {
			c.logged, c.box = false, nil
			c.rev2, c.condstore, c.qresync, c.uidonly, c.utf8, c.scan.utf8 = false, false, false, false, false, false
		}
	case "ENABLE":
		for _, u := range r.of("ENABLED") {
			for _, w := range u.words {
				switch w {
				case "IMAP4REV2":
					c.rev2 = true
				case "CONDSTORE":
					c.condstore = true
				case "QRESYNC":
					c.condstore, c.qresync = true, true
				case "UIDONLY":
					c.uidonly = true
				case "UTF8=ACCEPT":
					c.utf8 = true
				default:
					c.fail("ENABLED %s", w)
				}
				if !strings.Contains(strings.ToUpper(cmd.text), w) && w != "CONDSTORE" {
					c.fail("ENABLED %s, which nobody asked for", w)
				}
			}
		}
		c.scan.utf8 = c.rev2 || c.utf8
	case "STORE":
		c.stored(r)
	case "NOTIFY":
		c.notify = r.ok() && !strings.Contains(strings.ToUpper(cmd.text), "NONE")
	case "NOOP":
		for i := range c.msgs() {
			if b := c.box.msgs[i].back; b != "" {
				c.fail("%s, and it is there still", b)
			}
		}
	case "CAPABILITY":
		if len(r.of("CAPABILITY")) != 1 {
			c.fail("CAPABILITY %d times", len(r.of("CAPABILITY")))
		}
	case "SEARCH", "SORT", "THREAD":
		c.searched(r)
	}
	if cmd.verb != "SELECT" && cmd.verb != "EXAMINE" {
		c.newer(r.response)
	}
	c.cmd = nil
	return r
}

// searched checks that a search was answered once, in the form that was asked for
// (RFC 9051 §6.4.4, RFC 4731 §3.1).
func (c *client) searched(r *reply) {
	if !r.ok() {
		return
	}
	verb := c.cmd.verb
	extended := strings.Contains(strings.ToUpper(c.cmd.text), " RETURN ") || c.rev2 && verb == "SEARCH"
	plain, ext := len(r.of(verb)), 0
	for _, u := range r.of("ESEARCH") {
		if u.find.tag == c.cmd.tag && !u.find.updates {
			ext++
			if u.find.uid != c.cmd.uid {
				c.fail("ESEARCH with UID %v", u.find.uid)
			}
		}
	}
	onlySave := strings.Contains(strings.ToUpper(c.cmd.text), "RETURN (SAVE)")
	switch {
	case extended && (plain != 0 || ext != 1 && !(onlySave && ext == 0)):
		c.fail("%d %s and %d ESEARCH", plain, verb, ext)
	case !extended && (plain != 1 || ext != 0):
		c.fail("%d %s and %d ESEARCH", plain, verb, ext)
	}
	if c.cmd.uid {
		return
	}
	for _, u := range r.all {
		nums := u.nums
		if u.kind == "ESEARCH" {
			nums = slices.Concat(u.find.all, u.find.partial)
		}
		for _, n := range nums {
			if c.box != nil && int(n) > len(c.box.msgs) {
				c.fail("%s tells %d of %d", u.kind, n, len(c.box.msgs))
			}
		}
	}
}

// login logs in and enables extensions.
func (c *client) login(user string, enable ...string) *client {
	before := c.caps
	c.user = user + "@" + domain
	c.mustf("LOGIN %s %s", c.user, password)
	if before["LOGINDISABLED"] {
		c.fail("LOGIN works in spite of LOGINDISABLED")
	}
	told := c.caps
	r := c.must("CAPABILITY")
	c.setCaps(r.of("CAPABILITY")[0].words)
	if told != nil && len(told) != len(c.caps) {
		c.fail("capabilities differ from those of the login: %v, %v", told, c.caps)
	}
	if len(enable) > 0 {
		c.must("ENABLE " + strings.Join(enable, " "))
	}
	return c
}

// compress turns COMPRESS=DEFLATE on (RFC 4978).
func (c *client) compress() {
	c.must("COMPRESS DEFLATE")
	w, err := flate.NewWriter(c.nc, flate.BestSpeed)
	if err != nil {
		panic(err)
	}
	if c.scan.r.Buffered() > 0 {
		c.fail("octets after COMPRESS")
	}
	c.attach(flate.NewReader(bufio.NewReader(c.nc)), w)
	c.flush = w.Flush
}

// startTLS begins TLS.
func (c *client) startTLS() {
	c.must("STARTTLS")
	if c.scan.r.Buffered() > 0 {
		c.fail("octets after STARTTLS")
	}
	t := tls.Client(c.nc, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"imap"}})
	c.nc, c.caps = t, nil
	c.attach(t, t)
}

// idle runs IDLE and ends it when stop does, at once when it is nil (RFC 2177).
func (c *client) idle(stop func()) *reply {
	c.n++
	c.cmd = &command{tag: "t" + strconv.Itoa(c.n), text: "IDLE", verb: "IDLE", sent: true}
	c.write(c.cmd.tag + " IDLE\r\n")
	for {
		r := c.read()
		if r.tag == "+" {
			break
		}
		if r.tag != "*" {
			return c.end(&reply{r, c.cmd.untagged})
		}
		c.cmd.untagged = append(c.cmd.untagged, r)
	}
	if stop != nil {
		stop()
	}
	c.write("DONE\r\n")
	return c.finish()
}
