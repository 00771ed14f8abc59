package check

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/tlspolicy"
)

// Version is the version of reports as JSON. Fields may be added to it; a field
// that changes its meaning or goes makes a new one.
const Version = 1

// Status is the outcome of a check.
type Status string

// The outcomes. Unknown is "could not tell": what could not be asked now is
// neither well nor wrong (DN2).
const (
	OK      Status = "ok"
	Fix     Status = "fix"
	Advice  Status = "advice"
	Unknown Status = "unknown"
)

// Finding is the outcome of one check.
type Finding struct {
	// Area groups findings for people, "SPF"; Name is stable, "spf.record"; with
	// Subject, a host, an address or a selector, it is unique in a report.
	Area    string `json:"area"`
	Name    string `json:"name"`
	Subject string `json:"subject,omitempty"`
	Status  Status `json:"status"`
	// Text is a sentence; Detail what it rests on. Both are fit for terminals.
	Text   string `json:"text"`
	Detail string `json:"detail,omitempty"`
	// Records are to be published.
	Records []Record `json:"records,omitempty"`
}

// Report is what was found out about this server, or about a domain.
type Report struct {
	Version int `json:"version"`
	// Host is the name of this server, Domain the domain that the report is
	// about; empty for the server itself.
	Host   string    `json:"host"`
	Domain string    `json:"domain,omitempty"`
	When   time.Time `json:"when"`
	// Findings are in an order that depends on what there is, never on time.
	Findings []Finding `json:"findings"`
}

// Count is how many findings have the status.
func (r *Report) Count(s Status) (n int) {
	for i := range r.Findings {
		if r.Findings[i].Status == s {
			n++
		}
	}
	return n
}

// Limits bound the work for one report; zero fields mean the default.
type Limits struct {
	Questions int           // to the DNS: 500
	AtOnce    int           // questions and connections on their way: 8
	Timeout   time.Duration // for the whole report: 60 s
	Dial      time.Duration // for one dialogue with ourselves: 15 s
}

func (l Limits) withDefaults() Limits {
	set := func(n *int, def int) {
		if *n <= 0 {
			*n = def
		}
	}
	set(&l.Questions, 500)
	set(&l.AtOnce, 8)
	if l.Timeout <= 0 {
		l.Timeout = time.Minute
	}
	if l.Dial <= 0 {
		l.Dial = 15 * time.Second
	}
	return l
}

// Options are the parameters of a Checker.
type Options struct {
	// DNS should keep no answers: who mends a record wants to see it. Lists, which
	// is asked about blocklists, may keep them; nil is DNS.
	DNS, Lists dns.Resolver
	// Node is what this server knows of itself.
	Node Node
	// Domain returns what this server knows of a domain, NotFound for those that
	// are not its own. nil: none is.
	Domain func(ctx context.Context, name string) (Domain, error)
	// Dial connects to addresses of this server only. nil: it is not running, and
	// what only a connection tells is Unknown.
	Dial func(ctx context.Context, to netip.AddrPort) (net.Conn, error)
	// Fetch gets the MTA-STS policy of a domain, as [tlspolicy.FetchSTS] does. nil:
	// none can be had.
	Fetch func(ctx context.Context, domain string) (*tlspolicy.STSPolicy, error)
	// Roots are the authorities that clients know; nil is those of the system.
	Roots *x509.CertPool
	// Skip are areas to leave out: who watches need not try the relay every time.
	Skip []string
	// Blocklists are the zones of lists of bad senders; nil is [Blocklists],
	// an empty one asks none.
	Blocklists []string
	Limits     Limits
}

// Checker makes reports. It may be used by many goroutines at once.
type Checker struct{ opts Options }

// New returns a Checker.
func New(o Options) *Checker {
	o.Limits = o.Limits.withDefaults()
	if o.Blocklists == nil {
		o.Blocklists = Blocklists()
	}
	if o.Lists == nil {
		o.Lists = o.DNS
	}
	return &Checker{o}
}

// Node checks this server. report, if not nil, gets each finding as soon as those
// before it are there. The report is whole whatever happens: what could not be
// found out says so.
func (c *Checker) Node(ctx context.Context, now time.Time, report func(Finding)) Report {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Limits.Timeout)
	defer cancel()
	return c.newRun(ctx, now).all(ctx, nodeChecks(), report)
}

