package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/smtp"
	"strings"
	"testing"
)

// startDev runs a development node on free ports and stops it with the test.
func startDev(t *testing.T, dir string) *Node {
	t.Helper()
	opts, err := Dev(DevOptions{DataDir: dir, Password: "dev", PortBase: -1, Version: "test"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	n, err := Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return n
}

func (n *Node) address(t *testing.T, s Service) string {
	t.Helper()
	for _, l := range n.Bound() {
		if l.Service == s {
			return l.Address
		}
	}
	t.Fatalf("no %s", s)
	return ""
}

// imapDo logs in and runs commands; it returns all that the server said.
func imapDo(t *testing.T, addr string, commands ...string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i, line := range commands {
		fmt.Fprintf(c, "a%d %s\r\n", i, line)
	}
	fmt.Fprintf(c, "z LOGOUT\r\n")
	b, err := io.ReadAll(bufio.NewReader(c))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// smtpSend sends one message in clear.
func smtpSend(t *testing.T, addr, from, to, body string) {
	t.Helper()
	c, err := smtp.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := errors.Join(c.Hello("client.test"), c.Mail(from), c.Rcpt(to)); err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, body); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), c.Quit()); err != nil {
		t.Fatal(err)
	}
}

func TestLetterEndToEnd(t *testing.T) {
	dir := t.TempDir()
	n := startDev(t, dir)
	body := "From: ana@shop.test\r\nTo: bruno@shop.test\r\nMessage-ID: <1@shop.test>\r\nSubject: Ciao\r\n\r\nIt works.\r\n.dot\r\n"
	smtpSend(t, n.address(t, SMTP), "ana@shop.test", "bruno@shop.test", body)
	var got string
	for range 200 {
		got = imapDo(t, n.address(t, IMAP), "LOGIN bruno@shop.test dev", "SELECT INBOX", "FETCH 1 (FLAGS ENVELOPE BODYSTRUCTURE BODY.PEEK[])")
		if strings.Contains(got, "It works") {
			break
		}
	}
	for _, want := range []string{"* 1 EXISTS", `"Ciao"`, body, "Return-Path: <ana@shop.test>", "a2 OK", "BYE"} {
		if !strings.Contains(got, want) {
			t.Fatalf("no %q in:\n%s", want, got)
		}
	}
	var stories []Story
	if err := n.Call(context.Background(), "trace", TraceQuery{Text: "<1@shop.test>", Limit: 5}, &stories); err != nil || len(stories) != 1 {
		t.Fatalf("trace: %v, %v", stories, err)
	}
	for _, e := range stories[0].Events {
		t.Log(e.Text)
	}
	admin, err := Dial(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	var users []User
	if err := admin.Call(context.Background(), "user.list", Named{}, &users); err != nil || len(users) != 1 || users[0].Messages != 1 {
		t.Fatalf("users over the control socket: %+v, %v", users, err)
	}
	if err := admin.Call(context.Background(), "nonsense", None{}, nil); err == nil {
		t.Error("an unknown operation was done")
	}
}
