package check

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/fetch"
	"github.com/postino-mail/postino/tlspolicy"
)

// sts checks the announcement of the MTA-STS policy, and the policy as others get
// it (RFC 8461).
func (r *run) sts(ctx context.Context) []Finding {
	const name = "sts.record"
	owner := "_mta-sts." + r.dom.Name
	id, err := tlspolicy.LookupSTS(ctx, r, r.dom.Name)
	want := r.wanted(owner, "TXT")
	switch {
	case absent(err):
		return r.stsAbsent(ctx, owner, want)
	case err != nil:
		return []Finding{unsure(name, "", "whether there is an MTA-STS policy", err)}
	}
	f := finding(OK, name, "", "%s announces an MTA-STS policy", r.dom.Name).detail("id %s", id)
	switch {
	case r.ours && r.dom.STS == nil:
		f = finding(Advice, name, "", "%s announces an MTA-STS policy that is not ours", r.dom.Name)
	case r.ours && id != r.stsID():
		f = finding(Fix, name, "", "the MTA-STS policy has changed and its record has not: others keep to the old one").publish(want...)
	}
	return append([]Finding{f}, r.stsPolicy(ctx)...)
}

// stsID is the id of the policy that we serve.
func (r *run) stsID() string {
	id, err := tlspolicy.ParseSTSRecord(r.dom.STS.Record)
	if err != nil {
		return ""
	}
	return id
}

func (r *run) stsAbsent(ctx context.Context, owner string, want []Record) []Finding {
	const name = "sts.record"
	texts, err := r.texts(ctx, owner, "v=STSv1")
	switch {
	case err != nil:
		return []Finding{unsure(name, "", "whether there is an MTA-STS policy", err)}
	case len(texts) > 0:
		return []Finding{finding(Fix, name, "", "the MTA-STS record cannot be used").detail("%s", strings.Join(texts, " + ")).publish(want...)}
	case r.dom.STS != nil:
		return []Finding{finding(Fix, name, "", "nobody knows of the MTA-STS policy: its record is missing").publish(want...)}
	case r.ours:
		return []Finding{finding(Advice, name, "", "mail comes without proof of this server (MTA-STS): postino domain mta-sts %s testing", r.dom.Name)}
	}
	return []Finding{finding(Advice, name, "", "%s has no MTA-STS policy", r.dom.Name)}
}

// stsPolicy fetches the policy and compares it with the MX records, and with what
// we serve.
func (r *run) stsPolicy(ctx context.Context) []Finding {
	const name = "sts.policy"
	if r.opts.Fetch == nil {
		return []Finding{unsure(name, "", "what the MTA-STS policy says", errNotKnown)}
	}
	p, err := r.opts.Fetch(ctx, r.dom.Name)
	host := "mta-sts." + r.dom.Name
	switch {
	case errors.Is(err, fetch.ErrCertificate):
		return []Finding{finding(Fix, name, "", "the certificate of %s is not good: others do not get the MTA-STS policy", host).detail("%s", why(err))}
	case errors.Is(err, dns.ErrNXDomain), errors.Is(err, dns.ErrNoData):
		return []Finding{finding(Fix, name, "", "%s has no address: others do not get the MTA-STS policy", host).publish(r.wanted(host, "CNAME")...)}
	case postino.Is(err, postino.Invalid):
		return []Finding{finding(Fix, name, "", "others cannot use the MTA-STS policy").detail("%s", why(err))}
	case errors.As(err, new(net.Error)), errors.Is(err, dns.ErrServer), errors.Is(err, dns.ErrBogus), ctx.Err() != nil:
		return []Finding{unsure(name, "", "what the MTA-STS policy says", err)}
	case err != nil:
		return []Finding{finding(Fix, name, "", "others do not get the MTA-STS policy").detail("%s", why(err))}
	}
	f := finding(OK, name, "", "others get the MTA-STS policy, mode %s", p.Mode)
	switch {
	case r.dom.STS != nil && !r.served(p):
		f = finding(Fix, name, "", "others get another MTA-STS policy than this server has").detail("they get: %s", strings.Join(p.Lines, ", "))
	case p.Mode == tlspolicy.None:
		f = finding(Advice, name, "", "the MTA-STS policy is taken back (mode none)")
	case p.Mode == tlspolicy.Testing:
		f = finding(Advice, name, "", "the MTA-STS policy is only tried out: once reports show no failures, go over to enforce")
	}
	if p.Mode == tlspolicy.None {
		return []Finding{f}
	}
	return []Finding{f, r.stsHosts(ctx, p)}
}

