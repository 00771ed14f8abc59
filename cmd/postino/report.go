package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/app"
)

type reportCmd struct {
	DMARC  reportDMARCCmd  `cmd:"" name:"dmarc" help:"Who sends mail in the name of your domains, as others report, and what to do."`
	TLS    reportTLSCmd    `cmd:"" name:"tls" help:"How the connections of others to your servers go, as they report."`
	Abuse  reportAbuseCmd  `cmd:"" help:"Complaints about single messages, and messages that failed authentication elsewhere."`
	Send   reportSendCmd   `cmd:"" help:"Show the report to a domain as it would be sent, or send it now."`
	Import reportImportCmd `cmd:"" help:"Read reports from files."`
}

// reportFlags choose reports.
type reportFlags struct {
	store
	Domain string `arg:"" optional:"" help:"Domain; none: all that there are reports about."`
	Days   int    `help:"How many days to look back." default:"30"`
	JSON   bool   `help:"Print JSON."`
}

func (f *reportFlags) query() app.ReportQuery { return app.ReportQuery{Domain: f.Domain, Days: f.Days} }

// nothing tells that there are no reports at all.
func (f *reportFlags) nothing(e *env, record string) error {
	return said(e, "No reports came in the last %d days. Others send them when the DNS of a domain says where to:\n  %s", f.Days, record)
}

type reportDMARCCmd struct{ reportFlags }

// Help is shown below the flags.
func (*reportDMARCCmd) Help() string {
	return "Examples:\n\n  postino report dmarc\n\n  postino report dmarc example.org --days 90"
}

// Run prints what is known of each domain.
func (c *reportDMARCCmd) Run(e *env) error {
	var out []*app.DMARCView
	if err := c.call(e, "report.dmarc", c.query(), &out); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e, out)
	}
	if len(out) == 0 {
		return c.nothing(e, `_dmarc.example.org TXT "v=DMARC1; p=none; rua=mailto:dmarc-reports@example.org"`)
	}
	for i, v := range out {
		if i > 0 {
			fmt.Fprintln(e.out)
		}
		printDMARC(e.out, v)
	}
	return nil
}

func printDMARC(w io.Writer, v *app.DMARCView) {
	if v.Reports > 0 {
		fmt.Fprintf(w, "%s: %s messages in its name from %s to %s, told by %s\n", v.Domain, thousands(v.Messages),
			v.Begin.Format(time.DateOnly), v.End.Format(time.DateOnly), reporters(v.By, v.Reports))
		fmt.Fprintf(w, "%s passed, %s did not. The record has p=%s.\n", thousands(v.Passed), thousands(v.Messages-v.Passed), cmp.Or(string(v.Policy.P), "none"))
	} else {
		fmt.Fprintf(w, "%s\n", v.Domain)
	}
	for i := range v.Sources {
		s := &v.Sources[i]
		name := "another address"
		if s.Addr.IsValid() {
			name = s.Addr.String()
		}
		if s.Name != "" {
			name += " (" + postino.Printable(s.Name) + ")"
		}
		fmt.Fprintf(w, "\n  %s sent %s %s%s\n", name, thousands(s.Messages), plural(s.Messages, "message"), passes(s.Messages, s.Passed, s.DKIM, s.SPF))
		paragraph(w, "    ", s.Advice)
	}
	if v.More > 0 {
		fmt.Fprintf(w, "\n  … and %d other addresses.\n", v.More)
	}
	for _, line := range v.Advice {
		fmt.Fprintln(w)
		paragraph(w, "", line)
	}
}

// passes says in words how many of n messages passed.
func passes(n, passed, dkim, spf int64) string {
	all := " that pass"
	switch {
	case passed == 0 && n == 1:
		return " that passes neither SPF nor DKIM"
	case passed == 0:
		return " that pass neither SPF nor DKIM"
	case passed < n:
		return fmt.Sprintf(", %s of them fail", thousands(n-passed))
	case n == 1:
		all = " that passes"
	}
	switch {
	case dkim == n && spf == n:
		return all + " SPF and DKIM"
	case dkim == n:
		return all + " DKIM"
	case spf == n:
		return all + " SPF"
	}
	return all
}

