package transfer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/kv/lsm"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a store with accounts 1 ("a@x"), 2 ("b@x") and 3 ("c@x").
type world struct {
	testing.TB
	*Desk
	fs *vfs.Mem
	db *lsm.DB
}

func newWorld(t testing.TB) *world {
	w := &world{TB: t, fs: vfs.Memory()}
	w.open(w.fs)
	t.Cleanup(func() { w.db.Close() })
	for id := range mailbox.AccountID(3) {
		err := w.db.Update(t.Context(), []kv.Scope{w.Mailboxes.Scope(id + 1)}, func(tx kv.Tx) error {
			return w.Mailboxes.Create(tx, id+1, mailbox.Quota{}, time.Unix(1_700_000_000, 0))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *world) open(fs *vfs.Mem) {
	w.fs = fs
	var err error
	if w.db, err = lsm.Open(fs, "kv", lsm.Options{MemTableBytes: 1 << 20, CacheBytes: 8 << 20, Guard: lsm.GuardOptions{Ballast: -1}}); err != nil {
		w.Fatal(err)
	}
	blobs, err := blob.New(w.db, fs, "blobs", blob.Options{})
	if err != nil {
		w.Fatal(err)
	}
	w.Desk = &Desk{Mailboxes: mailbox.New(w.db, blobs, mailbox.Options{}), Blobs: blobs, Account: func(_ context.Context, address string) (mailbox.AccountID, error) {
		if i := strings.Index("abc", address[:1]); i >= 0 {
			return mailbox.AccountID(i + 1), nil
		}
		return 0, postino.E(postino.NotFound, "find account", address, nil)
	}}
}

// ReadBodies implements [Outgoing].
func (w *world) ReadBodies(ctx context.Context, q BodiesQuery, fn func(io.Reader) error) error {
	r, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := w.Bodies(ctx, q, out)
		out.CloseWithError(err)
		done <- err
	}()
	err := fn(r)
	r.CloseWithError(errStopped)
	<-done
	return err
}

// contents describes every message of an account: with UIDs and UIDVALIDITY or without.
func (w *world) contents(account string, uids bool) (lines []string) {
	w.Helper()
	ctx := context.Background()
	boxes, err := w.Boxes(ctx, account)
	if err != nil {
		w.Fatal(err)
	}
	for _, b := range boxes {
		list, err := w.List(ctx, ListQuery{Account: account, Mailbox: b.ID})
		if err != nil {
			w.Fatal(err)
		}
		q := BodiesQuery{Account: account, Mailbox: b.ID}
		for _, l := range list {
			q.UIDs = append(q.UIDs, l.UID)
		}
		i := 0
		err = w.ReadBodies(ctx, q, func(r io.Reader) error {
			return readBodies(r, func(uid uint32, body io.Reader) error {
				text, err := io.ReadAll(body)
				l := list[i]
				i++
				slices.Sort(l.Flags)
				line := fmt.Sprintf("%s %d %v %q", b.Name, l.Date, l.Flags, text)
				if uids {
					line = fmt.Sprintf("%d.%d %s", b.UIDValidity, uid, line)
				}
				lines = append(lines, line)
				return err
			})
		})
		if err != nil || i != len(list) {
			w.Fatalf("%s: %d of %d, %v", b.Name, i, len(list), err)
		}
	}
	return lines
}

// check compares the accounts with their rows.
func (w *world) check() {
	w.Helper()
	for id := range mailbox.AccountID(3) {
		problems, err := w.Mailboxes.Check(context.Background(), id+1)
		if err != nil || len(problems) > 0 {
			w.Fatalf("account %d: %v, %v", id+1, problems, err)
		}
	}
}

// peer is an IMAP server that knows just enough.
type peer struct {
	mu    sync.Mutex
	boxes map[string]*peerBox
	lines []string // of LIST
	// cutAfter, when positive, ends a connection in the middle of a body after so
	// many octets of bodies.
	cutAfter, sent, conns int
	wg                    sync.WaitGroup
}

type peerBox struct {
	validity uint32
	msgs     []peerMessage
}

type peerMessage struct {
	uid   uint32
	flags string
	date  string
	text  string
}

func (p *peer) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	p.mu.Lock()
	p.conns++
	p.mu.Unlock()
	p.wg.Go(func() {
		defer server.Close()
		p.serve(server)
	})
	return client, nil
}

func (p *peer) serve(c net.Conn) {
	w := bufio.NewWriter(c)
	say := func(format string, args ...any) { fmt.Fprintf(w, format+"\r\n", args...) }
	say("* OK [CAPABILITY IMAP4rev1 SPECIAL-USE LIST-EXTENDED] hi")
	if w.Flush() != nil {
		return
	}
	var box *peerBox
	in := bufio.NewReader(c)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		p.mu.Lock()
		words := strings.Fields(line)
		tag, cmd := words[0], strings.ToUpper(words[1])
		switch {
		case cmd == "LIST":
			for _, l := range p.lines {
				say("* LIST %s", l)
			}
		case cmd == "LSUB":
			say(`* LSUB () "." "INBOX.Sent Items"`)
		case cmd == "EXAMINE":
			name := strings.Trim(strings.TrimSpace(line[len(tag)+len(" EXAMINE "):]), `"`)
			if box = p.boxes[name]; box == nil {
				say("%s NO [NONEXISTENT] gone", tag)
				p.mu.Unlock()
				if w.Flush() != nil {
					return
				}
				continue
			}
			say("* %d EXISTS", len(box.msgs))
			say("* OK [UIDVALIDITY %d] x", box.validity)
		case cmd == "UID" && strings.Contains(line, "RFC822.SIZE"):
			for i, m := range box.msgs {
				say(`* %d FETCH (UID %d FLAGS (%s) INTERNALDATE "%s" RFC822.SIZE %d)`, i+1, m.uid, m.flags, m.date, len(m.text))
			}
		case cmd == "UID":
			for i, m := range box.msgs {
				if !inSet(words[3], m.uid) {
					continue
				}
				if p.sent += len(m.text); p.cutAfter > 0 && p.sent > p.cutAfter {
					p.cutAfter, p.sent = 0, 0
					say("* %d FETCH (UID %d BODY[] {%d}", i+1, m.uid, len(m.text))
					w.WriteString(m.text[:len(m.text)/2])
					w.Flush()
					p.mu.Unlock()
					return
				}
				say("* %d FETCH (BODY[] {%d}\r\n%s UID %d)", i+1, len(m.text), m.text, m.uid)
			}
		}
		say("%s OK done", tag)
		p.mu.Unlock()
		if w.Flush() != nil {
			return
		}
	}
}

