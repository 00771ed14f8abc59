package crash

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/app"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/receive"
	"github.com/postino-mail/postino/vfs"
)

// relayOut sends a letter of a stranger through an alias and returns its tag.
func relayOut(t testing.TB, addr string, n int, alias string) (tag string) {
	t.Helper()
	tag = fmt.Sprintf("L%d%s", n, small)
	from := fmt.Sprintf("s.%d@a.example", n)
	c, err := dialSMTP(addr)
	must(t, err)
	defer c.Close()
	reply, err := c.postAs("MAIL FROM:<"+from+">", relayText(tag, from), alias)
	must(t, err)
	if !strings.HasPrefix(reply, "250 ") {
		t.Fatal(reply)
	}
	return tag
}

// lookAt is what became of everything.
func lookAt(t testing.TB, h *house, a *abroad) map[string]*outcome {
	t.Helper()
	outcomes, problems, err := (&trip{}).found(h, a)
	must(t, err)
	if len(problems) > 0 {
		t.Error(problems)
	}
	return outcomes
}

// A sync that fails while the answer of another server is being recorded ends the
// node. After a restart the message is tried again, and nothing is lost (QU4, SC6).
func TestFailedSyncWhileRelaying(t *testing.T) {
	mem, a := vfs.Memory(), newAbroad(t)
	defer a.close()
	faults := vfs.NewFaults(mem)
	n := startNode(t, faults, a)
	must(t, n.n.Call(t.Context(), "domain.add", app.Domain{Name: "b.example"}, nil))
	must(t, n.n.Call(t.Context(), "alias.add", app.Alias{Address: "out@b.example", Targets: []string{"ok.1@r1.example"}}, nil))
	first := relayOut(t, n.smtp, 1, "out@b.example")
	must(t, finished(n.n.Queue))
	// The disk fails from the moment on at which the other server takes the next one.
	a.mu.Lock()
	a.taken = func() {
		faults.FailIf(func(op vfs.Op) bool { return op.Kind == vfs.OpSync && strings.HasSuffix(op.Path, ".log") }, syscall.EIO)
	}
	a.mu.Unlock()
	second := relayOut(t, n.smtp, 2, "out@b.example")
	select {
	case err := <-n.ended:
		if err == nil {
			t.Error("the node ended without an error")
		}
	case <-time.After(50 * time.Second):
		t.Fatal("the node does not end")
	}
	a.mu.Lock()
	takes, met := a.past()
	a.mu.Unlock()
	b := after(t, takes, met)
	defer b.close()
	again := startNode(t, mem.Crash(0, 1), b)
	must(t, finished(again.n.Queue))
	l := newLook()
	b.mu.Lock()
	l.abroad(b, nil)
	b.mu.Unlock()
	if o := l.outcomes[key(first, "ok.1@r1.example")]; o == nil || o.takes != 1 {
		t.Errorf("the first letter: %+v", o)
	}
	if o := l.outcomes[key(second, "ok.1@r1.example")]; o == nil || o.takes != 2 {
		t.Errorf("the second letter, whose answer was not recorded: %+v", o)
	}
	if items, err := again.n.Queue.List(t.Context(), queue.Filter{}); err != nil || len(items) > 0 {
		t.Errorf("left on the queue: %v, %v", items, err)
	}
	again.stop()
	must(t, <-again.ended)
}

// On a disk that is nearly full answers are recorded, also those that are owed a
// report, while nothing new is taken; mail flows again when there is room (QU5).
func TestLowDiskWhileRelaying(t *testing.T) {
	mem, a := vfs.Memory(), newAbroad(t)
	defer a.close()
	mem.SetUsage(vfs.Usage{Free: 50 << 30, Total: 100 << 30})
	h, err := relayHouse(t, mem, a)
	must(t, err)
	defer h.close()
	h.populate(0)
	for _, class := range []string{"ok", "no", "grey"} {
		must(t, h.users.SetAlias(t.Context(), aliasOf(class+"@b.example", class+".1@r1.example")))
	}
	h.listen(receive.MX, plan{})
	// The others are silent until the disk is low.
	low := make(chan struct{})
	a.mu.Lock()
	a.wait = low
	a.mu.Unlock()
	tags := map[string]string{}
	for i, class := range []string{"ok", "no", "grey"} {
		tags[class] = relayOut(t, h.addr[receive.MX], i, class+"@b.example")
	}
	mem.SetUsage(vfs.Usage{Free: 300 << 20, Total: 100 << 30})
	h.eventually("the disk is low", func() bool { return postino.Is(h.db.Admit(1), postino.Full) })
	close(low)
	of := func(class string) outcome {
		if o := lookAt(t, h, a)[key(tags[class], class+".1@r1.example")]; o != nil {
			return *o
		}
		return outcome{}
	}
	h.eventually("what was taken is off the queue", func() bool {
		o := of("ok")
		return o.takes == 1 && o.entries == 0
	})
	h.eventually("that it was refused is recorded", func() bool {
		items, err := h.queue.List(t.Context(), queue.Filter{Recipient: "no.1@"})
		return err == nil && of("no").takes == 0 && (len(items) == 0 || items[0].Rcpts[0].State == queue.Failed)
	})
	if !postino.Is(h.db.Admit(1), postino.Full) {
		t.Error("the disk was not low all the time")
	}
	mem.SetUsage(vfs.Usage{Free: 50 << 30, Total: 100 << 30})
	h.eventually("the disk has room", func() bool { return h.db.Admit(1) == nil })
	must(t, finished(h.queue))
	if o := of("ok"); o.takes != 1 {
		t.Errorf("taken: %+v", o)
	}
	if o := of("no"); o.failed != 1 || o.entries != 0 {
		t.Errorf("refused: %+v", o)
	}
	if o := of("grey"); o.takes+o.failed != 1 || o.entries != 0 {
		t.Errorf("deferred: %+v", o)
	}
}

