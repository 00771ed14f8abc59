package transfer

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"pgregory.net/rapid"

	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/mailfile"
	"github.com/postino-mail/postino/vfs"
)

func setQuota(w *world, id mailbox.AccountID, messages int64) {
	w.Helper()
	err := w.db.Update(w.Context(), []kv.Scope{w.Mailboxes.Scope(id)}, func(tx kv.Tx) error {
		return w.Mailboxes.SetQuota(tx, id, mailbox.Quota{Messages: messages})
	})
	if err != nil {
		w.Fatal(err)
	}
}

// fill puts random messages into random mailboxes of account a@x.
func (w *world) fill(rt *rapid.T, keywords bool) {
	ctx := w.Context()
	a, err := w.Mailboxes.Account(ctx, 1)
	if err != nil {
		rt.Fatal(err)
	}
	defer a.Close()
	names := []string{"INBOX", "Sent", "Work", "Work/2020", "Ünï & co", "dots.in.name"}
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 4, rapid.ID[string]).Draw(rt, "mailboxes") {
		box, err := a.Newborn(ctx, name, mailbox.UseNone)
		if err != nil {
			rt.Fatal(err)
		}
		n := rapid.IntRange(1, 6).Draw(rt, "messages")
		for range n {
			text := strings.ReplaceAll(rapid.SampledFrom([]string{
				"Subject: a\n\nhi\n", "\nno header\n", "Status: mine\nX-UID: 9\nSubject: b\n\nFrom me\n>From you\n>>From all\n\n", "Subject: c\nContent-Length: 3\n\nabc\n",
				"Subject: d\n\nFrom a@b Thu Jan  2 03:04:05 2020\n\nx\n", "X-IMAPbase: 1 2\nSubject: e\n\n\n\n", "Subject: f\n\n" + strings.Repeat("long ", 20_000) + "\n",
			}).Draw(rt, "text"), "\n", "\r\n")
			s := w.Mailboxes.Stage(time.Now())
			s.Write([]byte(text))
			m, err := s.Finish()
			if err != nil {
				rt.Fatal(err)
			}
			msg := mailbox.AppendMessage{Message: m, Flags: mailbox.Flags(rapid.IntRange(0, 31).Draw(rt, "flags")), Date: time.Unix(rapid.Int64Range(1e9, 17e8).Draw(rt, "date"), 0)}
			if keywords {
				msg.Keywords = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"$Forwarded", "Work", "$Junk", "x"}), 0, 3, rapid.ID[string]).Draw(rt, "keywords")
			}
			_, err = a.Append(ctx, box.ID, []mailbox.AppendMessage{msg})
			s.Abort()
			if err != nil {
				rt.Fatal(err)
			}
		}
		// Gaps between UIDs.
		if gone := rapid.IntRange(0, n-1).Draw(rt, "gone"); gone > 0 {
			if _, err := a.Destroy(ctx, box.ID, mailbox.Ranges{{Lo: 1, Hi: mailbox.UID(gone)}}); err != nil {
				rt.Fatal(err)
			}
		}
	}
}

// TestRoundTrip exports an account and imports it into another: messages, flags and
// dates are the same, and UIDs and UIDVALIDITY where the format has them.
func TestRoundTrip(t *testing.T) {
	for _, format := range []string{"maildir", "mbox", "eml", "zip"} {
		t.Run(format, func(t *testing.T) {
			runs := 0
			rapid.Check(t, func(rt *rapid.T) {
				if runs++; runs > 15 && testing.Short() || runs > 25 {
					return // each writes to the disk
				}
				w := newWorld(t)
				defer w.db.Close()
				w.fill(rt, format == "maildir" || format == "mbox")
				dir, err := os.MkdirTemp(t.TempDir(), "x")
				if err != nil {
					rt.Fatal(err)
				}
				writer, reader := formats(rt, format, dir)
				x := Export{Store: w, Account: "a@x", To: writer}
				if _, err := x.Run(t.Context()); err != nil {
					rt.Fatal(err)
				}
				im := Import{Source: Files(reader(), format, nil), Store: w, Account: "b@x"}
				r, err := im.Run(t.Context())
				if err != nil || r.Failed > 0 {
					rt.Fatalf("%+v, %v", r, err)
				}
				uids := format == "maildir" || format == "mbox"
				was, is := w.contents("a@x", uids), w.contents("b@x", uids)
				slices.Sort(was)
				slices.Sort(is)
				if !slices.Equal(was, is) {
					rt.Fatalf("was %.300q\nis  %.300q\n%v", was, is, r.Notes)
				}
				// The second run finds all of it.
				im.Source = Files(reader(), format, nil)
				if r, err = im.Run(t.Context()); err != nil || r.Imported != 0 || int(r.Before) != len(is) {
					rt.Fatalf("second run: %+v, %v", r, err)
				}
				writer, _ = formats(rt, format, dir)
				x = Export{Store: w, Account: "a@x", To: writer}
				if got, err := x.Run(t.Context()); err != nil || (format == "maildir" || format == "eml") && got.Exported != 0 {
					rt.Fatalf("second export: %+v, %v", got, err)
				}
				w.check()
			})
		})
	}
}

