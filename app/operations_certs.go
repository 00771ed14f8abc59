package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/certs"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/dns"
)

// CertificateList is what the node shows and waits for.
type CertificateList struct {
	Certificates []Certificate
	// Held tells why the files are not in use as they are now.
	Held string `json:",omitempty"`
	// Names are those that certificates are asked for.
	Names []CertificateName `json:",omitempty"`
}

// Certificate is a certificate in use.
type Certificate struct {
	Names               []string
	Origin              string // "file", "acme" or "self-signed"
	From                string `json:",omitempty"`
	Issuer              string
	NotBefore, NotAfter time.Time
	// Alarm is "warn" or "error" when it ends soon.
	Alarm string `json:",omitempty"`
}

// CertificateName is how a name stands that certificates are asked for.
type CertificateName struct {
	Name    string
	Problem string    `json:",omitempty"`
	Retry   time.Time `json:",omitzero"`
	Renew   time.Time `json:",omitzero"`
}

var errNoCertificates = errors.New("the certificates of the configuration cannot be read")

func (s *Stores) listCertificates(context.Context, None) (CertificateList, error) {
	var out CertificateList
	if s.Certs == nil {
		return out, postino.E(postino.Invalid, "list certificates", "", errNoCertificates)
	}
	out.Held = s.Certs.Held()
	for _, i := range s.Certs.Certificates() {
		c := Certificate{Names: i.Names, Origin: string(i.Origin), From: i.From, Issuer: i.Issuer, NotBefore: i.NotBefore, NotAfter: i.NotAfter}
		if level, ok := i.Alarm(time.Now()); ok {
			c.Alarm = map[slog.Level]string{slog.LevelWarn: "warn", slog.LevelError: "error"}[level]
		}
		out.Certificates = append(out.Certificates, c)
	}
	if s.ACME != nil {
		for _, n := range s.ACME.States() {
			out.Names = append(out.Names, CertificateName{n.Name, n.Problem, n.Retry, n.Renew})
		}
	}
	return out, nil
}

// TLSAQuery asks for the TLSA records of a name, the hostname if it is empty.
type TLSAQuery struct {
	Name  string
	Ports []uint16
}

// TLSARecords are lines of a zone file.
type TLSARecords struct {
	Name          string
	Records, Next []string // for the key in use, and for the one that comes after it
	// Fleeting keys are made anew at each start: not to be published.
	Fleeting bool
}

func (s *Stores) tlsaRecords(_ context.Context, q TLSAQuery) (TLSARecords, error) {
	if s.Certs == nil {
		return TLSARecords{}, postino.E(postino.Invalid, "make TLSA records", "", errNoCertificates)
	}
	out := TLSARecords{Name: s.nameOr(q.Name)}
	i := s.Certs.For(out.Name)
	out.Fleeting = i.Origin == certs.FromItself
	var next []dns.TLSA
	if s.ACME != nil {
		for _, n := range s.ACME.States() {
			if n.Name == out.Name {
				next = n.NextTLSA
			}
		}
	}
	for _, port := range q.Ports {
		for _, t := range certs.TLSA(i.Chain[0]) {
			out.Records = append(out.Records, certs.TLSARecord(out.Name, port, t))
		}
		for _, t := range next {
			out.Next = append(out.Next, certs.TLSARecord(out.Name, port, t))
		}
	}
	return out, nil
}

// nameOr is the name that is asked for, or the hostname.
func (s *Stores) nameOr(name string) string {
	if canonical, err := postino.CanonicalDomain(name); err == nil {
		return canonical
	}
	if name == "" {
		return s.opts.Hostname
	}
	return name
}

// CertificateFindings are what is not well with certificates, in words.
type CertificateFindings struct{ Fix, Advice []string }

