package reports

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/xml"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/mailauth"
	"pgregory.net/rapid"
)

// words are texts as strangers choose them.
var words = rapid.OneOf(rapid.StringMatching(`[ -~]{0,40}`), rapid.StringMatching(`[a-zà-ÿ<>&"']{0,20}`)).Filter(func(s string) bool { return strings.TrimSpace(s) == s })

func drawAggregate(t *rapid.T) *Aggregate {
	word := func(name string) string { return words.Draw(t, name) }
	domain := func(name string) string {
		return rapid.StringMatching(`[a-z]{1,12}(\.[a-z]{2,8}){1,3}`).Draw(t, name)
	}
	policy := rapid.SampledFrom([]Disposition{None, Quarantine, Reject})
	result := rapid.SampledFrom([]mailauth.Result{mailauth.Pass, mailauth.Fail, mailauth.None, mailauth.TempError})
	a := &Aggregate{
		Org: "Org" + word("org"), Email: "postmaster@" + domain("email"), Contact: word("contact"), ID: "id" + rapid.StringMatching(`[a-z0-9.@-]{1,40}`).Draw(t, "id"),
		Begin: dayStart(20513), End: dayStart(20514).Add(-time.Second), Generator: word("generator"),
		Policy: DMARCPolicy{Domain: domain("domain"), P: policy.Draw(t, "p"), SP: policy.Draw(t, "sp"), NP: policy.Draw(t, "np"), ADKIM: "r", ASPF: "s", FO: "1:d", Testing: "n", Discovery: "treewalk"},
	}
	if p := word("problem"); p != "" {
		a.Problems = []string{p}
	}
	for range rapid.IntRange(1, 5).Draw(t, "records") {
		r := Record{
			Source: netip.AddrFrom4([4]byte{192, 0, 2, byte(rapid.IntRange(0, 255).Draw(t, "ip"))}), Count: rapid.Int64Range(1, 1<<40).Draw(t, "count"),
			Disposition: rapid.SampledFrom([]Disposition{None, Passed, Quarantine, Reject}).Draw(t, "disposition"),
			DKIMAligned: rapid.Bool().Draw(t, "dkim"), SPFAligned: rapid.Bool().Draw(t, "spf"), HeaderFrom: domain("from"), EnvelopeTo: domain("to"),
			SPF: SPFResult{Domain: domain("spf domain"), Result: result.Draw(t, "spf result"), Human: word("spf human")},
		}
		if rapid.Bool().Draw(t, "not null") {
			r.EnvelopeFrom = domain("envelope")
		}
		for range rapid.IntRange(0, 3).Draw(t, "signatures") {
			r.DKIM = append(r.DKIM, DKIMResult{Domain: domain("d"), Selector: "s1", Result: result.Draw(t, "result"), Human: word("human")})
		}
		for range rapid.IntRange(0, 2).Draw(t, "reasons") {
			r.Reasons = append(r.Reasons, Override{Type: rapid.SampledFrom([]string{LocalPolicy, MailingList, TestMode, TrustedForwarder, OtherReason}).Draw(t, "type"), Comment: word("comment")})
		}
		a.Records = append(a.Records, r)
	}
	return a
}

// What is written reads as what it was, and its elements stand in the order of
// RFC 9990 appendix A.
func TestAggregateRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawAggregate(t)
		var out bytes.Buffer
		if err := want.WriteXML(&out); err != nil {
			t.Fatal(err)
		}
		got, err := ParseAggregate(bytes.NewReader(out.Bytes()), ReadLimits{})
		if err != nil {
			t.Fatalf("%v\n%s", err, &out)
		}
		if d := differ(want, got); d != "" {
			t.Fatal(d)
		}
		if err := checkSchema(out.Bytes()); err != nil {
			t.Fatalf("%v\n%s", err, &out)
		}
	})
}

// schema is RFC 9990 appendix A: what each element may hold, in order; "!" marks
// what must be there, "*" what may repeat.
var schema = map[string]string{
	"/feedback":                                    "version report_metadata! policy_published! extension record!*",
	"/feedback/report_metadata":                    "org_name! email! extra_contact_info report_id! date_range! error generator",
	"/feedback/policy_published":                   "domain! adkim aspf p! sp np fo testing discovery_method",
	"/feedback/record":                             "row! identifiers! auth_results!",
	"/feedback/record/row":                         "source_ip! count! policy_evaluated!",
	"/feedback/record/row/policy_evaluated":        "disposition! dkim! spf! reason*",
	"/feedback/record/row/policy_evaluated/reason": "type! comment",
	"/feedback/record/identifiers":                 "envelope_to envelope_from header_from!",
	"/feedback/record/auth_results":                "dkim* spf",
	"/feedback/record/auth_results/dkim":           "domain! selector! result! human_result",
	"/feedback/record/auth_results/spf":            "domain! scope result! human_result",
	"/feedback/report_metadata/date_range":         "begin! end!",
}

