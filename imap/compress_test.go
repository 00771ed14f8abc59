package imap

import (
	"bufio"
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

// squeezed is the client's side of a compressed connection.
type squeezed struct {
	net.Conn
	w *flate.Writer
	r *bufio.Reader // of compressed octets
}

func (s squeezed) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if err == nil {
		err = s.w.Flush()
	}
	return n, err
}

// squeeze makes c compress.
func squeeze(c *client) {
	c.t.Helper()
	c.play(`
		C: z COMPRESS DEFLATE
		S: z OK Compression is active`)
	w, err := flate.NewWriter(c.nc, 6)
	if err != nil {
		c.t.Fatal(err)
	}
	r := bufio.NewReader(c.nc)
	c.r = bufio.NewReader(io.TeeReader(flate.NewReader(r), &c.seen))
	c.nc = squeezed{c.nc, w, r}
}

// TestCompress: RFC 4978 §3.
func TestCompress(t *testing.T) {
	store := five()
	_, connect := start(t, store, nil)
	c := connect()
	c.line()
	c.play(`
		C: a COMPRESS DEFLATE
		S: a BAD Log in first
		C: b LOGIN ann secret
		S~ b OK \[.* COMPRESS=DEFLATE .*
		C: c COMPRESS LZMA
		S: c BAD Unknown compression
		C: d COMPRESS
		S: d BAD Expected a space`)
	squeeze(c)
	c.play(`
		C: e COMPRESS DEFLATE
		S: e BAD [COMPRESSIONACTIVE] Compression is active already
		C: f CAPABILITY
		S~ \* CAPABILITY .*UNAUTHENTICATE.*
		S: f OK CAPABILITY completed`)
	selectInbox(c)
	body := strings.Repeat("some text\r\n", 1<<15)
	c.send(fmt.Sprintf("g APPEND INBOX {%d+}\r\n%s\r\n", len(body), body))
	c.play(`
		S: * 6 EXISTS
		S: g OK [APPENDUID 101 6] APPEND completed`)
	if got := c.do("FETCH 6 BODY.PEEK[]"); len(got) < 1<<15 || got[len(got)-1] != "x OK FETCH completed" {
		t.Fatal(len(got))
	}
	c.play(`
		C: h IDLE
		S: + idling
		!
		S: * 7 EXISTS
		C: DONE
		S: h OK IDLE completed`,
		func() { store.put("INBOX", mail1, 0) })
	if got := c.do("CAPABILITY"); strings.Contains(got[0], "COMPRESS=DEFLATE") {
		t.Error("compression is offered twice")
	}
}

// TestCompressParked: a compressed session that waits costs no goroutine, and hears
// of changes and of input that comes in pieces.
func TestCompressParked(t *testing.T) {
	store := newMemStore()
	s, connect := startParking(t, store, nil)
	c := login(t, connect)
	squeeze(c)
	selectInbox(c)
	for n := range 5 {
		idleIn(c)
		waitParked(t, s, 1)
		s.parker.mu.Lock()
		if z := s.parker.first.extras.inflate; !z.Wants() {
			t.Error("parked with input")
		}
		s.parker.mu.Unlock()
		store.put("INBOX", mail1, 0)
		c.play(fmt.Sprintf("S: * %d EXISTS", n+1))
		waitParked(t, s, 1)
		c.send("DONE\r\nn NOOP\r\n")
		c.play(`
			S: i OK IDLE completed
			S: n OK NOOP completed`)
	}
}

// TestCompressPieces: octets may come one at a time.
func TestCompressPieces(t *testing.T) {
	store := five()
	_, connect := start(t, store, nil)
	c := login(t, connect)
	raw := c.nc
	squeeze(c)
	slow := &byOne{Conn: raw}
	w, _ := flate.NewWriter(slow, 9)
	c.nc = squeezed{raw, w, nil}
	c.play(`
		C: a NOOP
		S: a OK NOOP completed
		C: b STATUS INBOX (MESSAGES)
		S: * STATUS "INBOX" (MESSAGES 5)
		S: b OK STATUS completed`)
}

