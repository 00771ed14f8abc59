package mailauth

import (
	"context"
	"net/netip"
	"slices"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
)

// IPRev is whether the names of a client's address lead back to it (RFC 8601 §3).
type IPRev struct {
	// Result is Pass, Fail, TempError or PermError (no name at all).
	Result Result
	Addr   netip.Addr
	// Name leads back to Addr, empty without one. Names are what the reverse zone
	// claims, at most 10.
	Name  string
	Names []string
	// Reason says why the result is what it is; fit for logs.
	Reason string
}

const maxReverseNames = 10

// CheckIPRev asks for the names of an address and for the addresses of the names.
func CheckIPRev(ctx context.Context, q *Inquiry, a netip.Addr) IPRev {
	r := IPRev{Addr: a.Unmap().WithZone("")}
	r.Result, r.Reason = r.judge(ctx, q)
	return r
}

func (r *IPRev) judge(ctx context.Context, q *Inquiry) (Result, string) {
	if !r.Addr.IsValid() {
		return PermError, "the client has no address"
	}
	a, err := dns.LookupAddr(ctx, q, r.Addr)
	switch {
	case postino.Is(err, postino.NotFound), err == nil && len(a.Hosts) == 0:
		return PermError, "the address has no name"
	case err != nil:
		return TempError, "the name of the address cannot be looked up now: " + dnsReason(err)
	}
	r.Names = a.Hosts[:min(len(a.Hosts), maxReverseNames):min(len(a.Hosts), maxReverseNames)]
	var failed error
	for _, name := range r.Names {
		forward, err := q.Lookup(ctx, name, addressType(r.Addr))
		switch {
		case err == nil && slices.Contains(forward.Addrs, r.Addr):
			r.Name = name
			return Pass, "the address is one of " + postino.Printable(name)
		case err != nil && !postino.Is(err, postino.NotFound) && !postino.Is(err, postino.Invalid):
			failed = err
		}
	}
	if failed != nil {
		return TempError, "the name of the address cannot be confirmed now: " + dnsReason(failed)
	}
	return Fail, "the address is not one of " + postino.Printable(r.Names[0])
}

// addressType is the type of records that an address could be in.
func addressType(a netip.Addr) dns.Type {
	if a.Is4() {
		return dns.TypeA
	}
	return dns.TypeAAAA
}

// Results is the result for Authentication-Results (RFC 8601 §2.7.3).
func (r *IPRev) Results() []AuthResult {
	if r.Result == "" {
		return nil
	}
	result := AuthResult{Method: "iprev", Result: r.Result, Comment: r.Name,
		Props: []Prop{{"policy", "iprev", r.Addr.String()}}}
	if r.Result != Pass {
		result.Reason = r.Reason
	}
	return []AuthResult{result}
}
