package dnstest

import (
	"crypto"
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	mdns "github.com/miekg/dns"
)

// Signing is how a zone is signed, and what is wrong with it.
type Signing struct {
	// Algorithm is 8, 13 or 15; 0 leaves the zone unsigned. With another number
	// the DS records name it, and the zone is in fact signed with 13.
	Algorithm uint8
	// NSEC3 denies with hashes, OptOut passes over unsigned zones below.
	NSEC3, OptOut bool
	Iterations    uint16
	Salt          string // hexadecimal
	// From and Until bound the signatures, from now; default an hour ago and in
	// a week.
	From, Until time.Duration
	Fault       ZoneFault
}

// Signed is how zones are signed today: ECDSA P-256, NSEC. The zero Signing
// leaves a zone unsigned, which its parent proves.
func Signed() Signing { return Signing{Algorithm: mdns.ECDSAP256SHA256} }

// BogusZone is signed with keys that its parent does not vouch for.
func BogusZone() Signing { return Signing{Algorithm: mdns.ECDSAP256SHA256, Fault: ZoneWrongDS} }

// Expired has signatures that were good until an hour ago.
func Expired() Signing {
	return Signing{Algorithm: mdns.ECDSAP256SHA256, From: -48 * time.Hour, Until: -time.Hour}
}

// ZoneFault is something wrong with the keys of a zone.
type ZoneFault uint8

// The faults of zones.
const (
	ZoneGood     ZoneFault = iota
	ZoneWrongDS            // the parent names another key
	ZoneNoDS               // the parent names none
	ZoneBogusKey           // the key that signs is not in the zone
	ZoneTwinKeys           // 24 more keys have the tag of the one that signs
	ZoneManyKeys           // 90 more keys
	ZoneRevoked            // the key that the parent names is revoked (RFC 5011)
)

// signer is a key pair.
type signer struct {
	public  *mdns.DNSKEY
	private crypto.Signer
}

// zone is a zone and what was signed of it so far.
type zone struct {
	Signing
	origin   string
	names    map[string]map[uint16][]mdns.RR // empty where there only are names below
	children map[string]*zone
	ksk, zsk signer
	entries  []signer        // the ksk, and others during roll-overs
	silent   map[uint16]bool // those of them that sign nothing, by tag
	signed   map[string][]*mdns.RRSIG
}

func newZone(origin, text string, s Signing, address netip.Addr) (*zone, error) {
	if s.From == 0 {
		s.From = -time.Hour
	}
	if s.Until == 0 {
		s.Until = 7 * 24 * time.Hour
	}
	z := &zone{Signing: s, origin: origin, names: map[string]map[uint16][]mdns.RR{}, children: map[string]*zone{}, signed: map[string][]*mdns.RRSIG{}, silent: map[uint16]bool{}}
	p := mdns.NewZoneParser(strings.NewReader(text), origin, "")
	p.SetDefaultTTL(3600)
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		z.add(rr)
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	if z.names[origin][mdns.TypeSOA] == nil {
		if err := z.addText(origin + " 3600 IN SOA ns.invalid. hostmaster.invalid. 1 3600 600 86400 300"); err != nil {
			return nil, err
		}
	}
	if z.names[origin][mdns.TypeNS] == nil {
		ns := "ns." + strings.TrimPrefix(origin, ".")
		if err := z.addText(origin + " 3600 IN NS " + ns); err != nil {
			return nil, err
		}
		if err := z.addText(ns + " 3600 IN A " + address.String()); err != nil {
			return nil, err
		}
	}
	if s.Algorithm == 0 {
		return z, nil
	}
	return z, z.makeKeys()
}

func (z *zone) addText(text string) error {
	rr, err := mdns.NewRR(text)
	if err == nil {
		z.add(rr)
	}
	return err
}

// add puts a record in, and the empty names above it.
func (z *zone) add(rr mdns.RR) {
	h := rr.Header()
	h.Name = mdns.CanonicalName(h.Name)
	for name := h.Name; ; name = parentName(name) {
		if z.names[name] == nil {
			z.names[name] = map[uint16][]mdns.RR{}
		}
		if name == z.origin || name == "." {
			break
		}
	}
	z.names[h.Name][h.Rrtype] = append(z.names[h.Name][h.Rrtype], rr)
}

// makeKeys makes the keys of the zone and publishes them.
func (z *zone) makeKeys() (err error) {
	if z.ksk, err = z.makeKey(mdns.ZONE | mdns.SEP); err != nil {
		return err
	}
	if z.zsk, err = z.makeKey(mdns.ZONE); err != nil {
		return err
	}
	published := z.zsk.public
	switch z.Fault {
	case ZoneBogusKey:
		other, err := z.makeKey(mdns.ZONE)
		if err != nil {
			return err
		}
		published = other.public
	case ZoneRevoked:
		z.ksk.public.Flags |= mdns.REVOKE
	case ZoneTwinKeys:
		for _, twin := range twins(z.zsk.public, 24) {
			z.add(twin)
		}
	case ZoneManyKeys:
		for range 90 {
			k, err := z.makeKey(mdns.ZONE)
			if err != nil {
				return err
			}
			z.add(k.public)
		}
	}
	z.add(z.ksk.public)
	z.add(published)
	z.entries = []signer{z.ksk}
	return nil
}

func (z *zone) makeKey(flags uint16) (signer, error) {
	k := &mdns.DNSKEY{
		Hdr:   mdns.RR_Header{Name: z.origin, Rrtype: mdns.TypeDNSKEY, Class: mdns.ClassINET, Ttl: 3600},
		Flags: flags, Protocol: 3, Algorithm: mdns.ECDSAP256SHA256,
	}
	bits := 256
	switch z.Algorithm {
	case mdns.RSASHA256:
		k.Algorithm, bits = mdns.RSASHA256, 1024
	case mdns.ED25519:
		k.Algorithm = mdns.ED25519
	}
	private, err := k.Generate(bits)
	if err != nil {
		return signer{}, err
	}
	s, ok := private.(crypto.Signer)
	if !ok {
		return signer{}, fmt.Errorf("a key of type %T does not sign", private)
	}
	return signer{k, s}, nil
}

