package app

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/certs"
	"github.com/postino-mail/postino/check"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/fetch"
	"github.com/postino-mail/postino/tlspolicy"
)

// What the checks tell, under the names of the command line.
type (
	CheckReport  = check.Report
	CheckFinding = check.Finding
	CheckRecord  = check.Record
	CheckStatus  = check.Status
)

// The outcomes of checks.
const (
	CheckOK      = check.OK
	CheckFix     = check.Fix
	CheckAdvice  = check.Advice
	CheckUnknown = check.Unknown
)

// CheckQuery asks for reports about domains; without any, about this server and
// all of its domains.
type CheckQuery struct {
	Domains []string `json:",omitempty"`
	// Skip are areas to leave out.
	Skip []string `json:",omitempty"`
}

// CheckStep is a finding on its way, as progress; Domain is empty for this server.
type CheckStep struct {
	Domain  string
	Finding check.Finding
}

// CheckZone are the records that a domain should have.
type CheckZone struct {
	Domain  string         `json:"domain"`
	Records []check.Record `json:"records"`
}

// Text is the zone as text (RFC 1035 §5).
func (z *CheckZone) Text() []byte { return check.AppendZone(nil, z.Domain, z.Records) }

// check makes reports and tells each finding as progress.
func (s *Stores) check(ctx context.Context, q CheckQuery) ([]check.Report, error) {
	c, err := s.checker(ctx, q.Skip...)
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	var out []check.Report
	tell := func(domain string) func(check.Finding) {
		return func(f check.Finding) { progress(ctx, CheckStep{domain, f}) }
	}
	domains, err := s.checked(ctx, q)
	if err != nil {
		return nil, err
	}
	if len(q.Domains) == 0 {
		out = append(out, c.Node(ctx, now, tell("")))
	}
	for _, name := range domains {
		r, err := c.Domain(ctx, name, now, tell(name))
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, ctx.Err()
}

// checked are the domains of a query by their canonical names.
func (s *Stores) checked(ctx context.Context, q CheckQuery) (names []string, err error) {
	for _, name := range q.Domains {
		if name, err = postino.CanonicalDomain(name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	if len(names) > 0 {
		return names, nil
	}
	all, err := s.Directory.Domains(ctx)
	for _, d := range all {
		if !d.Disabled {
			names = append(names, d.Name)
		}
	}
	return names, err
}

func (s *Stores) checkZone(ctx context.Context, q CheckQuery) ([]CheckZone, error) {
	c, err := s.checker(ctx)
	if err != nil {
		return nil, err
	}
	domains, err := s.checked(ctx, q)
	out := []CheckZone{}
	for _, name := range domains {
		records, err := c.Zone(ctx, name)
		if err != nil {
			return nil, err
		}
		out = append(out, CheckZone{name, records})
	}
	return out, err
}

// newZone are the records that a domain needs which has none yet: nobody is asked.
func (s *Stores) newZone(ctx context.Context, n Named) (CheckZone, error) {
	d, err := s.checkDomain(ctx, n.Name)
	node := s.self()
	return CheckZone{d.Name, check.Zone(&node, &d, new(check.Live))}, err
}

// checker makes a Checker with what is known now.
func (s *Stores) checker(ctx context.Context, skip ...string) (*check.Checker, error) {
	names, err := s.freshNames(ctx)
	o := check.Options{DNS: names, Lists: s.Resolver, Skip: skip, Node: s.self(), Domain: s.checkDomain, Roots: s.opts.Outward.Roots, Fetch: s.policyFetcher(names)}
	if s.running != nil {
		o.Dial = s.dialSelf
	}
	return check.New(o), err
}

// freshNames keeps answers for a second only: who mends a record wants to see it.
func (s *Stores) freshNames(ctx context.Context) (dns.Resolver, error) {
	if r := s.opts.Outward.DNS; r != nil {
		return r, nil
	}
	r, err := s.newNames(&s.opts, func(o *dns.Options) {
		o.MaxTTL, o.MaxNegativeTTL, o.CacheBytes, o.Logger, o.Metrics = time.Second, time.Second, 1<<20, nil, nil
	})
	if err == nil && r.Status().Mode == dns.Starting { // no server has found out yet what the name servers can do
		r.Probe(ctx)
	}
	return r, err
}

// policyFetcher gets policies of MTA-STS as others do, from this node too.
func (s *Stores) policyFetcher(names dns.Resolver) func(context.Context, string) (*tlspolicy.STSPolicy, error) {
	o := s.fetchOptions(&s.opts, nil)
	o.DNS, o.Metrics, o.Logger = names, nil, nil
	c := fetch.New(o)
	return func(ctx context.Context, domain string) (*tlspolicy.STSPolicy, error) {
		return tlspolicy.FetchSTS(ctx, c, domain)
	}
}

// dialSelf connects to a listener of this node.
func (s *Stores) dialSelf(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	if d := s.opts.Outward.Dial; d != nil {
		return d(ctx, "tcp", to.String(), netip.Addr{})
	}
	return new(net.Dialer).DialContext(ctx, "tcp", to.String())
}

// self is what this node knows of itself.
func (s *Stores) self() check.Node {
	addresses := s.opts.Outward.Addresses
	if addresses == nil {
		addresses = ownAddresses()
	}
	n := check.Node{Host: s.opts.Hostname, Addrs: addresses(), Clock: clock}
	if s.opts.ACME != nil {
		n.Issuers = issuers(s.opts.ACME.Directories)
	}
	if s.Certs != nil {
		if c := s.Certs.For(n.Host); c.Origin != certs.FromItself { // those last for a start only
			n.TLSA = certs.TLSA(c.Chain[0])
		}
	}
	listeners := s.opts.Offers
	if s.running != nil {
		listeners, n.MayRelay = s.running.Bound(), s.running.opts.Relay
	}
	for _, l := range listeners {
		address := l.Address
		if strings.HasPrefix(address, ":") {
			address = "[::]" + address
		}
		if at, err := netip.ParseAddrPort(address); err == nil { // a socket is for this machine only
			n.Services = append(n.Services, check.Service{Name: string(l.Service), Addr: at, TLS: !l.Clear})
		}
	}
	return n
}

// issuers are the names in CAA records (RFC 8659 §4.2) of authorities that are
// widely used, as they publish them; those of others are not known.
func issuers(directories []string) (names []string) {
	known := map[string]string{
		"acme-v02.api.letsencrypt.org": "letsencrypt.org", "acme-staging-v02.api.letsencrypt.org": "letsencrypt.org",
		"acme.zerossl.com": "sectigo.com", "dv.acme-v02.api.pki.goog": "pki.goog", "api.buypass.com": "buypass.com",
		"acme.ssl.com": "ssl.com", "acme-api.actalis.com": "actalis.it",
	}
	for _, d := range directories {
		if u, err := url.Parse(d); err == nil && known[u.Hostname()] != "" {
			names = append(names, known[u.Hostname()])
		}
	}
	return names
}

// clock asks the kernel whether somebody keeps its clock (adjtimex(2)).
func clock() (synced, known bool) {
	state, err := unix.Adjtimex(new(unix.Timex))
	return state != timeError, err == nil
}

// timeError is the state of a clock that nobody keeps.
const timeError = 5

// checkDomain is what this node knows of a domain of its own.
func (s *Stores) checkDomain(ctx context.Context, name string) (check.Domain, error) {
	d, err := s.Directory.Domain(ctx, name)
	if err != nil {
		return check.Domain{}, err
	}
	out := check.Domain{Name: d.Name}
	if text := d.STSPolicy(s.opts.Hostname); text != "" {
		out.STS = &check.Policy{Record: d.STSRecord(s.opts.Hostname), Text: text}
	}
	keys, err := s.Directory.DKIMKeys(ctx, d.Name)
	if err != nil {
		return check.Domain{}, err
	}
	for _, k := range keys {
		_, text := k.Record()
		out.Keys = append(out.Keys, check.Key{Selector: k.Selector, Record: text, Public: k.PublicKey(), Signs: k.State >= directory.KeySigning})
	}
	out.Accepts = func(local string) (bool, error) {
		r, err := s.Directory.Resolve(ctx, postino.Address{Local: local, Domain: d.Name})
		if postino.Is(err, postino.NotFound) || postino.Is(err, postino.Denied) {
			return false, nil
		}
		return err == nil && (r.Local || r.Relay != nil), err
	}
	for local, to := range map[string]*string{"dmarc-reports": &out.DMARCReports, "tls-reports": &out.TLSReports} {
		if ok, err := out.Accepts(local); ok && err == nil { // who does not read reports does not ask for them
			*to = local + "@" + d.Name
		}
	}
	return out, nil
}