// served tells whether a policy is the one that we serve.
func (r *run) served(p *tlspolicy.STSPolicy) bool {
	own, err := tlspolicy.ParseSTSPolicy([]byte(r.dom.STS.Text))
	return err == nil && own.Mode == p.Mode && own.MaxAge == p.MaxAge && slices.Equal(own.MX, p.MX)
}

// stsHosts looks for exchangers that the policy does not name (RFC 8461 §4.1):
// nobody delivers to them who heeds it.
func (r *run) stsHosts(ctx context.Context, p *tlspolicy.STSPolicy) Finding {
	const name = "sts.hosts"
	a, err := r.Lookup(ctx, r.dom.Name, dns.TypeMX)
	if err != nil {
		return unsure(name, "", "whether the MTA-STS policy names all servers", err)
	}
	var missing []string
	for _, host := range exchangers(a) {
		if host != "" && !p.Match(host) {
			missing = append(missing, host)
		}
	}
	switch {
	case len(missing) == 0:
		return finding(OK, name, "", "the MTA-STS policy names all servers")
	case p.Mode == tlspolicy.Enforce:
		return finding(Fix, name, "", "the MTA-STS policy does not name %s: mail does not get there", strings.Join(missing, ", "))
	}
	return finding(Advice, name, "", "the MTA-STS policy does not name %s", strings.Join(missing, ", "))
}

// tlsReports checks where reports about TLS go (RFC 8460 §3).
func (r *run) tlsReports(ctx context.Context) []Finding {
	const name = "tlsrpt.record"
	owner := "_smtp._tls." + r.dom.Name
	texts, err := r.texts(ctx, owner, "v=TLSRPTv1")
	want := r.wanted(owner, "TXT")
	switch {
	case err != nil:
		return []Finding{unsure(name, "", "where reports about TLS go", err)}
	case len(texts) > 1:
		return []Finding{finding(Fix, name, "", "%d TLSRPT records stand where one should be: none counts", len(texts)).publish(want...)}
	case len(texts) == 0 && r.ours && len(want) == 0:
		return nil // nobody here would read them
	case len(texts) == 0:
		return []Finding{finding(Advice, name, "", "nobody is told when mail cannot come because of TLS (TLSRPT)").publish(want...)}
	}
	rpt, err := tlspolicy.ParseTLSRPTRecord(texts[0])
	if err != nil {
		return []Finding{finding(Fix, name, "", "the TLSRPT record cannot be used").detail("%s", why(err))}
	}
	for _, uri := range rpt.RUA {
		to, err := postino.ParseAddress(strings.TrimPrefix(uri, "mailto:"))
		if err != nil {
			continue // https, or more than an address
		}
		if f, ok := r.arrives(ctx, name, to); !ok {
			return []Finding{f}
		}
	}
	return []Finding{finding(OK, name, "", "reports about TLS go to %s", strings.Join(rpt.RUA, ", "))}
}

// dane checks the TLSA records of the exchangers (RFC 7672).
func (r *run) dane(ctx context.Context) (list []Finding) {
	a, err := r.Lookup(ctx, r.dom.Name, dns.TypeMX)
	if err != nil {
		return nil // mx has told
	}
	hosts := exchangers(a)
	slices.Sort(hosts)
	for _, host := range slices.Compact(hosts) {
		if host != "" {
			list = append(list, r.daneOf(ctx, host)...)
		}
	}
	return list
}

// daneHost checks those of this server.
func (r *run) daneHost(ctx context.Context) []Finding { return r.daneOf(ctx, r.node.Host) }

