package reports

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/postino-mail/postino/mailauth"
)

// DMARCView is what the reports of others say about the mail in the name of a
// domain, put together.
type DMARCView struct {
	Domain string `json:"domain"`
	// Reports is how many there are, Unproven how many of these did not prove to be
	// from who says so.
	Reports  int         `json:"reports"`
	Unproven int         `json:"unproven"`
	By       []string    `json:"by"` // organizations
	Begin    time.Time   `json:"begin,omitzero"`
	End      time.Time   `json:"end,omitzero"`
	Policy   DMARCPolicy `json:"policy,omitzero"` // of the latest report
	Messages int64       `json:"messages"`
	Passed   int64       `json:"passed"`
	// Sources are who sends, those with the most failures first.
	Sources []Source `json:"sources"`
	More    int      `json:"more,omitempty"` // sources that are not listed
	Advice  []string `json:"advice"`
}

// Source is an address that sends in the name of a domain.
type Source struct {
	Addr netip.Addr `json:"address"`
	Name string     `json:"name,omitempty"` // of its PTR record, if that is confirmed
	// Messages of which so many passed DMARC; DKIM and SPF passed for the domain.
	Messages int64 `json:"messages"`
	Passed   int64 `json:"passed"`
	DKIM     int64 `json:"dkim"`
	SPF      int64 `json:"spf"`
	// What became of the others, as far as reporters say.
	Rejected    int64 `json:"rejected"`
	Quarantined int64 `json:"quarantined"`
	Forwarded   int64 `json:"forwarded"`
	// From are domains of authors, Signers those whose signatures passed, Envelope
	// those whose SPF passed.
	From     []string `json:"from,omitempty"`
	Signers  []string `json:"signers,omitempty"`
	Envelope []string `json:"envelope,omitempty"`
	Advice   string   `json:"advice"`
}

// Failed is how many messages did not pass.
func (s *Source) Failed() int64 { return s.Messages - s.Passed }

// Bounds of a view.
const (
	maxSources   = 100_000 // told apart
	shownSources = 100
	shownDomains = 5
)

