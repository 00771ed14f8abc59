package smtp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"net/smtp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/metric"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestServe talks over real sockets with the standard library's client: early
// talkers, many clients at once, and a stop that leaves nothing behind.
func TestServe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, reg := &fake{}, metric.New()
	s := NewServer(Options{Hostname: "mx.example.org", Backend: f, TLS: serverTLS(), Metrics: reg})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			for range 3 {
				msg := []byte(fmt.Sprintf("Subject: %d\r\n\r\n.x\r\n", i))
				// SendMail uses STARTTLS and would verify; a Client by hand does not.
				c, err := smtp.Dial(l.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				if err := errors.Join(c.Hello("x"), c.Mail("a@example.org"), c.Rcpt("b@example.org")); err != nil {
					t.Error(err)
					return
				}
				w, err := c.Data()
				if err != nil {
					t.Error(err)
					return
				}
				w.Write(msg)
				if err := errors.Join(w.Close(), c.Quit()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if len(f.posts) != 30 || !strings.HasSuffix(f.posts[0].content, "\r\n\r\n.x\r\n") {
		t.Errorf("%d messages", len(f.posts))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("still listening")
	}
	f.check(t)
	page := httptest.NewRecorder()
	reg.Handler().ServeHTTP(page, httptest.NewRequest("GET", "/", nil))
	for _, want := range []string{`postino_smtp_messages_total{outcome="accepted",service="smtp"} 30`, `postino_smtp_connections{service="smtp"} 0`, `postino_smtp_connections_total{service="smtp"} 30`} {
		if !strings.Contains(page.Body.String(), want) {
			t.Errorf("no %s", want)
		}
	}
}

// TestSS17Socket shows that octets which wait in the socket before the
// greeting are seen without a delay.
func TestSS17Socket(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if talks(sc) {
		t.Fatal("a silent client talks")
	}
	c.Write([]byte("EHLO x\r\n"))
	for !talks(sc) { // until loopback has delivered
		time.Sleep(time.Millisecond)
	}
	done := make(chan struct{})
	go func() {
		NewServer(Options{Hostname: "mx.example.org", Backend: &fake{}}).ServeConn(context.Background(), sc)
		close(done)
	}()
	out, _ := io.ReadAll(c) // to the half close
	if !strings.HasPrefix(string(out), "554 5.5.0") {
		t.Errorf("%q", out)
	}
	c.Close()
	<-done
}

// broken is a listener that fails some times before it is closed.
type broken struct {
	fails int
	tries int
}

func (b *broken) Accept() (net.Conn, error) {
	if b.tries++; b.tries <= b.fails {
		return nil, errors.New("too many open files")
	}
	return nil, net.ErrClosed
}
func (b *broken) Close() error   { return nil }
func (b *broken) Addr() net.Addr { return addr("192.0.2.1:25") }

// TestSB3 shows that failures to accept are waited out.
func TestSB3(t *testing.T) {
	b := &broken{fails: 3}
	began := time.Now()
	if err := NewServer(Options{Backend: &fake{}}).Serve(b); !errors.Is(err, net.ErrClosed) || b.tries != 4 || time.Since(began) < 35*time.Millisecond {
		t.Fatal(err, b.tries, time.Since(began))
	}
}

// nothing accepts everything and keeps nothing, to measure the engine alone.
type nothing struct{}

func (nothing) NewSession(context.Context, *Conn) (Session, error) { return nothing{}, nil }
func (nothing) Hello(context.Context, string, bool) error          { return nil }
func (nothing) Mechanisms() []string                               { return nil }
func (nothing) Auth(context.Context, string) (Exchange, error)     { return nil, io.EOF }
func (nothing) Mail(context.Context, postino.Address, MailOptions) (Transaction, error) {
	return nothing{}, nil
}
func (nothing) Verify(context.Context, string) error { return nil }
func (nothing) Expand(context.Context, string) error { return nil }
func (nothing) Turn(context.Context, string) error   { return nil }
func (nothing) URL(context.Context, string) (io.ReadCloser, int64, error) {
	return nil, 0, io.EOF
}
func (nothing) Rcpt(context.Context, postino.Recipient) error { return nil }
func (nothing) Data(context.Context) (Sink, error)            { return nothing{}, nil }
func (nothing) Write(p []byte) (int, error)                   { return len(p), nil }
func (nothing) Commit(context.Context) (Accepted, error)      { return Accepted{ID: "01234567890ab"}, nil }
func (nothing) Close()                                        {}

// BenchmarkTransaction is one pipelined transaction of a long session over a
// pipe in memory; allocations are those of the server.
func BenchmarkTransaction(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size>>10, "KiB"), func(b *testing.B) {
			s := NewServer(Options{Hostname: "mx.example.org", Backend: nothing{}, Trusted: nil, Limits: Limits{Transactions: 1 << 40, MessageBytes: 1 << 30}})
			c := dial(b, s)
			c.script(hello[:strings.LastIndex(hello, "S:")] + "S: 250 ")
			body := []byte(strings.Repeat(strings.Repeat("x", 74)+"\r\n", size/76) + ".\r\n")
			envelope := []byte("MAIL FROM:<sender@example.org> SIZE=4096 BODY=8BITMIME\r\nRCPT TO:<recipient@example.net>\r\nDATA\r\n")
			in := make([]byte, 512)
			read := func(lines int) {
				for lines > 0 {
					n, err := c.Conn.Read(in)
					if err != nil {
						b.Fatal(err)
					}
					lines -= strings.Count(string(in[:n]), "\n")
				}
			}
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				c.Write(envelope)
				read(3)
				c.Write(body)
				read(1)
			}
			c.Close()
		})
	}
}

// A server that was shut down before it served serves nobody (G11).
func TestShutdownBeforeServe(t *testing.T) {
	s := NewServer(Options{Hostname: "mx.example.org", Backend: &fake{}})
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(l); err != nil {
		t.Errorf("Serve returned %v", err)
	}
}