func inSet(set string, uid uint32) bool {
	for part := range strings.SplitSeq(set, ",") {
		var lo, hi uint32
		if n, _ := fmt.Sscanf(part, "%d:%d", &lo, &hi); n == 1 {
			hi = lo
		}
		if lo <= uid && uid <= hi {
			return true
		}
	}
	return false
}

func (p *peer) source() Source {
	return IMAP(IMAPOptions{Host: "imap.example.net", TLS: "none", User: "u", Password: "p", Dial: p.dial, Wait: time.Millisecond})
}

func newPeer(t *testing.T) *peer {
	p := &peer{
		boxes: map[string]*peerBox{},
		lines: []string{
			`() "." INBOX`, `() "." "INBOX.Sent Items"`, `(\Noselect) "." INBOX.Top`, `() "." "INBOX.Top.a/b"`, `(\All) "." "INBOX.All"`, `() "." "INBOX.Gone"`,
		},
	}
	for name, validity := range map[string]uint32{"INBOX": 77, "INBOX.Sent Items": 78, "INBOX.Top.a/b": 79, "INBOX.All": 80} {
		b := &peerBox{validity: validity}
		for i := range 20 {
			b.msgs = append(b.msgs, peerMessage{
				uid: uint32(i*3 + 1), flags: []string{`\Seen \Recent`, `\Flagged NonJunk`, ""}[i%3], date: fmt.Sprintf("%2d-Jan-2020 03:04:05 +0100", i+1),
				text: fmt.Sprintf("Subject: %s %d\r\n\r\n%s\r\n", name, i/2*2, strings.Repeat("x", 500)), // each text stands twice
			})
		}
		p.boxes[name] = b
	}
	t.Cleanup(p.wg.Wait)
	return p
}

func run(t *testing.T, im Import) Report {
	t.Helper()
	r, err := im.Run(t.Context())
	im.Source.Close()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var errTest = errors.New("the test says so")