func (s *Stores) checkCertificates(ctx context.Context, _ None) (CertificateFindings, error) {
	var out CertificateFindings
	list, err := s.listCertificates(ctx, None{})
	if err != nil {
		return out, err
	}
	for _, c := range list.Certificates {
		text := fmt.Sprintf("the certificate for %v ends at %s", c.Names, c.NotAfter.UTC().Format(time.RFC3339))
		switch {
		case c.Alarm == "error":
			out.Fix = append(out.Fix, text)
		case c.Alarm == "warn":
			out.Advice = append(out.Advice, text)
		case c.Origin == string(certs.FromItself):
			out.Advice = append(out.Advice, fmt.Sprintf("the certificate for %v is of our own making: users' programs complain; see [acme] and [tls]", c.Names))
		}
	}
	if list.Held != "" {
		out.Fix = append(out.Fix, "the new certificate is held back: "+list.Held)
	}
	for _, n := range list.Names {
		if n.Problem != "" {
			out.Fix = append(out.Fix, n.Name+": "+n.Problem)
		}
	}
	missing, err := s.Certs.Unpublished(ctx)
	for _, r := range missing {
		out.Fix = append(out.Fix, "TLSA records in DNS do not know the key in use: publish\n  "+r)
	}
	if err != nil {
		out.Advice = append(out.Advice, "could not tell what TLSA records there are: "+err.Error())
	}
	return out, nil
}

var errNoACME = errors.New("certificates of this node do not come from an authority: see [acme] in the configuration")

func (s *Stores) nextKey(ctx context.Context, q TLSAQuery) (TLSARecords, error) {
	out := TLSARecords{Name: s.nameOr(q.Name)}
	if s.ACME == nil {
		return out, postino.E(postino.Invalid, "make next key", out.Name, errNoACME)
	}
	next, err := s.ACME.NextKey(ctx, out.Name)
	for _, port := range q.Ports {
		for _, t := range next {
			out.Next = append(out.Next, certs.TLSARecord(out.Name, port, t))
		}
	}
	return out, err
}

func (s *Stores) rotateKey(ctx context.Context, n Named) (None, error) {
	if s.ACME == nil {
		return None{}, postino.E(postino.Invalid, "change key", s.nameOr(n.Name), errNoACME)
	}
	return None{}, s.ACME.Rotate(ctx, s.nameOr(n.Name))
}

// DomainSTS is the MTA-STS policy of a domain.
type DomainSTS struct {
	Domain string
	// Mode is "off", "none", "testing" or "enforce"; "" only asks.
	Mode string   `json:",omitempty"`
	MX   []string `json:",omitempty"`
	// Host, Record and Policy are what senders look for: the name of the web
	// server, which leads to Server, the TXT record and the text.
	Host, Record, Policy, Server string `json:",omitempty"`
	Warnings                     []string
}

func (s *Stores) domainSTS(ctx context.Context, in DomainSTS) (DomainSTS, error) {
	if in.Mode != "" {
		mode, err := directory.ParseSTSMode(in.Mode)
		if err != nil {
			return in, err
		}
		err = s.Directory.UpdateDomain(ctx, in.Domain, func(d *directory.Domain) { d.MTASTS = directory.MTASTS{Mode: mode, MX: in.MX} })
		if err != nil {
			return in, err
		}
	}
	d, err := s.Directory.Domain(ctx, in.Domain)
	if err != nil {
		return in, err
	}
	out := DomainSTS{
		Domain: d.Name, Mode: d.MTASTS.Mode.String(), MX: d.MTASTS.MX, Host: d.STSHost(), Server: s.opts.Hostname, Record: d.STSRecord(s.opts.Hostname), Policy: d.STSPolicy(s.opts.Hostname),
	}
	if d.MTASTS.Mode == directory.STSTesting || d.MTASTS.Mode == directory.STSEnforce {
		out.Warnings = s.stsWarnings(d)
	}
	return out, nil
}

// stsWarnings tells what in the policy this node cannot keep.
func (s *Stores) stsWarnings(d directory.Domain) (list []string) {
	if s.Certs == nil {
		return []string{"could not tell whether the certificates hold: " + errNoCertificates.Error()}
	}
	then := "senders will report it"
	if d.MTASTS.Mode == directory.STSEnforce {
		then = "senders will not deliver here"
	}
	for _, host := range []string{s.opts.Hostname, d.STSHost()} {
		i := s.Certs.For(host)
		switch {
		case i.Origin == certs.FromItself || i.Chain[0].VerifyHostname(host) != nil:
			list = append(list, "there is no certificate for "+host+" that others believe: "+then)
		case time.Now().After(i.NotAfter):
			list = append(list, "the certificate for "+host+" has ended: "+then)
		}
	}
	return list
}
