package reports

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/postino-mail/postino"
)

// TLSReport is an aggregate report of RFC 8460: how the connections of one sender
// to the servers of a domain went.
type TLSReport struct {
	// Org is the sender's name, Contact his address.
	Org     string `json:"org"`
	Contact string `json:"contact,omitempty"`
	// ID is unique among his reports.
	ID string `json:"id"`
	// Begin and End bound the time told of.
	Begin    time.Time    `json:"begin"`
	End      time.Time    `json:"end"`
	Policies []TLSSummary `json:"policies"`
}

// TLSSummary is how the sessions under one policy went.
type TLSSummary struct {
	Policy   TLSPolicy    `json:"policy"`
	Good     int64        `json:"good"` // sessions as the policy wants them
	Bad      int64        `json:"bad"`  // others
	Failures []TLSFailure `json:"failures,omitempty"`
}

// TLSFailure is what went wrong, and how often (RFC 8460 §4.4).
type TLSFailure struct {
	Result      string `json:"result-type"`
	SendingIP   string `json:"sending-mta-ip,omitempty"`
	MXHost      string `json:"receiving-mx-hostname,omitempty"`
	MXHelo      string `json:"receiving-mx-helo,omitempty"`
	ReceivingIP string `json:"receiving-ip,omitempty"`
	Count       int64  `json:"failed-session-count"`
	Info        string `json:"additional-information,omitempty"`
	Reason      string `json:"failure-reason-code,omitempty"`
}

// Domain is the domain that the report is about, that of its first policy.
func (r *TLSReport) Domain() string {
	if len(r.Policies) == 0 {
		return ""
	}
	return r.Policies[0].Policy.Domain
}

// tlsWire is a report as it travels.
type tlsWire struct {
	Org   string `json:"organization-name"`
	Range struct {
		Start string `json:"start-datetime"`
		End   string `json:"end-datetime"`
	} `json:"date-range"`
	Contact  loose           `json:"contact-info"`
	ID       string          `json:"report-id"`
	Policies []tlsWirePolicy `json:"policies"`
}

type tlsWirePolicy struct {
	Policy struct {
		Type    string `json:"policy-type"`
		Strings list   `json:"policy-string,omitempty"`
		Domain  string `json:"policy-domain"`
		MX      list   `json:"mx-host,omitempty"`
	} `json:"policy"`
	Summary struct {
		Good int64 `json:"total-successful-session-count"`
		Bad  int64 `json:"total-failure-session-count"`
	} `json:"summary"`
	Failures []TLSFailure `json:"failure-details,omitempty"`
}

// list is an array of strings, of which some send a single one without brackets.
type list []string

func (l *list) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, (*[]string)(l))
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	if *l = nil; s != "" {
		*l = list{s}
	}
	return nil
}

// loose is a string, or anything else of which nothing is known.
type loose string

func (l *loose) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*l = loose(s)
	}
	return nil
}

