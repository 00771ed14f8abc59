package submit

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/mailauth"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/message"
	"github.com/postino-mail/postino/queue"
)

// Letter is a message on its way to the queue. It is used by one goroutine and
// ends with [Letter.Close].
type Letter struct {
	// ID is the message's.
	ID postino.ID
	// Envelope is what the sender said of the message; its Rcpts are not used.
	Envelope postino.Envelope
	// User is who is logged in; zero for strangers.
	User directory.User
	// Outward lets the letter go to other servers (SS18).
	Outward bool
	// Repair mends the header as a submission agent does (RFC 6409 §8).
	Repair bool
	// Prefix is whole header lines with CRLF that stand before the message in all
	// its copies, such as Authentication-Results. It is read by Commit.
	Prefix []byte
	// Arrival is what was found out about a message from outside, for the seal of
	// what is forwarded; nil: nothing was.
	Arrival *Arrival
	// Junk puts the message into the mailboxes for junk of those who have theirs
	// here. It is read by Commit.
	Junk bool

	p     *Post
	local []queue.Rcpt    // mailboxes, each once
	have  map[uint64]bool // their accounts, once there are many
	sites map[place]*site // what goes elsewhere
	// reports are addresses whose mail is read by the server itself.
	reports []queue.Rcpt
	// owed are addresses about which nothing is to be done but to tell the sender:
	// they lead to several others, or were refused when he was no longer there.
	owed    []queue.Rcpt
	quotas  []uint64 // accounts with a quota, asked again when the size is known
	targets int

	proof proof
	// signatures are DKIM-Signature fields.
	signatures []byte

	body  *blob.Writer
	index *message.Indexer
	held  []byte // a header that is mended or signed, until it is complete
	ended bool   // the header that was held back is written
	ix    *message.Index
}

// Arrival is how a message came here.
type Arrival struct {
	// Results are those of the Authentication-Results in Prefix.
	Results []mailauth.AuthResult
	// Chain is what its ARC chain was worth.
	Chain mailauth.Chain
}

// place says where mail goes, and in which way.
type place struct {
	dest  string
	from  postino.Address
	trace string
	seal  string // domain that seals what goes there
}

// site is what goes to one place, and becomes an item.
type site struct {
	rcpts []queue.Rcpt
	have  map[postino.Address]bool
}

// Begin opens a letter.
func (p *Post) Begin(now time.Time, e postino.Envelope) *Letter {
	return &Letter{ID: p.opts.IDs.Next(now), Envelope: e, p: p}
}

// What a refused recipient's error wraps, where the kind alone does not say it.
var (
	// ErrForeign refuses to relay: the domain is not ours (Denied).
	ErrForeign = errors.New("relay access denied")
	// ErrChanged: the mailbox has changed hands since the time the sender
	// named (Denied; RFC 7293 §3).
	ErrChanged = errors.New("mailbox has changed hands")
	// ErrTooLarge: the message is larger than the mailbox may be (Full).
	ErrTooLarge = errors.New("message is larger than the mailbox may be")
	// ErrExpansion: the address leads to too many others (Full).
	ErrExpansion = errors.New("mailing list expansion problem")
	// ErrTargets: the message has too many recipients (Full).
	ErrTargets = errors.New("too many recipients")
)

// Rcpt adds a recipient: what its address leads to. size is what the sender
// declared, 0 when it did not. The kinds of errors are those of
// [directory.Directory.Resolve]; Denied and Full may wrap one of the errors
// above.
func (l *Letter) Rcpt(ctx context.Context, to postino.Recipient, size int64) error {
	back, ours, err := l.unwrap(to.Address)
	if err != nil {
		return err
	}
	outward := l.Outward || ours
	to.Address = back
	r, err := l.p.opts.Directory.Resolve(ctx, to.Address)
	switch {
	case postino.Is(err, postino.Full):
		return postino.E(postino.Full, "accept", to.Address.String(), ErrExpansion)
	case err != nil:
		return err
	case r.Local:
		return l.addLocal(ctx, to, &r, size)
	case r.Relay == nil && !outward:
		return postino.E(postino.Denied, "accept", to.Address.String(), ErrForeign)
	case r.Relay == nil && !ours && to.Address.Domain == l.p.opts.Hostname:
		return l.addHost(ctx, to, size)
	case r.Relay != nil && r.Relay.Recipients == directory.CallAhead && l.p.opts.Verify != nil:
		if err := l.p.opts.Verify(ctx, to.Address); err != nil {
			return err
		}
	}
	at, err := l.place(ctx, to.Address, "")
	if err == nil {
		err = l.count(1)
	}
	if err == nil {
		l.addForeign(at, to)
	}
	return err
}

