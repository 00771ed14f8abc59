package crash

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postino-mail/postino/app"
	"github.com/postino-mail/postino/certs"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/kv/lsm"
	"github.com/postino-mail/postino/metric"
	"github.com/postino-mail/postino/vfs"
)

// node is a whole mail system in this process over a file system.
type node struct {
	n          *app.Node
	smtp, imap string
	stop       context.CancelFunc
	ended      chan error
}

// startNode starts a node, which knows others if there are any.
func startNode(t testing.TB, fs vfs.FS, a *abroad) *node {
	t.Helper()
	out := app.Outward{DNS: dns.NewFake()}
	if a != nil {
		out = app.Outward{DNS: a.names, Dial: a.dial, Retry: relaySchedule}
	}
	cert, err := certs.SelfSigned(time.Now(), "mx.b.example")
	must(t, err)
	log := slog.New(slog.DiscardHandler)
	n, err := app.Start(app.Options{
		Hostname: "mx.b.example", Certs: cert, Version: "test", Ephemeral: true, Logger: log,
		Trusted:   func(netip.Addr) bool { return true },
		Listeners: []app.Listener{{Service: app.SMTP, Address: "127.0.0.1:0"}, {Service: app.IMAP, Address: "127.0.0.1:0", Clear: true}},
		Stores: app.StoreOptions{Files: fs, DataDir: "/data", Logger: log, Metrics: metric.New(), Outward: out,
			KV: lsm.Options{MemTableBytes: 512 << 10, CacheBytes: 4 << 20, Guard: lsm.GuardOptions{Ballast: -1}}},
	})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	r := &node{n: n, stop: cancel, ended: make(chan error, 1), smtp: n.Bound()[0].Address, imap: n.Bound()[1].Address}
	go func() { r.ended <- n.Run(ctx) }()
	return r
}

// TestFailedSyncEndsNode lets syncs and writes fail with EIO below a whole node.
// What is refused is refused for now, and not acknowledged; a node whose store
// stopped ends with an error, so that it is started anew; then everything that
// was acknowledged is there, even when the power is cut too (QU4, QU1).
func TestFailedSyncEndsNode(t *testing.T) {
	suffix := func(kind vfs.OpKind, end string) func(vfs.Op) bool {
		return func(op vfs.Op) bool { return op.Kind == kind && strings.HasSuffix(op.Path, end) }
	}
	bodies := func(kind vfs.OpKind) func(vfs.Op) bool {
		return func(op vfs.Op) bool { return op.Kind == kind && strings.Contains(op.Path, "/blobs") }
	}
	for _, c := range []struct {
		name  string
		match func(vfs.Op) bool
		ends  bool
	}{
		{"sync of the log", suffix(vfs.OpSync, ".log"), true},
		{"write to the log", suffix(vfs.OpWrite, ".log"), true},
		{"every sync", func(op vfs.Op) bool { return op.Kind == vfs.OpSync || op.Kind == vfs.OpSyncDir }, true},
		{"sync of a body", bodies(vfs.OpSync), false},
		{"sync of a directory of bodies", bodies(vfs.OpSyncDir), false},
		{"rename of a body", bodies(vfs.OpRename), false},
		{"write of a body", bodies(vfs.OpWrite), false},
	} {
		t.Run(c.name, func(t *testing.T) { failingDisk(t, c.match, c.ends) })
	}
}

func failingDisk(t *testing.T, match func(vfs.Op) bool, ends bool) {
	mem := vfs.Memory()
	faults := vfs.NewFaults(mem)
	n := startNode(t, faults, nil)
	must(t, n.n.Call(t.Context(), "domain.add", app.Domain{Name: "b.example"}, nil))
	for _, name := range users {
		must(t, n.n.Call(t.Context(), "user.add", app.User{Address: name + "@b.example", Password: "correct horse"}, nil))
	}
	s := newSiege(t, &program{TB: t, smtp: n.smtp, imap: n.imap})
	for i := range 8 {
		if reply := s.postOne([]string{small, large}[i%2]); !strings.HasPrefix(reply, "250 ") {
			t.Fatal("before the fault: ", reply)
		}
	}
	s.verify("before the fault")
	ana := s.readers[0]
	c, err := dialIMAP(n.imap, ana.name+"@b.example")
	must(t, err)
	defer c.Close()

	faults.FailIf(match, syscall.EIO)
	refused := 0
	for i := range 6 {
		switch reply := s.postOne([]string{large, small}[i%2]); {
		case strings.HasPrefix(reply, "451 "):
			refused++
		case strings.HasPrefix(reply, "250 ") && !ends:
		case strings.HasPrefix(reply, "421 ") && refused > 0 && ends: // it is stopping
		case refused > 0 && ends && (strings.Contains(reply, "refused") || strings.Contains(reply, "EOF") || strings.Contains(reply, "reset") || strings.Contains(reply, "broken")): // it has stopped
		default:
			t.Errorf("letter %d after the fault: %s", i, reply)
		}
	}
	if refused == 0 {
		t.Error("nothing was refused with 451")
	}
	if _, err := c.run(&operation{kind: "append", box: "INBOX", tags: []string{"A" + s.tag(large)}}); err == nil {
		t.Error("APPEND was acknowledged")
	}
	if ends {
		select {
		case err := <-n.ended:
			if err == nil {
				t.Error("the node ended without an error")
			}
		case <-time.After(50 * time.Second):
			t.Fatal("the node does not end")
		}
	} else {
		faults.FailIf(nil, nil)
		if reply := s.postOne(large); !strings.HasPrefix(reply, "250 ") {
			t.Error("after the fault: ", reply)
		}
	}
	after := mem.Crash(0, 1)
	if !ends {
		s.verify("after the fault")
		n.stop()
		must(t, <-n.ended)
		after = mem.Crash(0, 1)
	}
	again := startNode(t, after, nil)
	s.p.smtp, s.p.imap = again.smtp, again.imap
	s.verify("after the restart")
	if reply := s.postOne(large); !strings.HasPrefix(reply, "250 ") {
		t.Error("after the restart: ", reply)
	}
	s.verify("at the end")
	again.stop()
	must(t, <-again.ended)
	if t.Failed() {
		t.Log(fmt.Sprint(mem.List(filepath.Join("/data", "kv"))))
	}
}
