package crash

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/sasl"
	"github.com/postino-mail/postino/vfs"
)

// moment is all that anybody can see in a circle, and what was given out so far.
type moment struct {
	what    string // the operation that led here
	lines   []string
	high    map[mailbox.AccountID]given
	account mailbox.AccountID   // the greatest
	gone    []mailbox.AccountID // that were removed
	pass    int                 // changes of the password
	word    string              // the password
	tried   bool                // that it is this one
}

// given are the greatest numbers that an account has shown, to whomever.
type given struct {
	validity uint32
	box      mailbox.MailboxID
	email    mailbox.EmailID
	modseq   mailbox.ModSeq
}

func (m *moment) put(format string, args ...any) {
	m.lines = append(m.lines, fmt.Sprintf(format, args...))
}

// unsettled tells that upkeep changes other accounts after the operation.
func (m *moment) unsettled() bool { return strings.HasSuffix(m.what, " leave") }

// differs tells the first difference, "" when there is none.
func (m *moment) differs(o *moment) string {
	if m.tried && m.word != o.word {
		return fmt.Sprintf("the password is %q, should be %q", m.word, o.word)
	}
	if slices.Equal(m.lines, o.lines) {
		return ""
	}
	for i, l := range m.lines {
		if i >= len(o.lines) || l != o.lines[i] {
			return fmt.Sprintf("line %d is %q, should be %q", i, l, append(o.lines, make([]string, i+1)...)[i])
		}
	}
	return fmt.Sprintf("%q is missing", o.lines[len(m.lines)])
}

