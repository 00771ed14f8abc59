package crash

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/vfs"
)

// TestSmallDisk fills a small file system by SMTP until mail is refused, which
// must be 452 4.3.1 and before the store fails, fills up the rest from outside,
// makes room again, and looks that service resumes by itself and nothing that
// was acknowledged is lost (QU5, QU2). The long form takes ext4 too.
func TestSmallDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("skip: it writes some hundreds of MiB")
	}
	if os.Geteuid() != 0 {
		t.Skip("skip: mounting a file system needs root")
	}
	t.Run("tmpfs", func(t *testing.T) {
		fillDisk(t, 300<<20, "-t", "tmpfs", "-o", "size=300m", "tmpfs")
	})
	if !long() {
		return
	}
	for _, mib := range []int64{400, 600} {
		t.Run(fmt.Sprintf("ext4 %d MiB", mib), func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "image")
			must(t, os.WriteFile(image, nil, 0o600))
			must(t, os.Truncate(image, mib<<20))
			if out, err := exec.Command("mkfs.ext4", "-q", "-F", image).CombinedOutput(); err != nil {
				t.Skipf("skip: mkfs.ext4: %v %s", err, out)
			}
			fillDisk(t, mib<<20, "-o", "loop", image)
		})
	}
}

func fillDisk(t *testing.T, size int64, mount ...string) {
	mnt := t.TempDir()
	if out, err := exec.Command("mount", append(mount, mnt)...).CombinedOutput(); err != nil {
		t.Skipf("skip: mount: %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", mnt).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
	other := filepath.Join(mnt, "other")
	must(t, os.WriteFile(other, make([]byte, size/3*2), 0o600)) // files of others
	s := newSiege(t, newProgram(t, filepath.Join(mnt, "data")))
	s.flood()
	flooded := s.all
	s.intact("flooded")

	if reply := s.postOne(small); !strings.HasPrefix(reply, "452 4.3.1") {
		t.Errorf("a small letter: %s", reply)
	}
	ana := s.readers[0]
	c, err := dialIMAP(s.p.imap, ana.name+"@b.example")
	must(t, err)
	defer c.Close()
	if _, err := c.run(&operation{kind: "append", box: "INBOX", tags: []string{"A" + s.tag(small)}}); !errors.Is(err, errRefused) {
		t.Errorf("APPEND to a full disk: %v", err)
	}
	s.expunge(c, ana, 5)
	s.intact("after expunging")

	// Somebody else takes all the rest.
	rest := filepath.Join(mnt, "rest")
	fillUp(t, rest)
	time.Sleep(2 * time.Second) // the guard looks each second
	if reply := s.postOne(small); !strings.HasPrefix(reply, "452 4.3.1") {
		t.Errorf("a small letter on a disk without room: %s", reply)
	}
	s.intact("without room")
	s.p.kill()
	s.p.begin() // a start needs no room (QU6)
	s.intact("started without room")
	c.Close()

	must(t, os.Remove(rest))
	must(t, os.Remove(other))
	resumed := s.resumes()
	c, err = dialIMAP(s.p.imap, ana.name+"@b.example")
	must(t, err)
	s.expunge(c, ana, 5)
	s.intact("resumed")
	s.p.kill()
	start := s.p.begin()
	s.intact("after kill -9")
	t.Logf("%d MiB: %d letters acknowledged until 452, %d in all, lost 0; service resumed in %v, start took %v",
		size>>20, flooded, s.all, resumed.Round(100*time.Millisecond), start.Round(time.Millisecond))
}

// flood sends letters from several clients until each is refused.
func (s *siege) flood() {
	s.Helper()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 5))
			for {
				class := []string{edge, edge, large, huge}[rng.IntN(4)]
				if reply := s.postOne(class); !strings.HasPrefix(reply, "250 ") {
					if !strings.HasPrefix(reply, "452 4.3.1") {
						s.Errorf("refused with %q", reply)
					}
					return
				}
			}
		})
	}
	wg.Wait()
	s.p.alive()
}

