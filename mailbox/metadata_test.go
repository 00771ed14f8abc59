package mailbox

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postino-mail/postino"
)

func notes(list []Annotation) string {
	var out []string
	for _, n := range list {
		out = append(out, n.Name+"="+string(n.Value))
	}
	return strings.Join(out, " ")
}

func TestNamesOfMetadata(t *testing.T) {
	for name, want := range map[string]bool{
		"/private/comment": true, "/shared/comment": true, "/shared/vendor/x/y": true, "/private/a/b/c": true,
		"": false, "/": false, "/private": false, "/private/": false, "/other/x": false, "/shared//x": false, "/shared/x/": false,
		"/shared/vendor/x": false, "/shared/a*": false, "/shared/%": false, "/Shared/x": false, "/shared/\u00e9": false, "/shared/a b": false,
		"x/shared/comment": false, "/shared/" + strings.Repeat("x", 300): false,
	} {
		if ValidAnnotation(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

// TestMetadata: private entries are each viewer's own, shared ones everybody's who
// may see the mailbox, and all go with it (IM8).
func TestMetadata(t *testing.T) {
	w := newWorld(t, Options{Limits: Limits{Metadata: 3, MetadataValue: 100, MetadataBytes: 1000}})
	a := w.account()
	defer a.Close()
	box := ok[Info](t)(a.Create(ctx, "Team", UseNone)).ID
	w.grant(asCarol, box, "lrw")
	w.grant(asDave, box, "lr")
	c, d := w.guest(asCarol), w.guest(asDave)
	defer c.Close()
	defer d.Close()
	set := func(a *Account, box MailboxID, pairs ...string) error {
		var list []Annotation
		for i := 0; i < len(pairs); i += 2 {
			n := Annotation{Name: pairs[i], Value: []byte(pairs[i+1])}
			if pairs[i+1] == "-" {
				n.Value = nil
			}
			list = append(list, n)
		}
		return a.SetMetadata(ctx, box, list)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	got := func(a *Account, box MailboxID, want string) {
		t.Helper()
		equal(t, "metadata", notes(ok[[]Annotation](t)(a.Metadata(ctx, box, nil))), want)
	}
	at := a.ModSeq()
	must(set(a, box, "/private/comment", "mine", "/shared/comment", "ours"))
	must(set(c, box, "/private/comment", "carol's", "/shared/comment", "hers"))
	wantKind(t, set(d, box, "/shared/comment", "his"), postino.Denied)
	wantKind(t, set(d, box, "/private/comment", "x", "/shared/comment", "his"), postino.Denied)
	got(a, box, "/private/comment=mine /shared/comment=hers")
	got(c, box, "/private/comment=carol's /shared/comment=hers")
	got(d, box, "/shared/comment=hers")
	changes := func(a *Account) (out string) {
		if err := a.Changes(ctx, at, func(c *Change) bool {
			out += fmt.Sprintf("%d %d %x %v\n", c.Kind, c.Mailbox, c.Viewer, c.Names)
			return true
		}); err != nil {
			t.Fatal(err)
		}
		return out
	}
	equal(t, "changes for a guest", changes(d), "11 7 0 [/shared/comment]\n11 7 0 [/shared/comment]\n")
	equal(t, "changes for another", changes(c), "11 7 0 [/shared/comment]\n11 7 0 [/shared/comment]\n11 7 2001 [/private/comment]\n")
	same := a.ModSeq()
	must(set(a, box, "/private/comment", "mine", "/private/none", "-"))
	equal(t, "nothing changed", a.ModSeq(), same)
	must(set(a, box, "/private/empty", "", "/private/comment", "-"))
	got(a, box, "/private/empty= /shared/comment=hers")
	filtered := ok[[]Annotation](t)(a.Metadata(ctx, box, func(n string) bool { return n == "/shared/comment" }))
	equal(t, "chosen", notes(filtered), "/shared/comment=hers")
	// Limits.
	wantKind(t, set(a, box, "/private/x", strings.Repeat("x", 101)), postino.Invalid)
	wantKind(t, set(a, box, "/private/x", "1", "/private/y", "2", "/private/z", "3"), postino.Full)
	got(a, box, "/private/empty= /shared/comment=hers")
	must(set(a, box, "/private/x", "1", "/private/y", "2", "/private/empty", "-"))
	for n := 0; ; n++ {
		b := ok[Info](t)(a.Create(ctx, fmt.Sprintf("n%d", n), UseNone)).ID
		if err := set(a, b, "/private/comment", strings.Repeat("x", 100)); err != nil {
			wantKind(t, err, postino.Full)
			equal(t, "mailboxes with 116 octets in 1,000", n < 9, true)
			break
		}
	}
	// The server's.
	must(w.SetServerMetadata(ctx, []Annotation{{"/shared/admin", []byte("mailto:admin@example.org")}}))
	wantKind(t, w.SetServerMetadata(ctx, []Annotation{{"/private/x", nil}}), postino.Invalid)
	wantKind(t, set(c, 0, "/shared/admin", "x"), postino.Denied)
	must(set(c, 0, "/private/vendor/x/y", "z"))
	got(c, 0, "/private/vendor/x/y=z /shared/admin=mailto:admin@example.org")
	got(a, 0, "/shared/admin=mailto:admin@example.org")
	w.check()
	// They follow a rename, INBOX keeps its own and gives a copy, and they go with
	// the mailbox (RFC 5464 §4.1).
	must(a.Rename(ctx, box, "Group"))
	got(d, box, "/shared/comment=hers")
	must(set(a, 8, "/private/comment", "-"))
	must(set(a, inbox, "/shared/comment", "in"))
	must(a.Rename(ctx, inbox, "old"))
	got(a, inbox, "/shared/comment=in")
	got(a, ok[Info](t)(a.Mailbox("old")).ID, "/shared/comment=in")
	must(a.Delete(ctx, box))
	_, err := c.Metadata(ctx, box, nil)
	wantKind(t, err, postino.NotFound)
	w.check()
	w.reopen()
	w.check()
}
