package crash

import (
	"context"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/vfs"
)

// neighbours are an owner and a guest with messages, on some file system.
type neighbours struct {
	*circle
	owner, guest, home *mailbox.Account // the owner's account for both, and the guest's own
}

func newNeighbours(t *testing.T, fs vfs.FS) *neighbours {
	t.Helper()
	ctx := t.Context()
	h, err := busyStores(t, fs)
	must(t, err)
	must(t, h.users.AddDomain(ctx, directory.Domain{Name: "b.example"}))
	n := &neighbours{circle: &circle{h: h, users: []string{"owner@b.example", "guest@b.example", "other@b.example", "team@b.example"}, counts: map[string]int{}}}
	for i := range n.users {
		must(t, n.join(ctx, i))
	}
	must(t, n.invite(ctx))
	n.owner, err = n.open(ctx, 0, 0)
	must(t, err)
	n.guest, err = n.open(ctx, 0, 1)
	must(t, err)
	n.home, err = n.open(ctx, 1, 1)
	must(t, err)
	for range 8 {
		must(t, n.append(ctx, n.owner))
	}
	must(t, n.append(ctx, n.home))
	must(t, n.owner.SetMetadata(ctx, 1, []mailbox.Annotation{{Name: "/shared/comment", Value: []byte("x")}}))
	must(t, n.owner.SetACL(ctx, 2, mailbox.Subject{Domain: "b.example"}, false, mailbox.ReplaceFlags, mailbox.AllRights))
	must(t, n.guest.Subscribe(ctx, "INBOX"))
	return n
}

func (n *neighbours) close() {
	for _, a := range []*mailbox.Account{n.owner, n.guest, n.home} {
		a.Close()
	}
	n.h.close()
}

func (n *neighbours) append(ctx context.Context, a *mailbox.Account) error {
	m, w, err := n.h.stage([]byte("Subject: walnut\r\n\r\ncobalt\r\n"))
	defer w.Abort()
	if err != nil {
		return err
	}
	_, err = a.Append(ctx, 1, []mailbox.AppendMessage{{Message: m}})
	return err
}

// deed is something that needs room on the disk, or does not.
type deed struct {
	name string
	room bool
	do   func(ctx context.Context, n *neighbours) error
}

func some(uids ...mailbox.UID) mailbox.Ranges { return mailbox.RangesOf(uids) }

var deeds = []deed{
	{"append of a guest", true, func(ctx context.Context, n *neighbours) error { return n.append(ctx, n.guest) }},
	{"copy between accounts", true, func(ctx context.Context, n *neighbours) error {
		_, err := n.h.mailboxes.CopyBetween(ctx, n.guest, 1, some(1), n.home, 1)
		return err
	}},
	{"move between accounts", true, func(ctx context.Context, n *neighbours) error {
		_, err := n.h.mailboxes.MoveBetween(ctx, n.guest, 1, some(1), n.home, 1)
		return err
	}},
	{"replace", true, func(ctx context.Context, n *neighbours) error {
		m, w, err := n.h.stage([]byte("Subject: meadow\r\n\r\npepper\r\n"))
		defer w.Abort()
		if err != nil {
			return err
		}
		_, _, err = n.owner.Replace(ctx, 1, 2, 1, mailbox.AppendMessage{Message: m})
		return err
	}},
	{"give rights", true, func(ctx context.Context, n *neighbours) error {
		return n.owner.SetACL(ctx, 3, mailbox.Subject{Domain: "b.example"}, false, mailbox.AddFlags, mailbox.RightLookup)
	}},
	{"set metadata", true, func(ctx context.Context, n *neighbours) error {
		return n.guest.SetMetadata(ctx, 1, []mailbox.Annotation{{Name: "/private/comment", Value: []byte("y")}})
	}},
	{"set metadata of the server", true, func(ctx context.Context, n *neighbours) error {
		return n.h.mailboxes.SetServerMetadata(ctx, []mailbox.Annotation{{Name: n.serverNote(), Value: []byte("z")}})
	}},
	{"set unique-ids", true, func(ctx context.Context, n *neighbours) error {
		return n.owner.SetUIDLs(ctx, 1, map[mailbox.UID]string{3: "old"})
	}},
	{"see", false, func(ctx context.Context, n *neighbours) error {
		_, err := n.guest.Store(ctx, 1, mailbox.StoreRequest{UIDs: some(1, 2), Flags: mailbox.Seen})
		return err
	}},
	{"end a session of POP3", false, func(ctx context.Context, n *neighbours) error {
		_, err := n.owner.EndSession(ctx, 1, some(3), some(4))
		return err
	}},
	{"destroy as a guest", false, func(ctx context.Context, n *neighbours) error {
		_, err := n.guest.Destroy(ctx, 1, some(5))
		return err
	}},
	{"flag and expunge as a guest", false, func(ctx context.Context, n *neighbours) error {
		_, err := n.guest.Store(ctx, 1, mailbox.StoreRequest{UIDs: some(6), Flags: mailbox.Deleted})
		if err == nil {
			_, err = n.guest.Expunge(ctx, 1, mailbox.All())
		}
		return err
	}},
	{"remove metadata", false, func(ctx context.Context, n *neighbours) error {
		return n.owner.SetMetadata(ctx, 1, []mailbox.Annotation{{Name: "/shared/comment"}})
	}},
	{"unsubscribe as a guest", false, func(ctx context.Context, n *neighbours) error { return n.guest.Unsubscribe(ctx, "INBOX") }},
	{"change a password", false, func(ctx context.Context, n *neighbours) error {
		return n.h.users.SetPassword(ctx, address(n.users[1]), nthPassword(1))
	}},
	{"take rights away", false, func(ctx context.Context, n *neighbours) error {
		return n.owner.SetACL(ctx, 2, mailbox.Subject{Domain: "b.example"}, false, mailbox.RemoveFlags, mailbox.AllRights)
	}},
	{"take one right away", false, func(ctx context.Context, n *neighbours) error {
		id, err := n.id(ctx, 1)
		if err != nil {
			return err
		}
		return n.owner.SetACL(ctx, 1, mailbox.Subject{Account: id}, false, mailbox.RemoveFlags, mailbox.RightAdmin)
	}},
	{"remove an account that shares", false, func(ctx context.Context, n *neighbours) error {
		return n.h.users.RemoveUser(ctx, address(n.users[2]))
	}},
}

