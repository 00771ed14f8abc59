package script

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/postino-mail/postino/queue"
)

// mailFake sends a message from a stranger: FROM TO… FILE, where FROM and TO may
// carry parameters: 'b@example.net NOTIFY=NEVER'. u{1..9}@ stands for nine.
func (w *world) mailFake(ts *testscript.TestScript, args []string) error {
	return w.post(ts, "smtp", "", args)
}

// submit sends a message as a user: USER FROM TO… FILE.
func (w *world) submit(ts *testscript.TestScript, args []string) error {
	return w.post(ts, "submission", args[0], args[1:])
}

// resend sends the last message that a peer took on to somebody, in the way that
// the words say: DOMAIN again FROM TO as it came, DOMAIN back FILE as a report to
// where it came from.
func (w *world) resend(ts *testscript.TestScript, args []string) error {
	p, err := w.fake.byName(args[0])
	if err != nil {
		return err
	}
	mails, _ := p.heard()
	if len(mails) == 0 {
		return errors.New("there is none")
	}
	last := mails[len(mails)-1]
	switch args[1] {
	case "again":
		return w.transact("smtp", "", args[2], args[3:], last.body)
	case "back":
		body, err := crlfFile(ts, args[2])
		if err != nil {
			return err
		}
		return w.transact("smtp", "", "<>", []string{address(last.from)}, body)
	}
	return fmt.Errorf("no way %s", args[1])
}

func (w *world) post(ts *testscript.TestScript, service, user string, args []string) error {
	body, err := crlfFile(ts, args[len(args)-1])
	if err != nil {
		return err
	}
	return w.transact(service, user, args[0], args[1:len(args)-1], body)
}

// transact sends a message and lets happen what follows from it.
func (w *world) transact(service, user, from string, to []string, body []byte) error {
	s, err := w.dialSMTP(service)
	if err != nil {
		return err
	}
	defer s.conn.Close()
	if user != "" {
		if err := s.command("235", "AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password))); err != nil {
			return err
		}
	}
	if err := s.command("250", "MAIL FROM:"+inBrackets(from)); err != nil {
		return err
	}
	for _, to := range to {
		for _, one := range numbered(to) {
			if err := s.command("25", "RCPT TO:"+inBrackets(one)); err != nil {
				return err
			}
		}
	}
	if err := s.data(body); err != nil {
		return err
	}
	settle()
	return nil
}

// inBrackets puts the address before the parameters between angle brackets.
func inBrackets(s string) string {
	address, params, _ := strings.Cut(s, " ")
	return strings.TrimSpace("<" + strings.Trim(address, "<>") + "> " + params)
}

var braces = regexp.MustCompile(`\{(\d+)\.\.(\d+)\}`)

// numbered writes out u{1..3}@example.net.
func numbered(s string) []string {
	m := braces.FindStringSubmatchIndex(s)
	if m == nil {
		return []string{s}
	}
	from, _ := strconv.Atoi(s[m[2]:m[3]]) // digits, by the pattern
	to, _ := strconv.Atoi(s[m[4]:m[5]])
	var all []string
	for n := from; n <= to; n++ {
		all = append(all, s[:m[0]]+strconv.Itoa(n)+s[m[1]:])
	}
	return all
}

// inbox prints the messages in a user's INBOX, or in another mailbox, and checks
// how many there are: USER N [MAILBOX].
func (w *world) inbox(ts *testscript.TestScript, args []string) error {
	addr, err := w.address("imap")
	if err != nil {
		return err
	}
	mailbox := "INBOX"
	if len(args) > 2 {
		mailbox = args[2]
	}
	all, err := w.fetchAll(addr, args[0], mailbox)
	if err != nil {
		return err
	}
	for _, m := range all {
		fmt.Fprintf(ts.Stdout(), "%s\n", bytes.ReplaceAll(m, []byte("\r\n"), []byte("\n")))
	}
	if n, err := strconv.Atoi(args[1]); err != nil || n != len(all) {
		return fmt.Errorf("%s has %d messages, not %s", args[0], len(all), args[1])
	}
	return nil
}

// received checks how many messages a peer took, and that each ends in the
// octets of a file, after header fields of those that handled it; it prints them.
func (w *world) received(ts *testscript.TestScript, args []string) error {
	p, err := w.fake.byName(args[0])
	if err != nil {
		return err
	}
	mails, dialogue := p.heard()
	for _, m := range mails {
		fmt.Fprintf(ts.Stdout(), "from %s\n", m.from)
		for _, r := range m.rcpts {
			fmt.Fprintf(ts.Stdout(), "to %s\n", r)
		}
		fmt.Fprintf(ts.Stdout(), "\n%s\n", bytes.ReplaceAll(m.body, []byte("\r\n"), []byte("\n")))
	}
	if n, err := strconv.Atoi(args[1]); err != nil || n != len(mails) {
		return fmt.Errorf("%s took %d messages, not %s:\n%s", args[0], len(mails), args[1], strings.Join(dialogue, "\n"))
	}
	if len(args) < 3 {
		return nil
	}
	want, err := crlfFile(ts, args[2])
	if err != nil {
		return err
	}
	for _, m := range mails {
		before, ok := bytes.CutSuffix(m.body, want)
		if !ok || !handled.Match(before) {
			return fmt.Errorf("%s took %q, not %q", args[0], m.body, want)
		}
	}
	return nil
}

// handled are the fields that servers put before a message.
var handled = regexp.MustCompile(`\A(?:(?:Received|Return-Path|Delivered-To|Authentication-Results|DKIM-Signature|ARC-[A-Za-z-]*): [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)*\z`)

// crlfFile reads a file of a script as a message.
func crlfFile(ts *testscript.TestScript, name string) ([]byte, error) {
	text, err := os.ReadFile(ts.MkAbs(name))
	return bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")), err
}

// states are those of the queue, in the order in which queue prints them.
var states = []queue.State{queue.StateNew, queue.StateWaiting, queue.StateParked, queue.StateHeld}

// queue prints the queue and checks how many items are in it.
func (w *world) queue(ts *testscript.TestScript, args []string) error {
	count := 0
	for _, state := range states {
		items, err := w.node.Queue.List(context.Background(), queue.Filter{State: state, Limit: 1000})
		if err != nil {
			return err
		}
		count += len(items)
		for _, it := range items {
			due := ""
			if !it.Due.IsZero() {
				due = " due in " + time.Until(it.Due).Round(time.Second).String()
			}
			fmt.Fprintf(ts.Stdout(), "%s %s from <%s> attempts %d%s %s\n", it.State, it.Transport, it.From, it.Attempts, due, it.Reason)
			for _, r := range it.Rcpts {
				fmt.Fprintf(ts.Stdout(), "\tto <%s> %s %s\n", r.Address, rcptStates[r.State], r.Reply)
			}
		}
	}
	if n, err := strconv.Atoi(args[0]); err != nil || n != count {
		return fmt.Errorf("%d items in the queue, not %s", count, args[0])
	}
	return nil
}

var rcptStates = map[queue.RcptState]string{queue.Pending: "pending", queue.Done: "done", queue.Failed: "failed"}