// Domain checks a domain: all of it if it is one of ours, else what everybody can
// see. The error is of kind Invalid, for what is no domain, or one of our store.
func (c *Checker) Domain(ctx context.Context, name string, now time.Time, report func(Finding)) (Report, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Limits.Timeout)
	defer cancel()
	r, err := c.domain(ctx, name, now)
	if err != nil {
		return Report{}, err
	}
	return r.all(ctx, domainChecks(), report), nil
}

// Zone returns the records that a domain should have, merged with those that it
// has. Foreign domains are NotFound; Transient: what it has cannot be asked now.
func (c *Checker) Zone(ctx context.Context, name string) ([]Record, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Limits.Timeout)
	defer cancel()
	r, err := c.domain(ctx, name, time.Time{})
	if err != nil {
		return nil, err
	}
	if !r.ours {
		return nil, postino.E(postino.NotFound, "list records", name, errNotOurs)
	}
	live, err := r.live()
	if err != nil {
		return nil, err
	}
	return Zone(&r.node, &r.dom, live), nil
}

func (c *Checker) domain(ctx context.Context, name string, now time.Time) (*run, error) {
	name, err := postino.CanonicalDomain(name)
	if err != nil {
		return nil, err
	}
	r := c.newRun(ctx, now)
	r.dom.Name = name
	if c.opts.Domain != nil {
		d, err := c.opts.Domain(ctx, name)
		if err != nil && !postino.Is(err, postino.NotFound) {
			return nil, err
		}
		if err == nil {
			r.dom, r.ours = d, true
		}
	}
	return r, nil
}

// run makes one report.
type run struct {
	*inquiry
	opts *Options
	now  time.Time
	node Node
	dom  Domain
	ours bool
	// live is what the DNS has of the records that are merged; ownAddrs are the
	// addresses from which mail of ours leaves.
	live     func() (*Live, error)
	ownAddrs func() (list []netip.Addr, sure bool)
}

func (c *Checker) newRun(ctx context.Context, now time.Time) *run {
	r := &run{inquiry: newInquiry(ctx, c.opts.DNS, c.opts.Limits), opts: &c.opts, now: now, node: c.opts.Node}
	r.live = sync.OnceValues(func() (*Live, error) { return r.askLive(ctx) })
	r.ownAddrs = sync.OnceValues(func() ([]netip.Addr, bool) { return r.askAddrs(ctx) })
	return r
}

// area is a group of checks. Each tells what it found; an area that does not
// apply finds nothing.
type area struct {
	name   string
	checks []func(*run, context.Context) []Finding
}

// all runs the checks side by side and puts what they found in order.
func (r *run) all(ctx context.Context, areas []area, report func(Finding)) Report {
	var found []chan []Finding
	var names []string
	for _, a := range areas {
		if slices.Contains(r.opts.Skip, a.name) {
			continue
		}
		for _, check := range a.checks {
			ch := make(chan []Finding, 1)
			found, names = append(found, ch), append(names, a.name)
			go func() { ch <- r.guarded(ctx, check) }()
		}
	}
	out := Report{Version: Version, Host: r.node.Host, Domain: r.dom.Name, When: r.now, Findings: []Finding{}}
	for i, ch := range found {
		for _, f := range <-ch {
			f.Area, f.Text, f.Detail = names[i], postino.Printable(f.Text), postino.Printable(f.Detail)
			out.Findings = append(out.Findings, f)
			if report != nil {
				report(f)
			}
		}
	}
	return out
}

// guarded runs a check; a defect in one does not end the server (G4).
func (r *run) guarded(ctx context.Context, check func(*run, context.Context) []Finding) (list []Finding) {
	defer func() {
		if p := recover(); p != nil {
			list = append(list, unsure("check.defect", "", "more: this is a defect", fmt.Errorf("panic: %v", p)))
		}
	}()
	return check(r, ctx)
}

// finding begins a finding; name is "area.check".
func finding(s Status, name, subject, format string, args ...any) Finding {
	return Finding{Name: name, Subject: subject, Status: s, Text: fmt.Sprintf(format, args...)}
}

// unsure is the finding of what could not be asked.
func unsure(name, subject, what string, err error) Finding {
	return Finding{Name: name, Subject: subject, Status: Unknown, Text: "could not tell " + what, Detail: why(err)}
}

// detail adds what a finding rests on.
func (f Finding) detail(format string, args ...any) Finding {
	f.Detail = fmt.Sprintf(format, args...)
	return f
}

// publish adds records to publish.
func (f Finding) publish(records ...Record) Finding {
	f.Records = append(f.Records, records...)
	return f
}
