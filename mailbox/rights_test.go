package mailbox

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/postino-mail/postino"
)

// place is a mailbox with messages, and a second one in which all is allowed.
type place struct {
	*world
	guest           *Account
	box, other      MailboxID
	name, otherName string
	email           EmailID
}

func (w *world) place(n int) *place {
	a := w.account()
	defer a.Close()
	p := &place{world: w, name: fmt.Sprintf("p%d", n), otherName: fmt.Sprintf("o%d", n)}
	p.box = ok[Info](w.TB)(a.Create(ctx, p.name, UseNone)).ID
	p.other = ok[Info](w.TB)(a.Create(ctx, p.otherName, UseNone)).ID
	p.email = w.append(a, p.box, 1, Deleted).Emails[0]
	w.append(a, p.other, 1, 0)
	w.grant(asCarol, p.other, letters)
	p.guest = w.guest(asCarol)
	return p
}

// rightsNeeded is what each method needs of a mailbox, by letters and written
// anew from RFC 4314 §4, RFC 5464 §3.3, RFC 6851 §3 and RFC 8508 §4.1.
var rightsNeeded = []struct {
	method string
	need   string // beside l, which all need
	do     func(p *place) error
}{
	{"Open", "r", func(p *place) error { _, err := p.guest.Open(ctx, p.box); return err }},
	{"Status", "r", func(p *place) error { _, err := p.guest.Status(p.box); return err }},
	{"Mailbox", "", func(p *place) error { _, err := p.guest.Mailbox(p.name); return err }},
	{"OpenMessage", "r", func(p *place) error {
		_, b, err := p.guest.OpenMessage(ctx, p.name, 0, 1)
		if err == nil {
			err = b.Close()
		}
		return err
	}},
	{"Store seen", "rs", store(Seen)},
	{"Store deleted", "rt", store(Deleted)},
	{"Store flagged", "rw", store(Flagged)},
	{"Store keyword", "rw", store(0, "x")},
	{"Expunge", "re", func(p *place) error { _, err := p.guest.Expunge(ctx, p.box, All()); return err }},
	{"Destroy", "rte", func(p *place) error { _, err := p.guest.Destroy(ctx, p.box, All()); return err }},
	{"Append", "i", func(p *place) error {
		_, err := p.guest.Append(ctx, p.box, []AppendMessage{{Message: p.stage(letter(1)), Flags: allSystem}})
		return err
	}},
	{"Copy from", "r", func(p *place) error { _, err := p.guest.Copy(ctx, p.box, All(), p.other); return err }},
	{"Copy to", "i", func(p *place) error { _, err := p.guest.Copy(ctx, p.other, All(), p.box); return err }},
	{"Move from", "rte", func(p *place) error { _, err := p.guest.Move(ctx, p.box, All(), p.other); return err }},
	{"Move to", "i", func(p *place) error { _, err := p.guest.Move(ctx, p.other, All(), p.box); return err }},
	{"Replace from", "rte", func(p *place) error {
		_, _, err := p.guest.Replace(ctx, p.box, 1, p.other, AppendMessage{Message: p.stage(letter(1))})
		return err
	}},
	{"Replace to", "i", func(p *place) error {
		_, _, err := p.guest.Replace(ctx, p.other, 1, p.box, AppendMessage{Message: p.stage(letter(1))})
		return err
	}},
	{"CopyBetween from", "r", func(p *place) error {
		_, err := p.CopyBetween(ctx, p.guest, p.box, All(), p.carol(), inbox)
		return err
	}},
	{"CopyBetween to", "i", func(p *place) error {
		c := p.carol()
		p.append(c, inbox, 1, 0)
		_, err := p.CopyBetween(ctx, c, inbox, All(), p.guest, p.box)
		return err
	}},
	{"MoveBetween from", "rte", func(p *place) error {
		_, err := p.MoveBetween(ctx, p.guest, p.box, All(), p.carol(), inbox)
		return err
	}},
	{"MoveBetween to", "i", func(p *place) error {
		c := p.carol()
		p.append(c, inbox, 1, 0)
		_, err := p.MoveBetween(ctx, c, inbox, All(), p.guest, p.box)
		return err
	}},
	{"Delete", "x", func(p *place) error { return p.guest.Delete(ctx, p.box) }},
	{"Rename", "x", func(p *place) error { return p.guest.Rename(ctx, p.box, p.otherName+"/new") }},
	{"Subscribe", "", func(p *place) error { return p.guest.Subscribe(ctx, p.name) }},
	{"ACL", "a", func(p *place) error { _, err := p.guest.ACL(ctx, p.box); return err }},
	{"SetACL", "a", func(p *place) error {
		return p.guest.SetACL(ctx, p.box, Subject{Account: dave}, false, AddFlags, RightLookup)
	}},
	{"SetMetadata shared", "w", func(p *place) error {
		return p.guest.SetMetadata(ctx, p.box, []Annotation{{"/shared/comment", []byte("x")}})
	}},
}

