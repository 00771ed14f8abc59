package dns

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/postino-mail/postino"
)

// Resolver answers questions. Its implementations pass the suite in dnstest.
type Resolver interface {
	// Lookup returns the records of type t at name, following CNAMEs.
	//
	// NotFound, wrapping ErrNXDomain or ErrNoData: there are none, and the
	// Answer is not nil: it tells how secure that is and for how long.
	// Invalid: name is no domain name. Transient, wrapping ErrServer,
	// ErrBogus, ErrChain or a network error: try later.
	//
	// The Answer is shared: read only.
	Lookup(ctx context.Context, name string, t Type) (*Answer, error)
}

// What the errors of Lookup wrap.
var (
	ErrNXDomain = errors.New("the name does not exist")
	ErrNoData   = errors.New("the name has no such records")
	ErrServer   = errors.New("the name server cannot answer")
	ErrBogus    = errors.New("the answer is not authentic (DNSSEC)")
	ErrChain    = errors.New("chain of CNAMEs is too long")
)

// Type is a record type.
type Type uint16

// The types that can be asked for.
const (
	TypeA      Type = 1
	TypeNS     Type = 2
	TypeCNAME  Type = 5
	TypeSOA    Type = 6
	TypePTR    Type = 12
	TypeMX     Type = 15
	TypeTXT    Type = 16
	TypeAAAA   Type = 28
	TypeSRV    Type = 33
	TypeDS     Type = 43
	TypeDNSKEY Type = 48
	TypeTLSA   Type = 52
	TypeCAA    Type = 257
)

// String is the mnemonic of the type, as zone files have it.
func (t Type) String() string { return dns.Type(t).String() }

// Security is how far an answer can be trusted.
type Security uint8

// Unknown is the zero value: nobody trusted has judged. Bogus answers are
// errors with ErrBogus; the value is for those who record outcomes.
const (
	Unknown  Security = iota
	Insecure          // the zone is not signed
	Secure            // DNSSEC proves the answer
	Bogus             // DNSSEC refutes the answer
)

// String names s in lower case.
func (s Security) String() string {
	return [...]string{"unknown", "insecure", "secure", "bogus"}[s&3]
}

// Answer is what a name holds. Only the field of the type that was asked for
// is filled.
type Answer struct {
	// Name is the canonical name: the last of the chain of CNAMEs.
	Name     string
	Security Security
	// TTL is how long the answer may still be kept.
	TTL time.Duration

	Addrs []netip.Addr // A, AAAA
	MX    []MX         // by preference
	TXT   []string     // the strings of each record joined (RFC 7208 §3.3)
	Hosts []string     // PTR, CNAME, NS
	TLSA  []TLSA
	SRV   []SRV
	CAA   []CAA
	SOA   *SOA
	DS    []DS
	Keys  []Key // DNSKEY
}

// MX is a mail exchanger. A null MX (RFC 7505) has an empty Host.
type MX struct {
	Preference uint16
	Host       string
}

// TLSA is a certificate association (RFC 6698 §2.1).
type TLSA struct {
	Usage, Selector, Matching uint8
	Data                      []byte
}

// SRV is a service location (RFC 2782).
type SRV struct {
	Priority, Weight, Port uint16
	Host                   string
}

// CAA says who may issue certificates (RFC 8659 §4).
type CAA struct {
	Flags      uint8  // 128: critical
	Tag, Value string // the tag in lower case
}

// SOA begins a zone (RFC 1035 §3.3.13).
type SOA struct {
	Primary, Mailbox string // a name server, and an address with a dot for its at sign
	Serial           uint32
	// Minimum is how long a denial may be kept (RFC 2308 §4).
	Refresh, Retry, Expire, Minimum time.Duration
}

// DS names a key of the zone below (RFC 4034 §5.1).
type DS struct {
	KeyTag            uint16
	Algorithm, Digest uint8 // the numbers of IANA's registries
	Hash              []byte
}

// Key is a public key of a zone (RFC 4034 §2.1).
type Key struct {
	Flags     uint16 // 256 zone key, 1 entry point, 128 revoked
	Algorithm uint8
	KeyTag    uint16
}

// LookupIP asks for both kinds of addresses of a name, IPv4 first. One kind is
// enough; without any the error is the worse of the two. The security is the
// lesser.
func LookupIP(ctx context.Context, r Resolver, name string) (*Answer, error) {
	type result struct {
		a   *Answer
		err error
	}
	six := make(chan result, 1)
	go func() {
		a, err := r.Lookup(ctx, name, TypeAAAA)
		six <- result{a, err}
	}()
	a, err := r.Lookup(ctx, name, TypeA)
	b := <-six
	switch {
	case err != nil && b.err != nil:
		if postino.Is(err, postino.NotFound) {
			return b.a, b.err
		}
		return a, err
	case err != nil:
		a, b.a = b.a, a
	}
	both := *a
	if b.a != nil { // a definite no, or the other kind
		both.Addrs = append(both.Addrs[:len(both.Addrs):len(both.Addrs)], b.a.Addrs...)
		both.TTL = min(both.TTL, b.a.TTL)
		both.Security = min(both.Security, b.a.Security)
	}
	return &both, nil
}

// LookupAddr asks for the names of an address.
func LookupAddr(ctx context.Context, r Resolver, a netip.Addr) (*Answer, error) {
	return r.Lookup(ctx, ReverseName(a), TypePTR)
}

// ReverseName is the name that holds the PTR records of an address (RFC 1035
// §3.5, RFC 3596 §2.5).
func ReverseName(a netip.Addr) string {
	const hex = "0123456789abcdef"
	a = a.Unmap()
	var b []byte
	octets := a.AsSlice()
	for i := len(octets) - 1; i >= 0; i-- {
		if a.Is4() {
			b = append(appendDecimal(b, octets[i]), '.')
		} else {
			b = append(b, hex[octets[i]&15], '.', hex[octets[i]>>4], '.')
		}
	}
	if a.Is4() {
		return string(b) + "in-addr.arpa"
	}
	return string(b) + "ip6.arpa"
}

func appendDecimal(b []byte, n byte) []byte {
	if n >= 100 {
		b = append(b, '0'+n/100)
	}
	if n >= 10 {
		b = append(b, '0'+n/10%10)
	}
	return append(b, '0'+n%10)
}

// canonical returns an absolute name in lower case without the final dot. Any
// printable octets but the backslash may stand in labels: service names have
// underscores, and what a host name may hold is for others to judge (RFC 2181
// §11).
func canonical(name string) (string, error) {
	s := strings.TrimSuffix(name, ".")
	label := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.' && label > 0:
			label = 0
			continue
		case c <= ' ', c >= 0x7f, c == '\\', c == '.', label == 63:
			return "", badName(name)
		}
		label++
	}
	if len(s) == 0 || len(s) > 253 {
		return "", badName(name)
	}
	return strings.ToLower(s), nil
}

func badName(name string) error {
	return postino.E(postino.Invalid, "look up", postino.Printable(name[:min(len(name), 300)]), errors.New("not a domain name"))
}