type reportTLSCmd struct{ reportFlags }

// Run prints what is known of each domain.
func (c *reportTLSCmd) Run(e *env) error {
	var out []*app.TLSView
	if err := c.call(e, "report.tls", c.query(), &out); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e, out)
	}
	if len(out) == 0 {
		return c.nothing(e, `_smtp._tls.example.org TXT "v=TLSRPTv1; rua=mailto:tls-reports@example.org"`)
	}
	for i, v := range out {
		if i > 0 {
			fmt.Fprintln(e.out)
		}
		printTLS(e.out, v)
	}
	return nil
}

func printTLS(w io.Writer, v *app.TLSView) {
	if v.Reports > 0 {
		fmt.Fprintf(w, "%s: %s connections from %s to %s, told by %s\n%s were as they should be, %s were not.\n", v.Domain, thousands(v.Good+v.Bad),
			v.Begin.Format(time.DateOnly), v.End.Format(time.DateOnly), reporters(v.By, v.Reports), thousands(v.Good), thousands(v.Bad))
	} else {
		fmt.Fprintf(w, "%s\n", v.Domain)
	}
	for i := range v.Faults {
		f := &v.Faults[i]
		fmt.Fprintf(w, "\n  %s: %s %s, told by %s\n", postino.Printable(cmp.Or(f.MXHost, "no server named")), f.Result, times(f.Count), postino.Printable(strings.Join(f.By, ", ")))
		paragraph(w, "    ", f.Advice)
		for _, r := range f.Reasons {
			fmt.Fprintf(w, "    They say: %s\n", postino.Printable(r))
		}
	}
	for _, line := range v.Advice {
		fmt.Fprintln(w)
		paragraph(w, "", line)
	}
}

type reportAbuseCmd struct {
	reportFlags
	Limit int `help:"At most so many, the newest." default:"100"`
}

// Run prints a block for each complaint.
func (c *reportAbuseCmd) Run(e *env) error {
	q := c.query()
	q.Limit = c.Limit
	var out []app.Complaint
	if err := c.call(e, "report.abuse", q, &out); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e, out)
	}
	if len(out) == 0 {
		return said(e, "No complaints came in the last %d days.", c.Days)
	}
	for i := range out {
		printComplaint(e.out, &out[i])
	}
	return nil
}

func printComplaint(w io.Writer, r *app.Complaint) {
	f := r.Feedback
	proof := ""
	if !r.Verified {
		proof = ", not proven"
	}
	fmt.Fprintf(w, "%s  %s, from %s%s\n", r.Time.Local().Format("2006-01-02 15:04"), postino.Printable(strings.TrimSpace(f.Type+" "+f.AuthFailure)), postino.Printable(cmp.Or(r.By, f.Reporter, "nobody named")), proof)
	source := ""
	if f.Source.IsValid() {
		source = f.Source.String()
	}
	for _, line := range [...][2]string{
		{"about", f.About()}, {"subject", f.Subject}, {"author", f.From}, {"sender", f.MailFrom}, {"to", strings.Join(f.RcptTo, ", ")}, {"sent by", source},
		{"failed", f.Alignment}, {"message", f.MessageID}, {"links", strings.Join(f.URIs, " ")},
	} {
		if line[1] != "" {
			fmt.Fprintf(w, "  %-8s %s\n", line[0], postino.Printable(line[1]))
		}
	}
	if f.Incidents > 1 {
		fmt.Fprintf(w, "  %-8s %d messages like it\n", "stands for", f.Incidents)
	}
}

type reportSendCmd struct {
	store
	Domain string `arg:"" help:"Domain that the report goes to."`
	Now    bool   `help:"Send what is owed for days that are over, without waiting for its hour. At most one a day goes to a domain."`
	JSON   bool   `help:"Print JSON."`
}

