package imapd

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/postino-mail/postino/imap"
	"github.com/postino-mail/postino/mailbox"
)

// TestMerge compares runs that were joined with the positions that they held.
func TestMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var in []span
		held := map[int]bool{}
		for range rapid.IntRange(0, 20).Draw(t, "runs") {
			lo := rapid.IntRange(0, 60).Draw(t, "lo")
			sp := span{lo, lo + rapid.IntRange(1, 9).Draw(t, "length")}
			in = append(in, sp)
			for i := sp.lo; i < sp.hi; i++ {
				held[i] = true
			}
		}
		out := merge(in)
		n, last := 0, -1
		for _, sp := range out {
			if sp.lo <= last || sp.hi <= sp.lo {
				t.Fatalf("%v is not ascending and apart", out)
			}
			last = sp.hi
			for i := sp.lo; i < sp.hi; i++ {
				if !held[i] {
					t.Fatalf("%d was not asked for: %v", i, out)
				}
				n++
			}
		}
		if n != len(held) {
			t.Fatalf("%d positions of %d: %v", n, len(held), out)
		}
	})
}

// TestFlags: every set of system flags keeps its meaning both ways; \Recent is
// never stored.
func TestFlags(t *testing.T) {
	for f := range mailbox.Flags(32) {
		if got := fromWire(toWire(f) | imap.Recent); got != f {
			t.Errorf("%05b became %05b", f, got)
		}
	}
	if toWire(mailbox.Seen|mailbox.Draft) != imap.Seen|imap.Draft {
		t.Error("flags changed places")
	}
	mask := mailbox.Mask{1<<5 | 1<<7 | 1<<9}
	if got := keywordNames(nil, mask, []string{"a", "b", "c"}); !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("keywords %v; the fifth has no name yet", got)
	}
}

func TestSpecialUse(t *testing.T) {
	var all mailbox.SpecialUse
	for _, p := range uses {
		if attrs(p.use) != p.attr {
			t.Errorf("%v became %b", p.use, attrs(p.use))
		}
		all |= p.use
	}
	if all != 1<<len(uses)-1 {
		t.Errorf("a use of mailboxes has no attribute: %b", all)
	}
}
