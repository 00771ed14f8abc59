package transfer

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/postino-mail/postino"
)

func only(names ...string) func(string) bool {
	return func(s string) bool { return strings.Contains(" "+strings.Join(names, " ")+" ", " "+s+" ") }
}

func TestImportIMAP(t *testing.T) {
	w, p := newWorld(t), newPeer(t)
	im := Import{Source: p.source(), Store: w, Account: "a@x", Wanted: func(s string) bool { return s != "Gone" }}
	r := run(t, im)
	if r.Imported != 60 || r.Mailboxes != 3 || r.Before != 0 || len(r.Notes) != 2 {
		t.Errorf("%+v", r)
	}
	if notes := strings.Join(r.Notes, "\n"); !strings.Contains(notes, "--all-mail") || !strings.Contains(notes, "Sent Items becomes Sent") {
		t.Errorf("notes %q", r.Notes)
	}
	all := w.contents("a@x", true)
	if len(all) != 60 {
		t.Fatalf("%d messages", len(all))
	}
	for _, want := range []string{
		`77.1 INBOX 1577844245 [\Seen] "Subject: INBOX 0\r\n\r\nxx`,
		`77.4 INBOX 1577930645 [$NotJunk \Flagged] "Subject: INBOX 0\r\n\r\nxx`,
		`78.7 Sent 1578017045 [] `, `79.58 Top/a_b `,
	} {
		if !strings.Contains(strings.Join(all, "\n"), want) {
			t.Errorf("missing %s", want)
		}
	}
	// Again: nothing. One more, one flag changed: one, and with SyncFlags the flag.
	p.boxes["INBOX"].msgs = append(p.boxes["INBOX"].msgs, peerMessage{uid: 100, text: "new", date: " 1-Jan-2020 00:00:00 +0000"})
	p.boxes["INBOX"].msgs[0].flags = `\Answered`
	im.SyncFlags, im.Source = true, p.source()
	if r = run(t, im); r.Imported != 1 || r.Before != 60 || r.Synced != 1 {
		t.Errorf("second run: %+v", r)
	}
	if all := strings.Join(w.contents("a@x", true), "\n"); !strings.Contains(all, `77.1 INBOX 1577844245 [\Answered]`) || !strings.Contains(all, "77.100 INBOX") {
		t.Error("the flag or the new message is missing")
	}
	// A new UIDVALIDITY there is told and stops that mailbox only.
	p.boxes["INBOX"].validity = 99
	im.Source = p.source()
	r, err := im.Run(t.Context())
	im.Source.Close()
	if !postino.Is(err, postino.Conflict) || r.Imported != 0 || r.Mailboxes != 2 {
		t.Errorf("changed UIDVALIDITY: %+v, %v", r, err)
	}
	im.Again, im.Source, im.Wanted = true, p.source(), only("INBOX")
	if r = run(t, im); r.Imported != 21 || !strings.Contains(strings.Join(r.Notes, " "), "UIDs are new") {
		t.Errorf("again: %+v", r)
	}
	w.check()
}

// TestImportCut cuts the connection in the middle of bodies, many times.
func TestImportCut(t *testing.T) {
	for cut := 100; cut < 12_000; cut += 1700 {
		w, p := newWorld(t), newPeer(t)
		p.cutAfter = cut
		r := run(t, Import{Source: p.source(), Store: w, Account: "a@x", Wanted: only("INBOX"), Batch: Batch{Messages: 7}})
		if r.Imported != 20 || r.Before != 0 || r.Failed != 0 || len(w.contents("a@x", false)) != 20 {
			t.Errorf("cut after %d: %+v", cut, r)
		}
		if cut < 10_000 && p.conns < 2 {
			t.Errorf("cut after %d: %d connections", cut, p.conns)
		}
	}
}

func TestImportGivesUp(t *testing.T) {
	w := newWorld(t)
	p := newPeer(t)
	src := p.source().(*imapSource)
	src.o.Tries = 3
	src.o.Limits.Literal = 1
	p.lines = []string{`() "." {5}`} // not what a server may say
	if _, err := (&Import{Source: src, Store: w, Account: "a@x"}).Run(t.Context()); !postino.Is(err, postino.Transient) || !strings.Contains(err.Error(), "3 tries") {
		t.Errorf("%v", err)
	}
	src.Close()
}