// unwrap turns an address that we gave to a forwarded message back into its
// sender's. Anybody may write to it, as reports do; it leads to one place.
func (l *Letter) unwrap(a postino.Address) (back postino.Address, ours bool, err error) {
	srs := l.p.opts.SRS
	if srs == nil || a.Domain != srs.Domain || len(a.Local) < 5 || !strings.EqualFold(a.Local[:3], "SRS") {
		return a, false, nil
	}
	if back, err = srs.Reverse(a, l.ID.Time()); err != nil {
		return a, true, postino.E(postino.NotFound, "resolve", a.String(), err)
	}
	return back, true, nil
}

// addHost adds who reads the mail of this machine's accounts when its name is no
// domain of ours: cron writes to root, and reports go to the accounts of daemons.
// The postmaster gets it; passed on it would come back here and be lost.
func (l *Letter) addHost(ctx context.Context, to postino.Recipient, size int64) error {
	r, err := l.p.opts.Directory.Resolve(ctx, postino.Address{Local: "postmaster"})
	if err != nil {
		return err
	}
	return l.addLocal(ctx, to, &r, size)
}

func (l *Letter) count(n int) error {
	if l.targets+n > l.p.opts.Limits.Targets {
		return postino.E(postino.Full, "accept", "", ErrTargets)
	}
	l.targets += n
	return nil
}

// addLocal adds the mailboxes and the addresses elsewhere that an address of
// ours leads to.
func (l *Letter) addLocal(ctx context.Context, to postino.Recipient, r *directory.Resolution, size int64) error {
	many := len(r.Targets)+len(r.Forwards) > 1
	for i := range r.Targets {
		if t := &r.Targets[i]; !to.ValidSince.IsZero() && !directory.RoleAddress(to.Address) && t.Since.After(to.ValidSince) {
			return postino.E(postino.Denied, "accept", to.Address.String(), ErrChanged)
		}
	}
	if !many && len(r.Targets) == 1 && r.Targets[0].Quota > 0 { // a list goes on when one member is full
		account := r.Targets[0].Account
		if err := l.room(ctx, account, max(1, size)); err != nil {
			return err
		}
		if !slices.Contains(l.quotas, account) {
			l.quotas = append(l.quotas, account)
		}
	}
	places, err := l.places(ctx, to.Address, r.Forwards) // a refusal leaves the letter as it was (SS3)
	if err != nil {
		return err
	}
	if err := l.count(max(1, len(r.Targets)+len(r.Forwards))); err != nil {
		return err
	}
	if r.Reports {
		l.addReports(to)
	}
	if many && to.Notify&postino.DSNSuccess != 0 { // RFC 3461 §5.2.7.3 (c)
		to.Notify &^= postino.DSNSuccess
		l.owed = append(l.owed, queue.Rcpt{Recipient: to, State: queue.Done, Owed: queue.OwedExpanded})
	}
	for i := range r.Targets {
		l.addMailbox(to, &r.Targets[i])
	}
	for i, f := range r.Forwards {
		l.addForeign(places[i], forwarded(to, f.Address))
	}
	return nil
}

// places finds out where the addresses are served that one of ours leads to.
func (l *Letter) places(ctx context.Context, from postino.Address, to []directory.Forward) (all []place, err error) {
	trace := "Delivered-To: " + from.String() + "\r\n"
	seal := ""
	if dom, err := l.p.opts.Directory.Domain(ctx, from.Domain); err == nil && dom.Seal {
		seal = dom.Name
	} else if err != nil && !postino.Is(err, postino.NotFound) && !postino.Is(err, postino.Invalid) {
		return nil, err
	}
	all = make([]place, len(to))
	for i := range to {
		if all[i], err = l.place(ctx, to[i].Address, trace); err != nil {
			return nil, err
		}
		all[i].seal = seal
	}
	return all, nil
}

