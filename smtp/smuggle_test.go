package smtp

import (
	"bufio"
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
)

// TestSmuggling shows SS1 and SS2: whatever stands around a dot, what follows
// is either content of the one message or, after a true end, commands; and a
// message with a bare CR or LF is refused with everything behind it.
func TestSmuggling(t *testing.T) {
	ends := []string{"", "\r\n", "\n", "\r", "\n\r", "\r\r\n", "\r\n\n", "\r\n\r", "\x00\r\n", "\r\x00\n", " \r\n", "\u0085", "\u2028"}
	smuggled := "MAIL FROM:<evil@example.org>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\nevil\r\n.\r\n"
	count := 0
	synctest.Test(t, func(t *testing.T) {
		for _, before := range ends {
			for _, dot := range []string{".", "..", ".\x00", "\x00."} {
				for _, after := range ends {
					for _, piece := range []int{1 << 20, 1} {
						count++
						body := "Subject: x\r\n\r\ntext" + before + dot + after + smuggled
						in := body + "\r\n.\r\n"
						content, used, _, bare := naive([]byte(in))
						f := &fake{}
						s := NewServer(Options{Hostname: "mx.example.org", Backend: f})
						cc, sc := pipe()
						done := make(chan struct{})
						go func() {
							s.ServeConn(context.Background(), sc)
							close(done)
						}()
						c := &client{t, cc, bufio.NewReader(cc)}
						c.script(hello + "C: MAIL FROM:<a@example.org>\nS: 250 \nC: RCPT TO:<b@example.org>\nS: 250 \nC: DATA\nS: 354 ")
						for rest := in; rest != ""; {
							n := min(piece, len(rest))
							c.send(rest[:n])
							rest = rest[n:]
							if piece == 1 {
								synctest.Wait()
							}
						}
						cc.(*memConn).CloseWrite()
						out, _ := io.ReadAll(c.br)
						<-done
						f.check(t)
						switch {
						case bare:
							if len(f.posts) != 0 || !strings.HasPrefix(string(out), "554 5.6.0") || strings.Count(string(out), "\n") != 1 {
								t.Fatalf("%q: %d messages, %q", body, len(f.posts), out)
							}
						case len(f.posts) == 0 || f.posts[0].content != string(content):
							t.Fatalf("%q: %+v, %q", body, f.posts, out)
						case used == len(in) && len(f.posts) != 1:
							t.Fatalf("%q: smuggled", body)
						}
						if accepted := strings.Count(string(out), "250 2.0.0 Queued"); accepted != len(f.posts) {
							t.Fatalf("%q: %d times 250 for %d messages", body, accepted, len(f.posts))
						}
					}
				}
			}
		}
	})
	t.Log(count, "variants")
}