// checkSchema follows the schema over a document.
func checkSchema(doc []byte) error {
	type open struct {
		path string
		kids []string
	}
	var stack []open
	d := xml.NewDecoder(bytes.NewReader(doc))
	for {
		tok, err := d.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			if tok.Name.Space != dmarcNamespace {
				return fmt.Errorf("%s is in %q", tok.Name.Local, tok.Name.Space)
			}
			path := "/" + tok.Name.Local
			if n := len(stack); n > 0 {
				path = stack[n-1].path + path
				stack[n-1].kids = append(stack[n-1].kids, tok.Name.Local)
			}
			stack = append(stack, open{path: path})
		case xml.EndElement:
			top := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			if err := checkOrder(top.path, schema[top.path], top.kids); err != nil {
				return err
			}
		}
	}
}

func checkOrder(path, rule string, kids []string) error {
	for _, want := range strings.Fields(rule) {
		name := strings.TrimRight(want, "!*")
		n := 0
		for len(kids) > 0 && kids[0] == name {
			kids, n = kids[1:], n+1
		}
		if n == 0 && strings.Contains(want, "!") || n > 1 && !strings.HasSuffix(want, "*") {
			return fmt.Errorf("%s has %d of %s", path, n, name)
		}
	}
	if len(kids) > 0 {
		return fmt.Errorf("%s has %v where it must not be", path, kids)
	}
	return nil
}

// wild are reports as other software writes them.
const (
	olderReport = `<?xml version="1.0" encoding="UTF-8" ?>
<feedback>
  <report_metadata>
    <org_name>receiver.example</org_name>
    <email>noreply@receiver.example</email>
    <extra_contact_info>https://receiver.example/help</extra_contact_info>
    <report_id>1234567890</report_id>
    <date_range><begin>1772323200</begin><end>1772409599</end></date_range>
  </report_metadata>
  <policy_published>
    <domain>Shop.Example</domain><adkim>r</adkim><aspf>r</aspf><p>Reject</p><sp>none</sp><pct>100</pct>
  </policy_published>
  <record>
    <row>
      <source_ip> 192.0.2.7 </source_ip><count>1200</count>
      <policy_evaluated><disposition>reject</disposition><dkim>fail</dkim><spf>fail</spf>
        <reason><type>forwarded</type><comment/></reason></policy_evaluated>
    </row>
    <identifiers><header_from>shop.example</header_from></identifiers>
    <auth_results>
      <dkim><domain>esp.example</domain><result>pass</result></dkim>
      <spf><domain>esp.example</domain><result>hardfail</result></spf>
      <spf><domain>helo.esp.example</domain><scope>helo</scope><result>none</result></spf>
    </auth_results>
  </record>
  <record><row><source_ip>not an address</source_ip><count>1</count></row></record>
  <record><row><source_ip>2001:db8::1</source_ip><count>-1</count></row></record>
</feedback>`
	newerReport = `<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0" xmlns:ext="urn:example:ext">
 <version>1.0</version>
 <report_metadata><report_id>x@r.example</report_id><generator>G 1</generator><org_name lang="en">R</org_name><email>a@r.example</email>
  <date_range><begin>1772323200</begin><end>1772409599</end></date_range></report_metadata>
 <policy_published><domain>shop.example</domain><p>none</p><np>reject</np><testing>y</testing><discovery_method>treewalk</discovery_method></policy_published>
 <extension><ext:policy_published><ext:domain>evil.example</ext:domain></ext:policy_published></extension>
 <record><row><source_ip>::ffff:192.0.2.9</source_ip><count>3</count><policy_evaluated><disposition>pass</disposition><dkim>pass</dkim><spf>fail</spf></policy_evaluated></row>
  <identifiers><envelope_from/><header_from>shop.example</header_from></identifiers>
  <auth_results><dkim><domain>shop.example</domain><selector>s</selector><result>pass</result></dkim></auth_results>
  <ext:row><ext:count>99</ext:count></ext:row></record>
</feedback>`
)

