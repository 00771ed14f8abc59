package directory

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// Resolution is where the mail of an address goes.
type Resolution struct {
	// Local tells that the address is ours: Targets and Forwards together are
	// then 1 to MaxTargets, or Reports is true. All are shared with the cache: read
	// only.
	Local bool
	// Reports tells that the address leads to the reader of reports; see
	// ReportAddress.
	Reports bool
	// Targets are the mailboxes, each account once; none for an alias that
	// leads only elsewhere.
	Targets []Target
	// Forwards are the addresses elsewhere, each once.
	Forwards []Forward
	// Relay is the domain of an address that is neither user nor alias, in a
	// relay domain: the address itself is to be relayed. When its Recipients
	// are CallAhead, whether there is such a recipient is still to be asked.
	// Without Local and Relay the caller decides about relaying.
	Relay *Domain
}

// Forward is an address elsewhere, or in a relay domain, that an alias leads to.
type Forward struct {
	Address postino.Address
	// Via is as in Target, never zero.
	Via postino.Address
}

// Target is one mailbox that an address leads to.
type Target struct {
	Account uint64
	// User is the address of the mailbox's user.
	User postino.Address
	// Detail is the sub-address, "lists" of ana+lists@example.org.
	Detail string
	// Via is the address of the directory that led here: the alias, "" @domain
	// for a catch-all or the alias of a whole domain, postmaster. Zero when the
	// user was addressed directly.
	Via postino.Address
	// Quota is the user's: 0 means that the mailbox has none.
	Quota int64
	// Since is when the address came to this user: when the user was made, or
	// an alias on the way was last pointed elsewhere (RFC 7293 §5).
	Since time.Time
}

// resolved is a cached answer: a resolution, or an error that will stay.
type resolved struct {
	Resolution
	err error
}

// Resolve finds where an address leads. NotFound: the domain is ours and knows
// no such recipient; Denied: the domain is disabled; Full: the address leads to
// more than MaxTargets others; Transient and others: the store.
func (d *Directory) Resolve(ctx context.Context, a postino.Address) (Resolution, error) {
	hit, generation, ok := d.resolved.get(a)
	if ok {
		return hit.Resolution, hit.err
	}
	a = postino.Address{Local: strings.Clone(a.Local), Domain: strings.Clone(a.Domain)} // the cache must not pin a command line
	res, err := d.resolve(ctx, a)
	switch postino.KindOf(err) {
	case postino.NotFound, postino.Denied, postino.Full:
	default:
		if err != nil {
			return Resolution{}, err
		}
	}
	d.resolved.put(generation, a, resolved{res, err})
	return res, err
}

func (d *Directory) resolve(ctx context.Context, a postino.Address) (Resolution, error) {
	var x expansion
	err := d.view(ctx, func(r kv.Reader) error {
		x = expansion{r: r}
		return x.add(a, postino.Address{})
	})
	if d.opts.AcceptAny.invents(a.Domain) && (x.relay != nil || len(x.forwards) > 0 || errors.Is(err, errForeign) || postino.Is(err, postino.NotFound)) {
		return d.inventAll(ctx, a, &x)
	}
	if errors.Is(err, errForeign) {
		return Resolution{}, nil
	}
	if err == nil && x.relay != nil {
		return Resolution{Relay: x.relay}, nil
	}
	if err == nil && len(x.out)+len(x.forwards) == 0 && !x.reports {
		err = noRecipient(a)
	}
	if err != nil {
		return Resolution{Local: postino.Is(err, postino.NotFound)}, err
	}
	return Resolution{Local: true, Reports: x.reports, Targets: x.out, Forwards: x.forwards}, nil
}

// errForeign is the answer for domains that are not ours.
var errForeign = errors.New("not a domain of this directory")

func noRecipient(a postino.Address) error {
	return postino.E(postino.NotFound, "resolve", name(a), errors.New("no such recipient"))
}

// stepKind tells apart the records that an expansion goes through.
type stepKind uint8

const (
	direct      stepKind = iota // the alias at the address itself
	wholeDomain                 // the alias of its domain
	catchAll                    // the catch-all of its domain
)

