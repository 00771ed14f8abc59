package reports

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/mailauth"
	"github.com/postino-mail/postino/message"
)

// ReadLimits bounds the reading of reports (MA8). A zero field means the default
// that its comment names, never "unlimited".
type ReadLimits struct {
	// Bytes bounds what came, a message or a file. Default 10 MiB.
	Bytes int64
	// Unpacked bounds all that is unpacked from it. Default 25 MiB.
	Unpacked int64
	// Ratio bounds how many octets one packed octet may become, beyond the first
	// 64 KiB. Default 100.
	Ratio int64
	// Rows bounds the rows of a report. Default 100,000.
	Rows int
	// Entries bounds the files in an archive that are looked at. Default 100.
	Entries int
	// Nested bounds how deep archives are packed in archives. Default 3 (PA8).
	Nested int
}

func (l ReadLimits) withDefaults() ReadLimits {
	for field, def := range map[*int64]int64{&l.Bytes: 10 << 20, &l.Unpacked: 25 << 20, &l.Ratio: 100} {
		if *field <= 0 {
			*field = def
		}
	}
	for field, def := range map[*int]int{&l.Rows: 100_000, &l.Entries: 100, &l.Nested: 3} {
		if *field <= 0 {
			*field = def
		}
	}
	return l
}

// What a report may hold besides its rows.
const (
	maxXMLDepth = 16
	maxXMLText  = 2000 // octets of one element; more are cut
	maxInside   = 100  // signatures, reasons and problems that are kept
)

// errDoctype refuses what could define entities (MA8, PA8).
var errDoctype = errors.New("a report has no document type and no entities")

// ParseAggregate reads an aggregate report of RFC 9990 or of RFC 7489 and what
// is sent for one: element order, name spaces, case and unknown elements do not
// matter; records without a count or an address are skipped and counted. The
// error is of kind Invalid when it is no such report, Full beyond a limit.
func ParseAggregate(r io.Reader, lim ReadLimits) (*Aggregate, error) {
	const op = "read DMARC report"
	lim = lim.withDefaults()
	d := xml.NewDecoder(io.LimitReader(r, lim.Unpacked))
	d.CharsetReader = func(charset string, in io.Reader) (io.Reader, error) { return message.UTF8Reader(in, charset), nil }
	p := aggregateReader{lim: lim}
	for {
		t, err := d.RawToken()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = p.token(t)
		}
		if errors.Is(err, errRows) {
			return nil, postino.E(postino.Full, op, "", err)
		}
		if err != nil {
			return nil, postino.E(postino.Invalid, op, "", err)
		}
	}
	if err := p.whole(); err != nil {
		return nil, postino.E(postino.Invalid, op, "", err)
	}
	return &p.a, nil
}

var errRows = errors.New("too many rows")

// aggregateReader follows the elements of a report. [xml.Decoder.RawToken] checks
// neither that they match nor their depth, and has no stack: this has.
type aggregateReader struct {
	lim   ReadLimits
	a     Aggregate
	r     Record
	bad   bool   // the record cannot be used
	rows  int    // records seen
	parts int    // signatures and reasons seen
	space string // prefix of the root element
	path  []byte // names of the open elements, each after a slash
	depth int
	text  []byte            // of the innermost element
	words map[string]string // texts seen: most of them come again
	ended bool              // the root element is complete
}

// token takes the next token.
func (p *aggregateReader) token(t xml.Token) error {
	switch t := t.(type) {
	case xml.Directive:
		return errDoctype
	case xml.StartElement:
		if p.depth == 0 {
			p.space = t.Name.Space
		}
		return p.start(p.name(t.Name))
	case xml.EndElement:
		return p.end(p.name(t.Name))
	case xml.CharData:
		if p.depth > 0 {
			p.text = append(p.text, t[:min(len(t), maxXMLText-len(p.text))]...)
		}
	}
	return nil
}

// name keeps the elements of extensions apart from those of reports.
func (p *aggregateReader) name(n xml.Name) string {
	if n.Space != p.space {
		return n.Space + ":" + n.Local
	}
	return n.Local
}