// Help is shown below the flags.
func (*reportSendCmd) Help() string {
	return "Without --now nothing is sent: the reports are printed as they stand.\n\nExample: postino report send example.com"
}

// Run prints the reports to a domain.
func (c *reportSendCmd) Run(e *env) error {
	var out []app.ReportPreview
	if err := c.call(e, "report.send", app.ReportSend{Domain: c.Domain, Now: c.Now}, &out); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e, out)
	}
	for i := range out {
		p := &out[i]
		fmt.Fprintf(e.out, "%s report to %s about %s: %s\n", map[string]string{"dmarc": "DMARC", "tls": "TLS"}[p.Kind], p.Domain, p.Day.Format(time.DateOnly), state(p))
		if !c.Now {
			fmt.Fprintln(e.out, p.Document)
		}
	}
	return nil
}

// state says what becomes of a report.
func state(p *app.ReportPreview) string {
	to := postino.Printable(strings.Join(p.To, ", "))
	switch s := p.Sent; {
	case s != nil && s.State == "sent":
		return "sent at " + s.Time.Local().Format("2006-01-02 15:04") + " to " + postino.Printable(strings.Join(s.To, ", "))
	case s != nil:
		return s.State + ": " + postino.Printable(s.Reason)
	case p.Problem != "":
		return "not to be sent: " + postino.Printable(p.Problem)
	case !p.Complete:
		return "the day is not over; it leaves at " + p.Due.Local().Format("2006-01-02 15:04") + " to " + to
	}
	return "leaves at " + p.Due.Local().Format("2006-01-02 15:04") + " to " + to
}

type reportImportCmd struct {
	store
	Files []string `arg:"" type:"existingfile" help:"Messages, or reports as they are: eml, xml, json, gz, zip."`
}

// maxReportFile bounds a file with reports (MA8).
const maxReportFile = 10 << 20

// Run reads all files; one that is bad does not stop the others.
func (c *reportImportCmd) Run(e *env) error {
	return c.session(e, func(admin app.Admin) error {
		var failed error
		total := app.ReportsKept{}
		for _, name := range c.Files {
			var kept app.ReportsKept
			b, err := readAtMost(name, maxReportFile)
			if err == nil {
				err = admin.Call(e.ctx, "report.import", app.ReportFile{Name: name, Data: b}, &kept)
			}
			if err != nil {
				fmt.Fprintf(e.err, "%s: %v\n", name, err)
				failed = err
				continue
			}
			total.New, total.Known = total.New+kept.New, total.Known+kept.Known
		}
		if err := said(e, "%d new %s, %d known before", total.New, plural(int64(total.New), "report"), total.Known); err != nil {
			return err
		}
		return failed
	})
}

func readAtMost(name string, max int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, postino.E(postino.NotFound, "read", name, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, max+1))
	if err == nil && int64(len(b)) > max {
		err = postino.E(postino.Full, "read", name, fmt.Errorf("it is larger than %s", size(max)))
	}
	return b, err
}

// reporters names who reported.
func reporters(by []string, n int) string {
	const shown = 5
	for i := range by {
		by[i] = postino.Printable(by[i])
	}
	text := strings.Join(by[:min(len(by), shown)], ", ")
	if len(by) > shown {
		text += fmt.Sprintf(" and %d others", len(by)-shown)
	}
	return fmt.Sprintf("%s (%d %s)", text, n, plural(int64(n), "report"))
}

func plural(n int64, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// times is how often something happened.
func times(n int64) string {
	if n == 1 {
		return "once"
	}
	return thousands(n) + " times"
}

// thousands writes a number with commas.
func thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// paragraph prints text in lines of at most 100 columns.
func paragraph(w io.Writer, indent, text string) {
	line := indent
	for word := range strings.FieldsSeq(postino.Printable(text)) {
		if len(line) > len(indent) && len(line)+1+len(word) > 100 {
			fmt.Fprintln(w, line)
			line = indent
		}
		if len(line) > len(indent) {
			line += " "
		}
		line += word
	}
	if len(line) > len(indent) {
		fmt.Fprintln(w, line)
	}
}
