package directory

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// routeTable holds all routes, ready to be looked up.
type routeTable struct {
	mark  uint64 // of the store when it was read
	names map[string]*Route
	// domains holds, by pattern of the recipient's domain, the routes by pattern
	// of the sender: the zero Address for all, an empty Local for a domain.
	domains map[string]map[postino.Address]*Route
	senders bool // some route has a pattern of the sender
}

// routeCache keeps the table. Every change of the directory empties current;
// the table is read again only when a route has changed.
type routeCache struct {
	current *cache[struct{}, *routeTable]
	mu      sync.Mutex // one reads, the others wait for it
	last    *routeTable
}

func (d *Directory) routeTable(ctx context.Context) (*routeTable, error) {
	c := &d.routes
	if t, _, ok := c.current.get(struct{}{}); ok {
		return t, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t, generation, ok := c.current.get(struct{}{})
	if ok {
		return t, nil
	}
	err := d.view(ctx, func(r kv.Reader) error {
		mark, err := getNumber(r, key('w'))
		if t = c.last; err != nil || t != nil && t.mark == mark {
			return err
		}
		t, err = readRoutes(r, mark)
		return err
	})
	if err != nil {
		return nil, err
	}
	c.last = t
	c.current.put(generation, struct{}{}, t)
	return t, nil
}

func readRoutes(r kv.Reader, mark uint64) (*routeTable, error) {
	t := &routeTable{mark: mark, names: map[string]*Route{}, domains: map[string]map[postino.Address]*Route{}}
	err := scan(r, key('o'), func(k []byte, s storedRoute) (bool, error) {
		route := s.route()
		sender, err := senderPattern(route.Sender)
		if err != nil {
			return false, corrupt(k, err)
		}
		t.names[route.Name] = &route
		if t.domains[route.Domain] == nil {
			t.domains[route.Domain] = map[postino.Address]*Route{}
		}
		t.domains[route.Domain][sender] = &route
		t.senders = t.senders || !sender.IsNull()
		return true, nil
	})
	return t, err
}

func senderPattern(s string) (postino.Address, error) {
	if domain, ok := strings.CutPrefix(s, "@"); ok {
		return postino.Address{Domain: domain}, nil
	}
	if s == "" {
		return postino.Address{}, nil
	}
	return postino.ParseAddress(s)
}

// RouteFor finds the route of a message from sender, submitted by the user of an
// account (0: nobody), to rcpt; nil: it goes by the MX records of the domain. The most
// specific route is taken: first by the recipient, its domain before its longest
// parent before all; then by the sender: the reverse-path before the user's
// address, before the domain of the reverse-path, before the domain of the user, before
// all. The route is shared: read only. Errors are those of the store.
func (d *Directory) RouteFor(ctx context.Context, sender postino.Address, user uint64, rcpt postino.Address) (*Route, error) {
	t, own, err := d.routing(ctx, user)
	if err != nil || len(t.names) == 0 {
		return nil, err
	}
	route, _ := t.find(folded(sender), own, rcpt.Domain)
	return route, nil
}

// ExplainRoute is RouteFor with a sentence that says which patterns matched.
func (d *Directory) ExplainRoute(ctx context.Context, sender postino.Address, user uint64, rcpt postino.Address) (r *Route, why string, err error) {
	t, own, err := d.routing(ctx, user)
	if err != nil {
		return nil, "", err
	}
	route, m := t.find(folded(sender), own, rcpt.Domain)
	if route == nil {
		return nil, fmt.Sprintf("none of %d routes matches: by the MX records of the domain", len(t.names)), nil
	}
	why = "any recipient"
	switch {
	case route.Domain[0] == '.':
		why = "the recipient is in a sub-domain of " + route.Domain[1:]
	case route.Domain != "*":
		why = "the recipient is in " + route.Domain
	}
	return route, why + [...]string{
		", the sender is ", ", the user is ", ", the sender is in ", ", the user is in ", ", any sender",
	}[m] + strings.TrimPrefix(route.Sender, "@"), nil
}

// routing returns the table and the address of the user, folded, if a route may
// ask for it.
func (d *Directory) routing(ctx context.Context, user uint64) (t *routeTable, own postino.Address, err error) {
	t, err = d.routeTable(ctx)
	if err != nil || user == 0 || !t.senders {
		return t, own, err
	}
	u, err := d.person(ctx, user)
	if postino.Is(err, postino.NotFound) { // removed since; the message is still to go
		err = nil
	}
	return t, u.folded, err
}

// senderMatch says which pattern of the sender was the right one.
type senderMatch uint8

const (
	bySender senderMatch = iota
	byUser
	bySenderDomain
	byUserDomain
	byAny
)

// find takes folded addresses, zero when there is no sender or user.
func (t *routeTable) find(sender, user postino.Address, domain string) (*Route, senderMatch) {
	if r, m := pick(t.domains[domain], sender, user); r != nil {
		return r, m
	}
	if !strings.HasPrefix(domain, "[") {
		for i := range len(domain) {
			if domain[i] == '.' {
				if r, m := pick(t.domains[domain[i:]], sender, user); r != nil {
					return r, m
				}
			}
		}
	}
	return pick(t.domains["*"], sender, user)
}

// pick finds the route for a sender among those for one pattern of recipients.
func pick(routes map[postino.Address]*Route, sender, user postino.Address) (*Route, senderMatch) {
	if len(routes) == 0 {
		return nil, 0
	}
	for m, a := range [...]postino.Address{
		bySender: sender, byUser: user,
		bySenderDomain: {Domain: sender.Domain}, byUserDomain: {Domain: user.Domain},
	} {
		if a.IsNull() {
			continue
		}
		if r := routes[a]; r != nil {
			return r, senderMatch(m)
		}
	}
	return routes[postino.Address{}], byAny
}