// step is one record on the way of an expansion; for catchAll only the domain
// counts.
type step struct {
	kind stepKind
	addr postino.Address
}

// expansion follows an address to its mailboxes.
type expansion struct {
	r kv.Reader
	// strict makes loops and unknown targets errors: for writes. Otherwise they
	// are passed over, since a change elsewhere in the directory can make them
	// and mail to the other targets must go on.
	strict bool
	// senders leaves out what does not give the right to send as the address.
	senders  bool
	path     []step
	since    time.Time // of the aliases on the path
	out      []Target
	forwards []Forward
	relay    *Domain
	reports  bool
}

// add follows a; via is what led to it. Recursion goes no deeper than MaxDepth.
func (x *expansion) add(a, via postino.Address) error {
	if a.Domain == "" {
		return x.addPostmaster(a)
	}
	dom, ok, err := getDomain(x.r, a.Domain)
	switch {
	case err != nil:
		return err
	case !ok && via.IsNull():
		return errForeign
	case !ok:
		return x.addForward(a, via)
	case dom.Disabled && !x.strict:
		return postino.E(postino.Denied, "resolve", name(a), errors.New("the domain is disabled"))
	}
	at, detail, e, ok, err := x.find(dom, a)
	if err != nil {
		return err
	}
	if ok && e.Alias == nil {
		return x.addUser(e.User, detail, via)
	}
	if ok {
		return x.follow(step{direct, folded(at)}, e.Alias, e.Alias.Targets, detail, via)
	}
	if dom.Relay {
		known, err := knowsRecipient(x.r, dom, a)
		switch {
		case err != nil:
			return err
		case known && via.IsNull():
			x.relay = &dom
			return nil
		case known:
			return x.addForward(a, via)
		}
	}
	return x.fallBack(dom, a, via)
}

// find looks for the address itself, then for it without its sub-address.
func (x *expansion) find(dom Domain, a postino.Address) (at postino.Address, detail string, e entry, ok bool, err error) {
	e, ok, err = getEntry(x.r, a)
	if ok || err != nil {
		return a, "", e, ok, err
	}
	user, detail, split := dom.split(a.Local)
	if !split {
		return a, "", e, false, nil
	}
	at = postino.Address{Local: user, Domain: a.Domain}
	e, ok, err = getEntry(x.r, at)
	return at, detail, e, ok, err
}

// fallBack tries what stands for addresses that are neither user nor alias.
func (x *expansion) fallBack(dom Domain, a, via postino.Address) error {
	whole := postino.Address{Domain: dom.Name}
	e, ok, err := getEntry(x.r, whole)
	if err != nil {
		return err
	}
	if ok && e.Alias != nil {
		targets := make([]postino.Address, len(e.Alias.Targets))
		for i, t := range e.Alias.Targets {
			targets[i] = postino.Address{Local: a.Local, Domain: t.Domain}
		}
		err := x.follow(step{wholeDomain, folded(a)}, e.Alias, targets, "", via)
		if err == nil || !postino.Is(err, postino.NotFound) {
			return err
		}
	}
	base, _, _ := dom.split(a.Local)
	if fold(a.Local) == "postmaster" || fold(base) == "postmaster" {
		if via.IsNull() {
			via = a
		}
		return x.addAdmin(via)
	}
	if !dom.Relay && (ReportAddress(a) || ReportAddress(postino.Address{Local: base})) {
		x.reports = true
		return nil
	}
	if !dom.CatchAll.IsNull() {
		return x.follow(step{catchAll, whole}, &Alias{Address: whole}, []postino.Address{dom.CatchAll}, "", via)
	}
	return noRecipient(a)
}

