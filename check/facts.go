package check

import (
	"crypto"
	"net/netip"

	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/fetch"
)

// Node is what this server knows of itself without asking anybody.
type Node struct {
	// Host is its name, in lower case.
	Host string
	// Addrs are the addresses of its network interfaces.
	Addrs []netip.Addr
	// Services are what it offers.
	Services []Service
	// TLSA are the associations that stay true when its certificates are renewed
	// (RFC 6698), none if the key may change.
	TLSA []dns.TLSA
	// Issuers are the names by which CAA records call the authority that makes the
	// certificates (RFC 8659 §4.2); none if we ask nobody for certificates.
	Issuers []string
	// MayRelay tells who may send to other servers without a login; nil: nobody.
	MayRelay func(netip.Addr) bool
	// Clock tells whether the system keeps its clock in step with others, and
	// whether that is known; nil: it is not.
	Clock func() (synced, known bool)
}

// Service is a listener.
type Service struct {
	// Name is "smtp", "submission", "submissions", "imap", "imaps", "pop3",
	// "pop3s"; others are passed over.
	Name string
	Addr netip.AddrPort
	// TLS tells that it offers TLS, by STARTTLS or from the first octet.
	TLS bool
}

// Domain is what this server knows of a domain of its own.
type Domain struct {
	Name string
	// Keys sign its mail, or are about to (RFC 6376).
	Keys []Key
	// STS is the policy that we serve for it, nil for none.
	STS *Policy
	// Reports is the address to which reports about its mail may go, "" for none.
	DMARCReports, TLSReports string
	// Accepts tells whether mail for a local part is taken.
	Accepts func(local string) (bool, error)
}

// Key is a DKIM key.
type Key struct {
	Selector string
	// Record is the text of the key record of Public.
	Record string
	Public crypto.PublicKey
	// Signs tells that mail is signed with it now.
	Signs bool
}

// Policy is an MTA-STS policy (RFC 8461).
type Policy struct {
	Record string // the TXT record
	Text   string // the file
}

// special says why an address is none of the Internet, "" when it is one.
func special(a netip.Addr) string { return fetch.Guard{}.Refuse(a) }
