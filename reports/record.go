package reports

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/mailauth"
)

// Record is one row of an aggregate report: how many messages of one kind came
// from one address (RFC 9990 §3.1.1.7).
type Record struct {
	Source       netip.Addr   `json:"source"`
	Count        int64        `json:"count"`
	Disposition  Disposition  `json:"disposition"`
	DKIMAligned  bool         `json:"dkim_aligned"`
	SPFAligned   bool         `json:"spf_aligned"`
	Reasons      []Override   `json:"reasons,omitempty"`
	HeaderFrom   string       `json:"header_from"`
	EnvelopeFrom string       `json:"envelope_from,omitempty"`
	EnvelopeTo   string       `json:"envelope_to,omitempty"`
	DKIM         []DKIMResult `json:"dkim,omitempty"`
	SPF          SPFResult    `json:"spf,omitzero"`
}

// TLSRecord is one row of a TLS report: how many sessions under a policy ended in
// one way (RFC 8460 §4.4). Those without a fault have no addresses.
type TLSRecord struct {
	Policy      TLSPolicy
	Result      string
	SendingIP   netip.Addr
	ReceivingIP netip.Addr
	MXHost      string
	MXHelo      string
	Reason      string
	// Sessions is how many sessions ended so, Count how often it happened: a
	// session may have several faults.
	Sessions, Count int64
}

// What a row keeps of an outcome at most: rows are made by whoever sends mail.
const (
	maxSignatures = 20 // RFC 9990 §3.1.3 allows 100
	maxReasons    = 5
	maxText       = 200 // octets of words for people
	maxName       = 255 // octets of a domain
	maxStrings    = 40  // strings of a policy
)

// appendRow appends what of o distinguishes rows.
func (o *DMARCOutcome) appendRow(b []byte) []byte {
	b = appendAddr(b, o.Source)
	b = appendText(b, string(o.Disposition), maxText)
	b = append(b, flags(o.DKIMAligned, o.SPFAligned))
	b = appendText(b, o.HeaderFrom, maxName)
	b = appendText(b, o.EnvelopeFrom, maxName)
	b = appendText(b, o.EnvelopeTo, maxName)
	b = appendText(b, o.SPF.Domain, maxName)
	b = appendText(b, string(o.SPF.Result), maxText)
	b = appendText(b, o.SPF.Human, maxText)
	reasons := o.Reasons[:min(len(o.Reasons), maxReasons)]
	b = binary.AppendUvarint(b, uint64(len(reasons)))
	for i := range reasons {
		b = appendText(b, reasons[i].Type, maxText)
		b = appendText(b, reasons[i].Comment, maxText)
	}
	signatures := o.DKIM
	if len(signatures) > 1 {
		signatures = rankSignatures(signatures, o.HeaderFrom)
	}
	b = binary.AppendUvarint(b, uint64(len(signatures)))
	for i := range signatures {
		s := &signatures[i]
		b = appendText(b, s.Domain, maxName)
		b = appendText(b, s.Selector, maxName)
		b = appendText(b, string(s.Result), maxText)
		b = appendText(b, s.Human, maxText)
	}
	return b
}

// rankSignatures sorts a copy of signatures by what a domain wants to know first:
// those that pass for it, then for its parents and children, then others that
// pass, then the rest (RFC 9990 §3.1.3).
func rankSignatures(all []DKIMResult, from string) []DKIMResult {
	rank := func(s *DKIMResult) int {
		switch {
		case s.Result != mailauth.Pass:
			return 3
		case s.Domain == from:
			return 0
		case strings.HasSuffix(from, "."+s.Domain), strings.HasSuffix(s.Domain, "."+from):
			return 1
		}
		return 2
	}
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b DKIMResult) int { return cmp.Compare(rank(&a), rank(&b)) })
	return all[:min(len(all), maxSignatures)]
}