func (p *aggregateReader) start(name string) error {
	if p.depth >= maxXMLDepth || len(name) > 64 {
		return fmt.Errorf("elements are nested more than %d deep or have no sensible name", maxXMLDepth)
	}
	if p.depth == 0 && (p.ended || name != "feedback") {
		return fmt.Errorf("the root element is %q", name)
	}
	p.path, p.text = append(append(p.path, '/'), name...), p.text[:0]
	p.depth++
	switch string(p.path) {
	case "/feedback/record":
		if p.rows++; p.rows > p.lim.Rows {
			return errRows
		}
		p.r, p.bad = Record{}, false
	case "/feedback/record/row/policy_evaluated/reason":
		p.parts++
		grow(&p.r.Reasons)
	case "/feedback/record/auth_results/dkim":
		p.parts++
		grow(&p.r.DKIM)
	}
	if p.parts > 4*p.lim.Rows { // an empty element is short and what is made of it is not
		return errRows
	}
	return nil
}

// grow appends a zero element that is filled in next; beyond maxInside the last
// one is filled again.
func grow[T any](list *[]T) {
	var zero T
	if len(*list) < maxInside {
		*list = append(*list, zero)
	} else {
		(*list)[maxInside-1] = zero
	}
}

// last is the element that is being filled.
func last[T any](list []T) *T { return &list[len(list)-1] }

func (p *aggregateReader) end(name string) error {
	open := len(p.path) - len(name) - 1
	if p.depth == 0 || open < 0 || p.path[open] != '/' || string(p.path[open+1:]) != name {
		return fmt.Errorf("element %q ends that did not begin", name)
	}
	p.leaf(p.path, p.word(bytes.TrimSpace(p.text)))
	p.path, p.text = p.path[:open], p.text[:0]
	p.depth--
	p.ended = p.depth == 0
	return nil
}

// word is a text, kept once.
func (p *aggregateReader) word(b []byte) string {
	const most = 4096
	if w, ok := p.words[string(b)]; ok {
		return w
	}
	w := string(b)
	if p.words == nil || len(p.words) >= most {
		p.words = map[string]string{}
	}
	p.words[w] = w
	return w
}

// leaf takes the text of an element. Elements that hold others have none.
func (p *aggregateReader) leaf(path []byte, text string) {
	if inner, ok := bytes.CutPrefix(path, []byte("/feedback/record")); ok {
		p.record(inner, text)
		return
	}
	a := &p.a
	switch string(path) {
	case "/feedback/report_metadata/org_name":
		a.Org = text
	case "/feedback/report_metadata/email":
		a.Email = text
	case "/feedback/report_metadata/extra_contact_info":
		a.Contact = text
	case "/feedback/report_metadata/report_id":
		a.ID = text
	case "/feedback/report_metadata/date_range/begin":
		a.Begin = seconds(text)
	case "/feedback/report_metadata/date_range/end":
		a.End = seconds(text)
	case "/feedback/report_metadata/error":
		if len(a.Problems) < maxInside && text != "" {
			a.Problems = append(a.Problems, text)
		}
	case "/feedback/report_metadata/generator":
		a.Generator = text
	case "/feedback/policy_published/domain":
		a.Policy.Domain = domainName(text)
	case "/feedback/policy_published/p":
		a.Policy.P = disposition(text)
	case "/feedback/policy_published/sp":
		a.Policy.SP = disposition(text)
	case "/feedback/policy_published/np":
		a.Policy.NP = disposition(text)
	case "/feedback/policy_published/adkim":
		a.Policy.ADKIM = strings.ToLower(text)
	case "/feedback/policy_published/aspf":
		a.Policy.ASPF = strings.ToLower(text)
	case "/feedback/policy_published/fo":
		a.Policy.FO = text
	case "/feedback/policy_published/testing":
		a.Policy.Testing = strings.ToLower(text)
	case "/feedback/policy_published/discovery_method":
		a.Policy.Discovery = strings.ToLower(text)
	case "/feedback/policy_published/pct":
		a.Policy.Percent = text
	}
}