// follow adds the targets of the alias at a step. The error is NotFound when
// none of them leads anywhere.
func (x *expansion) follow(s step, alias *Alias, targets []postino.Address, detail string, via postino.Address) error {
	at := alias.Address
	if x.senders && len(targets) > 1 && !alias.MembersSend {
		return noRecipient(at)
	}
	for _, p := range x.path {
		if p == s {
			if x.strict {
				return fmt.Errorf("alias loop at %s", name(at))
			}
			return noRecipient(at)
		}
	}
	if len(x.path) >= MaxDepth {
		if x.strict {
			return fmt.Errorf("more than %d steps from alias to alias at %s", MaxDepth, name(at))
		}
		return noRecipient(at)
	}
	if via.IsNull() {
		via = at
	}
	x.path = append(x.path, s)
	defer func(since time.Time) { x.path, x.since = x.path[:len(x.path)-1], since }(x.since)
	if len(targets) == 1 && alias.Since.After(x.since) { // a list stays the same when its members change
		x.since = alias.Since
	}
	found := false
	for _, t := range targets {
		from := len(x.out)
		err := x.add(t, via)
		for i := from; i < len(x.out); i++ { // what was written after the separator belongs to all members
			if x.out[i].Detail == "" {
				x.out[i].Detail = detail
			}
		}
		if err == nil {
			found = true
		} else if !x.passes(s, err) {
			return err
		}
	}
	if !found {
		return noRecipient(at)
	}
	return nil
}

// passes tells whether a target that leads nowhere leaves the others standing.
func (x *expansion) passes(s step, err error) bool {
	if postino.Is(err, postino.NotFound) {
		return !x.strict || s.kind == wholeDomain // the local part may be known to one of several domains only
	}
	return !x.strict && postino.Is(err, postino.Denied)
}

// full refuses one target more.
func (x *expansion) full(via postino.Address) error {
	if len(x.out)+len(x.forwards) < MaxTargets {
		return nil
	}
	return postino.E(postino.Full, "resolve", name(via), fmt.Errorf("it leads to more than %d addresses", MaxTargets))
}

// addForward adds an address elsewhere, once. Its local part is another host's:
// nothing is folded (RFC 5321 §2.4).
func (x *expansion) addForward(a, via postino.Address) error {
	for i := range x.forwards {
		if x.forwards[i].Address == a {
			return nil
		}
	}
	if err := x.full(via); err != nil {
		return err
	}
	x.forwards = append(x.forwards, Forward{Address: a, Via: via})
	return nil
}

// addUser adds a mailbox, once.
func (x *expansion) addUser(id uint64, detail string, via postino.Address) error {
	for _, t := range x.out {
		if t.Account == id {
			return nil
		}
	}
	if err := x.full(via); err != nil {
		return err
	}
	u, err := needUser(x.r, "resolve", id)
	if err != nil {
		return err
	}
	since := u.Created
	if x.since.After(since) {
		since = x.since
	}
	x.out = append(x.out, Target{Account: id, User: u.Address, Detail: detail, Via: via, Quota: u.Quota, Since: since})
	return nil
}

// addPostmaster resolves <postmaster> without a domain (RFC 5321 §4.5.1): with
// a single domain that is delivered here it is that domain's.
func (x *expansion) addPostmaster(a postino.Address) error {
	if fold(a.Local) != "postmaster" {
		return noRecipient(a)
	}
	var names []string
	err := scan(x.r, key('D'), func(_ []byte, dom Domain) (bool, error) {
		if !dom.Relay {
			names = append(names, dom.Name)
		}
		return len(names) < 2, nil
	})
	if err != nil {
		return err
	}
	if len(names) == 1 {
		return x.add(postino.Address{Local: "postmaster", Domain: names[0]}, postino.Address{})
	}
	return x.addAdmin(a)
}

// addAdmin stands in for a postmaster that nobody has named: the first
// administrator who can log in, else the first one, else the first user.
func (x *expansion) addAdmin(via postino.Address) error {
	var first, id uint64
	err := scan(x.r, key('r'), func(_ []byte, admin uint64) (bool, error) {
		u, err := needUser(x.r, "find administrator", admin)
		if err != nil {
			return false, err
		}
		if first == 0 {
			first = admin
		}
		if !u.Disabled {
			id = admin
		}
		return u.Disabled, nil
	})
	if err == nil && first == 0 {
		err = scan(x.r, key('u'), func(_ []byte, u record) (bool, error) {
			first = u.ID
			return false, nil
		})
	}
	if err != nil {
		return err
	}
	if id == 0 {
		id = first
	}
	if id == 0 { // somebody will be there after the setup: the sender should try again
		return postino.E(postino.Transient, "resolve", name(via), errors.New("there is no user yet"))
	}
	return x.addUser(id, "", via)
}