// postOne sends a letter to one user and returns the last reply.
func (s *siege) postOne(class string) string {
	c, err := dialSMTP(s.p.smtp)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	tag := "L" + s.tag(class)
	to := len(tag) % len(users)
	s.mu.Lock()
	s.sent[tag] = true
	s.mu.Unlock()
	reply, err := c.post(textOf(tag), users[to]+"@b.example")
	if err != nil {
		return err.Error()
	}
	if strings.HasPrefix(reply, "250 ") {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.acked[to] = append(s.acked[to], tag)
		s.all++
	}
	return reply
}

// intact compares all accounts with the ledger.
func (s *siege) intact(when string) {
	s.Helper()
	s.p.alive()
	s.verify(when)
	if s.Failed() {
		s.Fatalf("%s: %s", when, s.p.log())
	}
}

// expunge deletes the first n messages of INBOX.
func (s *siege) expunge(c *imapConn, r *reader, n int) {
	s.Helper()
	uids := r.model.inbox()
	for _, o := range []*operation{
		{kind: "add", box: "INBOX", uids: uids[:min(n, len(uids))], flags: []string{`\Deleted`}},
		{kind: "expunge", box: "INBOX", uids: uids[:min(n, len(uids))]},
	} {
		if _, err := c.run(o); err != nil {
			s.Fatalf("%v: %v\n%s", o, err, s.p.log())
		}
		r.model = r.model.apply(o, nil)
	}
}

// resumes waits until mail is accepted again.
func (s *siege) resumes() time.Duration {
	s.Helper()
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		reply := s.postOne(large)
		if strings.HasPrefix(reply, "250 ") {
			return time.Since(began)
		}
		if s.p.alive(); time.Since(began) > patience {
			s.Fatalf("service does not resume: %s\n%s", reply, s.p.log())
		}
	}
}

// fillUp writes a file until the disk is full.
func fillUp(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	must(t, err)
	defer f.Close()
	for _, size := range []int{1 << 20, 4 << 10} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
	}
	if err = f.Sync(); err != nil {
		t.Log("sync of the file that fills the disk: ", err)
	}
}

// On a disk that is nearly full mail can be thrown away in all the ways there
// are, and nothing can be added (QU5).
func TestLowDisk(t *testing.T) {
	mem := vfs.Memory()
	mem.SetUsage(vfs.Usage{Free: 50 << 30, Total: 100 << 30})
	h, err := busyHouse(t, mem)
	must(t, err)
	defer h.close()
	h.populate(0)
	ctx := t.Context()
	ids, err := h.accounts(ctx)
	must(t, err)
	s := &session{h, ids["ana"], &digests{}}
	a, err := h.mailboxes.Account(ctx, s.id)
	must(t, err)
	defer a.Close()
	do := func(o *operation) error { _, err := s.do(ctx, a, o); return err }
	must(t, do(&operation{kind: "append", box: "INBOX", tags: []string{"A1s", "A2s", "A3l"}}))
	must(t, do(&operation{kind: "create", box: "p1"}))
	mem.SetUsage(vfs.Usage{Free: 300 << 20, Total: 100 << 30})
	h.eventually("the disk is low", func() bool { return postino.Is(h.db.Admit(1), postino.Full) })
	for _, o := range []*operation{
		{kind: "append", box: "INBOX", tags: []string{"A4s"}}, {kind: "append", box: "INBOX", tags: []string{"A5l"}},
		{kind: "copy", box: "INBOX", uids: []uint32{1}, to: "p1"}, {kind: "create", box: "p2"},
	} {
		if err := do(o); !postino.Is(err, postino.Full) {
			t.Errorf("%v: %v, want Full", o, err)
		}
	}
	for _, o := range []*operation{
		{kind: "add", box: "INBOX", uids: []uint32{1}, flags: []string{`\Deleted`}}, {kind: "expunge", box: "INBOX", uids: []uint32{1}},
		{kind: "move", box: "INBOX", uids: []uint32{2}, to: "Trash"}, {kind: "delete", box: "p1"},
	} {
		if err := do(o); err != nil {
			t.Errorf("%v: %v", o, err)
		}
	}
	must(t, h.sweep(ctx, []*history{{session: *s}}))
	mem.SetUsage(vfs.Usage{Free: 50 << 30, Total: 100 << 30})
	h.eventually("the disk has room", func() bool { return h.db.Admit(1) == nil })
	must(t, do(&operation{kind: "append", box: "INBOX", tags: []string{"A6l"}}))
}
