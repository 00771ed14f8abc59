package dns

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/postino-mail/postino"
)

// Updater changes records of zones at their primary server (RFC 2136), signed with
// a key that both know (RFC 8945).
type Updater struct {
	Server netip.AddrPort
	Key    TSIG
	// Dial opens connections, "tcp"; nil is a plain net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Timeout bounds each question; default 10 s.
	Timeout time.Duration
}

// TSIG is a key for transactions.
type TSIG struct {
	Name      string // canonical
	Algorithm string // "hmac-sha256", "hmac-sha384" or "hmac-sha512"
	Secret    []byte
}

// ParseTSIG reads "algorithm:name:secret" with the secret in base64, as nsupdate -y
// does; without an algorithm it is hmac-sha256. The error is Invalid and does not
// hold the secret.
func ParseTSIG(text string) (TSIG, error) {
	fail := func(why string) (TSIG, error) {
		return TSIG{}, postino.E(postino.Invalid, "read TSIG key", "", errors.New(why))
	}
	parts := strings.Split(text, ":")
	if len(parts) == 2 {
		parts = append([]string{"hmac-sha256"}, parts...)
	}
	if len(parts) != 3 {
		return fail("it is not algorithm:name:secret")
	}
	k := TSIG{Algorithm: strings.ToLower(parts[0])}
	switch k.Algorithm {
	case "hmac-sha256", "hmac-sha384", "hmac-sha512": // RFC 8945 §6: the others are too weak, or cut
	default:
		return fail("the algorithm is none of hmac-sha256, hmac-sha384, hmac-sha512")
	}
	var err error
	if k.Name, err = canonical(parts[1]); err != nil {
		return fail("the name of the key is no name")
	}
	if k.Secret, err = base64.StdEncoding.DecodeString(parts[2]); err != nil || len(k.Secret) == 0 {
		return fail("the secret is not base64")
	}
	return k, nil
}

// AddTXT adds a TXT record to those that are there.
func (u *Updater) AddTXT(ctx context.Context, name, value string, ttl time.Duration) error {
	return u.change(ctx, "add TXT record", name, func(h dns.RR_Header) dns.RR { return txt(h, value) }, ttl)
}

// RemoveTXT removes the TXT record with that value, if it is there.
func (u *Updater) RemoveTXT(ctx context.Context, name, value string) error {
	return u.change(ctx, "remove TXT record", name, func(h dns.RR_Header) dns.RR { return txt(h, value) }, -1)
}

// AddTLSA adds a TLSA record to those that are there.
func (u *Updater) AddTLSA(ctx context.Context, name string, t TLSA, ttl time.Duration) error {
	return u.change(ctx, "add TLSA record", name, func(h dns.RR_Header) dns.RR { return tlsa(h, t) }, ttl)
}

// RemoveTLSA removes a TLSA record, if it is there.
func (u *Updater) RemoveTLSA(ctx context.Context, name string, t TLSA) error {
	return u.change(ctx, "remove TLSA record", name, func(h dns.RR_Header) dns.RR { return tlsa(h, t) }, -1)
}

func txt(h dns.RR_Header, value string) dns.RR {
	h.Rrtype = dns.TypeTXT
	rr := &dns.TXT{Hdr: h}
	for len(value) > 255 { // RFC 1035 §3.3
		rr.Txt, value = append(rr.Txt, escape(value[:255])), value[255:]
	}
	rr.Txt = append(rr.Txt, escape(value))
	return rr
}

// escape writes a value so that the library reads it as it is.
func escape(s string) string { return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) }

func tlsa(h dns.RR_Header, t TLSA) dns.RR {
	h.Rrtype = dns.TypeTLSA
	return &dns.TLSA{Hdr: h, Usage: t.Usage, Selector: t.Selector, MatchingType: t.Matching, Certificate: fmt.Sprintf("%x", t.Data)}
}

// change adds a record, or removes it when ttl is negative (RFC 2136 §2.5).
func (u *Updater) change(ctx context.Context, op, name string, record func(dns.RR_Header) dns.RR, ttl time.Duration) error {
	name, err := canonical(name)
	if err != nil {
		return err
	}
	zone, err := u.zone(ctx, name)
	if err != nil {
		return postino.E(postino.Transient, op, name, err)
	}
	m := new(dns.Msg).SetUpdate(zone + ".")
	rr := record(dns.RR_Header{Name: name + ".", Class: dns.ClassINET, Ttl: uint32(max(ttl, 0) / time.Second)})
	if ttl < 0 {
		m.Remove([]dns.RR{rr})
	} else {
		m.Insert([]dns.RR{rr})
	}
	reply, err := u.exchange(ctx, m)
	if err != nil {
		return postino.E(postino.Transient, op, name, err)
	}
	switch reply.Rcode {
	case dns.RcodeSuccess:
		return nil
	case dns.RcodeRefused, dns.RcodeNotAuth:
		return postino.E(postino.Denied, op, name, fmt.Errorf("the server of %s says %s", zone, dns.RcodeToString[reply.Rcode]))
	}
	return postino.E(postino.Transient, op, name, fmt.Errorf("the server of %s says %s", zone, dns.RcodeToString[reply.Rcode]))
}

// zone asks the server, which knows its zones, for the one that a name is in: the
// owner of the SOA beside the answer.
func (u *Updater) zone(ctx context.Context, name string) (string, error) {
	for at := name; at != ""; _, at, _ = strings.Cut(at, ".") {
		m := new(dns.Msg).SetQuestion(at+".", dns.TypeSOA)
		m.RecursionDesired = false
		reply, err := u.exchange(ctx, m)
		if err != nil {
			return "", err
		}
		if !reply.Authoritative {
			continue
		}
		for _, rr := range append(reply.Answer, reply.Ns...) {
			owner := host(rr.Header().Name)
			if _, ok := rr.(*dns.SOA); ok && (owner == name || strings.HasSuffix(name, "."+owner)) {
				return owner, nil
			}
		}
	}
	return "", errors.New("the server has no zone for this name")
}

// tsigFudge is how far the clocks may differ, in seconds (RFC 8945 §10).
const tsigFudge = 300

// exchange signs and sends a message and checks the signature of the reply.
func (u *Updater) exchange(ctx context.Context, m *dns.Msg) (*dns.Msg, error) {
	timeout := u.Timeout
	if timeout <= 0 {
		timeout = 10 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	dial := u.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, "tcp", u.Server.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })()
	key := u.Key.Name + "."
	m.SetTsig(key, u.Key.Algorithm+".", tsigFudge, time.Now().Unix())
	c := &dns.Conn{Conn: conn, TsigSecret: map[string]string{key: base64.StdEncoding.EncodeToString(u.Key.Secret)}}
	if err := c.WriteMsg(m); err != nil {
		return nil, err
	}
	reply, err := c.ReadMsg() // which checks the signature
	switch {
	case reply != nil && reply.Rcode == dns.RcodeNotAuth: // RFC 8945 §5.2: such replies may be unsigned
		return nil, fmt.Errorf("the server does not take our key: %s", tsigProblem(reply))
	case err != nil:
		return nil, err
	case reply.Id != m.Id || !reply.Response:
		return nil, errMessage
	case reply.IsTsig() == nil:
		return nil, fmt.Errorf("the reply of the server, %s, is not signed", dns.RcodeToString[reply.Rcode])
	}
	return reply, nil
}

// tsigProblem is why a key was refused (RFC 8945 §5.2).
func tsigProblem(m *dns.Msg) string {
	if t := m.IsTsig(); t != nil {
		return dns.RcodeToString[int(t.Error)]
	}
	return dns.RcodeToString[m.Rcode]
}