// TestLowDiskWhileSharing: on a disk that is nearly full what needs room is refused
// as such; reading, seeing, deleting and taking away rights go on; with room again
// all works (QU5).
func TestLowDiskWhileSharing(t *testing.T) {
	mem := vfs.Memory()
	mem.SetUsage(vfs.Usage{Free: 50 << 30, Total: 100 << 30})
	n := newNeighbours(t, mem)
	defer n.close()
	ctx := t.Context()
	mem.SetUsage(vfs.Usage{Free: 300 << 20, Total: 100 << 30})
	n.h.TB = t
	n.h.eventually("the disk is low", func() bool { return postino.Is(n.h.db.Admit(1), postino.Full) })
	for _, d := range deeds {
		err := d.do(ctx, n)
		if d.room && !postino.Is(err, postino.Full) {
			t.Errorf("%s: %v, want Full", d.name, err)
		}
		if !d.room && err != nil {
			t.Errorf("%s: %v", d.name, err)
		}
		if _, err := n.look(ctx, nil); err != nil {
			t.Errorf("after %s: %v", d.name, err)
		}
	}
	rng := rand.New(rand.NewPCG(1, 1))
	if _, err := n.search(ctx, rng); err != nil {
		t.Error(err)
	}
	if err := n.h.tidy(ctx); err != nil && !postino.Is(err, postino.Full) {
		t.Error(err)
	}
	mem.SetUsage(vfs.Usage{Free: 50 << 30, Total: 100 << 30})
	n.h.eventually("the disk has room", func() bool { return n.h.db.Admit(1) == nil })
	for _, d := range deeds {
		if !d.room || d.name == "move between accounts" {
			continue
		}
		if err := d.do(ctx, n); err != nil {
			t.Errorf("with room: %s: %v", d.name, err)
		}
	}
	must(t, n.h.tidy(ctx))
	if _, err := n.search(ctx, rng); err != nil {
		t.Error(err)
	}
}

// TestFailedSyncWhileSharing: when the log of the store cannot be written or
// synced, nothing is acknowledged, and after a power cut all is as it was before (QU4).
func TestFailedSyncWhileSharing(t *testing.T) {
	for _, kind := range []vfs.OpKind{vfs.OpSync, vfs.OpWrite} {
		for i, d := range deeds {
			if testing.Short() && i%4 != 0 {
				continue
			}
			mem := vfs.Memory()
			faults := vfs.NewFaults(mem)
			n := newNeighbours(t, faults)
			before, err := n.look(t.Context(), nil)
			must(t, err)
			faults.FailIf(func(op vfs.Op) bool { return op.Kind == kind && strings.HasSuffix(op.Path, ".log") }, syscall.EIO)
			if err := d.do(t.Context(), n); err == nil || postino.Is(err, postino.Full) || postino.Is(err, postino.Denied) || postino.Is(err, postino.NotFound) || postino.Is(err, postino.Invalid) {
				t.Errorf("%s while %v fails: %v", d.name, kind, err)
			}
			n.close()
			after := mem.Crash(0, uint64(i))
			h, err := busyStores(t, after)
			must(t, err)
			got, err := (&circle{h: h, users: n.users, counts: n.counts}).look(t.Context(), nil)
			must(t, err)
			if diff := got.differs(before); diff != "" {
				t.Errorf("%s while %v fails: %s", d.name, kind, diff)
			}
			h.close()
		}
	}
}
