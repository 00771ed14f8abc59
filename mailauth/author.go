package mailauth

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/message"
)

// Author is who a message claims to be from: the Author Domain of RFC 9989 §3.2.2.
type Author struct {
	// Domain, in A-labels, and Address are empty unless there is exactly one From
	// field with exactly one address that all programs read alike (MA1). Address is
	// as the message has it.
	Domain, Address string
	// Domains are all that From fields mention, at most MaxAuthors; More tells
	// that there are others.
	Domains []string
	More    bool
	// Reason says why Domain is empty.
	Reason string
}

// MaxAuthors is how many domains of From fields are looked at.
const MaxAuthors = 10

// ReadAuthor reads the From field of a raw header. It asks nobody.
func ReadAuthor(rawHeader []byte, lim Limits) Author {
	var a authorReader
	var from []message.Field
	fields, fault := 0, ""
	max := lim.withDefaults().Fields
	for f := range message.Fields(rawHeader) {
		if fields++; fields > max {
			fault = cmp.Or(fault, "the header has too many fields")
			break
		}
		fault = cmp.Or(fault, fieldFault(&f))
		if f.Is("from") {
			from = append(from, f)
		}
	}
	var list []message.Address
	var mentions mentions
	for _, f := range from {
		if len(list) > MaxAuthors || a.More {
			a.More = true
			break
		}
		entries := message.ParseAddressList(f.Value, 2*MaxAuthors)
		mentions.read(f.Value)
		for _, e := range entries {
			a.mention(e.Host)
		}
		list = append(list, entries...)
	}
	for _, m := range mentions.domains {
		a.mention(m)
	}
	a.More = a.More || mentions.more
	a.Reason = cmp.Or(fromFault(from, list, &mentions), fault)
	if a.Reason == "" {
		a.Domain, a.Address = a.Domains[0], list[0].String()
	}
	return a.Author
}

// authorReader collects the domains that From fields mention.
type authorReader struct {
	Author
	cuts int // labels that were cut off malformed names
}

const maxCuts = 300

// mention adds a domain that some program may show as the author's. Of one that is
// malformed it takes the end that is a domain: whose policy is wanted for names
// below it.
func (a *authorReader) mention(host string) {
	host = strings.TrimRight(host[max(0, len(host)-postino.MaxDomain):], ".")
	d, ok := authorDomain(host)
	for ; !ok && host != ""; a.cuts++ {
		if a.cuts == maxCuts {
			a.More = true
			return
		}
		_, host, _ = strings.Cut(host, ".")
		d, ok = authorDomain(host)
	}
	switch {
	case !ok || slices.Contains(a.Domains, d):
	case len(a.Domains) == MaxAuthors:
		a.More = true
	default:
		a.Domains = append(a.Domains, d)
	}
}

// authorDomain returns a domain name in A-labels. Underscores, which no host name has
// (RFC 5321 §4.1.2), are in use by authors.
func authorDomain(host string) (d string, ok bool) {
	d, err := postino.CanonicalDomain(host)
	if err == nil || !strings.Contains(host, "_") || len(host) > postino.MaxDomain {
		return d, err == nil && !strings.HasPrefix(d, "[")
	}
	if strings.ContainsFunc(host, func(r rune) bool { return r >= 0x80 }) {
		return "", false
	}
	_, err = postino.CanonicalDomain(strings.ReplaceAll(host, "_", "0"))
	return strings.ToLower(host), err == nil
}

// fromFault tells why the From fields name no author; "" when they name one.
func fromFault(from []message.Field, list []message.Address, m *mentions) string {
	switch {
	case len(from) == 0:
		return "the message has no From field"
	case len(from) > 1:
		return "the message has several From fields" // RFC 5322 §3.6
	case len(list) == 0:
		return "From has no address"
	case slices.ContainsFunc(list, func(e message.Address) bool { return e.Group != message.Member }):
		return "From has a group of addresses" // RFC 6854 §1: readers differ
	case len(list) > 1:
		return "From has several addresses"
	}
	e := list[0]
	d, ok := authorDomain(e.Host)
	switch {
	case e.Mailbox == "" || e.Host == "":
		return "From has no address"
	case !ok:
		return "the address in From has no valid domain name"
	case e.Route != "" || m.unbalanced || !m.all(e.Host, d):
		return "programs may read different addresses in From"
	}
	return ""
}

// mentions are the domains that follow an "@" outside of quotes and comments.
type mentions struct {
	domains    []string
	more       bool
	unbalanced bool // a quote or comment does not end
}

// all tells whether the domains are those of one address: host as it is written,
// which is d, once directly behind its "@", and nothing else. A display name may
// repeat the address.
func (m *mentions) all(host, d string) bool {
	for _, t := range m.domains {
		if t == host {
			continue
		}
		if c, ok := authorDomain(t); !ok || c != d {
			return false
		}
	}
	return slices.Contains(m.domains, host) && !m.more
}

// read collects from a field value.
func (m *mentions) read(v []byte) {
	depth, quoted := 0, false
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case c == '\\' && (quoted || depth > 0):
			i++
		case quoted:
			quoted = c != '"'
		case c == '(':
			depth++
		case c == ')':
			depth--
			m.unbalanced = m.unbalanced || depth < 0
			depth = max(depth, 0)
		case depth > 0:
		case c == '"':
			quoted = true
		case c == '@':
			n := bytes.IndexAny(v[i+1:], "(),;:<>@\" \t\r\n")
			if n < 0 {
				n = len(v) - i - 1
			}
			if len(m.domains) > MaxAuthors {
				m.more = true
				return
			}
			m.domains = append(m.domains, string(v[i+1:i+1+n]))
			i += n
		}
	}
	m.unbalanced = m.unbalanced || quoted || depth != 0
}
