package imap

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino"
)

// TestIM1: what a client may send before login.
func TestIM1(t *testing.T) {
	for _, x := range []struct{ name, in, want string }{
		{"line", "a LOGIN ann " + strings.Repeat("x", 8<<10), "* BYE Line too long"},
		{"line without end", strings.Repeat("x", 9<<10), "* BYE Line too long"},
		{"literal", "a LOGIN ann {4097}", "a NO [TOOBIG] Literal too large"},
		{"literal+", "a LOGIN ann {4097+}", "* BYE Literal too large"},
		{"huge literal", "a LOGIN ann {9223372036854775807}", "a NO [TOOBIG] Literal too large"},
		{"larger than a number", "a LOGIN ann {9223372036854775808}", "a BAD Number out of range"},
		{"literal of a bad command", "a XYZ {4097+}", "a BAD Unknown command\n* BYE Literal too large"},
		{"message", "a APPEND INBOX {4097+}", "a BAD Log in first\n* BYE Literal too large"},
		{"command", "a XYZ" + strings.Repeat(" {4000+}\r\n"+strings.Repeat("x", 4000), 9), "a BAD Unknown command\n* BYE Literal too large"},
		{"errors", "a X\r\nb X\r\nc X\r\nd NOOP", "a BAD Unknown command\nb BAD Unknown command\nc BAD Unknown command\n* BYE Too many errors"},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, connect := start(t, newMemStore(), nil)
			c := connect()
			c.line()
			c.send(x.in + "\r\n")
			for want := range strings.SplitSeq(x.want, "\n") {
				if got := c.line(); got != want {
					t.Errorf("IM1: got %q, want %q", got, want)
				}
			}
		})
	}
}

// TestIM2: what a client may send after login.
func TestIM2(t *testing.T) {
	lit := func(n int) string { return fmt.Sprintf("{%d+}\r\n%s", n, strings.Repeat("x", n)) }
	for _, x := range []struct{ name, in, want string }{
		{"line at the limit", "a NOOP" + strings.Repeat("x", 64<<10-6), "a BAD Unknown command"},
		{"line", "a NOOP" + strings.Repeat("x", 64<<10-5), "* BYE Line too long"},
		{"literal", "a SUBSCRIBE {131073}", "a NO [TOOBIG] Literal too large"},
		{"literal+", "a SUBSCRIBE {131073+}", "* BYE Literal too large"},
		{"literal at the limit", "s SELECT INBOX\r\na SEARCH SUBJECT " + lit(131072), "a OK SEARCH completed"},
		{"command", "s SELECT INBOX\r\na SEARCH" + strings.Repeat(" SUBJECT "+lit(130000), 9), "* BYE Literal too large"},
		{"literals", "s SELECT INBOX\r\na SEARCH" + strings.Repeat(" SUBJECT "+lit(1), 1001), "* BYE Literal too large"},
		{"APPEND", "a APPEND INBOX {52428801}", "a NO [TOOBIG] Message too large"},
		{"APPEND+", "a APPEND INBOX {52428801+}", "* BYE [TOOBIG] Message too large"},
		{"refused literal is skipped", "a APPEND Nowhere {20+}\r\nb LOGOUT\r\nc LOGOUT\r\n\r\na NOOP", "a OK NOOP completed"},
		{"literal of a bad command is skipped", "a XYZ {10+}\r\nb LOGOUT\r\n {3+}\r\nabc\r\na NOOP", "a OK NOOP completed"},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, connect := start(t, newMemStore(), nil)
			c := login(t, connect)
			c.send(x.in + "\r\n")
			var got []string
			for {
				l := c.line()
				got = append(got, l)
				if l == x.want {
					return
				}
				if l == "" || len(got) > 40 {
					t.Fatalf("IM2: got %q, want %q", got, x.want)
				}
			}
		})
	}
}

// TestIM3: nesting and sets are bounded.
func TestIM3(t *testing.T) {
	store := newMemStore()
	store.put("INBOX", mail1, 0)
	_, connect := start(t, store, func(o *Options) { o.Limits.Errors = 100 })
	c := login(t, connect)
	selectInbox(c)
	for _, x := range []struct {
		command string
		ok      bool
	}{
		{"SEARCH " + strings.Repeat("(", 50) + "ALL" + strings.Repeat(")", 50), true},
		{"SEARCH " + strings.Repeat("(", 51) + "ALL" + strings.Repeat(")", 51), false},
		{"SEARCH " + strings.Repeat("NOT ", 50) + "ALL", true},
		{"SEARCH " + strings.Repeat("NOT ", 51) + "ALL", false},
		{"SEARCH " + strings.Repeat("OR ALL ", 50) + "ALL", true},
		{"SEARCH " + strings.Repeat("OR ALL ", 51) + "ALL", false},
		{"SEARCH" + strings.Repeat(" ALL", 10000), true},
		{"SEARCH" + strings.Repeat(" ALL", 10001), false},
		{"FETCH 1 BODY[1" + strings.Repeat(".1", 49) + "]", true},
		{"FETCH 1 BODY[1" + strings.Repeat(".1", 50) + "]", false},
		{"FETCH 1" + strings.Repeat(",1", 9999) + " UID", true},
		{"FETCH 1" + strings.Repeat(",1", 10000) + " UID", false},
		{"FETCH 1 (" + strings.Repeat("UID ", 999) + "UID)", true},
		{"FETCH 1 (" + strings.Repeat("UID ", 1000) + "UID)", false},
		{"FETCH 4294967296 UID", false},
		{"LIST \"\" " + strings.Repeat("%x", 50), true},
		{"LIST \"\" " + strings.Repeat("(", 60), false},
		{"FETCH 1 " + strings.Repeat("(", 60), false},
	} {
		lines := c.do(x.command)
		if last := lines[len(lines)-1]; strings.HasPrefix(last, "x OK ") != x.ok {
			t.Errorf("IM3: %.60s…: %s", x.command, last)
		}
	}
}

