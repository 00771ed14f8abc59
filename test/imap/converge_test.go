package imap

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino/mailbox"
)

// copyOf is an offline client's copy of a mailbox.
type copyOf struct {
	*session
	way      string
	validity uint32
	highest  uint64
	msgs     map[uint32]map[string]bool
}

// resync opens the mailbox, brings the copy up to date and changes something.
func (o *copyOf) resync() {
	switch {
	case o.way == "qresync" && o.validity != 0:
		o.mustf("SELECT INBOX (QRESYNC (%d %d))", o.validity, o.highest)
	default:
		o.must("SELECT INBOX" + map[bool]string{true: " (CONDSTORE)"}[o.way == "condstore"])
	}
	validity, highest := o.box.validity, o.box.highest
	if validity != o.validity {
		o.msgs = map[uint32]map[string]bool{}
	}
	switch {
	case o.way == "qresync" && o.validity == validity:
	case o.way == "condstore" && o.validity == validity:
		o.mustf("UID FETCH 1:* (FLAGS) (CHANGEDSINCE %d)", o.highest)
	default:
		o.must("UID FETCH 1:* (FLAGS)")
	}
	for _, m := range o.box.msgs {
		if m.uid != 0 && m.flags != nil {
			o.msgs[m.uid] = m.flags
		}
	}
	o.validity, o.highest = validity, highest
}

// TestOfflineClientsConverge: copies that were changed and resynchronised now and
// then equal the server in the end, though the log of changes is cut short.
func TestOfflineClientsConverge(t *testing.T) {
	n, seed := length(t, 150)
	n = min(n, 5000)
	rng := rand.New(rand.NewPCG(seed, 2))
	w := newWorld(t, settings{users: []string{"anna"}, boxes: mailbox.Options{FoldRecords: 8, LogAge: time.Nanosecond, LogBytes: 1}})
	guard(t, func() {
		var all []*copyOf
		for _, way := range []string{"qresync", "qresync", "condstore", "condstore", "plain", "plain"} {
			all = append(all, &copyOf{way: way, session: &session{who: "anna", rng: rng, saved: map[string]*belief{}, w: w, log: newLedger()}})
		}
		for i := range n {
			o := pick(rng, all)
			o.visit(w, i == n-1)
		}
		for range 2 {
			for _, o := range all {
				o.visit(w, true)
			}
		}
		for _, o := range all[1:] {
			if got, want := show(o.msgs), show(all[0].msgs); got != want {
				o.fail("%s has\n%s\nthe first has\n%s", o.way, got, want)
			}
		}
	})
}

func show(m map[uint32]map[string]bool) string {
	var sb strings.Builder
	for _, uid := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprint(&sb, uid, slices.Sorted(maps.Keys(m[uid])), " ")
	}
	return sb.String()
}

// visit connects, resynchronises, changes something unless quiet, and goes.
func (o *copyOf) visit(w *world, quiet bool) {
	o.client = connect(o.way, w.dial())
	enable := map[string][]string{"qresync": {"QRESYNC"}, "condstore": {"CONDSTORE"}}[o.way]
	o.login("anna", enable...)
	defer o.nc.Close()
	before := maps.Clone(o.msgs)
	gone := map[uint32]bool{}
	was := o.validity
	o.resync()
	if o.way == "qresync" && was == o.validity {
		for _, u := range o.earlier() {
			gone[u] = true
		}
		for uid := range before {
			if gone[uid] {
				delete(o.msgs, uid)
			}
		}
	} else { // what the server does not list is gone
		there := map[uint32]bool{}
		for _, u := range o.must("UID SEARCH ALL").all {
			for _, uid := range u.nums {
				there[uid] = true
			}
		}
		maps.DeleteFunc(o.msgs, func(uid uint32, _ map[string]bool) bool { return !there[uid] })
	}
	if len(o.msgs) != len(o.box.msgs) {
		o.fail("the copy has %d messages, the server %d", len(o.msgs), len(o.box.msgs))
	}
	if quiet {
		return
	}
	for range o.rng.IntN(4) {
		o.resolve()
		switch o.rng.IntN(4) {
		case 0:
			o.append()
		case 1:
			o.expunge()
		default:
			o.store()
		}
	}
}

// earlier lists the UIDs of VANISHED (EARLIER) of this connection.
func (o *copyOf) earlier() (uids []uint32) {
	for line := range strings.Lines(o.client.log.String()) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "S: * VANISHED (EARLIER) "); ok {
			for _, part := range strings.Split(rest, ",") {
				var lo, hi uint32
				if n, _ := fmt.Sscanf(part, "%d:%d", &lo, &hi); n < 2 {
					hi = lo
				}
				uids = append(uids, expand([]span{{lo, hi}})...)
			}
		}
	}
	return uids
}
