package mailauth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"blitiri.com.ar/go/spf"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
)

// Client is who sends a message.
type Client struct {
	Remote netip.Addr
	// Helo is the argument of EHLO or HELO, MailFrom the sender; the null sender
	// counts as postmaster at Helo (RFC 7208 §2.4).
	Helo     string
	MailFrom postino.Address
	// Host is our name and Now the time, for explanations (RFC 7208 §7.3, r and t).
	Host string
	Now  time.Time
}

// SPF is whether the client may use the names that it does (RFC 7208).
type SPF struct {
	// MailFrom and Helo are the two identities of RFC 7208 §2.3 and §2.4; for the
	// null sender they are the same.
	MailFrom, Helo SPFIdentity
	NullSender     bool
}

// SPFIdentity is a name that was checked. All texts are fit for logs.
type SPFIdentity struct {
	// Result is Pass, Fail, SoftFail, Neutral, None, TempError or PermError.
	Result Result
	// Sender is the mailbox that was checked, and Domain its domain in A-labels,
	// empty when it is no domain name.
	Sender, Domain string
	// Record is the record that decided, of the domain RecordAt: Domain, or where
	// redirect= led. Mechanism is its term that matched, empty without one.
	Record, RecordAt, Mechanism string
	// Explanation is the text of the domain for a Fail (RFC 7208 §6.2): foreign
	// words, at most 500 octets of ASCII. Say whose they are.
	Explanation string
	// Reason says in plain English why the result is what it is.
	Reason string
}

const (
	spfTimeout     = 20 * time.Second // RFC 7208 §4.6.4, MA3
	maxExplanation = 500
)

// CheckSPF judges the names that a client uses. What the DNS cannot tell now makes
// TempError.
func CheckSPF(ctx context.Context, q *Inquiry, c Client) SPF {
	c.Remote = c.Remote.Unmap().WithZone("")
	s := SPF{NullSender: c.MailFrom.IsNull()}
	s.Helo = checkSPF(ctx, q, c, "postmaster", c.Helo)
	if s.NullSender {
		s.MailFrom = s.Helo
	} else {
		s.MailFrom = checkSPF(ctx, q, c, c.MailFrom.Local, c.MailFrom.Domain)
	}
	return s
}

// checkSPF judges one identity.
func checkSPF(ctx context.Context, q *Inquiry, c Client, local, domain string) SPFIdentity {
	id := SPFIdentity{Sender: postino.Printable(local + "@" + domain)}
	canonical, err := postino.CanonicalDomain(strings.TrimSuffix(domain, "."))
	switch {
	case err != nil, !strings.Contains(canonical, "."), strings.HasPrefix(canonical, "["):
		// RFC 7208 §4.3
		id.Result, id.Reason = None, "the client gave no domain name"
		return id
	case !c.Remote.IsValid():
		id.Result, id.Reason = None, "the client has no address"
		return id
	}
	id.Domain = canonical
	ctx, cancel := context.WithTimeout(ctx, spfTimeout)
	defer cancel()
	e := spfCheck{inquiry: q, env: macroEnv{client: c, local: local, sender: canonical, domain: canonical}}
	// The library takes the first "@" for the end of the local part. With DEL in its
	// place, names made of such a local part do not exist, as RFC 8616 §4 has it.
	sender := strings.ReplaceAll(local, "@", "\x7f") + "@" + canonical
	result, why := spf.CheckHostWithSender(net.IP(c.Remote.AsSlice()), c.Helo, sender,
		spf.WithContext(ctx), spf.WithResolver(&e), spf.WithTraceFunc(e.trace))
	id.Result = Result(result)
	e.tell(&id, why)
	if id.Result == Fail {
		id.Explanation = e.explain(ctx, id.RecordAt)
	}
	return id
}

// spfCheck is the resolver of the library, with the checks of records that it does
// not make, and its witness.
type spfCheck struct {
	inquiry *Inquiry
	env     macroEnv
	records map[string]*SPFRecord // by domain
	failed  error                 // the last temporary error
	// matched is the term that matched last, without qualifier; redirects is how
	// many redirect= were followed to the record that has it.
	matched   string
	redirects int
}

