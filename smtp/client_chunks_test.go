package smtp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
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

// chunkMost is how many octets of content a chunk holds.
const chunkMost = bufferSize - chunkHead

// chunkKinds are the ways in which chunks are answered.
var chunkKinds = []struct {
	name, caps string
	lmtp       bool
}{
	{"pipelining", "PIPELINING,CHUNKING", false},
	{"lockstep", "CHUNKING", false},
	{"lmtp pipelining", "PIPELINING,CHUNKING", true},
	{"lmtp lockstep", "CHUNKING", true},
}

// TestClientChunkReplies shows each class of reply to a chunk in the middle, over
// a pipe without any buffer: it holds for all recipients, in LMTP too.
func TestClientChunkReplies(t *testing.T) {
	in := strings.Repeat("0123456789\r\n", 1<<20/12)
	for _, k := range chunkKinds {
		for reply, code := range map[string]int{"250 ok\r\n": 250, "250-ok\r\n250 ok\r\n": 250, "451 4.3.0 later\r\n": 451, "552 5.3.4 big\r\n": 552, "421 4.3.2 bye\r\n": 421,
			"354 go\r\n": 0, "what\r\n": 0, "250 bare\n": 0, "250-a\r\n550 b\r\n": 0, "cut": 0, "hang": 0} {
			inBubble(t, k.name+" "+reply, func(t *testing.T) {
				rest := reply
				if code/100 == 4 || code/100 == 5 {
					rest = "503 5.5.1 no\r\n" // to what is in the pipeline
				}
				s := &stub{caps: k.caps, lmtp: k.lmtp, say: map[string]string{"BDAT": "250 one\r\n|250 two\r\n|" + reply + "|" + rest}}
				cc, sc := net.Pipe()
				c, done := s.connectOver(t, ClientOptions{LMTP: k.lmtp}, cc, sc)
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

// TestClientLastReplies shows each class of reply to the last of several chunks.
// As all was sent, an answer that is of no use leaves the outcome unknown (SC6).
func TestClientLastReplies(t *testing.T) {
	in := strings.Repeat("0123456789\r\n", 100<<10/12)
	for _, k := range chunkKinds {
		for class, reply := range map[string]string{
			"2xx": "250 2.1.0 fine\r\n", "3xx": "354 go\r\n", "4xx": "451 4.3.0 later\r\n", "5xx": "550 5.1.1 no\r\n",
			"421": "421 4.3.2 bye\r\n", "garbage": "hello there\r\n", "codes": "250-a\r\n550 b\r\n", "cut": "cut", "hang": "hang",
		} {
			inBubble(t, k.name+"/"+class, func(t *testing.T) {
				s := &stub{caps: k.caps, lmtp: k.lmtp, say: map[string]string{"BDAT": "250 one\r\n|250 two\r\n|250 three\r\n|" + reply, ".": reply}}
				cc, sc := net.Pipe()
				c, done := s.connectOver(t, ClientOptions{LMTP: k.lmtp}, cc, sc)
				defer done()
				res, err := c.Send(t.Context(), letter(in, "a", "b"))
				profile, _, _ := strings.Cut(k.name, " ")
				checkStage(t, profile, ".", class, res, err)
				s.mu.Lock()
				heard, content := s.heard, strings.Join(s.texts, "")
				s.mu.Unlock()
				if n := len(heard); c.Usable() != (err == nil) || content != in || n < 4 || heard[n-2] != fmt.Sprint("BDAT ", chunkMost) || !strings.HasSuffix(heard[n-1], " LAST") {
					t.Fatal(c.Usable(), err, heard)
				}
				if err != nil {
					return
				}
				s.say = nil
				if res, err = c.Send(t.Context(), letter("again\r\n", "c")); err != nil || !res.Final(0).Success() || strings.Contains(s.commands(), "RSET") == (class == "2xx") {
					t.Fatal(res, err, s.commands())
				}
			})
		}
	}
}

// TestClientChunkBeforeLast refuses the chunk before the last, when the last may
// be on its way. The refusal is the outcome whatever is said to that one (RFC
// 3030 §2); in LMTP it must not be on its way.
func TestClientChunkBeforeLast(t *testing.T) {
	in := strings.Repeat("0123456789\r\n", 100<<10/12)
	for _, k := range chunkKinds {
		for reply, fails := range map[string]bool{"503 5.5.1 no\r\n": false, "250 2.0.0 taken\r\n": false, "421 4.3.2 bye\r\n": true, "what\r\n": true, "cut": true, "hang": true} {
			inBubble(t, k.name+" "+reply, func(t *testing.T) {
				s := &stub{caps: k.caps, lmtp: k.lmtp, say: map[string]string{"BDAT": "250 one\r\n|250 two\r\n|452 4.3.1 full\r\n|" + reply, ".": reply}}
				s.after = func(net.Conn, string) net.Conn { time.Sleep(time.Second); return nil } // all is sent before
				c, done := s.connect(t, ClientOptions{LMTP: k.lmtp})
				defer done()
				res, err := c.Send(t.Context(), letter(in, "a", "b"))
				sent := k.name == "pipelining"
				if res.Final(0).Code != 452 || res.Final(1).Code != 452 || res.Unknown || (err != nil) != (sent && fails) || c.Usable() != (err == nil) {
					t.Fatalf("%+v %v", res, err)
				}
				s.mu.Lock()
				said := s.heard[len(s.heard)-1]
				s.say = nil
				s.mu.Unlock()
				if strings.HasSuffix(said, " LAST") != sent {
					t.Fatal(said)
				}
				if err != nil {
					return
				}
				if res, err = c.Send(t.Context(), letter("again\r\n", "c")); err != nil || !res.Final(0).Success() || !strings.Contains(s.commands(), "BDAT RSET MAIL") {
					t.Fatal(res, err)
				}
			})
		}
	}
}

// TestClientChunkNotTaken is a peer that stops reading within a chunk, one in
// the middle or the last. The client does not wait for ever, a refusal that was
// said meanwhile counts, and no word at all makes a message of it.
func TestClientChunkNotTaken(t *testing.T) {
	in := strings.Repeat("0123456789\r\n", 100<<10/12)
	for _, k := range chunkKinds {
		for _, whole := range []int{0, 1, 3} {
			for words, code := range map[string]int{"": 0, "250 2.0.0 taken\r\n": 0, "452 4.3.1 full\r\n": 452, "421 4.3.2 bye\r\n": 421, "what\r\n": 0} {
				inBubble(t, fmt.Sprint(k.name, "/", whole, "/", words), func(t *testing.T) {
					cc, sc := net.Pipe()
					heard := make(chan string, 1)
					go func() { heard <- takeHalf(sc, k.caps, whole, words) }()
					c, err := NewClient(t.Context(), cc, ClientOptions{Name: "x.example", LMTP: k.lmtp})
					if err != nil {
						t.Fatal(err)
					}
					begin := time.Now()
					res, err := c.Send(t.Context(), letter(in, "a", "b"))
					took, block := time.Since(begin), c.opts.Timeouts.Block
					if e := clientError(t, err); e.Stage != StageBody || e.Permanent() || c.Usable() || took < block || took > block+2*lastWords {
						t.Fatal(e, took)
					}
					if res.Final(0).Code != code || res.Final(1).Code != code || res.Unknown {
						t.Fatalf("%+v", res)
					}
					sc.Close()
					if last := <-heard; strings.HasSuffix(last, " LAST") != (whole == 3) {
						t.Fatal(last)
					}
				})
			}
		}
	}
}

// takeHalf is a server that takes so many chunks, then half of the next one, says
// something and reads no more. It gives the last command.
func takeHalf(nc net.Conn, caps string, whole int, words string) string {
	io.WriteString(nc, "220 x\r\n")
	br := bufio.NewReaderSize(nc, 512) // a flight of commands, and less than the rest of any chunk
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return line
		}
		line = strings.TrimSuffix(line, "\r\n")
		switch n := 0; line[:4] {
		case "EHLO", "LHLO":
			io.WriteString(nc, "250-x\r\n250-"+strings.ReplaceAll(caps, ",", "\r\n250-")+"\r\n250 HELP\r\n")
		case "BDAT":
			fmt.Sscanf(line, "BDAT %d", &n)
			if whole == 0 {
				io.CopyN(io.Discard, br, int64(n/2))
				io.WriteString(nc, words)
				return line
			}
			whole--
			io.CopyN(io.Discard, br, int64(n))
			fallthrough
		default:
			io.WriteString(nc, "250 ok\r\n")
		}
	}
}

// TestClientChunkBorders: what ends with a full buffer is the last chunk, so that
// none is empty; one octet more makes a chunk of its own.
func TestClientChunkBorders(t *testing.T) {
	for _, k := range chunkKinds {
		for _, full := range []int{1, 2, 5} {
			for size := full*chunkMost - 1; size <= full*chunkMost+1; size++ {
				in := strings.Repeat("a", size-2) + "\r\n"
				for _, announced := range []int64{0, int64(size)} {
					s := &stub{caps: k.caps, lmtp: k.lmtp}
					c, done := s.connect(t, ClientOptions{LMTP: k.lmtp})
					m := letter(in, "a")
					m.Size = announced
					res, err := c.Send(t.Context(), m)
					done()
					var want []string
					for rest := size; rest > 0; rest -= chunkMost {
						want = append(want, fmt.Sprint("BDAT ", min(rest, chunkMost)))
					}
					want[len(want)-1] += " LAST"
					if err != nil || !res.Final(0).Success() || res.Normalised || strings.Join(s.texts, "") != in || !slices.Equal(s.heard[3:], want) {
						t.Fatalf("%d: %+v %v\n got %q\nwant %q", size, res, err, s.heard, want)
					}
				}
			}
		}
	}
}

// TestClientChunkAllocations: a message of four times the size costs no more.
func TestClientChunkAllocations(t *testing.T) {
	for _, caps := range []string{"PIPELINING\r\n250 CHUNKING", "CHUNKING\r\n250 8BITMIME"} {
		cc, sc := pipe()
		go discard(sc, caps)
		c, err := NewClient(t.Context(), cc, ClientOptions{Name: "x.example"})
		if err != nil {
			t.Fatal(err)
		}
		cost := func(size int) float64 {
			m := letter(strings.Repeat("0123456789abcde\r\n", size/17), "a")
			content := []byte(strings.Repeat("0123456789abcde\r\n", size/17))
			m.Content = func(w io.Writer) error { _, err := w.Write(content); return err }
			return testing.AllocsPerRun(10, func() {
				if res, err := c.Send(t.Context(), m); err != nil || !res.Final(0).Success() {
					t.Error(res, err)
				}
			})
		}
		small, large := cost(1<<20), cost(4<<20)
		t.Log(small, large)
		if large > small+8 { // 96 chunks more; some room for what the collector takes from pools
			t.Fatalf("%v allocations for 1 MiB and %v for 4 MiB", small, large)
		}
		c.Close()
		sc.Close()
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
