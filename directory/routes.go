package directory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// Limits of routes.
const (
	MaxRoutes     = 10_000
	maxRouteHosts = 10 // SC7
	maxSources    = 16
	maxConnection = 10_000
)

// Action is what a route does with mail.
type Action uint8

// The actions: by the MX records of the recipient's domain; to hosts that take
// all mail; to hosts that deliver (RFC 2033); into files of other software; away;
// nowhere until somebody decides.
const (
	Direct Action = iota
	Smarthost
	LMTP
	Maildir
	Mbox
	Discard
	Hold
)

var actionWords = words[Action]{"direct", "smarthost", "lmtp", "maildir", "mbox", "discard", "hold"}

// String is the word for people, "smarthost".
func (a Action) String() string { return actionWords.name(a) }

// ParseAction reads what String writes. The error is Invalid.
func ParseAction(s string) (Action, error) { return actionWords.parse("action", s) }

// TLSMode is how the hosts of a route are spoken to.
type TLSMode uint8

// The modes: encrypted when the host can, as policies of the destination want;
// always encrypted, whoever the host is; always encrypted after STARTTLS and the
// host's certificate checked; encrypted from the first octet and the certificate
// checked (RFC 8314 §3.3); never encrypted.
const (
	TLSOpportunistic TLSMode = iota
	TLSRequired
	TLSVerified
	TLSImplicit
	TLSNone
)

var tlsWords = words[TLSMode]{"opportunistic", "required", "verified", "implicit", "none"}

// String is the word for people, "verified".
func (m TLSMode) String() string { return tlsWords.name(m) }

// ParseTLSMode reads what String writes. The error is Invalid.
func ParseTLSMode(s string) (TLSMode, error) { return tlsWords.parse("TLS mode", s) }

// Route says how mail that is not delivered here goes on.
type Route struct {
	// Name is 1 to 40 of a-z, 0-9 and hyphen.
	Name string
	// Domain is the recipient's: "example.org", ".example.org" for its
	// sub-domains, "*" for all. Sender is "user@example.org", "@example.org", or
	// empty for all; it is compared with the reverse-path and with the address
	// of the user who is logged in.
	Domain, Sender string
	Action         Action
	// Hosts of Smarthost and LMTP, 1 to 10 in order of preference, as ParseHost
	// reads them.
	Hosts []string `json:",omitempty"`
	TLS   TLSMode  `json:",omitempty"`
	// User and Password log in at the hosts. They need a TLS mode that is always
	// encrypted. The password is in no list, no log and no JSON.
	User     string `json:",omitempty"`
	Password string `json:"-"`
	// Source are the addresses to send from.
	Source []netip.Addr `json:",omitempty"`
	// Helo is the name to give; empty: the server's own.
	Helo string `json:",omitempty"`
	// Fallback is the name of another route, Direct, Smarthost or LMTP, that is
	// taken when no host of this one can be reached; its own fallback is not.
	Fallback string `json:",omitempty"`
	// Connections at once, and messages in each; 0 is the default of the relay.
	Connections   int `json:",omitempty"`
	PerConnection int `json:",omitempty"`
	// Path is the directory of Maildir or the file of Mbox, absolute.
	Path string `json:",omitempty"`
	// Private allows hosts on private, loopback and link-local addresses (SC7).
	Private bool `json:",omitempty"`
}

// String is the name of the route, so that no log shows more.
func (r Route) String() string { return "route " + r.Name }

// GoString is String.
func (r Route) GoString() string { return r.String() }

// LogValue is String.
func (r Route) LogValue() slog.Value { return slog.StringValue(r.String()) }

// storedRoute is a route with its secret.
type storedRoute struct {
	Route
	Secret string `json:",omitempty"`
}

func (s storedRoute) route() Route {
	s.Password = s.Secret
	return s.Route
}

func routeKey(name string) []byte { return append(key('o'), name...) }

func patternKey(r *Route) []byte {
	k := append(key('p'), r.Domain...)
	return append(append(k, 0), r.Sender...)
}