// look writes down all that can be seen. before is what was seen last.
func (c *circle) look(ctx context.Context, before *moment) (*moment, error) {
	m := &moment{high: map[mailbox.AccountID]given{}, pass: c.pass, word: c.word, gone: slices.Clone(c.gone)}
	if before != nil {
		m.account = before.account
		for id, g := range before.high {
			m.high[id] = g
		}
	}
	for i := range c.users {
		id, err := c.id(ctx, i)
		if postino.Is(err, postino.NotFound) {
			m.put("%s is not there", c.users[i])
			continue
		}
		if err == nil {
			m.account = max(m.account, id)
			err = c.lookAt(ctx, m, i)
		}
		if err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (c *circle) lookAt(ctx context.Context, m *moment, i int) error {
	a, err := c.open(ctx, i, -1)
	if err != nil {
		return err
	}
	defer a.Close()
	if err := a.Sync(ctx); err != nil {
		return err
	}
	m.put("%s: account %d, modseq %d, %+v, subscribed %q", c.users[i], a.ID(), a.ModSeq(), a.Usage(), a.Subscriptions())
	mine, err := a.Metadata(ctx, 0, func(name string) bool { return strings.HasPrefix(name, "/private/") || name == c.serverNote() })
	if err != nil {
		return err
	}
	m.put(" metadata %q", mine)
	g := m.high[a.ID()]
	g.modseq = max(g.modseq, a.ModSeq())
	lists := map[mailbox.MailboxID][]mailbox.ACLEntry{}
	for _, box := range a.Mailboxes() {
		g.validity, g.box = max(g.validity, box.UIDValidity), max(g.box, box.ID)
		if lists[box.ID], err = a.ACL(ctx, box.ID); err != nil {
			return err
		}
		ids, err := a.UIDLs(ctx, box.ID)
		if err != nil {
			return err
		}
		m.put(" list %v", lists[box.ID])
		if err := m.mailbox(ctx, a, box, func(r mailbox.Row) string {
			g.email, g.modseq = max(g.email, r.Email), max(g.modseq, r.ModSeq)
			return ids[r.UID]
		}); err != nil {
			return err
		}
	}
	for by := range c.users[:3] {
		if by == i {
			continue
		}
		if err := c.lookAs(ctx, m, i, by, lists, &g); err != nil {
			return err
		}
	}
	m.high[a.ID()] = g
	return nil
}

// mailbox writes down a mailbox as the holder of a handle sees it.
func (m *moment) mailbox(ctx context.Context, a *mailbox.Account, box mailbox.Info, more func(mailbox.Row) string) error {
	m.put("  %+v rights %v", box, a.Rights(box.ID))
	if notes, err := a.Metadata(ctx, box.ID, nil); err == nil {
		m.put("   metadata %q", notes)
	} else if !postino.Is(err, postino.Denied) {
		return err
	}
	v, err := a.Open(ctx, box.ID)
	if postino.Is(err, postino.Denied) {
		return nil
	}
	if err != nil {
		return err
	}
	s := v.Snapshot()
	for _, r := range s.Rows(0, s.Len()) {
		m.put("   UID %d email %d thread %d flags %s modseq %d size %d date %d %d %s", r.UID, r.Email, r.Thread, flagNames(r.Flags, s.Keywords()), r.ModSeq, r.Size, r.Date, r.Saved, more(r))
	}
	return nil
}

// lookAs writes down what a guest sees of an account. What he may see follows
// from the access lists alone.
func (c *circle) lookAs(ctx context.Context, m *moment, i, by int, lists map[mailbox.MailboxID][]mailbox.ACLEntry, g *given) error {
	v, err := c.viewer(ctx, by)
	if postino.Is(err, postino.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	may := map[mailbox.MailboxID]mailbox.Rights{}
	for box, list := range lists {
		var give, take mailbox.Rights
		for _, e := range list {
			if e.Account == v.Account || e.Account == 0 && e.Domain == v.Domain {
				if e.Negative {
					take |= e.Rights
				} else {
					give |= e.Rights
				}
			}
		}
		if r := give &^ take; r&mailbox.RightLookup != 0 {
			may[box] = r
		}
	}
	a, err := c.open(ctx, i, by)
	if postino.Is(err, postino.NotFound) {
		if len(may) > 0 {
			return fmt.Errorf("%s sees nothing of %s, who gives him %v", c.users[by], c.users[i], may)
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer a.Close()
	owners, err := c.h.mailboxes.SharedWith(ctx, v)
	if err != nil || !slices.Contains(owners, a.ID()) {
		return fmt.Errorf("the index says that %v share with %d, not %d: %w", owners, v.Account, a.ID(), err)
	}
	own, err := a.Metadata(ctx, 0, func(name string) bool { return strings.HasPrefix(name, "/private/") })
	if err != nil {
		return err
	}
	m.put(" as %s: subscribed %q, metadata %q", c.users[by], a.Subscriptions(), own)
	for _, box := range a.Mailboxes() {
		if a.Rights(box.ID) != may[box.ID] || may[box.ID] == 0 {
			return fmt.Errorf("%s has rights %v on %s of %s, should have %v", c.users[by], a.Rights(box.ID), box.Name, c.users[i], may[box.ID])
		}
		delete(may, box.ID)
		unseen := uint32(0)
		err := m.mailbox(ctx, a, box, func(r mailbox.Row) string {
			g.modseq = max(g.modseq, r.ModSeq)
			if r.Flags.System()&mailbox.Seen == 0 {
				unseen++
			}
			return ""
		})
		if err != nil {
			return err
		}
		if a.Rights(box.ID)&mailbox.RightRead != 0 && unseen != box.Unseen {
			return fmt.Errorf("%s has %d unseen in %s of %s, counted %d", c.users[by], box.Unseen, box.Name, c.users[i], unseen)
		}
	}
	if len(may) > 0 {
		return fmt.Errorf("%s does not see %v of %s", c.users[by], may, c.users[i])
	}
	return nil
}

// words are those that texts are made of.
var words = []string{"walnut", "cobalt", "meadow", "lantern", "pepper", "violin", "harbor", "saddle", "ember", "quartz"}

// wordy makes a text.
func wordy(rng *rand.Rand) []byte {
	n := 3 + rng.IntN(20)
	if rng.IntN(12) == 0 {
		n = 12_000 // a file
	}
	b := fmt.Appendf(nil, "From: x@a.example\r\nSubject: %s %x\r\n\r\n", words[rng.IntN(len(words))], rng.Uint64())
	few := 1 + rng.IntN(len(words))
	for range n {
		b = fmt.Appendf(b, "%s\r\n", words[rng.IntN(few)])
	}
	return b
}

// examineCircles opens the stores on what a crash left, looks at all that anybody
// sees, compares searches with texts, tries passwords, and adds something new.
func (r *run) examineCircles(p *result, fs vfs.FS, circles []*circle, probing bool) (total sharedTally, err error) {
	ctx := context.Background()
	h, err := busyStores(r.T, fs)
	if err != nil {
		return total, err
	}
	defer h.close()
	var mine []*circle
	for i, c := range circles {
		mine = append(mine, &circle{h: h, n: c.n, users: c.users})
		got, err := mine[i].look(ctx, nil)
		if err != nil {
			return total, fmt.Errorf("circle %d: %w", i, err)
		}
		if probing {
			p.circles = append(p.circles, got)
		}
	}
	rng := rand.New(rand.NewPCG(p.seed, 3))
	if rng.IntN(2) == 0 {
		if err := h.tidy(ctx); err != nil {
			return total, err
		}
	}
	for i, c := range mine {
		n, err := c.search(ctx, rng)
		total.searches += n
		if err != nil {
			return total, fmt.Errorf("circle %d: %w", i, err)
		}
	}
	if !probing {
		return total, nil
	}
	if err := h.tidy(ctx); err != nil {
		return total, err
	}
	for i, c := range mine {
		r.mu.Lock()
		known := circles[i].steps[min(p.steps[i], len(circles[i].steps))-1]
		r.mu.Unlock()
		if got := p.circles[i]; p.seed%3 == 0 {
			var n int
			got.tried = true
			if got.word, n, err = c.password(ctx, known.pass); err != nil {
				return total, fmt.Errorf("circle %d: %w", i, err)
			}
			total.logins += n
		}
		if err := c.probe(ctx, known); err != nil {
			return total, fmt.Errorf("circle %d after %q: %w", i, known.what, err)
		}
	}
	return total, nil
}

// search compares searches in all mailboxes with what reading finds.
func (c *circle) search(ctx context.Context, rng *rand.Rand) (n int, err error) {
	for i := range c.users {
		a, err := c.open(ctx, i, -1)
		if postino.Is(err, postino.NotFound) {
			continue
		}
		if err != nil {
			return n, err
		}
		defer a.Close()
		if problems, err := c.h.mailboxes.Check(ctx, a.ID()); err != nil || len(problems) > 0 {
			return n, fmt.Errorf("check of %s: %v %w", c.users[i], problems, err)
		}
		for _, box := range a.Mailboxes() {
			v, err := a.Open(ctx, box.ID)
			if err != nil {
				return n, err
			}
			s := v.Snapshot()
			if s.Len() == 0 {
				continue
			}
			texts, err := readAll(ctx, a, s)
			if err != nil {
				return n, fmt.Errorf("%s of %s: %w", box.Name, c.users[i], err)
			}
			for _, word := range []string{words[rng.IntN(len(words))], words[rng.IntN(len(words))], "missing"} {
				for _, op := range []mailbox.Op{mailbox.OpText, mailbox.OpSubject, mailbox.OpBody} {
					n++
					found, err := a.Search(ctx, s, &mailbox.Query{Op: op, Text: word[1:]})
					if err != nil {
						return n, err
					}
					if want := scan(texts, op, word[1:]); !slices.Equal(found, want) {
						return n, fmt.Errorf("search %d of %q in %s of %s finds %v, should be %v", op, word, box.Name, c.users[i], found, want)
					}
				}
			}
		}
	}
	return n, nil
}

// readAll reads the texts of all messages.
func readAll(ctx context.Context, a *mailbox.Account, s *mailbox.Snapshot) ([]string, error) {
	texts := make([]string, s.Len())
	ids := make([]mailbox.EmailID, s.Len())
	for i := range ids {
		ids[i] = s.Email(i)
	}
	var fail error
	err := a.Emails(ctx, ids, mailbox.WantRow, func(i int, e *mailbox.Email) bool {
		body, err := a.OpenBody(ctx, e)
		if err != nil {
			fail = err
			return false
		}
		defer body.Close()
		var b bytes.Buffer
		_, fail = body.WriteTo(&b)
		texts[i] = b.String()
		return fail == nil
	})
	if err == nil {
		err = fail
	}
	if i := slices.Index(texts, ""); err == nil && i >= 0 {
		err = fmt.Errorf("email %d is gone", ids[i])
	}
	return texts, err
}

// scan finds a word by reading.
func scan(texts []string, op mailbox.Op, word string) (found []int) {
	for i, text := range texts {
		head, body, _ := strings.Cut(text, "\r\n\r\n")
		switch op {
		case mailbox.OpSubject:
			_, text, _ = strings.Cut(head, "Subject: ")
		case mailbox.OpBody:
			text = body
		}
		if strings.Contains(text, word) {
			found = append(found, i)
		}
	}
	return found
}

// password finds which password of those that may have been set opens the account
// of users[1] by all mechanisms; no other may open it by any.
func (c *circle) password(ctx context.Context, known int) (password string, n int, err error) {
	if _, err := c.id(ctx, 1); err != nil {
		return "", 0, nil
	}
	may := []string{firstPassword, nthPassword(known), nthPassword(known + 1), nthPassword(known + 2)}
	var open []string
	for i, password := range may {
		mechanisms := []string{"PLAIN", "CRAM-MD5"}
		if len(open) > 0 || i < 2 { // it takes some milliseconds
			mechanisms = append(mechanisms, "SCRAM-SHA-256")
		}
		for _, m := range mechanisms {
			n++
			if c.h.login(m, c.users[1], password) {
				open = append(open, m+" "+password)
			}
		}
		if len(open) == 2 && len(mechanisms) == 2 && c.h.login("SCRAM-SHA-256", c.users[1], password) {
			open = append(open, "SCRAM-SHA-256 "+password)
		}
	}
	if len(open) == 3 {
		password = strings.TrimPrefix(open[0], "PLAIN ")
	}
	for _, s := range open {
		if _, opens, _ := strings.Cut(s, " "); opens != password {
			return "", n, fmt.Errorf("after %d changes of the password these open: %q", known, open)
		}
	}
	return password, n, nil
}

const firstPassword = "correct horse"

func nthPassword(n int) string { return fmt.Sprintf("battery staple %d", n) }

// login tells whether a password opens an account by a mechanism.
func (h *house) login(mechanism, user, password string) bool {
	ctx := context.Background()
	auth := h.users.SASL(directory.Peer{Service: directory.ServiceIMAP}, func(_ string, _ directory.User, err error) error { return err })
	server, err := auth.Start(mechanism)
	if err != nil {
		return false
	}
	client := sasl.ChooseClient(mechanism, sasl.ClientOptions{User: user, Password: password, AllowClear: true})
	if client == nil {
		return false
	}
	response, err := client.Start()
	for err == nil {
		challenge, done, failed := server.Next(ctx, response)
		if failed != nil {
			return false
		}
		if done {
			return client.Done() == nil
		}
		response, err = client.Next(challenge)
	}
	return false
}

// probe adds something new everywhere: no number is used again.
func (c *circle) probe(ctx context.Context, known *moment) error {
	for _, id := range known.gone {
		if _, err := c.h.mailboxes.Account(ctx, id); !postino.Is(err, postino.NotFound) {
			return fmt.Errorf("account %d is back: %v", id, err)
		}
	}
	for i := range c.users {
		a, err := c.open(ctx, i, -1)
		if postino.Is(err, postino.NotFound) {
			if err := c.join(ctx, i); err != nil {
				return err
			}
			if id, err := c.id(ctx, i); err != nil || id <= known.account {
				return fmt.Errorf("a new account is %d, %d was given out: %w", id, known.account, err)
			}
			continue
		}
		if err != nil {
			return err
		}
		defer a.Close()
		if err := c.probeAccount(ctx, a, i, known.high[a.ID()]); err != nil {
			return fmt.Errorf("%s: %w", c.users[i], err)
		}
		if problems, err := c.h.mailboxes.Check(ctx, a.ID()); err != nil || len(problems) > 0 {
			return fmt.Errorf("check of %s at the end: %v %w", c.users[i], problems, err)
		}
	}
	return nil
}

func (c *circle) probeAccount(ctx context.Context, a *mailbox.Account, i int, was given) error {
	if err := a.SetQuota(ctx, mailbox.Quota{}); err != nil {
		return err
	}
	inbox, err := a.Mailbox("INBOX")
	if err != nil {
		return err
	}
	m, w, err := c.h.stage([]byte("Subject: new\r\n\r\n"))
	defer w.Abort()
	if err != nil {
		return err
	}
	res, err := a.Append(ctx, inbox.ID, []mailbox.AppendMessage{{Message: m}})
	if err != nil {
		return err
	}
	if res.UIDs.Lo < inbox.UIDNext || res.Emails[0] <= was.email || res.ModSeq <= was.modseq {
		return fmt.Errorf("a new message is %+v, given out were %+v and UIDNEXT %d", res, was, inbox.UIDNext)
	}
	box, err := a.Create(ctx, "new", mailbox.UseNone)
	if err != nil || box.UIDValidity <= was.validity || box.ID <= was.box {
		return fmt.Errorf("a new mailbox is %+v, given out were %+v: %w", box, was, err)
	}
	for by := range c.users[:3] {
		g, err := c.open(ctx, i, by)
		if by == i || err != nil || g.Rights(inbox.ID)&(mailbox.RightRead|mailbox.RightSeen) != mailbox.RightRead|mailbox.RightSeen {
			continue
		}
		defer g.Close()
		seen, err := g.Store(ctx, inbox.ID, mailbox.StoreRequest{UIDs: mailbox.Ranges{res.UIDs}, Flags: mailbox.Seen})
		if err != nil || seen.ModSeq <= res.ModSeq {
			return fmt.Errorf("a guest's \\Seen has mod-sequence %d after %d: %w", seen.ModSeq, res.ModSeq, err)
		}
	}
	return nil
}
