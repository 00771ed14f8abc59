package submit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/kv/lsm"
	"github.com/postino-mail/postino/mailauth"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/mailfile"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/reports"
	"github.com/postino-mail/postino/story"
	"github.com/postino-mail/postino/vfs"
)

// house is a Post on real stores, with a queue that hands every item to the test.
type house struct {
	*Post
	t     testing.TB
	items chan *queue.Item
}

// carrier is a transport that takes everything as outcome says.
type carrier struct {
	h       *house
	outcome func(it *queue.Item, rcpt int) queue.Outcome
}

func (c *carrier) Deliver(ctx context.Context, b *queue.Batch) error {
	for _, it := range b.Items {
		var all []queue.Outcome
		for i := range it.Pending() {
			o := queue.Outcome{Result: queue.Delivered}
			if c.outcome != nil {
				o = c.outcome(it, i)
			}
			o.Rcpt = i
			all = append(all, o)
		}
		seen := *it
		if err := b.Update(ctx, nil, func(tx kv.Tx) error { return b.Finish(tx, it, all...) }); err != nil {
			return err
		}
		c.h.items <- &seen
	}
	return nil
}

var testTime = time.Now()

func addr(s string) postino.Address {
	a, err := postino.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

// open makes a house: ana@here.example is a user, list@ leads to ana and to
// bob@there.example, away@ to bob alone, mx.example is a relay domain.
func open(t testing.TB, outcome func(*queue.Item, int) queue.Outcome) *house {
	t.Helper()
	fs := vfs.Memory()
	db, err := lsm.Open(fs, "/kv", lsm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ids := new(postino.IDs)
	blobs, err := blob.New(db, fs, "/blobs", blob.Options{IDs: ids})
	if err != nil {
		t.Fatal(err)
	}
	boxes := mailbox.New(db, blobs, mailbox.Options{})
	dir := directory.New(db, directory.Options{DKIM: &directory.DKIM{RSA: someRSA}, Argon2: directory.Argon2{MemoryKiB: 8, Time: 1, Threads: 1}, Accounts: directory.AccountHooks{
		Create: func(tx kv.Tx, u directory.User) error {
			return boxes.Create(tx, mailbox.AccountID(u.ID), mailbox.Quota{Bytes: u.Quota}, u.Created)
		},
	}})
	stories := story.New(db, story.Options{IDs: ids})
	h := &house{t: t, items: make(chan *queue.Item, 100)}
	q := queue.New(db, blobs, stories, queue.Options{IDs: ids, Transports: map[string]queue.TransportOptions{
		queue.Local: {Transport: &carrier{h: h}},
		"relay":     {Transport: &carrier{h: h, outcome: outcome}, Sites: true},
	}})
	h.Post = New(Options{
		Hostname: "mx.here.example", DB: db, Blobs: blobs, Directory: dir, Mailboxes: boxes, Queue: q, Stories: stories, IDs: ids,
		SRS:  &mailauth.SRS{Domain: "mx.here.example", Secrets: [][]byte{bytes.Repeat([]byte{7}, 32)}},
		Dest: func(r *directory.Route, a postino.Address) string { return a.Domain },
	})
	q.SetReporter(h.Post)
	q.Start()
	t.Cleanup(func() {
		if err := q.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		stories.Close()
		dir.Close()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(dir.AddDomain(ctx, directory.Domain{Name: "here.example"}))
	must(dir.AddDomain(ctx, directory.Domain{Name: "mx.example", Relay: true}))
	_, err = dir.AddUser(ctx, directory.NewUser{Address: addr("ana@here.example"), Name: "Ana", Language: "it"})
	must(err)
	must(dir.SetAlias(ctx, directory.Alias{Address: addr("away@here.example"), Targets: []postino.Address{addr("bob@there.example")}}))
	must(dir.SetAlias(ctx, directory.Alias{Address: addr("list@here.example"), Targets: []postino.Address{addr("ana@here.example"), addr("bob@there.example")}}))
	return h
}

func (h *house) ana() directory.User {
	h.t.Helper()
	u, err := h.opts.Directory.User(h.t.Context(), addr("ana@here.example"))
	if err != nil {
		h.t.Fatal(err)
	}
	return u
}

func (h *house) next() *queue.Item {
	h.t.Helper()
	select {
	case it := <-h.items:
		return it
	case <-time.After(10 * time.Second):
		h.t.Fatal("nothing was delivered")
		return nil
	}
}

func (h *house) body(it *queue.Item) string {
	h.t.Helper()
	r, err := h.opts.Blobs.Open(h.t.Context(), it.Blob)
	if err != nil {
		h.t.Fatal(err)
	}
	defer r.Close()
	var b bytes.Buffer
	if _, err := r.WriteTo(&b); err != nil {
		h.t.Fatal(err)
	}
	return b.String()
}

// letter puts a message on the queue.
func (h *house) letter(from, text string, prepare func(*Letter), to ...string) error {
	h.t.Helper()
	e := postino.Envelope{}
	if from != "" {
		e.From = addr(from)
	}
	l := h.Begin(time.Now(), e)
	defer l.Close()
	if prepare != nil {
		prepare(l)
	}
	for _, a := range to {
		if err := l.Rcpt(h.t.Context(), postino.Recipient{Address: addr(a)}, 0); err != nil {
			return err
		}
	}
	l.Open(time.Now())
	if _, err := io.WriteString(l, text); err != nil {
		return err
	}
	if _, err := l.Finish(h.t.Context()); err != nil {
		return err
	}
	return l.Commit(h.t.Context())
}

const text = "From: x@far.example\r\nSubject: hello\r\n\r\nbody\r\n"

// Where mail goes: mailboxes, addresses elsewhere that aliases name, relay
// domains, and nowhere (SS18).
func TestRouting(t *testing.T) {
	h := open(t, nil)
	if err := h.letter("x@far.example", text, nil, "ana@here.example"); err != nil {
		t.Fatal(err)
	}
	if it := h.next(); it.Transport != queue.Local || it.Rcpts[0].User != addr("ana@here.example") {
		t.Errorf("local mail became %+v", it)
	}
	if err := h.letter("x@far.example", text, nil, "any@mx.example"); err != nil {
		t.Fatal(err)
	}
	if it := h.next(); it.Transport != "relay" || it.Dest != "mx.example" || it.From != addr("x@far.example") || len(it.Prefix) > 0 {
		t.Errorf("mail for a relay domain became %+v", it)
	}
	err := h.letter("x@far.example", text, nil, "bob@there.example")
	if !postino.Is(err, postino.Denied) || !errors.Is(err, ErrForeign) {
		t.Errorf("relaying for strangers: %v", err)
	}
	if err := h.letter("ana@here.example", text, func(l *Letter) { l.Outward = true }, "bob@there.example", "BOB@There.example", "bob@there.example"); err != nil {
		t.Fatal(err)
	}
	if it := h.next(); it.Transport != "relay" || it.Dest != "there.example" || len(it.Rcpts) != 2 {
		t.Errorf("mail to the outside became %+v", it)
	}
	if err := h.letter("x@far.example", text, nil, "nobody@here.example"); !postino.Is(err, postino.NotFound) {
		t.Errorf("an unknown user: %v", err)
	}
}

// Mail for accounts of this machine, whose name is no domain of ours, is the
// postmaster's; strangers cannot write to them.
func TestMachine(t *testing.T) {
	h := open(t, nil)
	for _, to := range []string{"root@mx.here.example", "www-data@mx.here.example"} {
		if err := h.letter("root@mx.here.example", text, func(l *Letter) { l.Outward = true }, to); err != nil {
			t.Fatal(err)
		}
		if it := h.next(); it.Transport != queue.Local || it.Rcpts[0].User != addr("ana@here.example") {
			t.Errorf("mail for %s became %+v", to, it)
		}
		if err := h.letter("x@far.example", text, nil, to); !errors.Is(err, ErrForeign) {
			t.Errorf("a stranger writes to %s: %v", to, err)
		}
	}
}

// What is forwarded has a sender of ours that leads back to the true one, names
// the alias in Delivered-To, and keeps the address that was written.
func TestForwarding(t *testing.T) {
	h := open(t, nil)
	if err := h.letter("x@far.example", text, nil, "away@here.example"); err != nil {
		t.Fatal(err)
	}
	it := h.next()
	if it.Dest != "there.example" || it.From.Domain != "mx.here.example" || !strings.HasPrefix(it.From.Local, "SRS0=") {
		t.Fatalf("forwarded mail goes to %s from %s", it.Dest, it.From)
	}
	if string(it.Prefix) != "Delivered-To: away@here.example\r\n" || it.Rcpts[0].ORcpt != "rfc822;away@here.example" {
		t.Errorf("prefix %q, original recipient %q", it.Prefix, it.Rcpts[0].ORcpt)
	}
	if found, err := h.opts.Stories.Find(t.Context(), story.Query{Text: "bob@there.example"}); err != nil || len(found) != 1 || found[0] != it.Message {
		t.Errorf("by the address elsewhere the stories %v are found, %v", found, err)
	}
	if err := h.letter("", text, nil, it.From.String()); err != nil { // a stranger's report
		t.Fatal(err)
	}
	if back := h.next(); back.Dest != "far.example" || back.Rcpts[0].Address != addr("x@far.example") {
		t.Errorf("the report goes to %+v", back.Rcpts)
	}
	forged := it.From
	forged.Local = strings.Replace(forged.Local, "=x", "=y", 1)
	if err := h.letter("", text, nil, forged.String(), "bob@there.example"); !postino.Is(err, postino.NotFound) {
		t.Errorf("a forged address: %v", err)
	}
	if err := h.letter("", text, nil, it.From.String(), "bob@there.example"); !errors.Is(err, ErrForeign) {
		t.Errorf("an address of ours opened the relay for another one: %v", err)
	}
	if err := h.letter("ana@here.example", text, nil, "away@here.example"); err != nil {
		t.Fatal(err)
	}
	if it := h.next(); it.From != addr("ana@here.example") {
		t.Errorf("a sender of ours was rewritten to %s", it.From)
	}
}

// A list serves its mailbox and the address elsewhere, each once.
func TestList(t *testing.T) {
	h := open(t, nil)
	if err := h.letter("x@far.example", text, nil, "list@here.example", "ana@here.example", "away@here.example"); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for range 3 { // bob comes by two aliases, which two Delivered-To fields name
		it := h.next()
		seen[it.Transport+" "+it.Dest] += len(it.Rcpts)
	}
	if seen["local "] != 1 || seen["relay there.example"] != 2 {
		t.Errorf("the message went to %v", seen)
	}
}

// Who wants to hear of success hears that a list took the message over, once; an
// alias with one target passes the wish on (RFC 3461 §5.2.7).
func TestExpanded(t *testing.T) {
	h := open(t, nil)
	send := func(to string) {
		t.Helper()
		l := h.Begin(time.Now(), postino.Envelope{From: addr("ana@here.example")})
		defer l.Close()
		if err := l.Rcpt(t.Context(), postino.Recipient{Address: addr(to), Notify: postino.DSNSuccess}, 0); err != nil {
			t.Fatal(err)
		}
		l.Open(time.Now())
		if _, err := io.WriteString(l, text); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := l.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	send("list@here.example")
	for range 3 { // ana, bob, and the report
		it := h.next()
		if !it.From.IsNull() {
			for _, r := range it.Rcpts {
				if r.State == queue.Pending && r.Notify&postino.DSNSuccess != 0 {
					t.Errorf("the list passed the wish on to %s", r.Address)
				}
			}
			continue
		}
		d, err := reports.ParseDSN(strings.NewReader(h.body(it)), reports.Limits{})
		if err != nil || len(d.Rcpts) != 1 || d.Rcpts[0].Action != reports.Expanded || d.Rcpts[0].Final != addr("list@here.example") {
			t.Errorf("the report is %+v, %v", d, err)
		}
	}
	send("away@here.example")
	if it := h.next(); it.Rcpts[0].Notify != postino.DSNSuccess {
		t.Errorf("the alias did not pass the wish on: %+v", it.Rcpts)
	}
}

// submission is what mend makes of a header, fed in pieces of n octets.
func (h *house) submission(header string, n int) (string, error) {
	l := h.Begin(testTime, postino.Envelope{From: addr("ana@here.example")})
	defer l.Close()
	l.ID, l.User, l.Repair = 1<<40, h.ana(), true
	l.Open(testTime)
	for b := []byte(header); len(b) > 0; b = b[min(n, len(b)):] {
		if _, err := l.Write(b[:min(n, len(b))]); err != nil {
			return "", err
		}
	}
	ix, err := l.Finish(h.t.Context())
	if err != nil {
		return "", err
	}
	return string(ix.Header()), nil
}

// What a submission agent mends, and what it refuses (RFC 6409 §8, SS22).
func TestMend(t *testing.T) {
	h := open(t, nil)
	const date, id = "Date: Mon, 2 Jan 2006 15:04:05 +0000\r\n", "Message-ID: <1@x>\r\n"
	const from = "From: ana@here.example\r\n"
	for _, c := range []struct {
		name, header string
		has, hasNot  []string
		err          error
	}{
		{"nothing to mend", from + date + id + "\r\nbody", []string{from + date + id}, []string{"Sender"}, nil},
		{"missing", "Subject: x\r\n\r\nbody", []string{"From: Ana <ana@here.example>\r\n", "Date: ", "Message-ID: <", "@mx.here.example>\r\n"}, nil, nil},
		{"no header", "\r\nbody", []string{"From: Ana <ana@here.example>\r\n"}, nil, nil},
		{"all header", from + "Subject: x", []string{"Subject: x\r\n", "Message-ID"}, nil, nil},
		{"bcc", from + "Bcc: secret@x.example,\r\n other@x.example\r\nResent-Bcc: more@x.example\r\nTo: b@x.example\r\n\r\n", []string{"To: b"}, []string{"secret", "other", "more"}, nil},
		{"foreign author", "From: Boss <boss@far.example>\r\n\r\n", nil, nil, ErrSender},
		{"one of two", "From: ana@here.example, boss@far.example\r\n\r\n", nil, nil, ErrSender},
		{"two fields", from + from + "\r\n", nil, nil, ErrFrom},
		{"foreign sender", from + "Sender: boss@far.example\r\n\r\n", nil, []string{"boss"}, nil},
		{"true sender", from + "Sender: ana+x@here.example\r\n\r\n", []string{"Sender: ana+x@here.example\r\n"}, nil, nil},
		{"group", "From: Friends:;\r\n\r\n", []string{"From: Friends:;\r\nDate", "Sender: Ana <ana@here.example>\r\n"}, nil, nil},
		{"quoted author", "From: \"ana\"@here.example\r\n\r\n", []string{"\"ana\""}, nil, nil},
		{"requests for receipts", from + "Disposition-Notification-To: ana@here.example\r\nReturn-Receipt-To: ana@here.example\r\n\r\n",
			[]string{"Disposition-Notification-To: ana@here.example\r\nReturn-Receipt-To: ana@here.example\r\n"}, nil, nil},
		{"sub-address", "From: ana+shop@here.example\r\n\r\n", []string{"ana+shop"}, nil, nil},
		{"lines that are no fields", from + "nonsense here\r\n\r\n", []string{"nonsense here\r\n"}, nil, nil},
	} {
		whole, err := h.submission(c.header, len(c.header))
		if !errors.Is(err, c.err) {
			t.Errorf("%s: error %v, want %v", c.name, err, c.err)
			continue
		}
		for _, s := range c.has {
			if !strings.Contains(whole, s) {
				t.Errorf("%s: %q is missing in\n%s", c.name, s, whole)
			}
		}
		for _, s := range c.hasNot {
			if strings.Contains(whole, s) {
				t.Errorf("%s: %q is in\n%s", c.name, s, whole)
			}
		}
		for n := 1; n < len(c.header) && c.err == nil; n++ {
			if pieces, err := h.submission(c.header, n); err != nil || pieces != whole {
				t.Errorf("%s: in pieces of %d it becomes\n%s\n%v", c.name, n, pieces, err)
			}
		}
	}
	if _, err := h.submission("X: "+strings.Repeat("a\r\n ", maxHeader/4+1), 4096); !errors.Is(err, ErrHeader) {
		t.Errorf("a header without end: %v (SS9)", err)
	}
}

// The body of a submission is not touched, wherever the header ends (PA7).
func TestBodyIsVerbatim(t *testing.T) {
	h := open(t, nil)
	body := "\r\nFrom: not a field\r\nBcc: neither\r\n\r\n\x00\xff\r\n"
	err := h.letter("ana@here.example", "From: ana@here.example\r\n"+body, func(l *Letter) { l.Repair, l.User = true, h.ana() }, "ana@here.example")
	if err != nil {
		t.Fatal(err)
	}
	if got := h.body(h.next()); !strings.HasSuffix(got, body) || strings.Count(got, "\r\n\r\n") != 2 {
		t.Errorf("the message is %q", got)
	}
}

// A failure comes back to the sender as a report in his language, and the
// report of a report does not exist (SC9).
func TestReport(t *testing.T) {
	h := open(t, func(it *queue.Item, _ int) queue.Outcome {
		return queue.Outcome{Result: queue.Rejected, Reply: "550 5.1.1 No such user", Remote: "mx.there.example"}
	})
	out := func(l *Letter) { l.Outward = true }
	if err := h.letter("ana@here.example", text, out, "bob@there.example"); err != nil {
		t.Fatal(err)
	}
	var report *queue.Item
	for report == nil {
		if it := h.next(); it.Transport == queue.Local {
			report = it
		}
	}
	if !report.From.IsNull() || report.Rcpts[0].Address != addr("ana@here.example") || report.Rcpts[0].Notify != postino.DSNNever {
		t.Errorf("the report goes from %q to %+v", report.From, report.Rcpts)
	}
	d, err := reports.ParseDSN(strings.NewReader(h.body(report)), reports.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Rcpts) != 1 {
		t.Fatalf("the report is about %d recipients", len(d.Rcpts))
	}
	r := d.Rcpts[0]
	if r.Action != reports.Failed || r.Status != "5.1.1" || r.Final != addr("bob@there.example") || r.RemoteMTA != "mx.there.example" || !strings.Contains(r.Diagnostic, "No such user") {
		t.Errorf("the report says %+v", r)
	}
	if !strings.Contains(h.body(report), "Subject: hello") {
		t.Error("the header of the message is not in the report")
	}
	if err := h.letter("", text, out, "bob@there.example"); err != nil {
		t.Fatal(err)
	}
	h.next()
	if err := h.letter("ana@here.example", text, nil, "ana@here.example"); err != nil {
		t.Fatal(err)
	}
	if it := h.next(); it.From.IsNull() {
		t.Errorf("a failed report made another one: %+v", it)
	}
}

// A drop of the spool is taken once, although it is there again after a crash.
func TestDrop(t *testing.T) {
	h := open(t, nil)
	drop := func(name, to string) error {
		return h.Drop(t.Context(), &mailfile.Drop{
			Name: name, UID: 33, HasUID: true, Size: int64(len(text)), Content: strings.NewReader("Subject: cron\r\n\r\nbody\r\n"),
			Envelope: postino.Envelope{From: addr("root@mx.here.example"), Rcpts: []postino.Recipient{{Address: addr(to)}}},
		})
	}
	for range 2 {
		if err := drop("1", "ana@here.example"); err != nil {
			t.Fatal(err)
		}
	}
	if err := drop("2", "ana@here.example"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got := h.body(h.next())
		for _, want := range []string{"Received: by mx.here.example (Postino, from uid 33)", "From: <root@mx.here.example>", "Date: ", "Message-ID: <", "\r\n\r\nbody\r\n"} {
			if !strings.Contains(strings.ReplaceAll(got, "From: root@mx.here.example", "From: <root@mx.here.example>"), want) {
				t.Errorf("%q is missing in\n%s", want, got)
			}
		}
	}
	if err := drop("3", "nobody@here.example"); !postino.Is(err, postino.Invalid) {
		t.Errorf("a drop that nobody takes: %v", err)
	}
	if err := h.Dropped(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := drop("1", "ana@here.example"); err != nil {
		t.Fatal(err)
	}
	h.next() // a new drop of the old name
	select {
	case it := <-h.items:
		t.Errorf("a drop came twice: %+v", it)
	default:
	}
}

// Of a drop that some recipients take the sender hears who does not, once and
// when he wants to know it.
func TestDropRefused(t *testing.T) {
	h := open(t, nil)
	_, err := h.opts.Directory.AddUser(t.Context(), directory.NewUser{Address: addr("full@here.example"), Quota: 10})
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		from   string
		notify postino.DSNNotify
		want   map[string]string // status by recipient
	}{
		{"ana@here.example", 0, map[string]string{"nobody@here.example": "5.1.1", "full@here.example": "5.2.2"}},
		{"ana@here.example", postino.DSNFailure | postino.DSNDelay, map[string]string{"nobody@here.example": "5.1.1", "full@here.example": "5.2.2"}},
		{"ana@here.example", postino.DSNDelay, nil},
		{"ana@here.example", postino.DSNNever, nil},
		{"", 0, nil},
	} {
		e := postino.Envelope{EnvID: "e1"}
		if c.from != "" {
			e.From = addr(c.from)
		}
		for _, to := range []string{"nobody@here.example", "bob@there.example", "full@here.example"} {
			e.Rcpts = append(e.Rcpts, postino.Recipient{Address: addr(to), Notify: c.notify})
		}
		drop := &mailfile.Drop{Name: fmt.Sprint(i), Size: int64(len(text)), Content: strings.NewReader(text), Envelope: e}
		if err := h.Drop(t.Context(), drop); err != nil {
			t.Fatal(err)
		}
		it := h.next()
		if c.want == nil {
			if it.Transport != queue.Relay {
				t.Errorf("case %d: a report that nobody wants: %+v", i, it.Rcpts)
			}
			continue
		}
		if other := h.next(); it.Transport == queue.Relay { // they come in any order
			it = other
		}
		if !it.From.IsNull() || it.Rcpts[0].Address != addr("ana@here.example") {
			t.Fatalf("case %d: the report goes from %q to %v", i, it.From, it.Rcpts[0].Address)
		}
		d, err := reports.ParseDSN(strings.NewReader(h.body(it)), reports.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if d.EnvID != "e1" || len(d.Rcpts) != len(c.want) {
			t.Errorf("case %d: the report of %q is about %d recipients", i, d.EnvID, len(d.Rcpts))
		}
		for _, r := range d.Rcpts {
			if r.Action != reports.Failed || r.Status != c.want[r.Final.String()] {
				t.Errorf("case %d: the report says %+v", i, r)
			}
		}
	}
	if err := h.letter("x@far.example", text, nil, "ana@here.example"); err != nil {
		t.Fatal(err)
	}
	if it := h.next(); it.From.IsNull() {
		t.Errorf("a report that nobody wants: %+v", it.Rcpts)
	}
}

// A reader of TLS-Required believes exactly one field that says No (RFC 8689 §3).
func TestTLSOptional(t *testing.T) {
	for header, want := range map[string]bool{
		"":                       false,
		"TLS-Required: No\r\n":   true,
		"tls-required:  no \r\n": true,
		"TLS-Required: Yes\r\n":  false,
		"TLS-Required: No\r\nTLS-Required: No\r\n": false,
		"X-TLS-Required: No\r\n":                   false,
	} {
		if got := tlsOptional([]byte(header)); got != want {
			t.Errorf("%q gives %v", header, got)
		}
	}
}

// Letters are independent of each other.
func TestParallel(t *testing.T) {
	h := open(t, nil)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if err := h.letter("x@far.example", text, nil, "ana@here.example", fmt.Sprintf("u%d@mx.example", i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for range 40 {
		h.next()
	}
}

// What is put before a message stands in all of its copies, below the trace of
// an alias (RFC 8601 §5: our results are above what came).
func TestPrefix(t *testing.T) {
	h := open(t, nil)
	const results = "Authentication-Results: mx.here.example; none\r\n"
	if err := h.letter("x@far.example", text, func(l *Letter) { l.Prefix = []byte(results) }, "ana@here.example", "away@here.example"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		want := results
		it := h.next()
		if it.Transport == queue.Relay {
			want = "Delivered-To: away@here.example\r\n" + results
		}
		if string(it.Prefix) != want {
			t.Errorf("before the copy for %s stands %q", it.Transport, it.Prefix)
		}
	}
}