func formats(t interface{ Fatal(...any) }, format, dir string) (mailfile.Writer, func() mailfile.Reader) {
	files := os.DirFS(dir)
	setTime := func(path string, at time.Time) error { return os.Chtimes(path, at, at) }
	switch format {
	case "maildir":
		return &mailfile.MaildirWriter{Files: vfs.OS(), Dir: dir, SetTime: setTime}, func() mailfile.Reader { return &mailfile.MaildirTree{Files: files} }
	case "mbox":
		return &mailfile.MboxWriter{Files: vfs.OS(), Dir: dir}, func() mailfile.Reader { return &mailfile.MboxTree{Files: files} }
	case "eml":
		return &mailfile.EMLWriter{Files: vfs.OS(), Dir: dir, SetTime: setTime}, func() mailfile.Reader { return EML(files, ".") }
	}
	name := filepath.Join(dir, "all.zip")
	return &mailfile.ZipWriter{Files: vfs.OS(), Path: name}, func() mailfile.Reader {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		z, err := mailfile.OpenZip(f, info.Size())
		if err != nil {
			t.Fatal(err)
		}
		return EML(z, ".")
	}
}

func TestImportGmailTakeout(t *testing.T) {
	w := newWorld(t)
	var box strings.Builder
	for i, labels := range []string{"Inbox,Opened,Important", "Unread,Sent", "Opened,Starred,Ideas,\"Big, red\"", "Archived,Opened", "=?UTF-8?Q?Spam,Unread?="} {
		fmt.Fprintf(&box, "From 1%d@xxx Thu Jan 02 03:04:05 +0000 2020\nX-Gmail-Labels: %s\nSubject: %d\n\nx\n\n", i, labels, i)
	}
	src := Files(&mailfile.MboxTree{Files: fstest.MapFS{"All mail.mbox": {Data: []byte(box.String())}}}, "takeout", nil)
	run(t, Import{Source: src, Store: w, Account: "a@x"})
	all := strings.Join(w.contents("a@x", false), "\n")
	for _, want := range []string{`INBOX 1577934245 [$Important \Seen]`, `Sent 1577934245 []`, `Ideas 1577934245 [Big,_red \Flagged \Seen]`, `Archive 1577934245 [\Seen]`, `Junk 1577934245 []`} {
		if !strings.Contains(all, want) {
			t.Errorf("missing %s in\n%s", want, all)
		}
	}
	if strings.Contains(all, "All mail") {
		t.Error("a mailbox for the file")
	}
}

// TestImportCrash is IM8 and QU1 for mail that moves in: the power goes at some
// write; what was told to be imported is there, and the next run brings the rest
// without a duplicate.
func TestImportCrash(t *testing.T) {
	files := fstest.MapFS{}
	for i := range 60 {
		files[fmt.Sprintf("cur/%d.x:2,S", 1_600_000_000+i)] = &fstest.MapFile{Data: fmt.Appendf(nil, "Subject: %d\n\n%s\n", i, strings.Repeat("y", i*3000))}
	}
	im := Import{Account: "a@x", Batch: Batch{Messages: 6}}
	for seed := range uint64(12) {
		w := newWorld(t)
		rnd := rand.New(rand.NewPCG(seed, 1))
		var told int64
		var crashed *vfs.Mem
		at := rnd.Int64N(60)
		im := im
		im.Source, im.Store = Files(&mailfile.MaildirTree{Files: files}, "m", nil), w
		im.Progress = func(p Progress) {
			if crashed == nil && p.Messages >= at {
				told, crashed = p.Messages, w.fs.Crash(rnd.IntN(101), seed)
			}
		}
		if _, err := im.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.db.Close()
		w.open(crashed)
		if n := int64(len(w.contents("a@x", false))); n < told {
			t.Errorf("seed %d: %d messages, %d were told", seed, n, told)
		}
		im.Source, im.Store, im.Progress = Files(&mailfile.MaildirTree{Files: files}, "m", nil), w, nil
		if _, err := im.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(w.contents("a@x", false)); n != 60 {
			t.Errorf("seed %d: %d messages in the end", seed, n)
		}
		w.check()
	}
}
