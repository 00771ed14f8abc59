package crash

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/receive"
	"github.com/postino-mail/postino/story"
)

const hello = `
	C: EHLO mail.a.example
	S: 250
`

func TestOneLetter(t *testing.T) {
	h := newHouse(t, plan{})
	c := h.dial(receive.MX)
	last := c.talk(hello + `
		C: MAIL FROM:<x@a.example>
		S: 250
		C: RCPT TO:<bob@b.example>
		S: 250
		C: DATA
		S: 354
		C: Message-ID: <1@a.example>
		C: Subject: hello
		C:
		C: ..dot
		C: .
		S: 250 2.0.0
	`)
	id := last[strings.LastIndexByte(last, ' ')+1:]
	h.settled()
	got := h.inbox("bob@b.example")
	if len(got) != 1 {
		t.Fatalf("%d messages", len(got))
	}
	want := regexp.MustCompile(`^Return-Path: <x@a\.example>\r\n` +
		`Delivered-To: bob@b\.example\r\n` +
		`Received: from mail\.a\.example \(\[127\.0\.0\.1\]\)\r\n` +
		`\tby mx\.b\.example with ESMTP id ` + id + `\r\n` +
		`\tfor <bob@b\.example>;\r\n` +
		`\t\w{3}, \d+ \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}\r\n` +
		`Message-ID: <1@a\.example>\r\nSubject: hello\r\n\r\n\.dot\r\n$`)
	if !want.MatchString(got[0]) {
		t.Errorf("message:\n%s", got[0])
	}
	for _, word := range []string{id, "<1@a.example>", "bob@b.example", "x@a.example"} {
		if kinds, _ := h.story(word); kinds != "accepted delivered " {
			t.Errorf("story of %s: %s", word, kinds)
		}
	}
	_, events := h.story(id)
	if e := events[0]; e.First(story.Helo) != "mail.a.example" || e.First(story.Remote) != "127.0.0.1" || e.First(story.Protocol) != "ESMTP" ||
		e.First(story.Listener) != "mx" || e.First(story.Size) == "" {
		t.Errorf("acceptance: %s", story.Describe(e))
	}
	if e := events[1]; story.Describe(e) != "delivered: for <bob@b.example>, in bob@b.example INBOX, uid 1" {
		t.Errorf("delivery: %s", story.Describe(e))
	}
	if n := h.rows("q"); n != 0 {
		t.Errorf("%d rows left in the queue", n)
	}
}

// Every refusal comes while the client is connected, and is kept.
func TestRefusedRecipients(t *testing.T) { // SS18, SS20
	h := newHouse(t, plan{})
	h.dial(receive.MX).talk(hello + `
		C: MAIL FROM:<x@a.example>
		S: 250
		C: RCPT TO:<nobody@b.example>
		S: 550 5.1.1
		C: RCPT TO:<x@elsewhere.example>
		S: 550 5.7.1
		C: RCPT TO:<x%elsewhere.example@b.example>
		S: 550 5.1.1
		C: RCPT TO:<@b.example:x@elsewhere.example>
		S: 550 5.7.1
		C: RCPT TO:<x@off.example>
		S: 550 5.2.1
		C: DATA
		S: 554 5.5.1
		C: VRFY bob
		S: 252
		C: EXPN team
		S: 252
		C: QUIT
		S: 221
	`)
	var kinds string
	var events []*story.Event
	h.eventually("the refusals are written", func() bool {
		_, err := h.stories.Find(context.Background(), story.Query{Text: "nobody@b.example"})
		return err == nil
	})
	if kinds, events = h.story("nobody@b.example"); kinds != strings.Repeat("refused ", 5) {
		t.Fatalf("story: %s", kinds)
	}
	if e := events[0]; e.First(story.Stage) != "RCPT" || !strings.HasPrefix(e.First(story.Reply), "550 5.1.1") || e.First(story.Helo) != "mail.a.example" {
		t.Errorf("event: %s", story.Describe(e))
	}
}

// What was refused in a transaction that is accepted belongs to its story.
func TestRefusalBeforeAcceptance(t *testing.T) {
	h := newHouse(t, plan{})
	h.dial(receive.MX).talk(hello + `
		C: MAIL FROM:<>
		S: 250
		C: RCPT TO:<nobody@b.example>
		S: 550
		C: RCPT TO:<Postmaster>
		S: 250
		C: RCPT TO:<postmaster@b.example>
		S: 250
		C: RCPT TO:<POSTMASTER@b.example>
		S: 250
		C: DATA
		S: 354
		C: Subject: bounce
		C:
		C: .
		S: 250
	`)
	h.settled()
	got := h.inbox("postmaster@b.example")
	if len(got) != 1 || !strings.HasPrefix(got[0], "Return-Path: <>\r\nDelivered-To: postmaster@b.example\r\n") || strings.Contains(got[0], "for <") {
		t.Fatalf("messages: %q", got)
	}
	if kinds, _ := h.story("nobody@b.example"); kinds != "refused accepted delivered " {
		t.Errorf("story: %s", kinds)
	}
}

