package check

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"github.com/postino-mail/postino/dns"
)

// mx checks the mail exchangers (RFC 5321 §5.1).
func (r *run) mx(ctx context.Context) []Finding {
	name := r.dom.Name
	a, err := r.Lookup(ctx, name, dns.TypeMX)
	switch {
	case absent(err):
		return []Finding{r.noMX(err)}
	case err != nil:
		return []Finding{unsure("mx.record", "", "where mail for "+name+" goes", err)}
	case len(a.MX) == 1 && a.MX[0].Host == "":
		if r.ours {
			return []Finding{finding(Fix, "mx.record", "", "the MX record says that %s takes no mail (null MX)", name).publish(r.wanted(name, "MX")...)}
		}
		return []Finding{finding(OK, "mx.record", "", "%s says that it takes no mail (null MX)", name)}
	}
	f := finding(OK, "mx.record", "", "mail for %s goes to %s", name, strings.Join(exchangers(a), ", then "))
	hosts := map[string]bool{}
	for _, m := range a.MX {
		switch {
		case m.Host == "": // RFC 7505 §3
			f = finding(Fix, "mx.record", "", "a null MX stands beside other MX records of %s: remove one or the other", name)
		case hosts[m.Host] && f.Status == OK:
			f = finding(Advice, "mx.record", "", "%s is in two MX records of %s: remove one", m.Host, name)
		}
		hosts[m.Host] = true
	}
	list := []Finding{f}
	if r.ours {
		list = append(list, r.mxHere(ctx, a.MX))
	}
	return list
}

// exchangers are the hosts in order.
func exchangers(a *dns.Answer) (hosts []string) {
	for _, m := range a.MX {
		hosts = append(hosts, m.Host)
	}
	return hosts
}

func (r *run) noMX(err error) Finding {
	f := finding(Fix, "mx.record", "", "%s has no MX record", r.dom.Name)
	switch {
	case errors.Is(err, dns.ErrNXDomain):
		f.Text = r.dom.Name + " does not exist in the DNS"
	case !r.ours: // RFC 5321 §5.1
		return finding(Advice, "mx.record", "", "%s has no MX record: mail goes to the addresses of the name itself, if any", r.dom.Name)
	}
	if r.ours {
		f = f.publish(r.wanted(r.dom.Name, "MX")...)
	}
	return f
}

// mxHere tells whether mail comes to this server, and comes here first.
func (r *run) mxHere(ctx context.Context, mx []dns.MX) Finding {
	const name = "mx.here"
	best, here := mx[0].Preference, -1
	var unknown error
	for i, m := range mx {
		is, err := r.isHere(ctx, m.Host)
		if err != nil {
			unknown = err
		}
		if is {
			here = i
			break
		}
		best = min(best, m.Preference)
	}
	switch {
	case here < 0 && unknown != nil:
		return unsure(name, "", "whether mail for "+r.dom.Name+" comes to this server", unknown)
	case here < 0:
		return finding(Fix, name, "", "no MX record of %s leads to this server", r.dom.Name).publish(r.wanted(r.dom.Name, "MX")...)
	case mx[here].Preference > best:
		return finding(Advice, name, "", "mail for %s goes to %s first; make sure that it goes on from there", r.dom.Name, mx[0].Host)
	}
	return finding(OK, name, "", "mail for %s comes to this server", r.dom.Name)
}

// isHere tells whether a host is this server.
func (r *run) isHere(ctx context.Context, host string) (bool, error) {
	if host == r.node.Host {
		return true, nil
	}
	a, err := dns.LookupIP(ctx, r, host)
	if absent(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	own, _ := r.ownAddrs()
	return slices.ContainsFunc(a.Addrs, func(a netip.Addr) bool { return slices.Contains(own, a) }), nil
}

// mxHosts checks each exchanger.
func (r *run) mxHosts(ctx context.Context) (list []Finding) {
	a, err := r.Lookup(ctx, r.dom.Name, dns.TypeMX)
	if err != nil {
		return nil // mx has told
	}
	hosts := exchangers(a)
	slices.Sort(hosts)
	for _, host := range slices.Compact(hosts) {
		if host != "" {
			list = append(list, r.mxHost(ctx, host))
		}
	}
	return list
}

func (r *run) mxHost(ctx context.Context, host string) Finding {
	const name = "mx.host"
	if _, err := netip.ParseAddr(host); err == nil {
		return finding(Fix, name, host, "%s is an address: an MX record needs the name of a host (RFC 1035 §3.3.9)", host)
	}
	if c, err := r.Lookup(ctx, host, dns.TypeCNAME); err == nil && len(c.Hosts) > 0 {
		return finding(Fix, name, host, "%s is an alias of %s: name the host itself in the MX record (RFC 2181 §10.3)", host, c.Hosts[0])
	} else if err != nil && !absent(err) {
		return unsure(name, host, "whether "+host+" is an alias", err)
	}
	a, err := dns.LookupIP(ctx, r, host)
	switch {
	case absent(err):
		f := finding(Fix, name, host, "%s has no address", host)
		if host == r.node.Host {
			f = f.publish(r.wanted(host, "A", "AAAA")...)
		}
		return f
	case err != nil:
		return unsure(name, host, "the addresses of "+host, err)
	}
	for _, ip := range a.Addrs {
		if why := special(ip); why != "" {
			return finding(Fix, name, host, "%s of %s is no address of the Internet (%s)", ip, host, why)
		}
	}
	return finding(OK, name, host, "%s has %s", host, addresses(a.Addrs))
}

// addresses writes addresses in order.
func addresses(list []netip.Addr) string {
	sorted := slices.SortedFunc(slices.Values(list), netip.Addr.Compare)
	var b strings.Builder
	for i, a := range slices.Compact(sorted) {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(a.String())
	}
	return b.String()
}