func TestAggregateInTheWild(t *testing.T) {
	a, err := ParseAggregate(strings.NewReader(olderReport), ReadLimits{})
	if err != nil {
		t.Fatal(err)
	}
	want := &Aggregate{
		Org: "receiver.example", Email: "noreply@receiver.example", Contact: "https://receiver.example/help", ID: "1234567890",
		Begin: time.Unix(1772323200, 0).UTC(), End: time.Unix(1772409599, 0).UTC(), Skipped: 2,
		Policy: DMARCPolicy{Domain: "shop.example", P: Reject, SP: None, ADKIM: "r", ASPF: "r", Percent: "100"},
		Records: []Record{{
			Source: netip.MustParseAddr("192.0.2.7"), Count: 1200, Disposition: Reject, HeaderFrom: "shop.example", Reasons: []Override{{Type: "forwarded"}},
			DKIM: []DKIMResult{{Domain: "esp.example", Result: mailauth.Pass}}, SPF: SPFResult{Domain: "esp.example", Result: mailauth.Fail},
		}},
	}
	if d := differ(want, a); d != "" {
		t.Error(d)
	}
	if a, err = ParseAggregate(strings.NewReader(newerReport), ReadLimits{}); err != nil {
		t.Fatal(err)
	}
	if a.Policy.Domain != "shop.example" || a.Policy.NP != Reject || a.Org != "R" || len(a.Records) != 1 || a.Records[0].Count != 3 || a.Records[0].Source.String() != "192.0.2.9" {
		t.Errorf("read %+v", a)
	}
}