// forwarded is the recipient at an address that another one leads to, which
// stays its original recipient (RFC 3461 §5.2.7.1).
func forwarded(to postino.Recipient, next postino.Address) postino.Recipient {
	switch {
	case to.ORcpt != "":
	case to.Address.NeedsUTF8():
		to.ORcpt = "utf-8;" + to.Address.Unicode() // RFC 6533 §3
	default:
		to.ORcpt = "rfc822;" + to.Address.String()
	}
	to.Address = next
	return to
}

// Onward prepares what becomes of a recipient of an item whose address leads to
// other servers since the item was made: put, within a transaction, puts items
// for them on the queue that share its body, and committed is called after it.
func (p *Post) Onward(ctx context.Context, it *queue.Item, rcpt int, to []directory.Forward) (put func(tx kv.Tx) (committed func(), err error), err error) {
	now, r := time.Now(), it.Rcpts[rcpt].Recipient
	l := p.Begin(now, postino.Envelope{From: it.From})
	places, err := l.places(ctx, r.Address, to)
	if err != nil {
		return nil, err
	}
	for i, f := range to {
		l.addForeign(places[i], forwarded(r, f.Address))
	}
	sets, err := p.sealStored(ctx, it, l.sealing())
	if err != nil {
		return nil, err
	}
	m := &queue.Message{Items: l.again(it, sets)}
	for i := range m.Items {
		m.Events = append(m.Events, p.forwardEvent(m.Items[i], now))
	}
	return func(tx kv.Tx) (func(), error) { return p.opts.Queue.PutIn(tx, m) }, nil
}

// again makes items for where the letter goes that share the body of another one.
func (l *Letter) again(it *queue.Item, sets map[string][]byte) (items []*queue.Item) {
	item := func(transport string, from postino.Address, prefix []byte, rcpts []queue.Rcpt) *queue.Item {
		items = append(items, &queue.Item{
			Message: it.Message, Transport: transport, From: from, SMTPUTF8: it.SMTPUTF8, Body: it.Body, EnvID: it.EnvID, Ret: it.Ret,
			Terms: it.Terms, User: it.User, Blob: it.Blob, Size: it.Size, Received: it.Received, Prefix: prefix, Rcpts: rcpts,
		})
		return items[len(items)-1]
	}
	for at, s := range l.sites {
		item(queue.Relay, at.from, slices.Concat(sets[at.seal], []byte(at.trace), it.Prefix), s.rcpts).Dest = at.dest
	}
	if len(l.local) > 0 {
		item(queue.Local, it.From, it.Prefix, l.local)
	}
	return items
}

// addReports notes an address that reports come to, once for all of them.
func (l *Letter) addReports(to postino.Recipient) {
	if len(l.reports) == 0 {
		l.reports = append(l.reports, queue.Rcpt{Recipient: to})
	}
}

// addMailbox notes a mailbox, unless the message goes there anyway.
func (l *Letter) addMailbox(to postino.Recipient, t *directory.Target) {
	const many = 16
	if l.have == nil {
		for i := range l.local {
			if l.local[i].Account == t.Account {
				return
			}
		}
	} else if l.have[t.Account] {
		return
	}
	l.local = append(l.local, queue.Rcpt{Recipient: to, Account: t.Account, User: t.User, Detail: t.Detail})
	if l.have == nil && len(l.local) > many {
		l.have = make(map[uint64]bool, 4*many)
		for i := range l.local {
			l.have[l.local[i].Account] = true
		}
	}
	if l.have != nil {
		l.have[t.Account] = true
	}
}