// record takes the text of an element inside of a record.
func (p *aggregateReader) record(path []byte, text string) {
	r := &p.r
	switch string(path) {
	case "":
		if p.bad || !r.Source.IsValid() || r.Count <= 0 {
			p.a.Skipped++
		} else {
			p.a.Records = append(p.a.Records, *r)
		}
	case "/row/source_ip":
		a, err := netip.ParseAddr(text)
		r.Source, p.bad = a.Unmap().WithZone(""), p.bad || err != nil
	case "/row/count":
		n, err := strconv.ParseInt(text, 10, 64)
		r.Count, p.bad = n, p.bad || err != nil || n > 1<<50
	case "/row/policy_evaluated/disposition":
		r.Disposition = disposition(text)
	case "/row/policy_evaluated/dkim":
		r.DKIMAligned = strings.EqualFold(text, "pass")
	case "/row/policy_evaluated/spf":
		r.SPFAligned = strings.EqualFold(text, "pass")
	case "/row/policy_evaluated/reason/type":
		last(r.Reasons).Type = strings.ToLower(text)
	case "/row/policy_evaluated/reason/comment":
		last(r.Reasons).Comment = text
	case "/identifiers/header_from":
		r.HeaderFrom = domainName(text)
	case "/identifiers/envelope_from":
		r.EnvelopeFrom = domainName(text)
	case "/identifiers/envelope_to":
		r.EnvelopeTo = domainName(text)
	case "/auth_results/dkim/domain":
		last(r.DKIM).Domain = domainName(text)
	case "/auth_results/dkim/selector":
		last(r.DKIM).Selector = text
	case "/auth_results/dkim/result":
		last(r.DKIM).Result = authResult(text)
	case "/auth_results/dkim/human_result":
		last(r.DKIM).Human = text
	case "/auth_results/spf/domain":
		if r.SPF.Domain == "" { // RFC 7489 allows several, the first one counts
			r.SPF.Domain = domainName(text)
		}
	case "/auth_results/spf/result":
		if r.SPF.Result == "" {
			r.SPF.Result = authResult(text)
		}
	case "/auth_results/spf/human_result":
		if r.SPF.Human == "" {
			r.SPF.Human = text
		}
	}
}

// whole tells whether what was read is a report.
func (p *aggregateReader) whole() error {
	a := &p.a
	switch {
	case !p.ended:
		return errors.New("it ends too early")
	case a.Policy.Domain == "" || a.ID == "" || a.Org == "" && a.Email == "":
		return errors.New("it does not say from whom it is, about which domain, or has no id")
	case a.Begin.IsZero() || a.End.Before(a.Begin):
		return errors.New("it does not say about which time it is")
	case len(a.Records) == 0:
		return errors.New("it has no records")
	}
	if a.Policy.P == "" {
		a.Policy.P = None
	}
	a.Records = slices.Clip(a.Records)
	return nil
}

// seconds reads a time, zero when it is none of this era.
func seconds(s string) time.Time {
	s, _, _ = strings.Cut(s, ".")
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n <= 0 || n > 4e9 {
		return time.Time{}
	}
	return time.Unix(n, 0).UTC()
}

// domainName is a domain as it is compared: as it stands when it is none.
func domainName(s string) string {
	if d, err := postino.CanonicalDomain(strings.TrimSuffix(s, ".")); err == nil {
		return d
	}
	return strings.ToLower(s)
}

func disposition(s string) Disposition {
	switch d := Disposition(strings.ToLower(s)); d {
	case Passed, Quarantine, Reject:
		return d
	case "":
		return ""
	}
	return None
}

// authResult reads a result, with the words that older software has for some.
func authResult(s string) mailauth.Result {
	switch s = strings.ToLower(s); s {
	case "hardfail":
		return mailauth.Fail
	case "unknown":
		return mailauth.PermError
	case "error":
		return mailauth.TempError
	}
	return mailauth.Result(s)
}
