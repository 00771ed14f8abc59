package relay

import (
	"context"
	"net/netip"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/queue"
)

// Dest is the site of a recipient for queue.Item.Dest: what shares connections
// and trouble. It is "route/NAME" where a route names hosts, else the domain of
// the recipient. The route is nil for mail exchangers.
func Dest(route *directory.Route, rcpt postino.Address) string {
	if route != nil && (route.Action == directory.Smarthost || route.Action == directory.LMTP) {
		return "route/" + route.Name
	}
	return rcpt.Domain
}

// noRoute stands for the way by mail exchangers.
var noRoute = &directory.Route{Action: directory.Direct}

// way is how some recipients of an item are reached.
type way struct {
	route  *directory.Route // noRoute when there is none; read only
	domain string           // of the recipients; what mail exchangers are asked for
	site   string
	rcpts  []int // indexes in Item.Rcpts
	second bool  // it is the fallback of another one
}

func (w *way) direct() bool { return w.route.Action == directory.Direct }

// hosts tells whether the way leads to other servers.
func (w *way) hosts() bool {
	switch w.route.Action {
	case directory.Direct, directory.Smarthost, directory.LMTP:
		return true
	}
	return false
}

// helo is the name for EHLO.
func (w *way) helo(own string) string {
	if w.route.Helo != "" {
		return w.route.Helo
	}
	return own
}

// perConnection is how many messages a connection takes.
func (w *way) perConnection(l Limits) int {
	if w.route.PerConnection > 0 {
		return w.route.PerConnection
	}
	return l.PerConnection
}

// idle is how long a connection waits for the next message.
func (w *way) idle(l Limits) time.Duration {
	if w.direct() {
		return l.Idle
	}
	return l.RouteIdle
}

// ways asks the directory how the pending recipients of an item go, which may
// have changed since the item was made, and groups them.
func (r *Relay) ways(ctx context.Context, it *queue.Item) ([]*way, error) {
	var all []*way
	have := map[[2]string]*way{}
	for i := range it.Pending() {
		rcpt := it.Rcpts[i].Address
		route, err := r.opts.Routes.RouteFor(ctx, it.From, it.User, rcpt)
		if err != nil {
			return nil, err
		}
		if route == nil {
			route = noRoute
		}
		k := [2]string{route.Name, Dest(route, rcpt)}
		w := have[k]
		if w == nil {
			w = &way{route: route, domain: rcpt.Domain, site: k[1]}
			have[k] = w
			all = append(all, w)
		}
		w.rcpts = append(w.rcpts, i)
	}
	return all, nil
}

// fallback returns the ways that are left to recipients when no host of w could
// be reached: none, or those of its route's fallback. There is one step only, so
// routes that name each other are no loop.
func (r *Relay) fallback(ctx context.Context, it *queue.Item, w *way, rcpts []int) ([]*way, error) {
	if w.route.Fallback == "" || w.second {
		return nil, nil
	}
	route, err := r.opts.Routes.RouteByName(ctx, w.route.Fallback)
	if postino.Is(err, postino.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []*way
	have := map[string]*way{}
	for _, i := range rcpts {
		rcpt := it.Rcpts[i].Address
		site := Dest(route, rcpt)
		if have[site] == nil {
			have[site] = &way{route: route, domain: rcpt.Domain, site: site, second: true}
			all = append(all, have[site])
		}
		have[site].rcpts = append(have[site].rcpts, i)
	}
	return all, nil
}

// targets finds the hosts of a way. What is wrong with the hosts of a route is
// never the fault of the mail: it waits until somebody repairs the route.
func (r *Relay) targets(ctx context.Context, w *way) ([]target, *trouble) {
	if w.direct() {
		return r.resolve(ctx, w.domain, w.route.Private)
	}
	var all []target
	var last *trouble
	for _, text := range w.route.Hosts {
		found, t := r.routeHost(ctx, w, text)
		if t != nil {
			last = t.later()
		}
		all = append(all, found...)
	}
	if len(all) > 0 {
		return all[:min(len(all), maxHosts)], nil
	}
	if last == nil {
		last = ours(451, "4.3.5", "route %s has no hosts", w.route.Name)
	}
	return nil, last
}

// routeHost finds one host of a route, or several where it names a domain.
func (r *Relay) routeHost(ctx context.Context, w *way, text string) ([]target, *trouble) {
	h, err := directory.ParseHost(text)
	if err != nil {
		return nil, ours(451, "4.3.5", "route %s: %v", w.route.Name, err)
	}
	if h.Socket != "" {
		return []target{{Host: Host{Name: h.Socket, Secure: true}, socket: h.Socket}}, nil
	}
	port := h.Port
	if port == 0 {
		port = portSMTP
		if w.route.TLS == directory.TLSImplicit {
			port = portSubmissions
		}
	}
	private := w.route.Private
	if h.MX {
		found, t := r.resolve(ctx, h.Name, private)
		for i := range found {
			found[i].Port = port
		}
		return found, t
	}
	t := target{Host: Host{Name: h.Name, Port: port, Secure: true}, domain: h.Name} // RFC 8461 §3.4
	if h.Addr.IsValid() {
		t.Name, t.domain = h.Addr.String(), ""
		r.sift(&t, []netip.Addr{h.Addr}, private)
	} else {
		one := []target{t}
		r.locate(ctx, one, private)
		t = one[0]
	}
	return r.usable(t.Name, []target{t}, false)
}

// portSubmissions is that of submission inside TLS (RFC 8314 §3.3).
const portSubmissions = 465

// SiteLimit is queue.TransportOptions.SiteLimit: how many attempts at once the
// route of a site allows, 0 when it says nothing or was not seen yet. It does
// not wait for anything.
func (r *Relay) SiteLimit(dest string) int {
	n, _ := r.limits.get(dest)
	return n
}