// On a disk so full that answers cannot be recorded nothing is sent again until
// there is room: then once, for each attempt that was under way (SC6, QU5).
func TestFullDiskWhileRelaying(t *testing.T) {
	mem, a := vfs.Memory(), newAbroad(t)
	defer a.close()
	mem.SetUsage(vfs.Usage{Free: 50 << 30, Total: 100 << 30})
	h, err := relayHouse(t, mem, a)
	must(t, err)
	defer h.close()
	h.populate(0)
	must(t, h.users.SetAlias(t.Context(), aliasOf("ok@b.example", "ok.1@r1.example")))
	h.listen(receive.MX, plan{})
	full := make(chan struct{})
	a.mu.Lock()
	a.wait = full
	a.mu.Unlock()
	tag := relayOut(t, h.addr[receive.MX], 1, "ok@b.example")
	mem.SetUsage(vfs.Usage{Free: 1 << 20, Total: 100 << 30})
	h.eventually("the disk is full", func() bool {
		return h.db.Update(kv.Deleting(t.Context()), nil, func(tx kv.Tx) error { return tx.Delete([]byte("none")) }) != nil
	})
	close(full)
	takes := func() int {
		l := newLook()
		a.mu.Lock()
		defer a.mu.Unlock()
		l.abroad(a, nil)
		return l.of(tag, "ok.1@r1.example").takes
	}
	h.eventually("the letter is taken", func() bool { return takes() > 0 })
	time.Sleep(1500 * time.Millisecond)
	if n := takes(); n != 1 {
		t.Errorf("sent %d times while the answer could not be recorded", n)
	}
	mem.SetUsage(vfs.Usage{Free: 50 << 30, Total: 100 << 30})
	must(t, finished(h.queue))
	if o := lookAt(t, h, a)[key(tag, "ok.1@r1.example")]; o == nil || o.takes != 2 || o.entries != 0 {
		t.Errorf("at the end: %+v", o)
	}
}

// The judge must see every kind of damage to what is relayed, too.
func TestJudgeErrand(t *testing.T) {
	ok := errand{rcpt: "ok.1@r1.example", acked: true}
	no := errand{rcpt: "no.1@r1.example", acked: true}
	far := errand{rcpt: "far.1@r1.example", acked: true}
	with := func(e errand, change func(*errand)) errand { change(&e); return e }
	for name, c := range map[string]struct {
		e      errand
		unsent bool
		o      outcome
		want   string
	}{
		"taken":             {ok, false, outcome{takes: 1}, ""},
		"repeated":          {ok, false, outcome{takes: 2, free: 1}, ""},
		"waiting":           {far, false, outcome{entries: 1, queued: queue.StateWaiting}, ""},
		"reported":          {no, false, outcome{failed: 1, delayed: 1}, ""},
		"not acknowledged":  {errand{rcpt: ok.rcpt}, false, outcome{}, ""},
		"lost":              {ok, false, outcome{}, "lost"},
		"no report":         {no, false, outcome{}, "lost"},
		"taken twice":       {ok, false, outcome{takes: 2}, "duplicated"},
		"taken thrice":      {ok, false, outcome{takes: 3, free: 1}, "duplicated"},
		"in mailbox twice":  {ok, false, outcome{local: 2, free: 1}, "duplicated"},
		"queued and taken":  {ok, false, outcome{takes: 1, entries: 1}, "still queued"},
		"queued twice":      {ok, false, outcome{entries: 2}, "duplicated"},
		"two reports":       {no, false, outcome{failed: 2}, "duplicated"},
		"two notices":       {no, false, outcome{failed: 1, delayed: 2}, "duplicated"},
		"wrong report":      {ok, false, outcome{failed: 1}, "not refused"},
		"both":              {with(ok, func(e *errand) { e.rcpt = "grey.1@r1.example" }), false, outcome{takes: 1, failed: 1}, "delivered and reported"},
		"unwanted report":   {ok, false, outcome{takes: 1, other: 1}, "nobody asked"},
		"never sent":        {ok, true, outcome{takes: 1}, "never sent"},
		"early":             {far, false, outcome{takes: 1, early: true}, "before its time"},
		"hurried":           {with(far, func(e *errand) { e.hurry = true }), false, outcome{takes: 1, early: true}, ""},
		"removed":           {with(far, func(e *errand) { e.remove, e.removed = true, true }), false, outcome{}, ""},
		"removed and there": {with(far, func(e *errand) { e.remove, e.removed = true, true }), false, outcome{entries: 1}, "back"},
		"removed and sent":  {with(far, func(e *errand) { e.remove, e.removed = true, true }), false, outcome{takes: 1, late: 1}, "back"},
		"removing":          {with(far, func(e *errand) { e.remove = true }), false, outcome{entries: 1}, ""},
		"held":              {with(far, func(e *errand) { e.hold, e.held = true, true }), false, outcome{entries: 1, queued: queue.StateHeld}, ""},
		"held and waiting":  {with(far, func(e *errand) { e.hold, e.held = true, true }), false, outcome{entries: 1, queued: queue.StateWaiting}, "held and not there"},
	} {
		problems := strings.Join(judgeErrand(&c.e, !c.unsent, c.o), "; ")
		if c.want == "" && problems != "" || !strings.Contains(problems, c.want) {
			t.Errorf("%s: %q, want %q", name, problems, c.want)
		}
	}
}
