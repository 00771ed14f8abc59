package crash

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/mailauth"
	"github.com/postino-mail/postino/receive"
	"github.com/postino-mail/postino/smtp"
	"github.com/postino-mail/postino/vfs"
)

// BenchmarkAccept takes messages in, as many sessions at once as its name says,
// and waits until all are in their mailboxes. The wire is left out.
func BenchmarkAccept(b *testing.B) {
	for _, store := range []string{"memory", "disk"} {
		for _, size := range []int{4 << 10, 50 << 10} {
			for _, sessions := range []int{1, 10, 50} {
				b.Run(fmt.Sprintf("%s/%dKiB/%d", store, size>>10, sessions), func(b *testing.B) { benchAccept(b, store, size, sessions, false) })
			}
		}
	}
}

// BenchmarkAcceptJudged is BenchmarkAccept for messages of strangers: with SPF,
// iprev, a signature of RSA-2048, DMARC and the story of all that. What the DNS says
// is in memory.
func BenchmarkAcceptJudged(b *testing.B) {
	for _, judged := range []bool{false, true} {
		b.Run(fmt.Sprintf("memory/9KiB/1/judged=%v", judged), func(b *testing.B) { benchAccept(b, "memory", 9<<10, 1, judged) })
	}
}

// catcher shows the connection that a session is for.
type catcher struct {
	smtp.Backend
	caught chan *smtp.Conn
}

func (c *catcher) NewSession(ctx context.Context, conn *smtp.Conn) (smtp.Session, error) {
	c.caught <- conn
	return c.Backend.NewSession(ctx, conn)
}

// catch returns a connection to a backend, which stays open.
func (h *house) catch(b *catcher) *smtp.Conn {
	h.Helper()
	h.listenFor(receive.MX, b)
	h.dial(receive.MX).talk(hello)
	return <-b.caught
}

// signed is a message of a.example with a signature of RSA-2048, and what the DNS
// says of that domain.
func signed(b *testing.B, size int) ([]byte, dns.Resolver) {
	header := []byte("From: Somebody <x@a.example>\r\nTo: u@b.example\r\nMessage-ID: <1234567890@a.example>\r\nDate: Mon, 2 Jan 2006 15:04:05 -0700\r\n" +
		"Subject: a message\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n")
	body := bytes.Repeat([]byte(strings.Repeat("text ", 14)+"\r\n"), size/72)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(b, err)
	signer, err := mailauth.NewSigner(header, mailauth.SignOptions{Keys: []mailauth.SignKey{{Domain: "a.example", Selector: "s", Key: key}}, Time: time.Now()})
	must(b, err)
	_, err = signer.Write(body)
	must(b, err)
	signature, err := signer.Sign()
	must(b, err)
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	must(b, err)
	txt := func(s string) *dns.Answer { return &dns.Answer{Security: dns.Insecure, TXT: []string{s}} }
	return slices.Concat(signature, header, []byte("\r\n"), body), cached{
		"a.example": txt("v=spf1 ip4:127.0.0.0/8 -all"), "_dmarc.a.example": txt("v=DMARC1; p=reject"),
		"s._domainkey.a.example": txt("v=DKIM1; p=" + base64.StdEncoding.EncodeToString(der)),
	}
}

// cached answers at once, as a cache does.
type cached map[string]*dns.Answer

func (c cached) Lookup(_ context.Context, name string, t dns.Type) (*dns.Answer, error) {
	if a := c[name]; a != nil && t == dns.TypeTXT {
		return a, nil
	}
	return &dns.Answer{Name: name}, postino.E(postino.NotFound, "look up", name, dns.ErrNXDomain)
}

func benchAccept(b *testing.B, store string, size, sessions int, judged bool) {
	var fs vfs.FS = vfs.Memory()
	p := plan{big: true}
	if store == "disk" {
		fs, p.dir = vfs.OS(), b.TempDir()
	}
	h, err := build(b, fs, p)
	must(b, err)
	defer h.close()
	must(b, h.users.AddDomain(context.Background(), directory.Domain{Name: "b.example"}))
	const users = 50
	for i := range users {
		_, err := h.users.AddUser(context.Background(), newUser(fmt.Sprintf("u%d@b.example", i)))
		must(b, err)
	}
	content, names := signed(b, size)
	if !judged {
		names = nil
	}
	backend := &catcher{Backend: h.backend(receive.MX, plan{names: names}), caught: make(chan *smtp.Conn, 1)}
	conn := h.catch(backend)
	var next atomic.Int64
	begin := cpu()
	b.SetParallelism(max(1, sessions/2)) // times the number of cores
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		s, err := backend.Backend.NewSession(context.Background(), conn)
		if err != nil {
			b.Error(err)
			return
		}
		for pb.Next() {
			rcpt := postino.Address{Local: fmt.Sprintf("u%d", next.Add(1)%users), Domain: "b.example"}
			if err := accept(s, rcpt, content); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "accepted/s")
	h.settled()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "delivered/s")
	b.ReportMetric(float64((cpu()-begin).Microseconds())/float64(b.N), "cpu-µs/op")
}

func accept(s smtp.Session, rcpt postino.Address, content []byte) error {
	ctx := context.Background()
	t, err := s.Mail(ctx, postino.Address{Local: "x", Domain: "a.example"}, smtp.MailOptions{})
	if err != nil {
		return err
	}
	defer t.Close()
	if err := t.Rcpt(ctx, postino.Recipient{Address: rcpt}); err != nil {
		return err
	}
	sink, err := t.Data(ctx)
	if err != nil {
		return err
	}
	for p := content; len(p) > 0; {
		n := min(len(p), 16<<10)
		if _, err := sink.Write(p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	_, err = sink.Commit(ctx)
	return err
}

// cpu returns what this process has used so far.
func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