// MA8, PA8: entities, document types, depth and broken documents are refused.
func TestAggregateHostile(t *testing.T) {
	deep := strings.Repeat("<a>", 50)
	for name, doc := range map[string]string{
		"entity bomb": `<!DOCTYPE f [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><feedback>&b;</feedback>`,
		"external":    `<!DOCTYPE feedback SYSTEM "file:///etc/passwd"><feedback/>`,
		"unknown":     strings.Replace(olderReport, "receiver.example", "&undefined;", 1),
		"deep":        "<feedback>" + deep,
		"not closed":  olderReport[:len(olderReport)-5],
		"crossed":     "<feedback><a></feedback></a>",
		"other root":  "<html><body/></html>",
		"two roots":   olderReport + olderReport[strings.Index(olderReport, "<feedback"):],
		"empty":       "",
		"no records":  strings.ReplaceAll(olderReport, "record>", "rekord>"),
		"no id":       strings.ReplaceAll(olderReport, "report_id>", "id>"),
		"no time":     strings.ReplaceAll(olderReport, "date_range>", "range>"),
		"backward":    strings.ReplaceAll(olderReport, "1772409599", "1"),
		"binary":      "\x00\x01\x02",
		"not UTF-8":   "<feedback>\xff\xfe</feedback>",
	} {
		if a, err := ParseAggregate(strings.NewReader(doc), ReadLimits{}); !postino.Is(err, postino.Invalid) {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
	row := olderReport[strings.Index(olderReport, "<record>") : strings.Index(olderReport, "</record>")+len("</record>")]
	for name, doc := range map[string]string{
		"rows":       strings.Replace(olderReport, row, strings.Repeat(row, 12), 1),
		"signatures": strings.Replace(olderReport, "<dkim>", strings.Repeat("<dkim></dkim>", 60)+"<dkim>", 2),
	} {
		if _, err := ParseAggregate(strings.NewReader(doc), ReadLimits{Rows: 10}); !postino.Is(err, postino.Full) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func pack(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func archive(t testing.TB, files ...[]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for i, b := range files {
		w, err := z.Create(fmt.Sprintf("dir/file%d", i))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestReadFile(t *testing.T) {
	older := []byte(olderReport)
	for name, f := range map[string][]byte{
		"xml": older, "bom": append([]byte("\xef\xbb\xbf"), older...), "gzip": pack(t, older), "zip": archive(t, []byte("read me"), older),
		"gzip in zip": archive(t, pack(t, older)), "zip in gzip": pack(t, archive(t, older)),
		"message": []byte("From: a@b.example\r\nContent-Type: text/plain\r\n\r\n" + olderReport),
	} {
		got, err := ReadFile(bytes.NewReader(f), ReadLimits{})
		if err != nil || len(got.DMARC) != 1 || got.DMARC[0].ID != "1234567890" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// MA8: what unpacks to too much, is nested too deep or has too many files is
// refused, with no more memory than the limits allow.
func TestArchiveBombs(t *testing.T) {
	zeros := bytes.Repeat([]byte{'0'}, 30<<20)
	small := make([][]byte, 20)
	nested := []byte(olderReport)
	for range 5 {
		nested = archive(t, nested)
	}
	many := bytes.Repeat([]byte("<feedback>"), 600<<10) // 6 MB in few octets
	lied := archive(t, zeros)
	for i := range lied { // the sizes that the archive states are zero
		if bytes.HasPrefix(lied[i:], []byte("PK\x01\x02")) {
			clear(lied[i+24 : i+28])
		}
	}
	for name, f := range map[string][]byte{
		"gzip": pack(t, zeros), "zip": archive(t, zeros), "gzip in gzip": pack(t, pack(t, zeros)), "many files": archive(t, small...),
		"nested": nested, "ratio": pack(t, many),
	} {
		if got, err := ReadFile(bytes.NewReader(f), ReadLimits{Entries: 10}); !postino.Is(err, postino.Full) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if got, err := ReadFile(bytes.NewReader(lied), ReadLimits{}); err == nil {
		t.Errorf("an archive that lies gave %+v", got)
	}
	if _, err := ReadFile(bytes.NewReader(make([]byte, 2000)), ReadLimits{Bytes: 1000}); !postino.Is(err, postino.Full) {
		t.Errorf("a long file: %v", err)
	}
}

// A message may carry a report in any dress.
func TestReadReportsFromMail(t *testing.T) {
	tls := &TLSReport{Org: "S", Contact: "a@s.example", ID: "t1", Begin: dayStart(20513), End: dayStart(20514).Add(-time.Second), Policies: []TLSSummary{{Policy: TLSPolicy{Type: NoPolicy, Domain: "shop.example"}, Good: 5}}}
	var doc bytes.Buffer
	if err := tls.WriteJSON(&doc); err != nil {
		t.Fatal(err)
	}
	for name, mail := range map[string]string{
		"wrong type": mime("application/octet-stream", pack(t, []byte(olderReport))),
		"as zip":     mime("application/zip", archive(t, []byte(olderReport))),
		"lies":       mime("image/png", pack(t, []byte(olderReport))),
		"json":       mime("application/tlsrpt+json", doc.Bytes()),
		"json gz":    mime("application/tlsrpt+gzip", pack(t, doc.Bytes())),
		"whole body": "From: a@b.example\nContent-Type: application/gzip\nContent-Transfer-Encoding: base64\n\n" + base(pack(t, []byte(olderReport))),
	} {
		got, err := ReadReports(strings.NewReader(mail), ReadLimits{})
		if err != nil || got.Len() != 1 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for name, mail := range map[string]string{
		"no report": "From: a@b.example\n\nHello\n", "empty": "", "broken": mime("application/gzip", []byte("\x1f\x8bxxxx")), "json": mime("text/plain", []byte("{}")),
	} {
		if got, err := ReadReports(strings.NewReader(mail), ReadLimits{}); !postino.Is(err, postino.Invalid) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func base(b []byte) string {
	var lines []string
	for chunk := range slices.Chunk([]byte(encode64(b)), 76) {
		lines = append(lines, string(chunk))
	}
	return strings.Join(lines, "\n") + "\n"
}

func mime(typ string, b []byte) string {
	return "From: a@b.example\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\nSee what is attached.\n--b\nContent-Type: " + typ +
		"\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=x\n\n" + base(b) + "--b--\n"
}

func FuzzParseAggregate(f *testing.F) {
	f.Add([]byte(olderReport))
	f.Add([]byte(newerReport))
	f.Add([]byte("<!DOCTYPE f [<!ENTITY a 'b'>]><feedback>&a;</feedback>"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ParseAggregate(bytes.NewReader(b), ReadLimits{Rows: 1000})
		if err != nil {
			return
		}
		if len(a.Records) == 0 || len(a.Records) > 1000 {
			t.Fatalf("%d records", len(a.Records))
		}
		var out bytes.Buffer
		if err := a.WriteXML(&out); err != nil {
			t.Fatal(err)
		}
		if again, err := ParseAggregate(&out, ReadLimits{}); err != nil || len(again.Records) != len(a.Records) {
			t.Fatalf("what was written does not read: %v", err)
		}
	})
}

func FuzzReadReports(f *testing.F) {
	f.Add([]byte(mime("application/gzip", pack(f, []byte(olderReport)))))
	f.Add([]byte(mime("application/zip", archive(f, []byte(olderReport)))))
	f.Add([]byte(mime("application/tlsrpt+json", []byte(`{"organization-name":"x","report-id":"1","policies":[{}]}`))))
	f.Add(pack(f, pack(f, []byte(newerReport))))
	f.Fuzz(func(t *testing.T, b []byte) {
		lim := ReadLimits{Unpacked: 1 << 20, Rows: 1000, Entries: 5}
		for _, read := range []func(io.Reader, ReadLimits) (*Reports, error){ReadReports, ReadFile} {
			if got, err := read(bytes.NewReader(b), lim); err == nil && got.Len() == 0 {
				t.Fatal("no error and no report")
			}
		}
	})
}
