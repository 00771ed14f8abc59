package crash

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/directory"
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
				b.Run(fmt.Sprintf("%s/%dKiB/%d", store, size>>10, sessions), func(b *testing.B) { benchAccept(b, store, size, sessions) })
			}
		}
	}
}

func benchAccept(b *testing.B, store string, size, sessions int) {
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
	backend := h.backend(receive.MX, plan{})
	content := []byte("From: Somebody <x@a.example>\r\nTo: u@b.example\r\nMessage-ID: <1234567890@a.example>\r\nDate: Mon, 2 Jan 2006 15:04:05 -0700\r\n" +
		"Subject: a message\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n")
	for len(content) < size {
		content = append(content, strings.Repeat("text ", 14)+"\r\n"...)
	}
	var next atomic.Int64
	begin := cpu()
	b.SetParallelism(max(1, sessions/2)) // times the number of cores
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		s, err := backend.NewSession(context.Background(), &smtp.Conn{})
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