// ViewDMARC puts together what came about a domain in the days before now.
func (s *Store) ViewDMARC(ctx context.Context, domain string, days int, now time.Time) (*DMARCView, error) {
	v := &DMARCView{Domain: domain}
	sources := map[netip.Addr]*Source{}
	var latest time.Time
	err := s.Each(ctx, KindDMARC, domain, now.AddDate(0, 0, -days), now, func(r *Received) bool {
		a := r.DMARC
		v.Reports++
		if !r.Verified {
			v.Unproven++
		}
		if v.Begin.IsZero() || a.Begin.Before(v.Begin) {
			v.Begin = a.Begin
		}
		if a.End.After(v.End) {
			v.End = a.End
		}
		if !a.Begin.Before(latest) {
			latest, v.Policy = a.Begin, a.Policy
		}
		once(&v.By, cmp.Or(a.Org, a.Email), 50)
		for i := range a.Records {
			v.add(sources, &a.Records[i])
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	for _, src := range sources {
		src.Advice = src.advise(v)
		v.Sources = append(v.Sources, *src)
	}
	slices.SortFunc(v.Sources, func(a, b Source) int {
		return cmp.Or(cmp.Compare(b.Failed()-b.Forwarded, a.Failed()-a.Forwarded), cmp.Compare(b.Messages, a.Messages), a.Addr.Compare(b.Addr))
	})
	v.Advice = v.advise()
	if len(v.Sources) > shownSources {
		v.More = len(v.Sources) - shownSources
		v.Sources = slices.Clip(v.Sources[:shownSources])
	}
	return v, nil
}

// add counts a record. Sources beyond the bound share the zero address.
func (v *DMARCView) add(sources map[netip.Addr]*Source, r *Record) {
	at := r.Source
	if sources[at] == nil && len(sources) >= maxSources {
		at = netip.Addr{}
	}
	src := sources[at]
	if src == nil {
		src = &Source{Addr: at}
		sources[at] = src
	}
	v.Messages += r.Count
	src.Messages += r.Count
	if r.DKIMAligned || r.SPFAligned {
		v.Passed += r.Count
		src.Passed += r.Count
	}
	if r.DKIMAligned {
		src.DKIM += r.Count
	}
	if r.SPFAligned {
		src.SPF += r.Count
	}
	switch r.Disposition {
	case Reject:
		src.Rejected += r.Count
	case Quarantine:
		src.Quarantined += r.Count
	}
	if !r.DKIMAligned && !r.SPFAligned && slices.ContainsFunc(r.Reasons, forwarding) {
		src.Forwarded += r.Count
	}
	once(&src.From, r.HeaderFrom, shownDomains)
	for i := range r.DKIM {
		if r.DKIM[i].Result == mailauth.Pass {
			once(&src.Signers, r.DKIM[i].Domain, shownDomains)
		}
	}
	if r.SPF.Result == mailauth.Pass {
		once(&src.Envelope, r.SPF.Domain, shownDomains)
	}
}

func forwarding(o Override) bool {
	return o.Type == "forwarded" || o.Type == MailingList || o.Type == TrustedForwarder // the first is of RFC 7489
}

// once appends s to a short list unless it is there.
func once(list *[]string, s string, max int) {
	if s != "" && len(*list) < max && !slices.Contains(*list, s) {
		*list = append(*list, s)
	}
}

// advise says what to do about a source.
func (s *Source) advise(v *DMARCView) string {
	failed := s.Failed()
	switch {
	case failed == 0 && s.DKIM == s.Messages && s.SPF == s.Messages:
		return "All is well."
	case failed == 0 && s.DKIM == s.Messages:
		return fmt.Sprintf("Signed, so it passes. SPF does not cover it: if it is yours, add %s to the SPF record of %s.", s.mechanism(), v.Domain)
	case failed == 0 && s.SPF == s.Messages:
		return fmt.Sprintf("SPF covers it, but nothing is signed for %s: forwarded mail will fail. If it is yours, let it sign (DKIM).", v.Domain)
	case failed == 0:
		return "It passes, now by signature, now by SPF. If it is yours, let it do both."
	case s.Forwarded >= failed:
		return "Forwarded mail or mailing lists, say the reporters. Nothing to do."
	case s.Passed > failed:
		return fmt.Sprintf("Mostly passes; %d messages do not. If it is yours, see that all programs there sign their mail.", failed)
	}
	return s.foreign(v, failed)
}

// foreign says what to do about mail that does not pass.
func (s *Source) foreign(v *DMARCView, failed int64) string {
	who := fmt.Sprintf("If it is yours, add %s to the SPF record of %s and let it sign as %s", s.mechanism(), v.Domain, v.Domain)
	if service := s.service(v.Domain); service != "" {
		who = fmt.Sprintf("It sends as %s. If that is a service of yours, set it up to sign as %s (DKIM)", service, v.Domain)
	}
	return who + "; if not, somebody uses your name: ignore it. " + s.fate(v, failed)
}

// service is the domain that the source proved to be, not one of the domain's.
func (s *Source) service(domain string) string {
	for _, d := range append(slices.Clone(s.Signers), s.Envelope...) {
		if !related(d, domain) {
			return d
		}
	}
	return ""
}

// fate says what became of mail that does not pass.
func (s *Source) fate(v *DMARCView, failed int64) string {
	switch stopped := s.Rejected + s.Quarantined; {
	case s.Rejected >= failed:
		return fmt.Sprintf("With p=%s it was refused.", v.Policy.P)
	case stopped > 0:
		return fmt.Sprintf("%d were refused and %d went to Junk.", s.Rejected, s.Quarantined)
	case v.Policy.P == None || v.Policy.P == "":
		return "With p=none it was delivered."
	}
	return "It was delivered all the same."
}

// mechanism is the term of SPF that covers the source.
func (s *Source) mechanism() string {
	if s.Addr.Is6() {
		return "ip6:" + s.Addr.String()
	}
	return "ip4:" + s.Addr.String()
}

// What the reports must show before a policy is tightened.
const (
	enoughDays     = 14
	enoughMessages = 100
)

// advise says what to do about the domain.
func (v *DMARCView) advise() (all []string) {
	if v.Reports == 0 {
		return []string{fmt.Sprintf("No reports came. Others send them once a day when the DNS says where to: _dmarc.%s TXT \"v=DMARC1; p=none; rua=mailto:dmarc-reports@%s\"", v.Domain, v.Domain)}
	}
	if v.Unproven > 0 {
		all = append(all, fmt.Sprintf("%d of %d reports did not prove who sent them: believe them less.", v.Unproven, v.Reports))
	}
	bad := int64(0)
	for i := range v.Sources {
		bad += max(0, v.Sources[i].Failed()-v.Sources[i].Forwarded)
	}
	days := int(v.End.Sub(v.Begin).Hours()+1) / 24
	next := map[Disposition]Disposition{None: Quarantine, "": Quarantine, Quarantine: Reject}[v.Policy.P]
	share := 100 * float64(v.Messages-bad) / float64(max(1, v.Messages))
	switch {
	case v.Policy.Testing == "y":
		all = append(all, "The record has t=y: receivers only pretend to act. Take it away when the sources above are in order.")
	case next == "":
		all = append(all, "p=reject is as strict as it gets.")
	case days < enoughDays || v.Messages < enoughMessages:
		all = append(all, fmt.Sprintf("Too little is known yet to tighten p=%s: %d days and %d messages; wait for %d days and %d messages.", cmp.Or(v.Policy.P, None), days, v.Messages, enoughDays, enoughMessages))
	case share >= 99:
		all = append(all, fmt.Sprintf("p=%s can become p=%s: %.1f%% of the mail passes or was forwarded. First be sure that none of the failing sources above is yours. Then: _dmarc.%s TXT \"v=DMARC1; p=%s; rua=mailto:dmarc-reports@%s\"",
			cmp.Or(v.Policy.P, None), next, share, v.Policy.Domain, next, v.Policy.Domain))
	default:
		all = append(all, fmt.Sprintf("p=%s should stay for now: %.1f%% of the mail fails. See to the sources that are yours, or, if none is, go on to p=%s.", cmp.Or(v.Policy.P, None), 100-share, next))
	}
	return all
}

// TLSView is what the reports of others say about TLS connections to the servers of
// a domain.
type TLSView struct {
	Domain   string    `json:"domain"`
	Reports  int       `json:"reports"`
	Unproven int       `json:"unproven"`
	By       []string  `json:"by"`
	Begin    time.Time `json:"begin,omitzero"`
	End      time.Time `json:"end,omitzero"`
	Good     int64     `json:"good"`
	Bad      int64     `json:"bad"`
	// Policies are the types that were applied: tlsa, sts, no-policy-found.
	Policies []string   `json:"policies"`
	Faults   []TLSFault `json:"faults"`
	Advice   []string   `json:"advice"`
}

// TLSFault is what went wrong with one server.
type TLSFault struct {
	Result  string   `json:"result"`
	MXHost  string   `json:"mx,omitempty"`
	Count   int64    `json:"count"`
	By      []string `json:"by"`
	Reasons []string `json:"reasons,omitempty"`
	Advice  string   `json:"advice"`
}

// ViewTLS puts together what came about a domain in the days before now.
func (s *Store) ViewTLS(ctx context.Context, domain string, days int, now time.Time) (*TLSView, error) {
	v := &TLSView{Domain: domain}
	type key struct{ result, host string }
	faults := map[key]*TLSFault{}
	err := s.Each(ctx, KindTLS, domain, now.AddDate(0, 0, -days), now, func(r *Received) bool {
		t := r.TLS
		v.Reports++
		if !r.Verified {
			v.Unproven++
		}
		if v.Begin.IsZero() || t.Begin.Before(v.Begin) {
			v.Begin = t.Begin
		}
		if t.End.After(v.End) {
			v.End = t.End
		}
		by := cmp.Or(t.Org, t.Contact)
		once(&v.By, by, 50)
		for i := range t.Policies {
			p := &t.Policies[i]
			v.Good, v.Bad = v.Good+p.Good, v.Bad+p.Bad
			once(&v.Policies, p.Policy.Type, 10)
			for j := range p.Failures {
				f := &p.Failures[j]
				k := key{f.Result, f.MXHost}
				if faults[k] == nil && len(faults) >= shownSources {
					k = key{result: "other"}
				}
				if faults[k] == nil {
					faults[k] = &TLSFault{Result: k.result, MXHost: k.host, Advice: tlsAdvice(k.result)}
				}
				faults[k].Count += f.Count
				once(&faults[k].By, by, shownDomains)
				once(&faults[k].Reasons, f.Reason, shownDomains)
			}
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	for _, f := range faults {
		v.Faults = append(v.Faults, *f)
	}
	slices.SortFunc(v.Faults, func(a, b TLSFault) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Result, b.Result), cmp.Compare(a.MXHost, b.MXHost))
	})
	v.Advice = v.advise()
	return v, nil
}

func (v *TLSView) advise() (all []string) {
	switch {
	case v.Reports == 0:
		return []string{fmt.Sprintf("No reports came. Others send them once a day when the DNS says where to: _smtp._tls.%s TXT \"v=TLSRPTv1; rua=mailto:tls-reports@%s\"", v.Domain, v.Domain)}
	case v.Bad == 0 && len(v.Faults) == 0:
		all = append(all, "All is well.")
	}
	if v.Unproven > 0 {
		all = append(all, fmt.Sprintf("%d of %d reports did not prove who sent them: believe them less.", v.Unproven, v.Reports))
	}
	if len(v.Policies) == 1 && v.Policies[0] == NoPolicy {
		all = append(all, "The domain demands nothing of those who send to it: DANE or MTA-STS would keep others from listening in (postino check "+v.Domain+").")
	}
	return all
}

// tlsAdvice says what a result means and what to do about it.
func tlsAdvice(result string) string {
	switch result {
	case StartTLSNotSupported:
		return "The server did not offer STARTTLS, or something on the way took it out. Look whether it does (postino check)."
	case CertHostMismatch:
		return "The certificate is not for the name in the MX record: get one for that name."
	case CertExpired:
		return "The certificate has expired: renew it."
	case CertNotTrusted:
		return "The certificate is not from an authority that senders trust, or its chain is not complete."
	case ValidationFailure:
		return "TLS failed in a way that has no name of its own; the reason says more."
	case TLSAInvalid:
		return "The TLSA records do not fit the certificate: publish those that postino check prints."
	case DNSSECInvalid:
		return "The DNSSEC signatures of the zone do not verify: sign it anew, or take the DS record away."
	case DANERequired:
		return "The sender demands TLSA records and there are none that are proven."
	case STSPolicyFetchError:
		return "The MTA-STS policy could not be fetched: look whether https://mta-sts.DOMAIN/.well-known/mta-sts.txt works."
	case STSPolicyInvalid:
		return "The MTA-STS policy is not valid, or does not name the servers in the MX records."
	case STSWebPKIInvalid:
		return "The certificate of the mta-sts host is not trusted."
	}
	return "An unusual fault; the reason says more."
}

// Complaints returns the feedback reports of the days before now, newest first, at
// most max.
func (s *Store) Complaints(ctx context.Context, domain string, days, max int, now time.Time) (all []Received, err error) {
	err = s.Each(ctx, KindAbuse, domain, now.AddDate(0, 0, -days), now, func(r *Received) bool {
		if all = append(all, *r); len(all) > 2*max {
			all = slices.Clone(all[len(all)-max:])
		}
		return true
	})
	slices.Reverse(all)
	return all[:min(len(all), max)], err
}

// Domains returns the domains that there are reports about.
func (s *Store) Domains(ctx context.Context, kind Kind, days int, now time.Time) (all []string, err error) {
	err = s.Each(ctx, kind, "", now.AddDate(0, 0, -days), now, func(r *Received) bool {
		_, domain, _, _ := r.parts()
		once(&all, strings.ToLower(domain), 10_000)
		return true
	})
	slices.Sort(all)
	return all, err
}