// TestIM4: errors, tags and web clients.
func TestIM4(t *testing.T) {
	_, connect := start(t, newMemStore(), nil)
	c := login(t, connect)
	for range 9 {
		c.do("XYZ")
	}
	c.play(`
		C: y
		S: * BAD Expected a space
		S: * BYE Too many errors
		EOF`)
	for _, line := range []string{"GET / HTTP/1.1", "POST /x HTTP/1.0", "OPTIONS * HTTP/1.1", "PRI * HTTP/2.0", "CONNECT a:25 HTTP/1.1"} {
		c := connect()
		c.line()
		c.send(line + "\r\nHost: x\r\n\r\n")
		c.play(`
			S: * BYE This is not a web server
			EOF`)
	}
	c = connect()
	c.line()
	for _, tag := range []string{"(evil)", `"evil"`, "\x1b[2J"} {
		c.send(tag + " NOOP\r\n")
		if got := c.line(); !strings.HasPrefix(got, "* BAD ") || strings.Contains(got, "evil") {
			t.Errorf("IM4: tag %q is answered %q", tag, got)
		}
	}
}

// TestIM5: output is written as it is made; a client that does not read is cut off.
func TestIM5(t *testing.T) {
	o := &output{conn: &sink{}, stall: time.Minute}
	o.open()
	w := FetchWriter{out: o}
	sec := &Section{}
	sec.label = sec.appendLabel(nil)
	large := make([]byte, 20<<20)
	for range 3 {
		w.Begin(1, 1)
		w.SectionBytes(sec, large)
		w.Section(sec, int64(len(large)), bytes.NewReader(large))
		w.End()
	}
	o.flush()
	if n := cap(o.buf); n > 1<<20 {
		t.Errorf("IM5: %d octets buffered", n)
	}
	if want := int64(6 * len(large)); o.conn.(*sink).n < want {
		t.Errorf("IM5: wrote %d octets of %d", o.conn.(*sink).n, want)
	}
	w.Begin(1, 1)
	if err := w.Section(sec, 10, strings.NewReader("short")); err != io.ErrUnexpectedEOF || w.End() == nil {
		t.Errorf("IM5: a body that ends early: %v", err)
	}

	store := newMemStore()
	store.put("INBOX", string(large), 0)
	s, connect := start(t, store, func(o *Options) { o.Limits.StallTime = 50 * time.Millisecond })
	c := login(t, connect)
	selectInbox(c)
	c.send("a FETCH 1 BODY[]\r\n")
	s.waitOpen(0)
}

// TestIM6: connections per address and sessions per user.
func TestIM6(t *testing.T) {
	s, connect := start(t, newMemStore(), func(o *Options) { o.Limits.PerAddress, o.Limits.PerUser = 3, 2 })
	login(t, connect)
	b := login(t, connect)
	c := connect()
	c.play(`
		S~ \* OK .*
		C: a LOGIN ann secret
		S: * BYE [LIMIT] Too many sessions of this user
		EOF`)
	b.do("LOGOUT")
	b.play("EOF")
	s.waitOpen(1)
	login(t, connect)
	connect().line()
	connect().play(`
		S: * BYE [UNAVAILABLE] Too many connections from your address
		EOF`)
}

// TestIM6Total: connections in all.
func TestIM6Total(t *testing.T) {
	_, connect := start(t, newMemStore(), func(o *Options) { o.Limits.Connections = 1 })
	connect().line()
	connect().play(`
		S: * BYE [UNAVAILABLE] Too many connections
		EOF`)
}

