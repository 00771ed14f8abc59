package mailbox

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/kv/lsm"
	"github.com/postino-mail/postino/message"
	"github.com/postino-mail/postino/vfs"
)

const acct AccountID = 0x1234

var began = time.Unix(1_700_000_000, 0)

// world is a store on a file system in memory.
type world struct {
	testing.TB
	fs    vfs.FS
	opts  Options
	db    *lsm.DB
	blobs *blob.Store
	*Store
}

func newWorld(t testing.TB, opts Options) *world {
	w := &world{TB: t, fs: vfs.Memory(), opts: opts}
	w.open()
	t.Cleanup(func() { w.db.Close() })
	w.update(func(tx kv.Tx) error { return w.Store.Create(tx, acct, Quota{}, began) })
	return w
}

func (w *world) open() {
	w.Helper()
	var err error
	if w.db, err = lsm.Open(w.fs, "kv", lsm.Options{MemTableBytes: 1 << 20, CacheBytes: 8 << 20, Guard: lsm.GuardOptions{Ballast: -1}}); err != nil {
		w.Fatal(err)
	}
	if w.blobs, err = blob.New(w.db, w.fs, "blobs", blob.Options{}); err != nil {
		w.Fatal(err)
	}
	w.Store = New(w.db, w.blobs, w.opts)
}

// openMemory makes a store on a file system of its own.
func (w *world) openMemory() {
	w.fs = vfs.Memory()
	w.open()
}

// reopen closes the store and opens it again.
func (w *world) reopen() {
	w.Helper()
	if err := w.db.Close(); err != nil {
		w.Fatal(err)
	}
	w.open()
}

func (w *world) update(fn func(kv.Tx) error) {
	w.Helper()
	if err := w.db.Update(context.Background(), []kv.Scope{w.Scope(acct)}, fn); err != nil {
		w.Fatal(err)
	}
}

func (w *world) account() *Account {
	w.Helper()
	a, err := w.Account(context.Background(), acct)
	if err != nil {
		w.Fatal(err)
	}
	return a
}

func (w *world) check() {
	w.Helper()
	problems, err := w.Check(context.Background(), acct)
	if err != nil {
		w.Fatal(err)
	}
	for _, p := range problems {
		w.Error(p)
	}
	if len(problems) > 0 {
		w.FailNow()
	}
}

// stage makes a message of octets.
func (w *world) stage(octets []byte) *Message {
	w.Helper()
	b := w.blobs.Create(began)
	if _, err := b.Write(octets); err != nil {
		w.Fatal(err)
	}
	st, err := b.Finish()
	if err != nil {
		w.Fatal(err)
	}
	ix := message.Parse(octets, message.Limits{})
	m := NewMessage(st.ID, ix, ix.Header())
	m.Staged = &st
	return m
}

// letter is a small message.
func letter(n int) []byte {
	return fmt.Appendf(nil, "From: Ada <ada@example.org>\r\nTo: bob@example.net\r\nSubject: Letter %d\r\n"+
		"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <%d@example.org>\r\n\r\nHello number %d.\r\n%s", n, n, n, bytes.Repeat([]byte("x"), n%50))
}

func (w *world) append(a *Account, box MailboxID, n int, flags Flags, keywords ...string) AppendResult {
	w.Helper()
	var msgs []AppendMessage
	for i := range n {
		msgs = append(msgs, AppendMessage{Message: w.stage(letter(i)), Flags: flags, Keywords: keywords, Date: began})
	}
	res, err := a.Append(context.Background(), box, msgs)
	if err != nil {
		w.Fatal(err)
	}
	return res
}