// parseRow reads what appendRow wrote.
func parseRow(b []byte) (*Record, error) {
	p := packed{b: b}
	r := &Record{Source: p.addr(), Disposition: Disposition(p.text())}
	f := p.octet()
	r.DKIMAligned, r.SPFAligned = f&1 != 0, f&2 != 0
	r.HeaderFrom, r.EnvelopeFrom, r.EnvelopeTo = p.text(), p.text(), p.text()
	r.SPF = SPFResult{Domain: p.text(), Result: mailauth.Result(p.text()), Human: p.text()}
	for range p.count(maxReasons) {
		r.Reasons = append(r.Reasons, Override{Type: p.text(), Comment: p.text()})
	}
	for range p.count(maxSignatures) {
		r.DKIM = append(r.DKIM, DKIMResult{Domain: p.text(), Selector: p.text(), Result: mailauth.Result(p.text()), Human: p.text()})
	}
	return r, p.end()
}

// appendRow appends what of o distinguishes rows. Where a session without a fault
// went does not.
func (o *TLSOutcome) appendRow(b []byte) []byte {
	b = appendText(b, o.Policy.Type, maxText)
	b = appendText(b, cmp.Or(o.Policy.Domain, o.Domain), maxName)
	for _, list := range [...][]string{o.Policy.Strings, o.Policy.MX} {
		list = list[:min(len(list), maxStrings)]
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, s := range list {
			b = appendText(b, s, 2*maxName)
		}
	}
	b = appendText(b, o.Result, maxText)
	if o.Result == "" {
		return b
	}
	b = appendAddr(b, o.SendingIP)
	b = appendAddr(b, o.ReceivingIP)
	b = appendText(b, o.MXHost, maxName)
	b = appendText(b, o.MXHelo, maxName)
	return appendText(b, o.Reason, maxText)
}

// parseTLSRow reads what appendRow wrote.
func parseTLSRow(b []byte) (*TLSRecord, error) {
	p := packed{b: b}
	r := &TLSRecord{Policy: TLSPolicy{Type: p.text(), Domain: p.text()}}
	for _, list := range [...]*[]string{&r.Policy.Strings, &r.Policy.MX} {
		for range p.count(maxStrings) {
			*list = append(*list, p.text())
		}
	}
	if r.Result = p.text(); r.Result == "" {
		return r, p.end()
	}
	r.SendingIP, r.ReceivingIP = p.addr(), p.addr()
	r.MXHost, r.MXHelo, r.Reason = p.text(), p.text(), p.text()
	return r, p.end()
}

func flags(all ...bool) (b byte) {
	for i, f := range all {
		if f {
			b |= 1 << i
		}
	}
	return b
}

// appendText appends s with its length, cut to max octets.
func appendText(b []byte, s string, max int) []byte {
	s = s[:min(len(s), max)]
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendAddr(b []byte, a netip.Addr) []byte {
	a = a.Unmap().WithZone("")
	switch {
	case a.Is4():
		v := a.As4()
		return append(append(b, 4), v[:]...)
	case a.Is6():
		v := a.As16()
		return append(append(b, 16), v[:]...)
	}
	return append(b, 0)
}

// packed reads what the functions above wrote. After a fault all it returns is
// empty, and end tells.
type packed struct {
	b   []byte
	bad bool
}

func (p *packed) take(n uint64) []byte {
	if p.bad || n > uint64(len(p.b)) {
		p.bad = true
		return nil
	}
	v := p.b[:n]
	p.b = p.b[n:]
	return v
}

func (p *packed) octet() byte {
	if v := p.take(1); len(v) == 1 {
		return v[0]
	}
	return 0
}

func (p *packed) number() uint64 {
	n, size := binary.Uvarint(p.b)
	if size <= 0 {
		p.bad = true
		return 0
	}
	p.take(uint64(size))
	return n
}

// count reads how many of something follow.
func (p *packed) count(max uint64) uint64 {
	n := p.number()
	if n > max {
		p.bad = true
	}
	if p.bad {
		return 0
	}
	return n
}

func (p *packed) text() string { return string(p.take(p.number())) }

func (p *packed) addr() netip.Addr {
	n := p.octet()
	if n != 0 && n != 4 && n != 16 {
		p.bad = true
	}
	a, _ := netip.AddrFromSlice(p.take(uint64(n))) // the zero Addr for no octets
	return a
}

func (p *packed) end() error {
	if p.bad || len(p.b) > 0 {
		return postino.E(postino.Corrupt, "read row of a report", "", nil)
	}
	return nil
}
