package smtp

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
)

// TestClientChunksWithServer brings 5 MB octet for octet to our own server, in
// pieces that do not fit the chunks, with line ends mended across them (SC1).
func TestClientChunksWithServer(t *testing.T) {
	for _, lmtp := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{}
			s := NewServer(Options{Hostname: "mx.example.org", Backend: f, LMTP: lmtp})
			cc, sc := pipe()
			go s.ServeConn(context.Background(), sc)
			c, err := NewClient(t.Context(), cc, ClientOptions{Name: "x.example", LMTP: lmtp})
			if err != nil {
				t.Fatal(err)
			}
			unit := ".a line\r\nbare\nand\rmore\r\n.\r\n"
			in := strings.Repeat(unit, 5<<20/len(unit))
			m := letter(in, "a", "b")
			m.Content = func(w io.Writer) error {
				for rest := in; rest != ""; {
					n := min(7919, len(rest))
					if _, err := io.WriteString(w, rest[:n]); err != nil {
						return err
					}
					rest = rest[n:]
				}
				return nil
			}
			res, err := c.Send(t.Context(), m)
			if err != nil || !res.Final(0).Success() || !res.Final(1).Success() || !res.Normalised {
				t.Fatal(res, err)
			}
			c.Quit(t.Context())
			synctest.Wait()
			f.check(t)
			if want := strings.ReplaceAll(in, unit, ".a line\r\nbare\r\nand\r\nmore\r\n.\r\n"); f.posts[0].content != want {
				t.Fatal("content is not the same")
			}
		})
	}
}

// TestClientChunkReplies shows each class of reply to a chunk in the middle, over
// a pipe without any buffer, with and without PIPELINING.
func TestClientChunkReplies(t *testing.T) {
	in := strings.Repeat("0123456789\r\n", 2<<20/12)
	for _, caps := range []string{"PIPELINING,CHUNKING", "CHUNKING"} {
		for reply, code := range map[string]int{"250 ok\r\n": 250, "451 4.3.0 later\r\n": 451, "552 5.3.4 big\r\n": 552, "421 4.3.2 bye\r\n": 421,
			"354 go\r\n": 0, "what\r\n": 0, "cut": 0, "hang": 0} {
			inBubble(t, caps+" "+reply, func(t *testing.T) {
				rest := reply
				if code/100 == 4 || code/100 == 5 {
					rest = "503 5.5.1 no\r\n" // to what is in the pipeline
				}
				s := &stub{caps: caps, say: map[string]string{"BDAT": "250 one\r\n|250 two\r\n|" + reply + "|" + rest}}
				cc, sc := net.Pipe()
				c, done := s.connectOver(t, ClientOptions{}, cc, sc)
				defer done()
				res, err := c.Send(t.Context(), letter(in, "a", "b"))
				if res.Final(0).Code != code || res.Final(1).Code != code || res.Unknown || (err == nil) != (code != 0 && code != 421) || c.Usable() != (err == nil) {
					t.Fatalf("%+v %v", res, err)
				}
				if code == 250 {
					if strings.Join(s.texts, "") != in {
						t.Fatal("content is not the same")
					}
					return
				}
				if said := s.commands(); strings.Contains(s.heard[len(s.heard)-1], "LAST") || strings.Count(said, "BDAT") > 3+chunkWindow {
					t.Fatal(said)
				}
				if err != nil {
					return
				}
				s.say = nil
				if res, err = c.Send(t.Context(), letter("again\r\n", "c")); err != nil || !res.Final(0).Success() || !strings.Contains(s.commands(), "BDAT RSET MAIL") {
					t.Fatal(res, err)
				}
			})
		}
	}
}

// TestClientChunksDamaged never says LAST when the content fails in the middle.
func TestClientChunksDamaged(t *testing.T) {
	for _, caps := range []string{"PIPELINING,CHUNKING", "CHUNKING"} {
		s := &stub{caps: caps}
		c, done := s.connect(t, ClientOptions{})
		m := letter(strings.Repeat("0123456789\r\n", 20000), "a")
		m.Content = func(w io.Writer) error {
			io.WriteString(w, strings.Repeat("0123456789\r\n", 10000))
			return errors.New("disk")
		}
		res, err := c.Send(t.Context(), m)
		if e := clientError(t, err); !errors.Is(e, ErrContent) || c.Usable() || res.Final(0).Code != 0 || res.Unknown {
			t.Fatal(res, err)
		}
		done()
		for _, h := range s.heard {
			if strings.HasSuffix(h, "LAST") {
				t.Fatal(h)
			}
		}
	}
}
