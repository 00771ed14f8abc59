package reports

import (
	"bytes"
	"encoding/xml"
	"io"
	"strconv"
	"time"

	"github.com/postino-mail/postino"
)

// Aggregate is a DMARC aggregate report: what one receiver saw of the mail in the
// name of a domain (RFC 9990 §3.1).
type Aggregate struct {
	// Org is the reporter's name and Email how to reach it; Contact says more.
	Org     string `json:"org"`
	Email   string `json:"email,omitempty"`
	Contact string `json:"contact,omitempty"`
	// ID is unique among the reports of the reporter to a domain.
	ID string `json:"id"`
	// Begin and End are the first and the last second of the time told of.
	Begin time.Time `json:"begin"`
	End   time.Time `json:"end"`
	// Problems are what the reporter found wrong with the record of the domain.
	Problems  []string    `json:"problems,omitempty"`
	Generator string      `json:"generator,omitempty"`
	Policy    DMARCPolicy `json:"policy"`
	Records   []Record    `json:"records"`
	// Skipped counts the records that could not be read.
	Skipped int `json:"skipped,omitempty"`
}

// dmarcNamespace is that of the reports (RFC 9990 §6.1).
const dmarcNamespace = "urn:ietf:params:xml:ns:dmarc-2.0"

// WriteXML writes the report as RFC 9990 appendix A wants it. The order of the
// elements is also that of RFC 7489 appendix C, whose readers are many.
func (a *Aggregate) WriteXML(w io.Writer) error {
	if len(a.Records) == 0 || a.Policy.Domain == "" || a.ID == "" { // RFC 9990 §3.1.1.2, §3.1.1.3
		return postino.E(postino.Invalid, "write report", "without records, domain or id", nil)
	}
	x := xmlWriter{w: w}
	x.buf.WriteString(xml.Header)
	x.buf.WriteString(`<feedback xmlns="` + dmarcNamespace + `">` + "\n")
	x.text("version", "1.0")
	x.metadata(a)
	x.policy(&a.Policy)
	for i := range a.Records {
		x.record(&a.Records[i])
		x.flush()
	}
	x.buf.WriteString("</feedback>\n")
	x.flush()
	return x.err
}

// xmlWriter writes elements, each on its own line.
type xmlWriter struct {
	w     io.Writer
	buf   bytes.Buffer
	depth int
	err   error
}

// flush hands on what was written; the first error stays.
func (x *xmlWriter) flush() {
	if x.err == nil {
		_, x.err = x.w.Write(x.buf.Bytes())
	}
	x.buf.Reset()
}

func (x *xmlWriter) indent() {
	for range x.depth + 1 {
		x.buf.WriteString("  ")
	}
}

// open begins an element that holds others.
func (x *xmlWriter) open(name string) {
	x.indent()
	x.buf.WriteString("<" + name + ">\n")
	x.depth++
}

func (x *xmlWriter) close(name string) {
	x.depth--
	x.indent()
	x.buf.WriteString("</" + name + ">\n")
}

// text writes an element with text.
func (x *xmlWriter) text(name, value string) {
	x.indent()
	x.buf.WriteString("<" + name + ">")
	_ = xml.EscapeText(&x.buf, []byte(value)) // a buffer takes all
	x.buf.WriteString("</" + name + ">\n")
}

// option writes an element unless it is empty.
func (x *xmlWriter) option(name, value string) {
	if value != "" {
		x.text(name, value)
	}
}

func (x *xmlWriter) metadata(a *Aggregate) {
	x.open("report_metadata")
	x.text("org_name", a.Org)
	x.text("email", a.Email)
	x.option("extra_contact_info", a.Contact)
	x.text("report_id", a.ID)
	x.open("date_range")
	x.text("begin", strconv.FormatInt(a.Begin.Unix(), 10))
	x.text("end", strconv.FormatInt(a.End.Unix(), 10))
	x.close("date_range")
	for i, p := range a.Problems {
		if i == 0 { // RFC 9990 appendix A has one
			x.text("error", p)
		}
	}
	x.option("generator", a.Generator)
	x.close("report_metadata")
}

func (x *xmlWriter) policy(p *DMARCPolicy) {
	x.open("policy_published")
	x.text("domain", p.Domain)
	x.option("adkim", p.ADKIM)
	x.option("aspf", p.ASPF)
	x.text("p", string(p.P))
	x.option("sp", string(p.SP))
	x.option("np", string(p.NP))
	x.option("fo", p.FO)
	x.option("testing", p.Testing)
	x.option("discovery_method", p.Discovery)
	x.close("policy_published")
}

func (x *xmlWriter) record(r *Record) {
	x.open("record")
	x.open("row")
	x.text("source_ip", r.Source.String())
	x.text("count", strconv.FormatInt(r.Count, 10))
	x.open("policy_evaluated")
	x.text("disposition", string(r.Disposition))
	x.text("dkim", passOrFail(r.DKIMAligned))
	x.text("spf", passOrFail(r.SPFAligned))
	for _, o := range r.Reasons {
		x.open("reason")
		x.text("type", o.Type)
		x.option("comment", o.Comment)
		x.close("reason")
	}
	x.close("policy_evaluated")
	x.close("row")
	x.open("identifiers")
	x.option("envelope_to", r.EnvelopeTo)
	x.text("envelope_from", r.EnvelopeFrom) // empty for the null sender (RFC 9990 §3.1.1.10)
	x.text("header_from", r.HeaderFrom)
	x.close("identifiers")
	x.open("auth_results")
	for i := range r.DKIM {
		s := &r.DKIM[i]
		x.open("dkim")
		x.text("domain", s.Domain)
		x.text("selector", s.Selector)
		x.text("result", string(s.Result))
		x.option("human_result", s.Human)
		x.close("dkim")
	}
	if r.SPF.Result != "" {
		x.open("spf")
		x.text("domain", r.SPF.Domain)
		x.text("scope", "mfrom")
		x.text("result", string(r.SPF.Result))
		x.option("human_result", r.SPF.Human)
		x.close("spf")
	}
	x.close("auth_results")
	x.close("record")
}

func passOrFail(pass bool) string {
	if pass {
		return "pass"
	}
	return "fail"
}