// byOne writes octets one at a time.
type byOne struct{ net.Conn }

func (b *byOne) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := b.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// TestIM11: the limits hold for what comes out of the stream, and nothing comes out
// of one that makes too much of too little.
func TestIM11(t *testing.T) {
	for _, c := range []struct {
		name, in, want string
		raw            bool
	}{
		{name: "line", in: "a " + strings.Repeat("x", 70<<10) + "\r\n", want: "* BYE Line too long"},
		{name: "literal", in: "a CREATE {200000+}\r\n" + strings.Repeat("x", 200000), want: "a BAD Literal too large"},
		{name: "ratio", in: "a APPEND INBOX {50000000+}\r\n" + strings.Repeat("\x00", 50000000), want: "* BYE Malformed compressed data"},
		{name: "malformed", in: "\x07\x07\x07", raw: true, want: "* BYE Malformed compressed data"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, connect := start(t, newMemStore(), nil)
			cl := login(t, connect)
			raw := cl.nc
			squeeze(cl)
			if c.raw {
				raw.Write([]byte(c.in))
			} else {
				go io.WriteString(cl.nc, c.in) // it ends with the connection
			}
			got := cl.line()
			if got != c.want && !(c.name == "literal" && got == "* BYE Literal too large") {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestCompressUnauthenticate: RFC 8437 §4.1, the stream ends behind the command, and
// what follows it is in clear.
func TestCompressUnauthenticate(t *testing.T) {
	_, connect := start(t, newMemStore(), nil)
	c := login(t, connect)
	raw := c.nc
	squeeze(c)
	sq := c.nc.(squeezed)
	w := sq.w
	var b bytes.Buffer // in one piece, so that the end of the stream comes with the command
	w.Reset(&b)
	io.WriteString(w, "a UNAUTHENTICATE\r\n")
	w.Close()
	b.WriteString("b LOGIN ann secret\r\n")
	raw.Write(b.Bytes())
	c.play(`S: a OK UNAUTHENTICATE completed`)
	c.nc, c.r = raw, bufio.NewReader(io.TeeReader(sq.r, &c.seen))
	c.play(`
		S~ b OK .*COMPRESS=DEFLATE.*
		C: c NOOP
		S: c OK NOOP completed`)
}

// FuzzCompressed: no stream makes the server fail.
func FuzzCompressed(f *testing.F) {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, 6)
	io.WriteString(w, "a NOOP\r\nb SELECT INBOX\r\n")
	w.Flush()
	f.Add(b.String())
	f.Add("\x00\x05\x00\xfa\xffa NOO")
	f.Fuzz(func(t *testing.T, in string) {
		srv := NewServer(Options{NewSession: newMemStore().session, AllowClear: true})
		r := &recorder{sink: sink{in: io.MultiReader(&chunks{s: "l LOGIN ann secret\r\nz COMPRESS DEFLATE\r\n", n: 1 << 10}, &chunks{s: in, n: 5})}}
		srv.ServeConn(r)
		head, rest, _ := strings.Cut(r.out.String(), "z OK Compression is active\r\n")
		if err := checkResponses([]byte(head), false); err != nil {
			t.Fatal(err)
		}
		out, err := io.ReadAll(flate.NewReader(strings.NewReader(rest)))
		if err != nil && err != io.ErrUnexpectedEOF {
			t.Fatal(err)
		}
		if err := checkResponses(out, true); err != nil {
			t.Fatalf("%v\ninput %x\noutput %.3000q", err, in, out)
		}
	})
}

// BenchmarkDeflater compresses a flush of FETCH responses.
func BenchmarkDeflater(b *testing.B) {
	p := bytes.Repeat([]byte("* 12 FETCH (UID 1234 FLAGS (\\Seen) INTERNALDATE \"21-Nov-2026 12:00:00 +0000\" RFC822.SIZE 3456)\r\n"), 600)
	d := &deflater{&sink{}}
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		d.Write(p)
	}
}