// WriteJSON writes the report as RFC 8460 §4.4 wants it.
func (r *TLSReport) WriteJSON(w io.Writer) error {
	if r.ID == "" || len(r.Policies) == 0 {
		return postino.E(postino.Invalid, "write report", "without id or policies", nil)
	}
	out := tlsWire{Org: r.Org, Contact: loose(r.Contact), ID: r.ID}
	out.Range.Start, out.Range.End = r.Begin.UTC().Format(time.RFC3339), r.End.UTC().Format(time.RFC3339)
	for i := range r.Policies {
		var p tlsWirePolicy
		s := &r.Policies[i]
		p.Policy.Type, p.Policy.Strings, p.Policy.Domain, p.Policy.MX = s.Policy.Type, s.Policy.Strings, s.Policy.Domain, s.Policy.MX
		p.Summary.Good, p.Summary.Bad, p.Failures = s.Good, s.Bad, s.Failures
		out.Policies = append(out.Policies, p)
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	return e.Encode(&out)
}

// ParseTLSReport reads a report of RFC 8460. The error is of kind Invalid when it
// is none, Full beyond a limit.
func ParseTLSReport(r io.Reader, lim ReadLimits) (*TLSReport, error) {
	const op = "read TLS report"
	lim = lim.withDefaults()
	b, err := io.ReadAll(io.LimitReader(r, lim.Unpacked))
	if err != nil {
		return nil, postino.E(postino.Invalid, op, "", err)
	}
	if objects(b) > 2*lim.Rows { // before memory is taken for them: "{}," is much shorter than a row
		return nil, postino.E(postino.Full, op, "", errRows)
	}
	var in tlsWire
	if err := json.Unmarshal(b, &in); err != nil {
		return nil, postino.E(postino.Invalid, op, "", err)
	}
	out := &TLSReport{Org: in.Org, Contact: string(in.Contact), ID: in.ID, Begin: dateTime(in.Range.Start), End: dateTime(in.Range.End)}
	for i := range in.Policies {
		p := &in.Policies[i]
		s := TLSSummary{
			Policy: TLSPolicy{Type: strings.ToLower(p.Policy.Type), Domain: domainName(p.Policy.Domain), Strings: p.Policy.Strings, MX: p.Policy.MX},
			Good:   max(0, p.Summary.Good), Bad: max(0, p.Summary.Bad), Failures: p.Failures,
		}
		for j := range s.Failures {
			f := &s.Failures[j]
			f.Result, f.SendingIP, f.ReceivingIP, f.Count = strings.ToLower(f.Result), ipText(f.SendingIP), ipText(f.ReceivingIP), max(0, f.Count)
		}
		out.Policies = append(out.Policies, s)
	}
	if err := out.whole(); err != nil {
		return nil, postino.E(postino.Invalid, op, "", err)
	}
	return out, nil
}

// objects counts what may begin an object or an array.
func objects(b []byte) (n int) {
	for _, c := range b {
		if c == '{' || c == '[' {
			n++
		}
	}
	return n
}

func (r *TLSReport) whole() error {
	switch {
	case r.ID == "" || r.Org == "" && r.Contact == "":
		return errors.New("it does not say from whom it is, or has no id")
	case r.Begin.IsZero() || r.End.Before(r.Begin):
		return errors.New("it does not say about which time it is")
	case r.Domain() == "":
		return errors.New("it does not say about which domain it is")
	}
	return nil
}

// dateTime reads a date-time of RFC 3339, and of those who forget the zone.
func dateTime(s string) time.Time {
	for _, layout := range [...]string{time.RFC3339, "2006-01-02T15:04:05", time.DateTime, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}

// ipText is an address as RFC 5952 writes it, empty when s is none.
func ipText(s string) string {
	a, err := netip.ParseAddr(strings.TrimSpace(s))
	if err != nil {
		return ""
	}
	return a.Unmap().WithZone("").String()
}

// summarize makes the policies of a report out of its rows.
func summarize(rows []TLSRecord) (all []TLSSummary) {
	at := map[string]int{}
	for i := range rows {
		r := &rows[i]
		key := strings.Join(append(append([]string{r.Policy.Type, r.Policy.Domain}, r.Policy.Strings...), r.Policy.MX...), "\n")
		n, ok := at[key]
		if !ok {
			n = len(all)
			at[key] = n
			all = append(all, TLSSummary{Policy: r.Policy})
		}
		s := &all[n]
		if r.Result == "" {
			s.Good += r.Sessions
			continue
		}
		s.Bad += r.Sessions
		s.Failures = append(s.Failures, TLSFailure{
			Result: r.Result, SendingIP: addrText(r.SendingIP), ReceivingIP: addrText(r.ReceivingIP),
			MXHost: r.MXHost, MXHelo: r.MXHelo, Count: r.Count, Reason: r.Reason,
		})
	}
	slices.SortFunc(all, func(a, b TLSSummary) int {
		return cmp.Or(cmp.Compare(b.Good+b.Bad, a.Good+a.Bad), cmp.Compare(a.Policy.Type, b.Policy.Type), cmp.Compare(a.Policy.Domain, b.Policy.Domain))
	})
	for i := range all {
		slices.SortFunc(all[i].Failures, func(a, b TLSFailure) int {
			return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Result, b.Result), cmp.Compare(a.MXHost, b.MXHost), cmp.Compare(a.ReceivingIP, b.ReceivingIP))
		})
	}
	return all
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
