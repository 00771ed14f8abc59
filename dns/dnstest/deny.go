package dnstest

import (
	"slices"
	"strings"

	mdns "github.com/miekg/dns"
)

// deny adds the SOA, and the proof that a name or its records are not there.
func (z *zone) deny(m *mdns.Msg, name string) {
	m.Ns = z.with(m.Ns, z.names[z.origin][mdns.TypeSOA], z.origin)
	if z.has(name) {
		z.prove(m, name, true)
		return
	}
	encloser, closer := z.encloser(name)
	for z.NSEC3 && !z.has(encloser) { // only names of zones that opted out are below it
		encloser, closer = parentName(encloser), encloser
	}
	if z.NSEC3 {
		z.prove(m, encloser, true)
	}
	z.prove(m, closer, false)
	wild := "*." + strings.TrimPrefix(encloser, ".")
	z.prove(m, wild, z.has(wild))
}

// has tells whether a name has a place in the chain of denials.
func (z *zone) has(name string) bool {
	return slices.Contains(z.owners(), name)
}

// owners are the names of the chain: for NSEC those with records, for NSEC3
// all, but for what opted out.
func (z *zone) owners() (names []string) {
	for name, types := range z.names {
		if len(types) == 0 && !z.NSEC3 || z.OptOut && z.unsigned(name) {
			continue
		}
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(reversed(a), reversed(b)) })
	return names
}

// unsigned tells whether only zones without DS records are at or below a name.
func (z *zone) unsigned(name string) bool {
	any := false
	for owner, types := range z.names {
		if !mdns.IsSubDomain(name, owner) || len(types) == 0 {
			continue
		}
		if z.children[owner] == nil || types[mdns.TypeDS] != nil {
			return false
		}
		any = true
	}
	return any
}

// reversed makes names sort as RFC 4034 §6.1 has it.
func reversed(name string) string {
	labels := mdns.SplitDomainName(name)
	slices.Reverse(labels)
	return strings.Join(labels, "\x00")
}

// prove adds the record of a name, or the one that covers it.
func (z *zone) prove(m *mdns.Msg, name string, match bool) {
	if z.Algorithm == 0 {
		return
	}
	names := z.owners()
	rr := z.nsec(names, name)
	if z.NSEC3 {
		rr = z.nsec3(names, name, match)
	}
	for _, has := range m.Ns {
		if has.Header().Name == rr.Header().Name && has.Header().Rrtype == rr.Header().Rrtype {
			return
		}
	}
	m.Ns = z.with(m.Ns, []mdns.RR{rr}, rr.Header().Name)
}

// nsec is the record of the last owner that is not after the name.
func (z *zone) nsec(names []string, name string) mdns.RR {
	i := 0
	for j, owner := range names {
		if reversed(owner) <= reversed(name) {
			i = j
		}
	}
	return &mdns.NSEC{
		Hdr:        mdns.RR_Header{Name: names[i], Rrtype: mdns.TypeNSEC, Class: mdns.ClassINET, Ttl: 300},
		NextDomain: names[(i+1)%len(names)], TypeBitMap: z.types(names[i], mdns.TypeNSEC, mdns.TypeRRSIG),
	}
}

// nsec3 is the same with hashes.
func (z *zone) nsec3(names []string, name string, match bool) mdns.RR {
	hash := func(n string) string { return mdns.HashName(n, mdns.SHA1, z.Iterations, z.Salt) }
	byHash := map[string]string{}
	var hashes []string
	for _, n := range names {
		h := hash(n)
		byHash[h] = n
		hashes = append(hashes, h)
	}
	slices.Sort(hashes)
	want, at := hash(name), len(hashes)-1
	for i, h := range hashes {
		if h < want || match && h == want {
			at = i
		}
	}
	flags := uint8(0)
	if z.OptOut {
		flags = 1
	}
	owner := byHash[hashes[at]]
	types := z.types(owner, mdns.TypeRRSIG)
	if len(z.names[owner]) == 0 {
		types = nil
	}
	return &mdns.NSEC3{
		Hdr:  mdns.RR_Header{Name: strings.ToLower(hashes[at]) + "." + strings.TrimPrefix(z.origin, "."), Rrtype: mdns.TypeNSEC3, Class: mdns.ClassINET, Ttl: 300},
		Hash: mdns.SHA1, Flags: flags, Iterations: z.Iterations, SaltLength: uint8(len(z.Salt) / 2), Salt: z.Salt,
		HashLength: 20, NextDomain: hashes[(at+1)%len(hashes)], TypeBitMap: types,
	}
}

func (z *zone) types(name string, more ...uint16) []uint16 {
	for t := range z.names[name] {
		more = append(more, t)
	}
	slices.Sort(more)
	return more
}