func store(f Flags, keywords ...string) func(p *place) error {
	return func(p *place) error {
		_, err := p.guest.Store(ctx, p.box, StoreRequest{UIDs: All(), Flags: f, Keywords: keywords})
		return err
	}
}

// carol opens the guest's own account.
func (p *place) carol() *Account { return ok[*Account](p.TB)(p.Account(ctx, carol)) }

// nowhere is the answer for a mailbox that does not exist.
func (p *place) nowhere(method string) string {
	switch method {
	case "Mailbox", "OpenMessage", "Subscribe":
		return fmt.Sprint(postino.E(postino.NotFound, "find mailbox", p.name, nil))
	}
	return fmt.Sprint(noMailbox(p.box))
}

func sharedWorld(t *testing.T) *world {
	w := newWorld(t, Options{})
	w.createAccount(carol)
	return w
}

// TestRightsOfMethodsAU8 calls every method with every set of rights that could
// matter: exactly what it needs, that without each one, all without each one;
// and with a mailbox that was never shared, is invisible, was revoked or
// deleted, for which the answer is that of one that does not exist.
func TestRightsOfMethodsAU8(t *testing.T) {
	w := sharedWorld(t)
	n := 0
	for _, m := range rightsNeeded {
		try := func(rights string, want postino.Kind) {
			t.Helper()
			n++
			p := w.place(n)
			defer p.guest.Close()
			w.grant(asCarol, p.box, rights)
			err := m.do(p)
			switch {
			case want == postino.NotFound && fmt.Sprint(err) != p.nowhere(m.method):
				t.Errorf("%s with %q: %v, for one that does not exist: %s", m.method, rights, err, p.nowhere(m.method))
			case want == 0 && err != nil, want != 0 && !postino.Is(err, want):
				t.Errorf("%s with %q: %v", m.method, rights, err)
			}
		}
		try("l"+m.need, 0)
		try(letters, 0)
		try(strings.ReplaceAll(letters, "l", ""), postino.NotFound)
		for _, r := range m.need {
			try("l"+strings.ReplaceAll(m.need, string(r), ""), postino.Denied)
			try(strings.ReplaceAll(letters, string(r), ""), postino.Denied)
		}
		for state, prepare := range map[string]func(p *place, a *Account) error{
			"never shared": func(*place, *Account) error { return nil },
			"revoked": func(p *place, _ *Account) error {
				w.grant(asCarol, p.box, letters)
				_, err := p.guest.Open(ctx, p.box)
				w.grant(asCarol, p.box, "")
				return err
			},
			"negative": func(p *place, a *Account) error {
				w.grant(asCarol, p.box, letters)
				return a.SetACL(ctx, p.box, Subject{Domain: asCarol.Domain}, true, ReplaceFlags, RightLookup)
			},
			"deleted": func(p *place, a *Account) error {
				w.grant(asCarol, p.box, letters)
				return a.Delete(ctx, p.box)
			},
		} {
			n++
			p := w.place(n)
			a := w.account()
			if err := prepare(p, a); err != nil {
				t.Fatal(err)
			}
			if err := m.do(p); fmt.Sprint(err) != p.nowhere(m.method) {
				t.Errorf("%s of a mailbox %s: %v, for one that does not exist: %s", m.method, state, err, p.nowhere(m.method))
			}
			a.Close()
			p.guest.Close()
		}
	}
	w.check()
}