// Errors as the library wants them.
var (
	errSPFNotFound = &net.DNSError{Err: "no such host", IsNotFound: true}
	errSPFTemp     = &net.DNSError{Err: "temporary failure", IsTemporary: true}
)

func (e *spfCheck) lookup(ctx context.Context, name string, t dns.Type) (*dns.Answer, error) {
	a, err := e.inquiry.Lookup(ctx, fitName(name), t)
	switch {
	case err == nil:
		return a, nil
	case postino.Is(err, postino.NotFound), postino.Is(err, postino.Invalid):
		return nil, errSPFNotFound
	}
	e.failed = err
	return nil, errSPFTemp
}

// LookupTXT finds the SPF record of a domain. One that RFC 7208 §4.6 does not
// allow is an error even if a term before the fault would match.
func (e *spfCheck) LookupTXT(ctx context.Context, name string) ([]string, error) {
	a, err := e.lookup(ctx, name, dns.TypeTXT)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, t := range a.TXT {
		if isSPF(t) {
			found = append(found, t)
		}
	}
	if len(found) != 1 {
		return found, nil
	}
	r, problems := ParseSPF(found[0])
	for _, p := range problems {
		if p.Error {
			return nil, fmt.Errorf("the record of %s is wrong at %q: %s", name, p.Tag, p.Text)
		}
	}
	if e.records == nil {
		e.records = make(map[string]*SPFRecord, 4)
	}
	e.records[spfName(name)] = r
	return found, nil
}

func spfName(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// LookupMX finds mail exchangers. A null MX is an answer without addresses.
func (e *spfCheck) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	a, err := e.lookup(ctx, name, dns.TypeMX)
	if err != nil {
		return nil, err
	}
	list := make([]*net.MX, len(a.MX))
	for i, mx := range a.MX {
		list[i] = &net.MX{Host: mx.Host, Pref: mx.Preference}
	}
	return list, nil
}

// LookupIPAddr finds addresses of the client's kind; for clients with IPv6 also
// others, since exists: is about IPv4 (RFC 7208 §5.7) and nobody tells what for
// this is asked.
func (e *spfCheck) LookupIPAddr(ctx context.Context, name string) ([]net.IPAddr, error) {
	a, err := e.lookup(ctx, name, dns.TypeA)
	if e.env.client.Remote.Is4() {
		return netAddrs(nil, a), err
	}
	if err == errSPFTemp {
		return nil, err
	}
	six, err6 := e.lookup(ctx, name, dns.TypeAAAA)
	list := netAddrs(netAddrs(nil, a), six)
	if len(list) > 0 && err6 != errSPFTemp {
		return list, nil
	}
	return nil, err6
}

func netAddrs(list []net.IPAddr, a *dns.Answer) []net.IPAddr {
	if a == nil {
		return list
	}
	for _, ip := range a.Addrs {
		list = append(list, net.IPAddr{IP: ip.AsSlice()})
	}
	return list
}

// LookupAddr finds the names of the client.
func (e *spfCheck) LookupAddr(ctx context.Context, _ string) ([]string, error) {
	a, err := e.lookup(ctx, dns.ReverseName(e.env.client.Remote), dns.TypePTR)
	if err != nil {
		return nil, err
	}
	return a.Hosts, nil
}

// trace hears what the library does. It tells which term matched in no other way;
// with other words in another version only the Mechanism would be lost, and the
// explanation, which the tests would show.
func (e *spfCheck) trace(format string, args ...any) {
	switch format {
	case "all: %v":
		e.matched, e.redirects = "all", 0
	case "%q %v, %v":
		e.matched, e.redirects = args[0].(string), 0
	case "%q: %v, %v":
		e.redirects++
	}
}

// tell fills in what decided.
func (e *spfCheck) tell(id *SPFIdentity, why error) {
	id.RecordAt = id.Domain
	r := e.records[id.Domain]
	for ; r != nil && r.Redirect != "" && e.redirects > 0; e.redirects-- {
		e.env.domain = id.RecordAt
		target, _ := e.env.expand(r.Redirect)
		id.RecordAt = spfName(fitName(target))
		r = e.records[id.RecordAt]
	}
	if r != nil {
		id.Record = r.Text
		for _, t := range r.Terms {
			if t.Qualifier != 0 && strings.EqualFold(t.bare(), e.matched) && (t.result() == id.Result || id.Result == TempError || id.Result == PermError) {
				id.Mechanism = postino.Printable(t.Text)
				break
			}
		}
	}
	id.RecordAt = postino.Printable(id.RecordAt)
	id.Reason = postino.Printable(e.reason(id, why))
}