// TestIM7: pipelined commands take effect in their order, and their answers
// come in it.
func TestIM7(t *testing.T) {
	store := newMemStore()
	_, connect := start(t, store, nil)
	c := login(t, connect)
	var in strings.Builder
	for i := range 500 {
		fmt.Fprintf(&in, "a%d CREATE m%d\r\nb%d APPEND m%d {5+}\r\nhello\r\nc%d SELECT m%d\r\n"+
			"d%d STORE 1 +FLAGS.SILENT \\Deleted\r\ne%d UID SEARCH RETURN (SAVE) DELETED\r\nf%d UID FETCH $ UID\r\ng%d EXPUNGE\r\nh%d STATUS m%d (MESSAGES)\r\n",
			i, i, i, i, i, i, i, i, i, i, i, i)
	}
	go c.nc.Write([]byte(in.String()))
	for i := range 500 {
		for _, tag := range "abcdefgh" {
			want := fmt.Sprintf("%c%d OK ", tag, i)
			seen := map[string]bool{}
			for {
				l := c.line()
				seen[l] = true
				if l == "" {
					t.Fatal("IM7: connection ended")
				}
				if strings.HasPrefix(l, want) {
					break
				}
				if l[0] != '*' {
					t.Fatalf("IM7: got %q, want %q", l, want)
				}
			}
			if tag == 'f' && !seen["* 1 FETCH (UID 1)"] || tag == 'g' && !seen["* 1 EXPUNGE"] ||
				tag == 'h' && !seen[fmt.Sprintf(`* STATUS "m%d" (MESSAGES 0)`, i)] {
				t.Fatalf("IM7: %s: %v", want, seen)
			}
		}
	}
}

// TestIM8: a failed operation is answered NO with the code of its kind.
func TestIM8(t *testing.T) {
	for kind, want := range map[postino.Kind]string{
		postino.Internal: "x NO [SERVERBUG] ", postino.Invalid: "x NO [CANNOT] ", postino.NotFound: "x NO [NONEXISTENT] ",
		postino.Denied: "x NO [NOPERM] ", postino.Full: "x NO [LIMIT] ", postino.Conflict: "x NO [INUSE] ",
		postino.Transient: "x NO [UNAVAILABLE] ", postino.Corrupt: "x NO [CORRUPTION] ",
	} {
		_, connect := start(t, newMemStore(), func(o *Options) {
			open := o.NewSession
			o.NewSession = func(ctx context.Context, c *ConnInfo) (Session, error) {
				s, err := open(ctx, c)
				return failing{s, kind}, err
			}
		})
		c := login(t, connect)
		if got := c.do("SUBSCRIBE x")[0]; !strings.HasPrefix(got, want) || strings.Contains(got, "hidden") {
			t.Errorf("IM8: %v: got %q, want %q", kind, got, want)
		}
	}
}

// failing is a session whose Subscribe fails.
type failing struct {
	Session
	kind postino.Kind
}

func (f failing) Subscribe(context.Context, string) error {
	return postino.E(f.kind, "subscribe", "hidden", nil)
}

// TestIM10: mailbox names.
func TestIM10(t *testing.T) {
	lim := Limits{}.withDefaults()
	for _, x := range []struct {
		in, name string // name "" when refused
	}{
		{"inbox", "INBOX"}, {"Inbox/a", "INBOX/a"}, {"inboxes", "inboxes"}, {"a/", "a"}, {"a/inbox", "a/inbox"},
		{"Cafe\u0301", "Caf\u00e9"}, {"a//b", ""}, {"/a", ""}, {"", ""}, {"a/./b", ""}, {"..", ""}, {"a\x00b", ""},
		{"a\nb", ""}, {"a\u0085b", ""}, {"a\u2028b", ""}, {strings.Repeat("x", 255), strings.Repeat("x", 255)},
		{strings.Repeat("x", 256), ""}, {strings.Repeat("x/", 19) + "x", strings.Repeat("x/", 19) + "x"}, {strings.Repeat("x/", 20) + "x", ""},
	} {
		got := canonicalName(x.in)
		if !lim.nameAllowed(got) {
			got = ""
		}
		if got != x.name {
			t.Errorf("IM10: %q: got %q, want %q", x.in, got, x.name)
		}
	}
}

// TestG4: a panic ends its connection only, and the log has a hash of the input.
func TestG4(t *testing.T) {
	store := newMemStore()
	store.put("INBOX", mail1, 0)
	var log strings.Builder
	_, connect := start(t, store, func(o *Options) {
		o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelError}))
		open := o.NewSession
		first := true
		o.NewSession = func(ctx context.Context, c *ConnInfo) (Session, error) {
			s, err := open(ctx, c)
			s.(*memSession).panic, first = first, false
			return s, err
		}
	})
	a := login(t, connect)
	b := login(t, connect)
	selectInbox(a)
	a.play(`
		C: a FETCH 1 FLAGS
		S: * BYE [SERVERBUG] Internal error
		EOF`)
	selectInbox(b)
	b.do("FETCH 1 FLAGS")
	if l := log.String(); !strings.Contains(l, "asked for") || !strings.Contains(l, "input=") || strings.Contains(l, "FETCH 1") {
		t.Errorf("G4: log is %q", l)
	}
}