// TestRightsOfReading: what cannot fail shows nothing.
func TestRightsOfReadingAU8(t *testing.T) {
	w := sharedWorld(t)
	p := w.place(1)
	defer p.guest.Close()
	for rights := Rights(0); rights <= AllRights; rights += 1 {
		w.grant(asCarol, p.box, rights.String())
		visible, readable := rights&RightLookup != 0, rights&(RightLookup|RightRead) == RightLookup|RightRead
		list := p.guest.Mailboxes()
		at := slices.IndexFunc(list, func(i Info) bool { return i.ID == p.box })
		if (at >= 0) != visible || visible && (list[at].Messages != 0) != readable {
			t.Fatalf("with %v: %+v", rights, list)
		}
		seen := 0
		if err := p.guest.Emails(ctx, []EmailID{p.email}, WantRow, func(int, *Email) bool { seen++; return true }); err != nil {
			t.Fatal(err)
		}
		if seen > btoi(readable) {
			t.Fatalf("with %v an email is read", rights)
		}
		equal(t, "rights", p.guest.Rights(p.box), rights*Rights(btoi(visible)))
		_, err := p.guest.Metadata(ctx, p.box, nil)
		verdictOf(t, "Metadata", visible, rights&(RightRead|RightSeen|RightWrite|RightInsert|RightPost) != 0, err)
		err = p.guest.SetMetadata(ctx, p.box, []Annotation{{"/private/comment", []byte("x")}})
		verdictOf(t, "SetMetadata", visible, rights&(RightRead|RightSeen|RightWrite|RightInsert|RightPost) != 0, err)
		err = p.guest.SetSpecialUse(ctx, p.box, UseSent)
		verdictOf(t, "SetSpecialUse", visible, false, err)
		below, err := p.guest.Create(ctx, p.name+"/x", UseNone)
		if visible && rights&RightCreate != 0 {
			a := w.account()
			if err != nil || a.Delete(ctx, below.ID) != nil {
				t.Fatal(err)
			}
			a.Close()
		} else {
			wantKind(t, err, postino.Denied)
		}
	}
	wantKind(t, p.guest.SetQuota(ctx, Quota{}), postino.Denied)
	wantKind(t, p.guest.Rename(ctx, p.other, "elsewhere"), postino.Denied)
	_, err := p.guest.Create(ctx, "elsewhere", UseNone)
	wantKind(t, err, postino.Denied)
	equal(t, "usage", p.guest.Usage(), Usage{})
}

func verdictOf(t *testing.T, what string, visible, allowed bool, err error) {
	t.Helper()
	switch {
	case !visible:
		wantKind(t, err, postino.NotFound)
	case !allowed:
		wantKind(t, err, postino.Denied)
	case err != nil:
		t.Fatal(what, err)
	}
}

// TestNoRole: a handle that says nothing about who holds it may do nothing.
func TestNoRoleAU8(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.account()
	defer a.Close()
	id := w.append(a, inbox, 1, 0).Emails[0]
	nobody := &Account{shared: a.shared}
	_, err := nobody.Open(ctx, inbox)
	wantKind(t, err, postino.NotFound)
	wantKind(t, nobody.Delete(ctx, 2), postino.NotFound)
	n := 0
	if err := nobody.Emails(ctx, []EmailID{id}, WantRow, func(int, *Email) bool { n++; return true }); err != nil || n != 0 {
		t.Fatal(n, err)
	}
	equal(t, "rights", nobody.Rights(inbox), 0)
	equal(t, "mailboxes", len(nobody.Mailboxes()), 0)
	wantKind(t, nobody.Subscribe(ctx, "INBOX"), postino.NotFound)
	_, err = nobody.Create(ctx, "x", UseNone)
	wantKind(t, err, postino.Denied)
	if err := nobody.Changes(ctx, 0, func(*Change) bool { n++; return true }); err != nil || n != 0 {
		t.Fatal(n, err)
	}
	_, err = nobody.Metadata(ctx, 0, nil)
	wantKind(t, err, postino.Denied)
}