// reason puts a result in words.
func (e *spfCheck) reason(id *SPFIdentity, why error) string {
	ip := e.env.client.Remote.String()
	switch id.Result {
	case Pass:
		return id.RecordAt + " allows " + ip + " by " + id.Mechanism
	case Fail:
		return id.RecordAt + " forbids " + ip + " by " + id.Mechanism
	case SoftFail:
		return id.RecordAt + " advises against " + ip + " by " + id.Mechanism
	case Neutral:
		if id.Mechanism == "" {
			return id.RecordAt + " says nothing of " + ip
		}
		return id.RecordAt + " neither allows nor forbids " + ip + " by " + id.Mechanism
	case None:
		return id.Domain + " has no SPF record"
	case TempError:
		return "SPF of " + id.Domain + " cannot be looked up now: " + dnsReason(e.failed)
	}
	switch {
	case errors.Is(why, spf.ErrLookupLimitReached):
		return "SPF of " + id.Domain + " needs more than 10 lookups"
	case errors.Is(why, spf.ErrVoidLookupLimitReached):
		return "SPF of " + id.Domain + " leads to more than 2 names without records"
	case errors.Is(why, spf.ErrTooManyMXRecords):
		return "SPF of " + id.Domain + " names a domain with more than 10 mail exchangers"
	case errors.Is(why, spf.ErrMultipleRecords):
		return id.Domain + ", or a domain that it includes, has several SPF records"
	case errors.Is(why, spf.ErrNoResult):
		return "SPF of " + id.Domain + " leads to a domain without SPF record"
	case why != nil:
		return "SPF of " + id.Domain + " cannot be used: " + why.Error()
	}
	return "SPF of " + id.Domain + " cannot be used"
}

// explain fetches and expands the explanation that goes with a record (RFC 7208
// §6.2). Whatever is wrong with it, there is none.
func (e *spfCheck) explain(ctx context.Context, at string) string {
	r := e.records[at]
	if r == nil || r.Exp == "" {
		return ""
	}
	e.env.domain = at
	name, ok := e.env.expand(r.Exp)
	if !ok {
		return ""
	}
	a, err := e.inquiry.Lookup(ctx, fitName(name), dns.TypeTXT)
	if err != nil || len(a.TXT) != 1 || len(a.TXT[0]) > maxSPFRecord {
		return ""
	}
	return e.env.explanation(a.TXT[0])
}

// explanation expands an explain-string: macro-strings between spaces, all ASCII.
func (e *macroEnv) explanation(text string) string {
	words := strings.Split(text, " ")
	for i, word := range words {
		if _, why := macroParts(word); why != "" {
			return ""
		}
		words[i], _ = e.expand(word)
	}
	// What macros bring in may be anything.
	ascii := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, strings.Join(words, " "))
	return ascii[:min(len(ascii), maxExplanation)]
}

// Results are the results for Authentication-Results (RFC 8601 §2.7.2).
func (s *SPF) Results() []AuthResult {
	var list []AuthResult
	if s.MailFrom.Result != "" && !s.NullSender {
		list = append(list, s.MailFrom.result(Prop{"smtp", "mailfrom", s.MailFrom.Sender}))
	}
	if s.Helo.Result != "" {
		helo := s.Helo.Domain
		if helo == "" {
			helo = strings.TrimPrefix(s.Helo.Sender, "postmaster@")
		}
		list = append(list, s.Helo.result(Prop{"smtp", "helo", helo}))
	}
	return list
}

func (id *SPFIdentity) result(p Prop) AuthResult {
	r := AuthResult{Method: "spf", Result: id.Result, Props: []Prop{p}}
	if id.Result != None {
		r.Reason = id.Reason
	}
	return r
}
