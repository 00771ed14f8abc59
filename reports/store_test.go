package reports

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/mailauth"
)

func parsed(t testing.TB) *Aggregate {
	t.Helper()
	a, err := ParseAggregate(strings.NewReader(olderReport), ReadLimits{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// add keeps a report and tells whether it was known.
func add(t testing.TB, s *Store, r Received) (known bool, err error) {
	t.Helper()
	err = s.db.Update(t.Context(), s.Scopes(), func(tx kv.Tx) error {
		known, err = s.Add(tx, &r)
		return err
	})
	return known, err
}

// MA8: a report is kept once; a proven one takes the place of one that is not, and
// never the other way round.
func TestStoreKeepsOnce(t *testing.T) {
	s := NewStore(openKV(t), StoreOptions{})
	forged := parsed(t)
	forged.Records[0].Count = 1
	steps := []struct {
		a        *Aggregate
		verified bool
		known    bool
		count    int64
	}{{forged, false, false, 1}, {forged, false, true, 1}, {parsed(t), true, true, 1200}, {forged, false, true, 1200}, {forged, true, true, 1200}}
	for i, step := range steps {
		known, err := add(t, s, Received{DMARC: step.a, Verified: step.verified, By: "receiver.example", Time: day0})
		if err != nil || known != step.known {
			t.Errorf("step %d: known %v, %v", i, known, err)
		}
		n := 0
		if err := s.Each(t.Context(), KindDMARC, "shop.example", day0.AddDate(0, 0, -7), day0, func(r *Received) bool {
			if n++; r.DMARC.Records[0].Count != step.count {
				t.Errorf("step %d: %d messages", i, r.DMARC.Records[0].Count)
			}
			return true
		}); err != nil || n != 1 {
			t.Errorf("step %d: %d reports, %v", i, n, err)
		}
	}
}

// G10: what strangers send does not fill the store, nor push out what is proven.
func TestStoreIsBounded(t *testing.T) {
	s := NewStore(openKV(t), StoreOptions{MaxBytes: 400 << 10})
	refused := 0
	for n := range 40 {
		a := parsed(t)
		a.ID = fmt.Sprint("forged ", n)
		a.Records[0].DKIM[0].Human = noise(n)
		switch _, err := add(t, s, Received{DMARC: a, Time: day0}); {
		case postino.Is(err, postino.Full):
			refused++
		case err != nil:
			t.Fatal(err)
		}
	}
	if refused == 0 || refused == 40 {
		t.Errorf("%d of 40 were refused", refused)
	}
	if _, err := add(t, s, Received{DMARC: parsed(t), Verified: true, Time: day0}); err != nil {
		t.Errorf("a proven report was refused: %v", err)
	}
	far := parsed(t)
	far.Begin = day0.AddDate(1, 0, 0)
	if _, err := add(t, s, Received{DMARC: far, Time: day0}); !postino.Is(err, postino.Invalid) {
		t.Errorf("a report about next year: %v", err)
	}
	far.Begin = day0.AddDate(-2, 0, 0)
	if _, err := add(t, s, Received{DMARC: far, Time: day0}); !postino.Is(err, postino.Invalid) {
		t.Errorf("a report about years ago: %v", err)
	}
}

// noise is text that does not pack well.
func noise(n int) string {
	var b strings.Builder
	for x := uint32(n + 1); b.Len() < 1500; x = x*1664525 + 1013904223 {
		fmt.Fprintf(&b, "%08x", x^x>>16)
	}
	return b.String()
}

func TestStoreTrims(t *testing.T) {
	s := NewStore(openKV(t), StoreOptions{MaxBytes: 60 << 10})
	for day := range 60 {
		a := parsed(t)
		a.Begin = a.Begin.AddDate(0, 0, day)
		a.End = a.End.AddDate(0, 0, day)
		a.Records[0].DKIM[0].Human = noise(day)
		if _, err := add(t, s, Received{DMARC: a, Verified: true, Time: a.End}); err != nil {
			t.Fatal(err)
		}
	}
	kept := func(now time.Time) (n int) {
		if err := s.Trim(t.Context(), now); err != nil {
			t.Fatal(err)
		}
		if err := s.Each(t.Context(), KindDMARC, "", day0.AddDate(0, 0, -2), now, func(*Received) bool { n++; return true }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	last := day0.AddDate(0, 0, 60)
	if n := kept(last); n < 20 || n >= 60 {
		t.Errorf("%d of 60 reports fit into 60 KiB", n)
	}
	if n := kept(last.AddDate(0, 0, 410)); n != 0 {
		t.Errorf("%d reports stay after 400 days", n)
	}
}

// Stored formats of later programs are refused, broken ones found.
func TestStoredVersions(t *testing.T) {
	good, err := (&Received{Time: day0, DMARC: parsed(t)}).encode()
	if err != nil {
		t.Fatal(err)
	}
	if r, err := decodeReceived(good); err != nil || r.DMARC.ID != "1234567890" {
		t.Fatalf("%+v, %v", r, err)
	}
	good[0]++
	if _, err := decodeReceived(good); !postino.Is(err, postino.Invalid) {
		t.Errorf("a later version: %v", err)
	}
	for _, b := range [][]byte{nil, {0}, {1}, {1, 2, 3}, good[:20]} {
		b = append([]byte(nil), b...)
		if len(b) > 10 {
			b[0] = 1
		}
		if _, err := decodeReceived(b); !postino.Is(err, postino.Corrupt) {
			t.Errorf("%x: %v", b, err)
		}
	}
	if _, err := splitRow([]byte{9, 1, 1}); !postino.Is(err, postino.Invalid) {
		t.Errorf("a later row: %v", err)
	}
	if err := unmarshal([]byte{7, '{', '}'}, &Sent{}); !postino.Is(err, postino.Invalid) {
		t.Errorf("later JSON: %v", err)
	}
}

// record is what a source did.
func record(ip string, n int64, dkim, spf bool, d Disposition, edit func(*Record)) Record {
	r := Record{Source: netip.MustParseAddr(ip), Count: n, DKIMAligned: dkim, SPFAligned: spf, Disposition: d, HeaderFrom: "shop.example"}
	if edit != nil {
		edit(&r)
	}
	return r
}

// What the administrator is told: who sends in his name, by risk, and what to do.
func TestViewDMARC(t *testing.T) {
	s := NewStore(openKV(t), StoreOptions{})
	now := day0.AddDate(0, 0, 30)
	for day := range 20 {
		a := parsed(t)
		a.Begin, a.End, a.Policy.P = a.Begin.AddDate(0, 0, day), a.End.AddDate(0, 0, day), Quarantine
		a.Records = []Record{
			record("192.0.2.1", 1000, true, true, Passed, nil),
			record("192.0.2.2", 10, true, false, Passed, nil),
			record("2001:db8::3", 10, false, true, Passed, nil),
			record("192.0.2.4", 5, false, false, None, func(r *Record) { r.Reasons = []Override{{Type: MailingList}} }),
			record("192.0.2.5", 2, false, false, Quarantine, func(r *Record) {
				r.DKIM = []DKIMResult{{Domain: "esp.example", Result: mailauth.Pass}}
			}),
			record("192.0.2.6", 3, false, false, Reject, nil),
		}
		if _, err := add(t, s, Received{DMARC: a, Verified: day > 0, Time: a.End}); err != nil {
			t.Fatal(err)
		}
	}
	v, err := s.ViewDMARC(t.Context(), "shop.example", 40, now)
	if err != nil {
		t.Fatal(err)
	}
	if v.Reports != 20 || v.Unproven != 1 || v.Messages != 20*1030 || v.Passed != 20*1020 || len(v.Sources) != 6 {
		t.Errorf("view %+v", v)
	}
	for i, want := range []struct{ ip, advice string }{
		{"192.0.2.6", "add ip4:192.0.2.6 to the SPF record of shop.example"}, {"192.0.2.5", "It sends as esp.example"}, {"192.0.2.1", "All is well"},
		{"192.0.2.2", "SPF does not cover it"}, {"2001:db8::3", "nothing is signed"}, {"192.0.2.4", "Nothing to do"},
	} {
		if got := v.Sources[i]; got.Addr.String() != want.ip || !strings.Contains(got.Advice, want.advice) {
			t.Errorf("source %d is %s: %s; want %s: %s", i, got.Addr, got.Advice, want.ip, want.advice)
		}
	}
	if all := strings.Join(v.Advice, "\n"); !strings.Contains(all, "p=quarantine can become p=reject") || !strings.Contains(all, "1 of 20 reports") {
		t.Errorf("advice %q", v.Advice)
	}
	for name, change := range map[string]func(*DMARCView){
		"Too little": func(v *DMARCView) { v.Messages = 10 }, "as strict as it gets": func(v *DMARCView) { v.Policy.P = Reject }, "t=y": func(v *DMARCView) { v.Policy.Testing = "y" },
		"should stay": func(v *DMARCView) { v.Sources = append(v.Sources, Source{Messages: 5000}) }, "No reports came": func(v *DMARCView) { v.Reports = 0 },
	} {
		other := *v
		change(&other)
		if all := strings.Join(other.advise(), "\n"); !strings.Contains(all, name) {
			t.Errorf("%s: advice %q", name, all)
		}
	}
}

func TestViewTLS(t *testing.T) {
	s := NewStore(openKV(t), StoreOptions{})
	r, err := ParseTLSReport(strings.NewReader(rfcReport), ReadLimits{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := add(t, s, Received{TLS: r, Verified: true, Time: day0}); err != nil {
		t.Fatal(err)
	}
	v, err := s.ViewTLS(t.Context(), "shop.example", 30, day0)
	if err != nil {
		t.Fatal(err)
	}
	if v.Good != 5326 || v.Bad != 303 || len(v.Faults) != 3 || v.Faults[0].Result != StartTLSNotSupported || v.Faults[0].Count != 200 || !strings.Contains(v.Faults[1].Advice, "expired") {
		t.Errorf("view %+v", v)
	}
	if none, err := s.ViewTLS(t.Context(), "other.example", 30, day0); err != nil || none.Reports != 0 || !strings.Contains(none.Advice[0], "_smtp._tls.other.example") {
		t.Errorf("view %+v, %v", none, err)
	}
	if all, err := s.Domains(t.Context(), KindTLS, 30, day0); err != nil || len(all) != 1 || all[0] != "shop.example" {
		t.Errorf("domains %v, %v", all, err)
	}
	for _, result := range []string{StartTLSNotSupported, CertHostMismatch, CertExpired, CertNotTrusted, ValidationFailure, TLSAInvalid, DNSSECInvalid, DANERequired, STSPolicyFetchError, STSPolicyInvalid, STSWebPKIInvalid} {
		if tlsAdvice(result) == tlsAdvice("x") {
			t.Errorf("no advice for %s", result)
		}
	}
}

// complaint is in the form of RFC 5965 appendix B.2.
const complaint = `From: <abusedesk@provider.example>
Date: Thu, 8 Mar 2026 17:40:36 EDT
Subject: FW: Earn money
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="b"

--b
Content-Type: text/plain

This is an email abuse report.
--b
Content-Type: message/feedback-report

Feedback-Type: Abuse
User-Agent: SomeGenerator/1.0
Version: 1
Original-Mail-From: <somespammer@shop.example>
Original-Rcpt-To: <user@example.com>
Original-Rcpt-To: <user2@example.com>
Received-Date: Thu, 8 Mar 2026 14:00:00 EDT
Source-IP: [IPv6:2001:db8::7]
Source-Port: 4711
Authentication-Results: mail.provider.example; spf=fail smtp.mail=somespammer@shop.example
Reported-Domain: Shop.Example
Reported-Uri: http://shop.example/earn_money.html
Incidents: 3

--b
Content-Type: message/rfc822

From: <somespammer@shop.example>
To: <user@example.com>
Subject: =?utf-8?q?Earn_m=C3=B6ney?=
Message-ID: <8787KJKJ3K4J3K4J3K4J3.mail@shop.example>
Date: Thu, 8 Mar 2026 17:40:36 -0400

Spam
--b--
`

func TestFeedback(t *testing.T) {
	f, err := ParseFeedback(strings.NewReader(complaint), ReadLimits{})
	if err != nil {
		t.Fatal(err)
	}
	if f.Type != "abuse" || f.Reporter != "provider.example" || f.MailFrom != "somespammer@shop.example" || len(f.RcptTo) != 2 || f.Source.String() != "2001:db8::7" || f.Port != 4711 ||
		f.About() != "shop.example" || f.Incidents != 3 || f.Subject != "Earn möney" || f.MessageID != "8787KJKJ3K4J3K4J3K4J3.mail@shop.example" || f.Arrival.IsZero() || f.Date.IsZero() || len(f.URIs) != 1 {
		t.Errorf("read %+v", f)
	}
	for name, mail := range map[string]string{
		"no type": strings.Replace(complaint, "Feedback-Type: Abuse\n", "", 1), "plain": "From: a@b.example\n\nspam!", "empty": "",
		"inside": "From: a@b.example\nContent-Type: message/rfc822\n\n" + complaint,
	} {
		if f, err := ParseFeedback(strings.NewReader(mail), ReadLimits{}); !postino.Is(err, postino.Invalid) {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
	s := NewStore(openKV(t), StoreOptions{})
	for i := range 3 {
		other := *f
		other.Subject = fmt.Sprint(i)
		if _, err := add(t, s, Received{Feedback: &other, Time: day0.Add(time.Duration(i) * 24 * time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := s.Complaints(t.Context(), "shop.example", 30, 2, day0.AddDate(0, 0, 5))
	if err != nil || len(all) != 2 || all[0].Feedback.Subject != "2" {
		t.Errorf("complaints %+v, %v", all, err)
	}
}

func FuzzParseFeedback(f *testing.F) {
	f.Add([]byte(complaint))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseFeedback(strings.NewReader(string(b)), ReadLimits{})
		if err == nil && (r.Type == "" || r.Incidents < 1 || len(r.RcptTo) > maxFeedbackList) {
			t.Errorf("read %+v", r)
		}
	})
}

// Our own report about a domain of ours needs no proof.
func TestOwnReportIsProven(t *testing.T) {
	db := openKV(t)
	p := &post{db: db}
	collect(db, outcome(1))
	newMailer(t, db, p).round(t.Context(), dayStart(dayOf(day0)+1).Add(5*time.Hour))
	s := NewStore(db, StoreOptions{})
	for _, text := range p.texts {
		found, err := ReadReports(strings.NewReader(text), ReadLimits{})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Import(t.Context(), found, day0.Add(24*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	d, err := s.ViewDMARC(t.Context(), "shop.example", 30, day0.Add(24*time.Hour))
	if err != nil || d.Reports != 1 || d.Unproven != 0 {
		t.Errorf("view %+v, %v", d, err)
	}
	v, err := s.ViewTLS(t.Context(), "shop.example", 30, day0.Add(24*time.Hour))
	if err != nil || v.Reports != 1 || v.Unproven != 0 || v.Good != 1 {
		t.Errorf("view %+v, %v", v, err)
	}
}