// place finds out where an address elsewhere is served. trace names the address
// of ours that led to it, if one did: what is forwarded gets a reverse-path of
// ours, so that it passes SPF and reports come back here.
func (l *Letter) place(ctx context.Context, to postino.Address, trace string) (place, error) {
	d, from := l.p.opts.Directory, l.Envelope.From
	if srs := l.p.opts.SRS; trace != "" && srs != nil && !from.IsNull() {
		_, err := d.Domain(ctx, from.Domain)
		if postino.Is(err, postino.NotFound) {
			if f, ok := srs.Forward(from, l.ID.Time()); ok { // else it stays the sender's: better than none
				from = f
			}
		} else if err != nil {
			return place{}, err
		}
	}
	route, err := d.RouteFor(ctx, from, l.User.ID, to)
	if err != nil {
		return place{}, err
	}
	return place{dest: l.p.opts.Dest(route, to), from: from, trace: trace}, nil
}

// addForeign notes an address elsewhere, unless the message goes there anyway.
func (l *Letter) addForeign(at place, to postino.Recipient) {
	s := l.sites[at]
	if s == nil {
		if l.sites == nil {
			l.sites = map[place]*site{}
		}
		s = &site{have: map[postino.Address]bool{}}
		l.sites[at] = s
	}
	s.add(to)
}

func (s *site) add(to postino.Recipient) {
	if s.have[to.Address] {
		return
	}
	s.have[to.Address] = true
	s.rcpts = append(s.rcpts, queue.Rcpt{Recipient: to})
}

// Route says where an item with one recipient goes now, for a queue whose routes,
// domains or users have changed. What leads to several places stays as it is.
func (p *Post) Route(ctx context.Context, it *queue.Item) (transport, dest string, err error) {
	d, rcpt := p.opts.Directory, &it.Rcpts[0]
	r, err := d.Resolve(ctx, rcpt.Address)
	switch {
	case err != nil:
		return "", "", err
	case r.Local && len(r.Targets) == 1 && len(r.Forwards) == 0:
		t := &r.Targets[0]
		rcpt.Account, rcpt.User, rcpt.Detail = t.Account, t.User, t.Detail
		return queue.Local, "", nil
	case r.Reports && len(r.Targets)+len(r.Forwards) == 0:
		return queue.Reader, "", nil
	case r.Local:
		return it.Transport, it.Dest, nil
	}
	route, err := d.RouteFor(ctx, it.From, it.User, rcpt.Address)
	if err != nil {
		return "", "", err
	}
	return queue.Relay, p.opts.Dest(route, rcpt.Address), nil
}

// room refuses a mailbox that has no quota left for size octets.
func (l *Letter) room(ctx context.Context, account uint64, size int64) error {
	var u mailbox.Usage
	err := l.p.opts.DB.View(ctx, nil, func(r kv.Reader) (err error) {
		u, err = l.p.opts.Mailboxes.Usage(r, mailbox.AccountID(account))
		return err
	})
	switch {
	case postino.Is(err, postino.NotFound):
		return nil // being made; delivery waits for it
	case err != nil:
		return err
	case u.Limit.Bytes > 0 && size > u.Limit.Bytes:
		return postino.E(postino.Full, "accept", "", ErrTooLarge)
	case u.Limit.Bytes > 0 && u.Used.Bytes+size > u.Limit.Bytes, u.Limit.Messages > 0 && u.Used.Messages >= u.Limit.Messages:
		return postino.E(postino.Full, "accept", "", postino.ErrQuota)
	}
	return nil
}

// fits asks the mailboxes with a quota again, now that the size is known. One
// answer stands for all recipients, so it refuses only what none can take.
func (l *Letter) fits(ctx context.Context, size int64) error {
	if len(l.sites)+len(l.reports) > 0 || len(l.quotas) < len(l.local) {
		return nil
	}
	var refusal error
	for _, account := range l.quotas {
		if refusal = l.room(ctx, account, size); refusal == nil {
			return nil
		}
	}
	return refusal
}

// Targets walks the addresses of the mailboxes that the letter goes to, with
// their sub-addresses: what Delivered-To names.
func (l *Letter) Targets(yield func(a []byte) bool) {
	var buf []byte
	for i := range l.local {
		buf = l.local[i].AppendTarget(buf[:0])
		if !yield(buf) {
			return
		}
	}
}