// One body for all: aliases and duplicates lead to one copy in each mailbox.
func TestAliasesAndDuplicates(t *testing.T) { // SS2
	h := newHouse(t, plan{})
	h.dial(receive.MX).talk(hello + `
		C: MAIL FROM:<x@a.example>
		S: 250
		C: RCPT TO:<team@b.example>
		S: 250
		C: RCPT TO:<bob+lists@b.example>
		S: 250
		C: RCPT TO:<robert@b.example>
		S: 250
		C: DATA
		S: 354
		C: Subject: once
		C:
		C: .
		S: 250
	`)
	h.settled()
	bob, ana := h.inbox("bob@b.example"), h.inbox("ana@b.example")
	if len(bob) != 1 || len(ana) != 1 {
		t.Fatalf("%d and %d messages", len(bob), len(ana))
	}
	if !strings.Contains(ana[0], "\r\nDelivered-To: ana@b.example\r\n") || strings.Contains(ana[0], "bob") {
		t.Errorf("message: %s", ana[0])
	}
	if n := h.rows("bd"); n != 1 {
		t.Errorf("%d stored bodies", n)
	}
}

func TestSubaddress(t *testing.T) {
	h := newHouse(t, plan{})
	h.dial(receive.MX).talk(hello + `
		C: MAIL FROM:<x@a.example>
		S: 250
		C: RCPT TO:<bob+lists@b.example>
		S: 250
		C: DATA
		S: 354
		C:
		C: .
		S: 250
	`)
	h.settled()
	if got := h.inbox("bob@b.example"); len(got) != 1 || !strings.Contains(got[0], "\r\nDelivered-To: bob+lists@b.example\r\n") {
		t.Errorf("messages: %q", got)
	}
}

func TestUTF8(t *testing.T) {
	h := newHouse(t, plan{})
	h.dial(receive.MX).talk(hello + `
		C: MAIL FROM:<jürgen@bücher.example> SMTPUTF8
		S: 250
		C: RCPT TO:<bob@b.example>
		S: 250
		C: DATA
		S: 354
		C: Subject: grüße
		C:
		C: .
		S: 250
	`)
	h.settled()
	got := h.inbox("bob@b.example")
	if len(got) != 1 || !strings.HasPrefix(got[0], "Return-Path: <jürgen@xn--bcher-kva.example>\r\n") || !strings.Contains(got[0], " with UTF8SMTP id ") {
		t.Errorf("message: %q", got)
	}
}

func TestLoops(t *testing.T) { // SS24
	h := newHouse(t, plan{})
	for name, header := range map[string]string{
		"100 hops":     strings.Repeat("Received: from a by b.example; today\r\n", 100),
		"own name":     strings.Repeat("Received: from a\r\n\tby MX.B.example with SMTP; today\r\n", 5),
		"delivered to": "Delivered-To:  BOB@b.example \r\n",
	} {
		c := h.dial(receive.MX)
		c.talk(hello + `
			C: MAIL FROM:<x@a.example>
			S: 250
			C: RCPT TO:<bob@b.example>
			S: 250
			C: DATA
			S: 354
		`)
		c.send(header + "\r\nbody\r\n.\r\n")
		if got := c.reply(); !strings.HasPrefix(got, "554 5.4.6") {
			t.Errorf("%s: %s", name, got)
		}
	}
	c := h.dial(receive.MX)
	c.talk(hello + "C: MAIL FROM:<x@a.example>\nS: 250\nC: RCPT TO:<bob@b.example>\nS: 250\nC: DATA\nS: 354")
	c.send(strings.Repeat("Received: from a by b.example; today\r\n", 99) + strings.Repeat("Delivered-To: ana@b.example\r\n", 3) + "\r\n.\r\n")
	c.want("250")
	h.settled()
	if n := len(h.inbox("bob@b.example")); n != 1 {
		t.Errorf("%d messages", n)
	}
}

func TestHeaderLimits(t *testing.T) { // SS9
	h := newHouse(t, plan{})
	for name, header := range map[string]string{
		"fields": strings.Repeat("X: y\r\n", 2001),
		"field":  "X: " + strings.Repeat("y\r\n ", 50_000) + "\r\n",
		"block":  strings.Repeat("X: "+strings.Repeat("y", 900)+"\r\n", 600),
	} {
		c := h.dial(receive.MX)
		c.talk(hello + "C: MAIL FROM:<x@a.example>\nS: 250\nC: RCPT TO:<bob@b.example>\nS: 250\nC: DATA\nS: 354")
		c.send(header + "\r\nbody\r\n.\r\n")
		if got := c.reply(); !strings.HasPrefix(got, "552 5.3.4") {
			t.Errorf("%s: %s", name, got)
		}
	}
	if h.rows("b") != 0 || h.rows("q") != 0 {
		t.Error("a refused message left rows behind (SS3)")
	}
}

