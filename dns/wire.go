package dns

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/postino-mail/postino"
)

// Limits of what is used of a reply (DN1).
const (
	maxRecords = 200
	maxChain   = 8
)

// errMessage is the answer to octets that are no DNS message.
var errMessage = errors.New("malformed DNS message")

// parse reads a message. It checks first what the library does not: names
// whose compression points strictly backwards, so that reading takes linear
// time, and a bounded number of records.
func parse(b []byte) (*dns.Msg, error) {
	if err := inspect(b); err != nil {
		return nil, err
	}
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		return nil, errMessage
	}
	return m, nil
}

// nameAt is where the names of a record's data begin, for the types that may
// be compressed (RFC 3597 §4) and SRV, where it is common.
var nameAt = map[uint16]int{dns.TypeNS: 0, dns.TypeCNAME: 0, dns.TypePTR: 0, dns.TypeSOA: 0, dns.TypeMX: 2, dns.TypeSRV: 6}

// inspect walks over a message (RFC 1035 §4.1).
func inspect(b []byte) error {
	if len(b) < 12 {
		return errMessage
	}
	count := func(i int) int { return int(binary.BigEndian.Uint16(b[i:])) }
	questions, records := count(4), count(6)+count(8)+count(10)
	if questions > 1 || records > 4*maxRecords { // sections that are not used count too
		return errMessage
	}
	at := 12
	for range questions {
		var ok bool
		if at, ok = skipName(b, at); !ok || at+4 > len(b) {
			return errMessage
		}
		at += 4
	}
	for range records {
		next, ok := skipName(b, at)
		if !ok || next+10 > len(b) {
			return errMessage
		}
		kind := binary.BigEndian.Uint16(b[next:])
		data := next + 10
		at = data + count(next+8)
		if at > len(b) {
			return errMessage
		}
		if offset, named := nameAt[kind]; named && at > data {
			end, ok := skipName(b, data+offset)
			if ok && kind == dns.TypeSOA {
				end, ok = skipName(b, end)
			}
			if !ok || end > at {
				return errMessage
			}
		}
	}
	return nil
}

// skipName returns where the name at i ends. Each pointer must lead to before
// the label sequence that it stands in, so the walk ends; a name has fewer
// than 128 labels, so it is short.
func skipName(b []byte, i int) (end int, ok bool) {
	start, length := i, 0
	for range 2 * 128 {
		if i >= len(b) {
			return 0, false
		}
		switch c := int(b[i]); {
		case c == 0:
			return max(end, i+1), true
		case c < 64:
			i += c + 1
			if length += c + 1; length > 255 {
				return 0, false
			}
		case c >= 192 && i+1 < len(b):
			to := (c&63)<<8 | int(b[i+1])
			if to >= start || to < 12 {
				return 0, false
			}
			end = max(end, i+2)
			start, i = to, to
		default:
			return 0, false
		}
	}
	return 0, false
}

// extract makes the answer of a reply to the question name, t (RFC 2308 §2).
func extract(m *dns.Msg, name string, t Type) (*Answer, error) {
	op := "look up " + dns.TypeToString[uint16(t)]
	switch m.Rcode {
	case dns.RcodeSuccess, dns.RcodeNameError:
	default:
		return nil, postino.E(postino.Transient, op, name, serverError(m))
	}
	records := m.Answer[:min(len(m.Answer), maxRecords)]
	ttl := uint32(1<<31 - 1) // RFC 2181 §8
	a := &Answer{Name: name}
	for links := 0; ; links++ {
		if links > maxChain {
			return nil, postino.E(postino.Transient, op, name, ErrChain)
		}
		if a.take(records, t, &ttl) {
			break
		}
		next, ok := cname(records, a.Name, &ttl)
		if !ok {
			return negative(m, a, ttl, op, name)
		}
		a.Name = next
	}
	a.TTL = time.Duration(ttl) * time.Second
	a.sort()
	return a, nil
}

// sort orders what has an order.
func (a *Answer) sort() {
	slices.SortStableFunc(a.MX, func(x, y MX) int { return int(x.Preference) - int(y.Preference) })
}

// negative makes the answer that there is nothing. It may be kept for as long
// as the SOA beside it says, and not at all without one (RFC 2308 §5).
func negative(m *dns.Msg, a *Answer, ttl uint32, op, name string) (*Answer, error) {
	limit := uint32(0)
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			limit = min(lifetime(soa), soa.Minttl)
			break
		}
	}
	a.TTL = time.Duration(min(ttl, limit)) * time.Second
	if m.Rcode == dns.RcodeNameError {
		return a, postino.E(postino.NotFound, op, name, ErrNXDomain)
	}
	return a, postino.E(postino.NotFound, op, name, ErrNoData)
}

