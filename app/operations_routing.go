package app

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/directory"
)

// DomainChange changes what is not nil. An empty CatchAll takes it away, an empty
// Relay makes the domain one that is delivered here.
type DomainChange struct {
	Name      string
	CatchAll  *string `json:",omitempty"`
	Separator *string `json:",omitempty"`
	Relay     *string `json:",omitempty"`
	Seal      *bool   `json:",omitempty"`
}

func (s *Stores) changeDomain(ctx context.Context, in DomainChange) (None, error) {
	var catchAll postino.Address
	var recipients directory.Recipients
	var err error
	if in.CatchAll != nil && *in.CatchAll != "" {
		if catchAll, err = postino.ParseAddress(*in.CatchAll); err != nil {
			return None{}, err
		}
	}
	if in.Relay != nil && *in.Relay != "" {
		if recipients, err = directory.ParseRecipients(*in.Relay); err != nil {
			return None{}, err
		}
	}
	return None{}, s.Directory.UpdateDomain(ctx, in.Name, func(d *directory.Domain) {
		if in.CatchAll != nil {
			d.CatchAll = catchAll
		}
		if in.Separator != nil {
			d.Separator = *in.Separator
		}
		if in.Seal != nil {
			d.Seal = *in.Seal
		}
		if in.Relay != nil {
			d.Relay, d.Recipients = *in.Relay != "", recipients
		}
	})
}

// Recipients are listed recipients of a relay domain: to add or remove, or a
// page of them in order.
type Recipients struct {
	Domain    string
	Addresses []string `json:",omitempty"`
	// All stands for all addresses, to remove.
	All bool `json:",omitempty"`
	// After is the last address of the page before, to list.
	After string `json:",omitempty"`
}

// Changed tells how many things an operation changed.
type Changed struct{ Changed int }

func (s *Stores) addRecipients(ctx context.Context, in Recipients) (Changed, error) {
	return s.setRecipients(ctx, in, true)
}

func (s *Stores) removeRecipients(ctx context.Context, in Recipients) (Changed, error) {
	if in.All {
		n, err := s.Directory.ClearRelayRecipients(ctx, in.Domain)
		return Changed{n}, err
	}
	return s.setRecipients(ctx, in, false)
}

func (s *Stores) setRecipients(ctx context.Context, in Recipients, listed bool) (Changed, error) {
	list := make([]postino.Address, len(in.Addresses))
	for i, text := range in.Addresses {
		var err error
		if list[i], err = postino.ParseAddress(text); err != nil {
			return Changed{}, err
		}
	}
	n, err := s.Directory.SetRelayRecipients(ctx, in.Domain, list, listed)
	return Changed{n}, err
}

func (s *Stores) listRecipients(ctx context.Context, in Recipients) (Recipients, error) {
	var after postino.Address
	var err error
	if in.After != "" {
		if after, err = postino.ParseAddress(in.After); err != nil {
			return in, err
		}
	}
	list, err := s.Directory.RelayRecipients(ctx, in.Domain, after, directory.MaxBatch)
	out := Recipients{Domain: in.Domain, Addresses: make([]string, len(list))}
	for i, a := range list {
		out.Addresses[i] = a.String()
	}
	return out, err
}

// Route is a route as the command line gives and sees it.
type Route struct {
	Name   string
	Domain string
	Sender string `json:",omitempty"`
	Action string
	Hosts  []string `json:",omitempty"`
	TLS    string   `json:",omitempty"`
	User   string   `json:",omitempty"`
	// Password is only to add; it never comes back.
	Password      string   `json:",omitempty"`
	Source        []string `json:",omitempty"`
	Helo          string   `json:",omitempty"`
	Fallback      string   `json:",omitempty"`
	Connections   int      `json:",omitempty"`
	PerConnection int      `json:",omitempty"`
	Path          string   `json:",omitempty"`
	Private       bool     `json:",omitempty"`
}

func (s *Stores) setRoute(ctx context.Context, in Route) (None, error) {
	r := directory.Route{
		Name: in.Name, Domain: in.Domain, Sender: in.Sender, Hosts: in.Hosts, User: in.User, Password: in.Password, Helo: in.Helo,
		Fallback: in.Fallback, Connections: in.Connections, PerConnection: in.PerConnection, Path: in.Path, Private: in.Private,
	}
	var err error
	if r.Action, err = directory.ParseAction(in.Action); err != nil {
		return None{}, err
	}
	if in.TLS != "" {
		if r.TLS, err = directory.ParseTLSMode(in.TLS); err != nil {
			return None{}, err
		}
	}
	for _, text := range in.Source {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return None{}, postino.E(postino.Invalid, "set route", postino.Printable(in.Name), fmt.Errorf("source: %w", err))
		}
		r.Source = append(r.Source, a)
	}
	return None{}, s.Directory.SetRoute(ctx, r)
}

// routeView is what may be shown of a route.
func routeView(r *directory.Route) Route {
	out := Route{
		Name: r.Name, Domain: r.Domain, Sender: r.Sender, Action: r.Action.String(), Hosts: r.Hosts, TLS: r.TLS.String(), User: r.User, Helo: r.Helo,
		Fallback: r.Fallback, Connections: r.Connections, PerConnection: r.PerConnection, Path: r.Path, Private: r.Private,
	}
	if r.Action > directory.LMTP {
		out.TLS = ""
	}
	for _, a := range r.Source {
		out.Source = append(out.Source, a.String())
	}
	return out
}