// twins makes keys with the tag of another: the tag is a sum, so the order of
// what is summed does not matter.
func twins(k *mdns.DNSKEY, n int) (all []*mdns.DNSKEY) {
	b, err := base64.StdEncoding.DecodeString(k.PublicKey)
	if err != nil {
		panic(err)
	}
	for i := range n {
		twin := slices.Clone(b)
		j := 2 * (i + 1) % len(b)
		twin[0], twin[1], twin[j], twin[j+1] = b[j], b[j+1], b[0], b[1]
		c := mdns.Copy(k).(*mdns.DNSKEY)
		c.PublicKey = base64.StdEncoding.EncodeToString(twin)
		all = append(all, c)
	}
	return all
}

// delegate puts the records of a zone below into its parent.
func (z *zone) delegate(child *zone) error {
	z.children[child.origin] = child
	for name := range z.names { // the child knows
		if mdns.IsSubDomain(child.origin, name) {
			delete(z.names, name)
		}
	}
	for _, rr := range child.names[child.origin][mdns.TypeNS] {
		z.add(mdns.Copy(rr))
	}
	if child.Algorithm == 0 || child.Fault == ZoneNoDS {
		return nil
	}
	k := child.ksk.public
	if child.Fault == ZoneWrongDS {
		other, err := child.makeKey(mdns.ZONE | mdns.SEP)
		if err != nil {
			return err
		}
		k = other.public
	}
	ds := k.ToDS(mdns.SHA256)
	ds.Algorithm = child.Algorithm
	ds.Hdr.Ttl = 3600
	z.add(ds)
	return nil
}

// sign makes the signatures over a set, once.
func (z *zone) sign(set []mdns.RR) (sigs []*mdns.RRSIG) {
	h := set[0].Header()
	id := fmt.Sprint(h.Name, h.Rrtype)
	if z.signed[id] == nil {
		keys := []signer{z.zsk}
		if h.Rrtype == mdns.TypeDNSKEY {
			keys = z.entries
		}
		for _, k := range keys {
			if !z.silent[k.public.KeyTag()] {
				z.signed[id] = append(z.signed[id], z.signBy(k, set))
			}
		}
	}
	for _, sig := range z.signed[id] {
		sigs = append(sigs, mdns.Copy(sig).(*mdns.RRSIG))
	}
	return sigs
}

func (z *zone) signBy(k signer, set []mdns.RR) *mdns.RRSIG {
	now := time.Now()
	sig := &mdns.RRSIG{
		Hdr: mdns.RR_Header{Ttl: set[0].Header().Ttl}, Algorithm: k.public.Algorithm, KeyTag: k.public.KeyTag(), SignerName: z.origin,
		Inception: uint32(now.Add(z.From).Unix()), Expiration: uint32(now.Add(z.Until).Unix()),
	}
	if err := sig.Sign(k.private, set); err != nil {
		panic(err) // a key of ours does not fit
	}
	return sig
}

// with adds a set, under another name if it comes from a wildcard, and its
// signature.
func (z *zone) with(section []mdns.RR, set []mdns.RR, name string) []mdns.RR {
	for _, rr := range set {
		rr = mdns.Copy(rr)
		rr.Header().Name = name
		section = append(section, rr)
	}
	h := set[0].Header()
	if z.Algorithm == 0 || h.Rrtype == mdns.TypeNS && h.Name != z.origin {
		return section
	}
	for _, sig := range z.sign(set) {
		sig.Hdr.Name = name
		section = append(section, sig)
	}
	return section
}

// answer adds what the zone says of a name, and returns where it leads.
func (z *zone) answer(m *mdns.Msg, name string, t uint16) (next string) {
	for at := parentName(name); mdns.IsSubDomain(z.origin, at); at = parentName(at) {
		if set := z.names[at][mdns.TypeDNAME]; set != nil && at != name {
			target := name[:len(name)-len(at)] + mdns.CanonicalName(set[0].(*mdns.DNAME).Target)
			m.Answer = append(z.with(m.Answer, set, at), &mdns.CNAME{
				Hdr: mdns.RR_Header{Name: name, Rrtype: mdns.TypeCNAME, Class: mdns.ClassINET, Ttl: set[0].Header().Ttl}, Target: target})
			if t == mdns.TypeCNAME {
				return ""
			}
			return target
		}
		if at == "." {
			break
		}
	}
	types, exists := z.names[name]
	if !exists {
		encloser, closer := z.encloser(name)
		if types = z.names["*."+strings.TrimPrefix(encloser, ".")]; types == nil {
			m.Rcode = mdns.RcodeNameError
			z.deny(m, name)
			return ""
		}
		z.prove(m, closer, false)
	}
	if set := types[t]; set != nil {
		m.Answer = z.with(m.Answer, set, name)
		return ""
	}
	if set := types[mdns.TypeCNAME]; set != nil {
		m.Answer = z.with(m.Answer, set, name)
		return mdns.CanonicalName(set[0].(*mdns.CNAME).Target)
	}
	z.deny(m, name)
	return ""
}

// encloser finds the closest name above that exists, and the one below it.
func (z *zone) encloser(name string) (encloser, closer string) {
	for closer = name; ; closer = encloser {
		if encloser = parentName(closer); z.names[encloser] != nil {
			return encloser, closer
		}
	}
}