// stops is a store that stops after some batches, before or after the commit.
type stops struct {
	Store
	cancel context.CancelFunc
	left   int
	after  bool
}

func (s *stops) Put(ctx context.Context, p Put, frames io.Reader) (PutResult, error) {
	if s.left--; s.left < 0 {
		if s.after {
			_, _ = s.Store.Put(ctx, p, frames)
		}
		s.cancel()
		return PutResult{}, postino.E(postino.Transient, "put", "", errTest)
	}
	return s.Store.Put(ctx, p, frames)
}

// TestImportStopped stops an import at every batch and runs it again: nothing is
// missing and nothing is there twice.
func TestImportStopped(t *testing.T) {
	for _, after := range []bool{false, true} {
		w, p := newWorld(t), newPeer(t)
		im := Import{Account: "a@x", Wanted: only("INBOX", "Top/a_b"), Batch: Batch{Messages: 4}}
		total := int64(0)
		for n := 0; ; n++ {
			ctx, cancel := context.WithCancel(t.Context())
			im := im
			im.Source, im.Store = p.source(), &stops{w, cancel, n % 3, after}
			r, err := im.Run(ctx)
			im.Source.Close()
			cancel()
			if total += r.Imported; err == nil {
				break
			}
			if n > 50 {
				t.Fatal("it comes to no end")
			}
		}
		all := w.contents("a@x", true)
		if len(all) != 40 || !after && total != 40 {
			t.Errorf("%d messages, %d told (commit before the stop: %v)", len(all), total, after)
		}
		w.check()
	}
}

func TestImportQuota(t *testing.T) {
	w, p := newWorld(t), newPeer(t)
	setQuota(w, 1, 7)
	im := Import{Source: p.source(), Store: w, Account: "a@x", Wanted: only("INBOX"), Batch: Batch{Messages: 5}}
	r, err := im.Run(t.Context())
	im.Source.Close()
	if !postino.Is(err, postino.Full) || r.Imported != 5 {
		t.Errorf("%+v, %v", r, err)
	}
	im.OverQuota, im.Source = true, p.source()
	if r = run(t, im); r.Imported != 15 || r.Before != 5 {
		t.Errorf("over quota: %+v", r)
	}
	w.check()
}

func TestImportDryRun(t *testing.T) {
	w, p := newWorld(t), newPeer(t)
	before := w.contents("a@x", true)
	boxes, _ := w.Boxes(t.Context(), "a@x")
	r := run(t, Import{Source: p.source(), Store: w, Account: "a@x", Wanted: only("INBOX", "Top/a_b"), Try: true})
	now, _ := w.Boxes(t.Context(), "a@x")
	if r.Imported != 40 || len(w.contents("a@x", true)) != len(before) || len(now) != len(boxes) {
		t.Errorf("%+v; %d mailboxes", r, len(now))
	}
}

func TestNames(t *testing.T) {
	for in, want := range map[string]string{
		"inbox/a": "INBOX/a", "a//b": "a/_/b", "./..": "._/.._", "a\x01b": "a_b", "e\u0301": "é", strings.Repeat("x", 300): strings.Repeat("x", 255),
		strings.Repeat("a/", 30) + "b": strings.Repeat("a/", 19) + strings.Repeat("a-", 11) + "b",
	} {
		if got := possibleName(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func FuzzNames(f *testing.F) {
	w := newWorld(f)
	f.Add("a/b", "Inbox,\"x, y\",=?utf-8?q?=C3=A9?=")
	f.Fuzz(func(t *testing.T, name, labels string) {
		if got, err := w.Mailboxes.CanonicalName(possibleName(name)); err != nil || got != possibleName(name) {
			t.Errorf("%q became %q: %q, %v", name, possibleName(name), got, err)
		}
		for _, l := range gmailLabels(labels) {
			if l == "" {
				t.Error("empty label")
			}
		}
		var m Message
		m.label(labels)
		if m.Mailbox == "" {
			t.Error("no mailbox")
		}
	})
}