func auth(user, password string) string {
	return "C: AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)) + "\n"
}

func TestSubmission(t *testing.T) { // SS22
	h := newHouse(t, plan{})
	c := h.dial(receive.Submission)
	c.talk(hello + `
		C: MAIL FROM:<bob@b.example>
		S: 530 5.7.0
	` + auth("bob@b.example", "correct horse") + `
		S: 235
		C: MAIL FROM:<ana@b.example>
		S: 550 5.7.1
		C: MAIL FROM:<x@a.example>
		S: 550 5.7.1
		C: MAIL FROM:<team@b.example>
		S: 250
		C: RSET
		S: 250
		C: MAIL FROM:<robert@b.example>
		S: 250
		C: RCPT TO:<ana@b.example>
		S: 250
		C: DATA
		S: 354
		C: Subject: from bob
		C:
		C: .
		S: 250
	`)
	h.settled()
	got := h.inbox("ana@b.example")
	if len(got) != 1 || strings.Contains(got[0], "127.0.0.1") || strings.Contains(got[0], "mail.a.example") ||
		!strings.Contains(got[0], "Received: from localhost (client address withheld)\r\n\tby mx.b.example with ESMTPA id ") {
		t.Errorf("message: %q", got)
	}
	_, events := h.story("robert@b.example")
	if e := events[len(events)-2]; e.First(story.User) != "bob@b.example" || e.First(story.Listener) != "submission" || e.First(story.Remote) != "127.0.0.1" {
		t.Errorf("acceptance: %s", story.Describe(e))
	}
}

func TestWrongPassword(t *testing.T) {
	h := newHouse(t, plan{})
	h.dial(receive.Submission).talk(hello + auth("bob@b.example", "wrong password") + "S: 535 5.7.8")
	// The MX listener offers no login.
	h.dial(receive.MX).talk(hello + auth("bob@b.example", "correct horse") + "S: 50")
}

func TestQuota(t *testing.T) {
	h := newHouse(t, plan{quota: 3000, queue: queue.Options{Retry: queue.Schedule{First: time.Hour}}})
	send := func(to string, size int, want string) {
		t.Helper()
		c := h.dial(receive.MX)
		c.talk(hello + "C: MAIL FROM:<x@a.example>\nS: 250\nC: RCPT TO:<" + to + "@b.example>\nS: 250\nC: DATA\nS: 354")
		c.send("Subject: big\r\n\r\n" + strings.Repeat("x", size) + "\r\n.\r\n")
		c.want(want)
	}
	send("bob", 1000, "250")
	h.settled()
	h.dial(receive.MX).talk(hello + `
		C: MAIL FROM:<x@a.example> SIZE=2500
		S: 250
		C: RCPT TO:<bob@b.example>
		S: 452 4.2.2
		C: RCPT TO:<team@b.example>
		S: 250
		C: RSET
		S: 250
		C: MAIL FROM:<x@a.example> SIZE=3001
		S: 250
		C: RCPT TO:<bob@b.example>
		S: 552 5.2.2
	`)
	// Nothing was declared: the size decides at the end of the data, once no
	// recipient has room; where one has, the others wait.
	send("bob", 2300, "452 4.2.2")
	send("bob", 4000, "552 5.2.2")
	send("team", 2300, "250")
	h.eventually("deferred", func() bool { return h.rows("qw") == 1 })
	if kinds, _ := h.story("team@b.example"); !strings.HasSuffix(kinds, "accepted delivered deferred ") {
		t.Errorf("story: %s", kinds)
	}
	if bob, ana := len(h.inbox("bob@b.example")), len(h.inbox("ana@b.example")); bob != 1 || ana != 1 {
		t.Errorf("%d and %d messages", bob, ana)
	}
}

func TestNoRoom(t *testing.T) {
	h := newHouse(t, plan{room: func(n int64) error {
		if n > 1000 {
			return errors.New("no room")
		}
		return nil
	}})
	h.dial(receive.MX).talk(hello + "C: MAIL FROM:<x@a.example> SIZE=1001\nS: 452 4.3.1\nC: MAIL FROM:<x@a.example> SIZE=1000\nS: 250")
}