func (r *run) daneOf(ctx context.Context, host string) []Finding {
	const name = "dane.tlsa"
	a, err := r.Lookup(ctx, "_25._tcp."+host, dns.TypeTLSA)
	here := host == r.node.Host
	switch {
	case errors.Is(err, dns.ErrBogus):
		return []Finding{finding(Fix, name, host, "the TLSA records of %s are not authentic: who heeds DANE does not deliver there", host)}
	case absent(err):
		if a.Security != dns.Secure || !here || len(r.node.TLSA) == 0 {
			return nil // without DNSSEC nobody would look
		}
		return []Finding{finding(Advice, name, host, "%s could prove itself by DANE, as its DNS is signed", host).publish(r.tlsaRecords()...)}
	case err != nil:
		return []Finding{unsure(name, host, "whether "+host+" has TLSA records (DANE)", err)}
	case a.Security == dns.Insecure:
		return []Finding{finding(Advice, name, host, "the TLSA records of %s mean nothing while its DNS is not signed", host)}
	case a.Security != dns.Secure:
		return []Finding{unsure(name, host, "whether the TLSA records of "+host+" are proven", errors.New("the name servers prove nothing"))}
	}
	usable := tlspolicy.UsableTLSA(a.TLSA)
	switch {
	case len(usable) == 0:
		return []Finding{finding(Fix, name, host, "no TLSA record of %s can be used: those of servers have usage 2 or 3", host)}
	case !here:
		return []Finding{finding(OK, name, host, "%s proves itself by DANE", host)}
	}
	return []Finding{r.daneHere(ctx, usable)}
}

// daneHere compares records with the certificate that the server shows.
func (r *run) daneHere(ctx context.Context, usable []dns.TLSA) Finding {
	const name = "dane.tlsa"
	host := r.node.Host
	chain, err := r.chain(ctx)
	if err != nil {
		return unsure(name, host, "whether the TLSA records are those of the certificate", err)
	}
	if _, err := tlspolicy.VerifyTLSA(usable, chain, []string{host, r.dom.Name}, r.now); err != nil {
		return finding(Fix, name, host, "the TLSA records are not those of the certificate: who heeds DANE does not deliver here").
			detail("%s", why(err)).publish(r.tlsaRecords()...)
	}
	for _, t := range r.node.TLSA {
		if !slices.ContainsFunc(usable, func(u dns.TLSA) bool { return tlspolicy.FormatTLSA(u) == tlspolicy.FormatTLSA(t) }) && !matches(t, usable, chain) {
			return finding(Advice, name, host, "the next key has no TLSA record yet").publish(r.tlsaRecords()...)
		}
	}
	return finding(OK, name, host, "%s proves itself by DANE", host)
}

// matches tells whether a record of ours says what one that is there does in
// another way.
func matches(t dns.TLSA, usable []dns.TLSA, chain []*x509.Certificate) bool {
	return tlspolicy.MatchTLSA(t, chain[0]) && slices.ContainsFunc(usable, func(u dns.TLSA) bool { return tlspolicy.MatchTLSA(u, chain[0]) })
}

// tlsaRecords are those of this server.
func (r *run) tlsaRecords() (list []Record) {
	for _, t := range r.node.TLSA {
		list = append(list, Record{Name: "_25._tcp." + r.node.Host, Type: "TLSA", TTL: ttl, Value: tlspolicy.FormatTLSA(t)})
	}
	return list
}

// chain is what the server shows to other servers.
func (r *run) chain(ctx context.Context) ([]*x509.Certificate, error) {
	err := errNotKnown
	for _, to := range r.listeners("smtp") {
		var chain []*x509.Certificate
		if chain, err = r.chainAt(ctx, to); err == nil {
			return chain, nil
		}
	}
	return nil, err
}

func (r *run) chainAt(ctx context.Context, to netip.AddrPort) ([]*x509.Certificate, error) {
	d, err := r.dial(ctx, to)
	if err != nil {
		return nil, err
	}
	defer d.close()
	cs, err := d.startTLS(ctx, "smtp", r.node.Host)
	if err == nil && len(cs.PeerCertificates) == 0 {
		err = errNoSTARTTLS
	}
	return cs.PeerCertificates, err
}