func (s *Stores) listRoutes(ctx context.Context, _ None) ([]Route, error) {
	routes, err := s.Directory.Routes(ctx)
	out := make([]Route, 0, len(routes))
	for i := range routes {
		out = append(out, routeView(&routes[i]))
	}
	return out, err
}

func (s *Stores) showRoute(ctx context.Context, n Named) (Route, error) {
	r, err := s.Directory.RouteByName(ctx, n.Name)
	if err != nil {
		return Route{}, err
	}
	return routeView(r), nil
}

func (s *Stores) removeRoute(ctx context.Context, n Named) (None, error) {
	return None{}, s.Directory.RemoveRoute(ctx, n.Name)
}

// RouteQuery asks where mail to Address goes that comes From, submitted by User;
// both are addresses and may be empty.
type RouteQuery struct{ Address, From, User string }

// Ways is where the mail of one address goes.
type Ways struct {
	// Mailboxes are the users whose mailboxes get it.
	Mailboxes []string `json:",omitempty"`
	// Relay tells that the address is in a relay domain, CallAhead that its
	// next server is to be asked about the recipient.
	Relay     bool  `json:",omitempty"`
	CallAhead bool  `json:",omitempty"`
	Ways      []Way `json:",omitempty"`
}

// Way is how mail to one address elsewhere goes on; without a Route by the MX
// records of the domain. Why names the patterns that matched.
type Way struct {
	Address string
	Route   *Route `json:",omitempty"`
	Why     string
}

func (s *Stores) testRoute(ctx context.Context, q RouteQuery) (Ways, error) {
	to, err := postino.ParseAddress(q.Address)
	if err != nil {
		return Ways{}, err
	}
	var from postino.Address
	if q.From != "" {
		if from, err = postino.ParseAddress(q.From); err != nil {
			return Ways{}, err
		}
	}
	var user uint64
	if q.User != "" {
		u, err := s.userAt(ctx, q.User)
		if err != nil {
			return Ways{}, err
		}
		user = u.ID
	}
	r, err := s.Directory.Resolve(ctx, to)
	if err != nil {
		return Ways{}, err
	}
	out := Ways{Relay: r.Relay != nil, CallAhead: r.Relay != nil && r.Relay.Recipients == directory.CallAhead}
	for _, t := range r.Targets {
		out.Mailboxes = append(out.Mailboxes, t.User.String())
	}
	elsewhere := r.Forwards
	if !r.Local {
		elsewhere = []directory.Forward{{Address: to}}
	}
	for _, f := range elsewhere {
		route, why, err := s.Directory.ExplainRoute(ctx, from, user, f.Address)
		if err != nil {
			return Ways{}, err
		}
		way := Way{Address: f.Address.String(), Why: why}
		if route != nil {
			view := routeView(route)
			way.Route = &view
		}
		out.Ways = append(out.Ways, way)
	}
	return out, nil
}

func (s *Stores) userAt(ctx context.Context, address string) (directory.User, error) {
	a, err := postino.ParseAddress(address)
	if err != nil {
		return directory.User{}, err
	}
	return s.Directory.User(ctx, a)
}

// SendLimits are the limits of a user's recipients in an hour and a day.
type SendLimits struct {
	Address string
	// Hour and Day are to change: 0 for the default, -1 for none, absent to
	// leave as it is. In a reply they are what holds.
	Hour *int `json:",omitempty"`
	Day  *int `json:",omitempty"`
	// SentHour and SentDay is what the user sent to lately.
	SentHour, SentDay int
}

func (s *Stores) sendLimits(ctx context.Context, in SendLimits) (SendLimits, error) {
	u, err := s.userAt(ctx, in.Address)
	if err == nil && (in.Hour != nil || in.Day != nil) {
		u, err = s.Directory.UpdateUser(ctx, u.Address, func(u *directory.User) {
			if in.Hour != nil {
				u.Sends.Hour = *in.Hour
			}
			if in.Day != nil {
				u.Sends.Day = *in.Day
			}
		})
	}
	if err != nil {
		return SendLimits{}, err
	}
	sent, limits, err := s.Directory.SendCounts(ctx, u.ID, time.Now())
	return SendLimits{Address: u.Address.String(), Hour: &limits.Hour, Day: &limits.Day, SentHour: sent.Hour, SentDay: sent.Day}, err
}

// Delegation lets Delegate send as Owner, or no longer when Remove is set.
// Without a Delegate it changes nothing.
type Delegation struct {
	Owner    string
	Delegate string `json:",omitempty"`
	Remove   bool   `json:",omitempty"`
}

// delegate returns who may send as the owner, after the change.
func (s *Stores) delegate(ctx context.Context, in Delegation) ([]string, error) {
	owner, err := postino.ParseAddress(in.Owner)
	if err != nil {
		return nil, err
	}
	if in.Delegate != "" {
		_, err := byAddress(func(a postino.Address) error { return s.Directory.SetDelegate(ctx, owner, a, !in.Remove) }, in.Delegate)
		if err != nil {
			return nil, err
		}
	}
	list, err := s.Directory.Delegates(ctx, owner)
	out := make([]string, 0, len(list))
	for _, a := range list {
		out = append(out, a.String())
	}
	return out, err
}