// Nothing stays of a transaction that is not committed (SS3).
func TestAbandoned(t *testing.T) {
	h := newHouse(t, plan{})
	c := h.dial(receive.MX)
	c.talk(hello + "C: MAIL FROM:<x@a.example>\nS: 250\nC: RCPT TO:<bob@b.example>\nS: 250\nC: DATA\nS: 354")
	c.send("Subject: cut\r\n\r\nhalf")
	c.Close()
	h.dial(receive.MX).talk(hello + "C: MAIL FROM:<x@a.example>\nS: 250\nC: RCPT TO:<bob@b.example>\nS: 250\nC: DATA\nS: 354\nC: Subject: y\nC:\nC: .\nS: 250")
	h.settled()
	if n := len(h.inbox("bob@b.example")); n != 1 || h.rows("bd") != 1 {
		t.Errorf("%d messages, %d bodies", n, h.rows("bd"))
	}
}

// A large message, and one that the queue finds again after a restart, arrive
// octet for octet.
func TestLargeAndRestarted(t *testing.T) {
	h := newHouse(t, plan{idle: true})
	body := strings.Repeat(strings.Repeat("0123456789", 7)+"\r\n", 5000)
	c := h.dial(receive.MX)
	c.talk(hello + "C: MAIL FROM:<x@a.example>\nS: 250\nC: RCPT TO:<team@b.example>\nS: 250")
	for _, text := range []string{"Subject: large\r\n\r\n" + body, "Subject: small\r\n\r\n"} {
		c.send("DATA\r\n")
		c.want("354")
		c.send(text + ".\r\n")
		c.want("250")
		c.talk("C: MAIL FROM:<x@a.example>\nS: 250\nC: RCPT TO:<team@b.example>\nS: 250")
	}
	// Another queue over the same store stands for the process after a restart.
	h.queue = queue.New(h.db, h.blobs, h.stories, queue.Options{IDs: h.ids, Transports: map[string]queue.TransportOptions{queue.Local: {Transport: h.transport()}}})
	h.queue.Start()
	h.later(func() { h.queue.Stop(context.Background()) })
	h.settled()
	for _, user := range []string{"bob@b.example", "ana@b.example"} {
		got := h.inbox(user)
		if len(got) != 2 || !strings.HasSuffix(got[0], "\r\nSubject: large\r\n\r\n"+body) || !strings.HasSuffix(got[1], "\r\nSubject: small\r\n\r\n") {
			t.Errorf("%s: %d messages", user, len(got))
		}
	}
}

// A recipient whose mailbox is gone is resolved again by its address.
func TestMailboxIsGone(t *testing.T) {
	for _, becomes := range []string{"alias", "nothing"} {
		t.Run(becomes, func(t *testing.T) {
			h := newHouse(t, plan{idle: true})
			ctx := context.Background()
			_, err := h.users.AddUser(ctx, newUser("temp@b.example"))
			must(t, err)
			h.dial(receive.MX).talk(hello + "C: MAIL FROM:<x@a.example>\nS: 250\nC: RCPT TO:<temp@b.example>\nS: 250\nC: DATA\nS: 354\nC: Subject: y\nC:\nC: .\nS: 250")
			must(t, h.users.RemoveUser(ctx, address("temp@b.example")))
			if becomes == "alias" {
				must(t, h.users.SetAlias(ctx, aliasOf("temp@b.example", "bob@b.example", "ana@b.example")))
			}
			h.queue.Start()
			if becomes == "alias" {
				h.settled()
				if bob, ana := h.inbox("bob@b.example"), h.inbox("ana@b.example"); len(bob) != 1 || len(ana) != 1 {
					t.Errorf("%d and %d messages", len(bob), len(ana))
				}
				return
			}
			h.eventually("held or rerouted", func() bool { return h.rows("qn") == 0 })
			held, err := h.queue.List(ctx, queue.Filter{State: queue.StateHeld})
			must(t, err)
			if len(held) != 1 || !strings.HasPrefix(held[0].Rcpts[0].Reply, "5.1.1") {
				t.Errorf("held: %+v", held)
			}
		})
	}
}

func TestManyRecipients(t *testing.T) {
	h := newHouse(t, plan{})
	ctx := context.Background()
	c := h.dial(receive.MX)
	c.talk(hello + "C: MAIL FROM:<x@a.example>\nS: 250")
	const n = 300 // more than one commit serves
	for i := range n {
		name := fmt.Sprintf("u%d@b.example", i)
		_, err := h.users.AddUser(ctx, newUser(name))
		must(t, err)
		c.talk("C: RCPT TO:<" + name + ">\nS: 250")
	}
	c.talk("C: DATA\nS: 354\nC: Subject: all\nC:\nC: .\nS: 250")
	h.settled()
	for i := range n {
		if got := h.inbox(fmt.Sprintf("u%d@b.example", i)); len(got) != 1 {
			t.Fatalf("u%d has %d messages", i, len(got))
		}
	}
	if n := h.rows("bd"); n != 1 {
		t.Errorf("%d stored bodies", n)
	}
	if kinds, _ := h.story("u7@b.example"); kinds != "accepted delivered delivered " {
		t.Errorf("story: %s", kinds)
	}
}