// SetRoute adds a route or replaces the one of that name. Invalid: a field is
// wrong, missing or of no use with the action; Conflict: another route has the
// same patterns; Full: there are MaxRoutes.
func (d *Directory) SetRoute(ctx context.Context, r Route) error {
	const op = "set route"
	if err := r.canonicalize(); err != nil {
		return postino.E(postino.Invalid, op, postino.Printable(r.Name[:min(len(r.Name), maxText)]), err)
	}
	return d.update(ctx, nil, func(tx kv.Tx) error {
		var before storedRoute
		replaced, err := getRecord(tx, routeKey(r.Name), &before)
		if err != nil {
			return err
		}
		if replaced {
			err = tx.Delete(patternKey(&before.Route))
		} else {
			err = roomForRoute(tx, op, r.Name)
		}
		if err != nil {
			return err
		}
		var same string
		if ok, err := getRecord(tx, patternKey(&r), &same); err != nil || ok {
			if err == nil {
				err = postino.E(postino.Conflict, op, r.Name, fmt.Errorf("the route %s has the same domain and sender", same))
			}
			return err
		}
		if err := checkFallback(tx, &r); err != nil {
			return postino.E(postino.Invalid, op, r.Name, err)
		}
		if replaced && !r.reachesHosts() {
			if err := noFallbackTo(tx, op, r.Name); err != nil {
				return err
			}
		}
		if err := setRecord(tx, patternKey(&r), r.Name); err != nil {
			return err
		}
		if err := setRecord(tx, routeKey(r.Name), storedRoute{r, r.Password}); err != nil {
			return err
		}
		return moveRoutes(tx)
	})
}

// RemoveRoute removes a route. NotFound: there is none of that name; Conflict:
// it is the fallback of another.
func (d *Directory) RemoveRoute(ctx context.Context, name string) error {
	const op = "remove route"
	return d.update(ctx, nil, func(tx kv.Tx) error {
		r, err := needRoute(tx, op, name)
		if err != nil {
			return err
		}
		if err := noFallbackTo(tx, op, name); err != nil {
			return err
		}
		if err := errors.Join(tx.Delete(routeKey(name)), tx.Delete(patternKey(&r))); err != nil {
			return err
		}
		return moveRoutes(tx)
	})
}

// RouteByName returns a route with its password. NotFound: there is none.
func (d *Directory) RouteByName(ctx context.Context, name string) (*Route, error) {
	t, err := d.routeTable(ctx)
	if err != nil {
		return nil, err
	}
	if r := t.names[name]; r != nil {
		return r, nil
	}
	return nil, noRoute("find route", name)
}

// Routes lists all routes in order of name, without their passwords.
func (d *Directory) Routes(ctx context.Context) (list []Route, err error) {
	err = d.view(ctx, func(r kv.Reader) error {
		list = nil
		return scan(r, key('o'), func(_ []byte, s storedRoute) (bool, error) {
			list = append(list, s.Route)
			return true, nil
		})
	})
	return list, err
}

func noRoute(op, name string) error {
	return postino.E(postino.NotFound, op, postino.Printable(name[:min(len(name), maxText)]), errors.New("no such route"))
}

func needRoute(r kv.Reader, op, name string) (Route, error) {
	if !routeName(name) { // also what is too long for a key
		return Route{}, noRoute(op, name)
	}
	var s storedRoute
	ok, err := getRecord(r, routeKey(name), &s)
	if err == nil && !ok {
		err = noRoute(op, name)
	}
	return s.route(), err
}

func moveRoutes(tx kv.Tx) error {
	n, err := getNumber(tx, key('w'))
	if err != nil {
		return err
	}
	return setNumber(tx, key('w'), n+1)
}

func roomForRoute(tx kv.Tx, op, name string) error {
	n := 0
	err := tx.Scan(kv.Prefix(key('o')), func(_, _ []byte) bool { n++; return true })
	if err == nil && n >= MaxRoutes {
		err = postino.E(postino.Full, op, name, fmt.Errorf("there are %d routes", n))
	}
	return err
}

// reachesHosts tells whether r can stand in for another route.
func (r *Route) reachesHosts() bool { return r.Action <= LMTP }

func checkFallback(r kv.Reader, route *Route) error {
	if route.Fallback == "" {
		return nil
	}
	if route.Fallback == route.Name {
		return errors.New("the fallback is the route itself")
	}
	f, err := needRoute(r, "find fallback", route.Fallback)
	if err == nil && !f.reachesHosts() {
		err = fmt.Errorf("the fallback %s must be direct, smarthost or lmtp", f.Name)
	}
	return err
}

func noFallbackTo(r kv.Reader, op, name string) error {
	return scan(r, key('o'), func(_ []byte, s storedRoute) (bool, error) {
		if s.Fallback == name {
			return false, postino.E(postino.Conflict, op, name, fmt.Errorf("it is the fallback of the route %s", s.Name))
		}
		return true, nil
	})
}