// serverError tells a failed validation from other failures by the extended
// error code (RFC 8914 §4.7 to §4.13).
func serverError(m *dns.Msg) error {
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if e, ok := o.(*dns.EDNS0_EDE); ok && 6 <= e.InfoCode && e.InfoCode <= 12 {
				return bogus("the name server says %q", dns.ExtendedErrorCodeToString[e.InfoCode])
			}
		}
	}
	return fmt.Errorf("%w: %s", ErrServer, dns.RcodeToString[m.Rcode])
}

// lifetime is a TTL; one with the highest bit set counts as zero (RFC 2181 §8).
func lifetime(rr dns.RR) uint32 {
	if ttl := rr.Header().Ttl; ttl < 1<<31 {
		return ttl
	}
	return 0
}

// owned tells whether rr is a record of the type at the name.
func owned(rr dns.RR, name string, t Type) bool {
	h := rr.Header()
	return h.Rrtype == uint16(t) && h.Class == dns.ClassINET && host(h.Name) == name
}

// cname finds the next name of the chain.
func cname(records []dns.RR, name string, ttl *uint32) (string, bool) {
	for _, rr := range records {
		if c, ok := rr.(*dns.CNAME); ok && owned(rr, name, TypeCNAME) {
			*ttl = min(*ttl, lifetime(rr))
			return host(c.Target), true
		}
	}
	return "", false
}

// take adds the records of the type at a.Name, and tells whether there are any.
func (a *Answer) take(records []dns.RR, t Type, ttl *uint32) (any bool) {
	for _, rr := range records {
		if !owned(rr, a.Name, t) || !a.add(rr) {
			continue
		}
		any = true
		*ttl = min(*ttl, lifetime(rr))
	}
	return any
}

// add converts one record; one whose data make no sense is left out.
func (a *Answer) add(rr dns.RR) bool {
	switch rr := rr.(type) {
	case *dns.A:
		ip, ok := netip.AddrFromSlice(rr.A.To4())
		if ok {
			a.Addrs = append(a.Addrs, ip)
		}
		return ok
	case *dns.AAAA:
		ip, ok := netip.AddrFromSlice(rr.AAAA.To16())
		if ok {
			a.Addrs = append(a.Addrs, ip)
		}
		return ok
	case *dns.MX:
		a.MX = append(a.MX, MX{rr.Preference, host(rr.Mx)})
	case *dns.TXT:
		a.TXT = append(a.TXT, unescape(strings.Join(rr.Txt, "")))
	case *dns.PTR:
		a.Hosts = append(a.Hosts, host(rr.Ptr))
	case *dns.CNAME:
		a.Hosts = append(a.Hosts, host(rr.Target))
	case *dns.NS:
		a.Hosts = append(a.Hosts, host(rr.Ns))
	case *dns.TLSA:
		data, err := hex.DecodeString(rr.Certificate)
		if err != nil {
			return false
		}
		a.TLSA = append(a.TLSA, TLSA{rr.Usage, rr.Selector, rr.MatchingType, data})
	case *dns.SRV:
		a.SRV = append(a.SRV, SRV{rr.Priority, rr.Weight, rr.Port, host(rr.Target)})
	case *dns.CAA:
		a.CAA = append(a.CAA, CAA{rr.Flag, strings.ToLower(rr.Tag), unescape(rr.Value)})
	case *dns.SOA:
		a.SOA = &SOA{host(rr.Ns), host(rr.Mbox), rr.Serial, seconds(rr.Refresh), seconds(rr.Retry), seconds(rr.Expire), seconds(rr.Minttl)}
	case *dns.DS:
		hash, err := hex.DecodeString(rr.Digest)
		if err != nil {
			return false
		}
		a.DS = append(a.DS, DS{rr.KeyTag, rr.Algorithm, rr.DigestType, hash})
	case *dns.DNSKEY:
		a.Keys = append(a.Keys, Key{rr.Flags, rr.Algorithm, rr.KeyTag()})
	}
	return true
}

// host is a name of the library in our form; the root is "".
func host(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// unescape undoes the library's \DDD and \X (RFC 1035 §5.1).
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\\' && i+1 < len(s) {
			if i+3 < len(s) && digit(s[i+1]) && digit(s[i+2]) && digit(s[i+3]) {
				c = (s[i+1]-'0')*100 + (s[i+2]-'0')*10 + (s[i+3] - '0')
				i += 3
			} else {
				i++
				c = s[i]
			}
		}
		b = append(b, c)
	}
	return string(b)
}

func digit(c byte) bool { return '0' <= c && c <= '9' }
