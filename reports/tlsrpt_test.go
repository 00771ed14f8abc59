package reports

import (
	"bytes"
	"encoding/base64"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"pgregory.net/rapid"
)

func encode64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// rfcReport is the example of RFC 8460 appendix B, with what the wild adds: a
// string for an array, null contact, no zone, an address that is none.
const rfcReport = `{
  "organization-name": "Company-X",
  "date-range": {"start-datetime": "2026-03-01T00:00:00Z", "end-datetime": "2026-03-01T23:59:59"},
  "contact-info": null,
  "report-id": "5065427c-23d3-47ca-b6e0-946ea0e8c4be",
  "policies": [{
    "policy": {"policy-type": "STS", "policy-string": ["version: STSv1", "mode: testing", "mx: *.mail.shop.example", "max_age: 86400"],
               "policy-domain": "Shop.Example", "mx-host": "*.mail.shop.example"},
    "summary": {"total-successful-session-count": 5326, "total-failure-session-count": 303},
    "failure-details": [
      {"result-type": "certificate-expired", "sending-mta-ip": "2001:db8:abcd:0012::1", "receiving-mx-hostname": "mx1.mail.shop.example", "failed-session-count": 100},
      {"result-type": "starttls-not-supported", "sending-mta-ip": "unknown", "receiving-ip": "203.0.113.56", "receiving-mx-hostname": "mx2.mail.shop.example",
       "failed-session-count": 200, "additional-information": "https://reports.company-x.example/report_info?id=5065427c"},
      {"result-type": "validation-failure", "failed-session-count": 3, "failure-reason-code": "X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED"}]
  }]
}`

func TestTLSReportInTheWild(t *testing.T) {
	got, err := ParseTLSReport(strings.NewReader(rfcReport), ReadLimits{})
	if err != nil {
		t.Fatal(err)
	}
	want := &TLSReport{
		Org: "Company-X", ID: "5065427c-23d3-47ca-b6e0-946ea0e8c4be", Begin: dayStart(20513), End: dayStart(20514).Add(-time.Second),
		Policies: []TLSSummary{{
			Policy: TLSPolicy{Type: PolicySTS, Domain: "shop.example", Strings: []string{"version: STSv1", "mode: testing", "mx: *.mail.shop.example", "max_age: 86400"}, MX: []string{"*.mail.shop.example"}},
			Good:   5326, Bad: 303, Failures: []TLSFailure{
				{Result: CertExpired, SendingIP: "2001:db8:abcd:12::1", MXHost: "mx1.mail.shop.example", Count: 100},
				{Result: StartTLSNotSupported, ReceivingIP: "203.0.113.56", MXHost: "mx2.mail.shop.example", Count: 200, Info: "https://reports.company-x.example/report_info?id=5065427c"},
				{Result: ValidationFailure, Count: 3, Reason: "X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED"},
			},
		}},
	}
	if d := differ(want, got); d != "" {
		t.Error(d)
	}
}

func TestTLSReportHostile(t *testing.T) {
	for name, doc := range map[string]string{
		"empty": "", "null": "null", "no policies": `{"organization-name":"x","report-id":"1"}`, "cut": rfcReport[:200], "array": "[]",
		"huge number": strings.Replace(rfcReport, "5326", "1e400", 1), "no id": strings.Replace(rfcReport, `"report-id"`, `"x"`, 1), "text": "hello",
	} {
		if got, err := ParseTLSReport(strings.NewReader(doc), ReadLimits{}); !postino.Is(err, postino.Invalid) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for name, doc := range map[string]string{
		"policies": `{"policies":[` + strings.Repeat("{},", 500) + "{}]}",
		"deep":     strings.Repeat(`{"x":`, 5000) + "1" + strings.Repeat("}", 5000),
	} {
		if _, err := ParseTLSReport(strings.NewReader(doc), ReadLimits{Rows: 100}); !postino.Is(err, postino.Full) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTLSReportRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var rows []TLSRecord
		for range rapid.IntRange(1, 6).Draw(t, "rows") {
			r := TLSRecord{Policy: TLSPolicy{Type: rapid.SampledFrom([]string{PolicySTS, PolicyTLSA, NoPolicy}).Draw(t, "type"), Domain: "shop.example"}, Count: 2, Sessions: 1}
			if r.Policy.Type == PolicyTLSA {
				r.Policy.Strings = []string{"3 1 1 AB"}
			}
			if rapid.Bool().Draw(t, "bad") {
				r.Result, r.MXHost, r.Reason = CertExpired, words.Draw(t, "mx"), words.Draw(t, "reason")
				r.ReceivingIP = netip.MustParseAddr("2001:db8::1")
			}
			rows = append(rows, r)
		}
		want := &TLSReport{Org: words.Draw(t, "org"), Contact: "tls@s.example", ID: "i1", Begin: dayStart(20513), End: dayStart(20514).Add(-time.Second), Policies: summarize(rows)}
		var out bytes.Buffer
		if err := want.WriteJSON(&out); err != nil {
			t.Fatal(err)
		}
		got, err := ParseTLSReport(&out, ReadLimits{})
		if err != nil {
			t.Fatal(err)
		}
		if d := differ(want, got); d != "" {
			t.Fatal(d)
		}
		good, bad := int64(0), int64(0)
		for _, p := range got.Policies {
			good, bad = good+p.Good, bad+p.Bad
		}
		if good+bad != int64(len(rows)) {
			t.Fatalf("%d and %d sessions of %d", good, bad, len(rows))
		}
	})
}

func FuzzParseTLSReport(f *testing.F) {
	f.Add([]byte(rfcReport))
	f.Add([]byte(`{"organization-name":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseTLSReport(bytes.NewReader(b), ReadLimits{Rows: 1000})
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := r.WriteJSON(&out); err != nil {
			t.Fatal(err)
		}
		if _, err := ParseTLSReport(&out, ReadLimits{}); err != nil {
			t.Fatalf("what was written does not read: %v\n%s", err, &out)
		}
	})
}
