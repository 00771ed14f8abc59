package imap

import (
	"bytes"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
)

// sink is a connection whose output goes nowhere and whose input is given.
type sink struct {
	net.Conn
	in io.Reader
	n  int64
}

func (s *sink) Read(p []byte) (int, error)     { return s.in.Read(p) }
func (s *sink) Write(p []byte) (int, error)    { s.n += int64(len(p)); return len(p), nil }
func (*sink) Close() error                     { return nil }
func (*sink) SetDeadline(time.Time) error      { return nil }
func (*sink) SetReadDeadline(time.Time) error  { return nil }
func (*sink) SetWriteDeadline(time.Time) error { return nil }
func (*sink) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (*sink) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// BenchmarkFetchFlags100k is the encoder's part of UID FETCH 1:* (UID FLAGS) of
// 100,000 messages.
func BenchmarkFetchFlags100k(b *testing.B) {
	s := &sink{}
	o := &output{conn: s, stall: time.Minute}
	keywords := []string{"$Forwarded"}
	b.ReportAllocs()
	for b.Loop() {
		o.open()
		w := FetchWriter{out: o}
		for i := range uint32(100_000) {
			w.Begin(i+1, i+1)
			w.UID(i + 100)
			if i%8 == 0 {
				w.Flags(Seen, keywords)
			} else {
				w.Flags(Flag(i&31), nil)
			}
			w.End()
		}
		o.flush()
		o.release()
	}
	b.SetBytes(s.n / int64(b.N))
}

// BenchmarkFetchEnvelope100k is the same of 100,000 prepared envelopes and
// structures, 570 octets each.
func BenchmarkFetchEnvelope100k(b *testing.B) {
	s := &sink{}
	o := &output{conn: s, stall: time.Minute}
	envelope, structure := []byte(strings.Repeat("e", 330)), []byte(strings.Repeat("s", 180))
	b.ReportAllocs()
	for b.Loop() {
		o.open()
		w := FetchWriter{out: o}
		for i := range uint32(100_000) {
			w.Begin(i+1, i+1)
			w.UID(i + 1)
			w.Envelope(envelope)
			w.BodyStructure(structure)
			w.End()
		}
		o.flush()
		o.release()
	}
	b.SetBytes(s.n / int64(b.N))
}

// BenchmarkFetchBody is the streaming of bodies of 5 KB.
func BenchmarkFetchBody(b *testing.B) {
	s := &sink{}
	o := &output{conn: s, stall: time.Minute}
	sec := &Section{}
	sec.label = sec.appendLabel(nil)
	body := strings.NewReader(strings.Repeat("x", 5000))
	b.ReportAllocs()
	o.open()
	for b.Loop() {
		w := FetchWriter{out: o}
		body.Seek(0, io.SeekStart)
		w.Begin(1, 1)
		w.UID(1)
		w.Section(sec, body.Size(), body)
		w.End()
	}
	b.SetBytes(s.n / int64(b.N))
}

// BenchmarkInternalDate is one INTERNALDATE.
func BenchmarkInternalDate(b *testing.B) {
	o := &output{conn: &sink{}, stall: time.Minute}
	o.open()
	w := FetchWriter{out: o}
	t := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		w.InternalDate(t)
		o.flushFull()
	}
}

// BenchmarkCommands is the command loop: pipelined NOOPs and FETCHes of one message.
func BenchmarkCommands(b *testing.B) {
	for _, c := range []struct{ name, line string }{
		{"Noop", "a NOOP\r\n"},
		{"UIDFetch", "a12 UID FETCH 1 (UID FLAGS RFC822.SIZE)\r\n"},
		{"UIDStore", "a13 UID STORE 1 +FLAGS.SILENT (\\Seen)\r\n"},
		{"SearchUnseen", "a14 UID SEARCH UNSEEN\r\n"},
	} {
		b.Run(c.name, func(b *testing.B) {
			store := newMemStore()
			store.put("INBOX", mail1, 0)
			srv := NewServer(Options{NewSession: store.session, AllowClear: true})
			prefix := "l LOGIN ann secret\r\ns SELECT INBOX\r\n"
			lines := &repeat{s: c.line, n: b.N}
			b.ReportAllocs()
			srv.ServeConn(&sink{in: io.MultiReader(strings.NewReader(prefix), lines)})
		})
	}
}

// repeat gives a text n times.
type repeat struct {
	s    string
	n    int
	rest string
}

func (r *repeat) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if r.rest == "" {
			if r.n == 0 {
				break
			}
			r.n--
			r.rest = r.s
		}
		k := copy(p[n:], r.rest)
		n, r.rest = n+k, r.rest[k:]
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// BenchmarkLogin is a whole connection: greeting, LOGIN, LOGOUT.
func BenchmarkLogin(b *testing.B) {
	store := newMemStore()
	srv := NewServer(Options{NewSession: store.session, AllowClear: true})
	b.ReportAllocs()
	for b.Loop() {
		srv.ServeConn(&sink{in: strings.NewReader("l LOGIN ann secret\r\nx LOGOUT\r\n")})
	}
}

// BenchmarkPattern is the matching of one name.
func BenchmarkPattern(b *testing.B) {
	for _, s := range []string{"*", "%", "Archive/%", "*a*b*c%"} {
		b.Run(s, func(b *testing.B) {
			p := compilePattern(s)
			b.ReportAllocs()
			for b.Loop() {
				p.match("Archive/2026/November")
			}
		})
	}
}

// BenchmarkSearchKeys is the parsing of a search.
func BenchmarkSearchKeys(b *testing.B) {
	c := newConn(NewServer(Options{}), &sink{})
	line := []byte(`OR (FROM bob SUBJECT "invoice 2026") (NOT SEEN SINCE 1-Jan-2026) 1:500`)
	b.ReportAllocs()
	for b.Loop() {
		c.p.Reset(line)
		p := searchParser{conn: c, req: &SearchRequest{}}
		if _, err := p.parse(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIdleSession tells what a session in IDLE costs on a real socket: heap and
// stack of the server and of the test's own end, which has no goroutine.
func BenchmarkIdleSession(b *testing.B) {
	store := newMemStore()
	for range 100 {
		store.put("INBOX", mail1, 0)
	}
	_, connect := start(b, store, func(o *Options) { o.Limits.PerAddress, o.Limits.PerUser = 1<<20, 1<<20 })
	const n = 400
	clients := make([]net.Conn, 0, n)
	measure := func() (heap, stack float64) {
		var m runtime.MemStats
		for range 4 { // pools take two, stacks shrink by half each time
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / n, float64(m.StackInuse) / n
	}
	for b.Loop() {
		clients = clients[:0]
		heap, stack := measure()
		for range n {
			c := login(b, connect)
			selectInbox(c)
			c.play("C: i IDLE\nS: + idling")
			clients = append(clients, c.nc)
			c.r, c.seen = nil, bytes.Buffer{}
		}
		moreHeap, moreStack := measure()
		b.ReportMetric(moreHeap-heap, "heap-B/session")
		b.ReportMetric(moreStack-stack, "stack-B/session")
		for _, c := range clients {
			c.Close()
		}
	}
}
