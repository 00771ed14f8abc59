package smtp

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

// BenchmarkClientSend is one message of 4 KB to one recipient over a connection
// that stays: to a server that costs next to nothing, by DATA and by BDAT, over a
// pipe and over loopback, and to our own.
func BenchmarkClientSend(b *testing.B) {
	content := []byte(strings.Repeat("Received: some 64 octets in each line, as mail usually has, yes\r\n", 62))
	for _, peer := range []struct {
		name string
		caps string // "" is our own server
		tcp  bool
	}{
		{"discard/data/pipe", "PIPELINING\r\n250 8BITMIME", false},
		{"discard/bdat/pipe", "PIPELINING\r\n250 CHUNKING", false},
		{"discard/data/tcp", "PIPELINING\r\n250 8BITMIME", true},
		{"discard/bdat/tcp", "PIPELINING\r\n250 CHUNKING", true},
		{"postino/pipe", "", false},
		{"postino/tcp", "", true},
	} {
		b.Run(peer.name, func(b *testing.B) {
			cc, sc := pipe()
			if peer.tcp {
				cc, sc = loopback(b)
			}
			defer sc.Close()
			if peer.caps != "" {
				go discard(sc, peer.caps)
			} else {
				s := NewServer(Options{Hostname: "mx.example.org", Backend: nothing{}, Limits: Limits{Transactions: 1 << 40, SessionTime: 1 << 60}})
				go s.ServeConn(context.Background(), sc)
			}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			c, err := NewClient(ctx, cc, ClientOptions{Name: "client.example.org", OneFlight: true})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			m := &Mail{Envelope: to("a"), Size: int64(len(content)), Content: func(w io.Writer) error { _, err := w.Write(content); return err }}
			b.ReportAllocs()
			b.SetBytes(int64(len(content)))
			for b.Loop() {
				c.mails = 0
				if res, err := c.Send(ctx, m); err != nil || !res.Final(0).Success() {
					b.Fatal(res, err)
				}
			}
		})
	}
}

// BenchmarkClientLarge is one message of 1 MB, and one of 8 MB, over loopback by
// BDAT and by DATA: to our own server, and to one that costs next to nothing.
func BenchmarkClientLarge(b *testing.B) {
	for _, peer := range []string{"postino", "discard"} {
		for _, mb := range []int{1, 8} {
			for _, chunking := range []bool{true, false} {
				b.Run(fmt.Sprintf("%s/%dMB/chunking=%v", peer, mb, chunking), func(b *testing.B) { sendLarge(b, peer, mb, chunking) })
			}
		}
	}
}

func sendLarge(b *testing.B, peer string, mb int, chunking bool) {
	content := []byte(strings.Repeat("Received: some 64 octets in each line, as mail usually has, yes\r\n", mb<<20/66))
	cc, sc := loopback(b)
	defer sc.Close()
	if peer == "discard" {
		go discard(sc, "PIPELINING\r\n250 CHUNKING")
	} else {
		s := NewServer(Options{Hostname: "mx.example.org", Backend: nothing{}, Limits: Limits{Transactions: 1 << 40, SessionTime: 1 << 60}})
		go s.ServeConn(context.Background(), sc)
	}
	c, err := NewClient(context.Background(), cc, ClientOptions{Name: "client.example.org"})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	c.offers.chunking = chunking
	m := &Mail{Envelope: to("a"), Size: int64(len(content)), Content: func(w io.Writer) error { _, err := w.Write(content); return err }}
	b.ReportAllocs()
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		if res, err := c.Send(context.Background(), m); err != nil || !res.Final(0).Success() {
			b.Fatal(res, err)
		}
	}
}

// BenchmarkClientBody is the content alone.
func BenchmarkClientBody(b *testing.B) {
	content := []byte(strings.Repeat("Received: some 64 octets in each line, as mail usually has, yes\r\n", 16<<10))
	out := body{buf: make([]byte, 0, bufferSize), stuff: true, bol: true, flush: func([]byte) error { return nil }}
	b.SetBytes(int64(len(content)))
	b.ReportAllocs()
	for b.Loop() {
		out.Write(content)
	}
}

func loopback(b *testing.B) (cc, sc net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	if cc, err = net.Dial("tcp", l.Addr().String()); err != nil {
		b.Fatal(err)
	}
	if sc, err = l.Accept(); err != nil {
		b.Fatal(err)
	}
	return cc, sc
}

// discard answers by counting lines, without looking at what they say.
func discard(nc net.Conn, caps string) {
	br := bufio.NewReaderSize(nc, 32<<10)
	envelope, mail, rcpt := []byte("250 2.1.0 OK\r\n250 2.1.5 OK\r\n"), []byte("250 2.1.0 OK\r\n"), []byte("250 2.1.5 OK\r\n")
	start, taken, queued := []byte("354 go\r\n"), []byte("250 2.0.0 Chunk taken\r\n"), []byte("250 2.0.0 Queued\r\n")
	io.WriteString(nc, "220 x ESMTP\r\n")
	br.ReadSlice('\n')
	fmt.Fprintf(nc, "250-x\r\n250-%s\r\n", caps)
	for {
		br.ReadSlice('\n')
		if br.Buffered() == 0 { // no PIPELINING
			nc.Write(mail)
			br.ReadSlice('\n')
			nc.Write(rcpt)
		} else {
			br.ReadSlice('\n')
			nc.Write(envelope)
		}
		line, err := br.ReadSlice('\n')
		if err != nil {
			return
		}
		if line[0] == 'D' {
			nc.Write(start)
			for err == nil && string(line) != ".\r\n" {
				line, err = br.ReadSlice('\n')
			}
			nc.Write(queued)
			continue
		}
		for {
			n := 0
			for _, d := range line[5:] {
				if d < '0' || d > '9' {
					break
				}
				n = 10*n + int(d-'0')
			}
			last := bytes.HasSuffix(line, []byte(" LAST\r\n"))
			br.Discard(n)
			if last {
				break
			}
			nc.Write(taken)
			if line, err = br.ReadSlice('\n'); err != nil {
				return
			}
		}
		nc.Write(queued)
	}
}
