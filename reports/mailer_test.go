package reports

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/kv/lsm"
	"github.com/postino-mail/postino/mailauth"
	"github.com/postino-mail/postino/message"
	"github.com/postino-mail/postino/vfs"
)

// post is a Sender that keeps what it is given in the store, as the queue does.
type post struct {
	db    kv.DB
	mails []Mail
	texts []string
	times []time.Time
	err   error
}

func (p *post) send(ctx context.Context, m Mail) error {
	if p.err != nil {
		return p.err
	}
	var text bytes.Buffer
	if err := m.Build(&text); err != nil {
		return err
	}
	err := p.db.Update(ctx, m.Scopes, func(tx kv.Tx) error {
		if m.Also != nil {
			if err := m.Also(tx); err != nil {
				return err
			}
		}
		return tx.Set([]byte("queue"+m.Reason), text.Bytes())
	})
	if err == nil {
		p.mails, p.texts, p.times = append(p.mails, m), append(p.texts, text.String()), append(p.times, time.Now())
	}
	return err
}

func identity(context.Context) (Identity, error) {
	return Identity{Org: "Mail Example", From: postino.Address{Local: "postmaster", Domain: "mx.example"}, Generator: "Postino 1"}, nil
}

// names is a resolver over one zone text with names of all domains.
func names(t testing.TB, zone string) *dns.Fake {
	t.Helper()
	f := dns.NewFake()
	if err := f.AddZone("example", zone, dns.Insecure); err != nil {
		t.Fatal(err)
	}
	return f
}

const zone = `
_dmarc.shop TXT "v=DMARC1; p=reject; rua=mailto:dmarc@shop.example"
shop.example._report._dmarc.collector TXT "v=DMARC1"
shop.example._report._dmarc.moved TXT "v=DMARC1; rua=mailto:other@moved.example"
shop.example._report._dmarc.away TXT "v=DMARC1; rua=mailto:victim@third.example"
shop.example._report._dmarc.silent TXT "hello"
_smtp._tls.shop TXT "v=TLSRPTv1; rua=mailto:tls@shop.example"
`

func newMailer(t testing.TB, db kv.DB, p *post) *Mailer {
	return NewMailer(MailerOptions{
		DB: db, DNS: names(t, zone), Send: p.send, Identity: identity, Hostname: "mail.mx.example", DMARC: true, TLS: true, Failures: true,
	})
}

// collect writes what came at a time.
func collect(db kv.DB, outcomes ...DMARCOutcome) {
	c := NewCollector(db, CollectorOptions{})
	for _, o := range outcomes {
		c.DMARC(o)
		c.TLS(TLSOutcome{Time: o.Time, Policy: TLSPolicy{Type: NoPolicy, Domain: o.Policy.Domain}, Session: true, Report: o.Report})
	}
	c.Close()
}

// A report leaves once, some time after its day, and a restart neither repeats nor
// forgets it (MA8).
func TestOneReportADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, err := lsm.Open(vfs.Memory(), "db", lsm.Options{MemTableBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		p := &post{db: db}
		start := time.Now()
		o := outcome(1)
		o.Time = start
		collect(db, o)
		for range 3 * 24 / 5 { // a restart every five hours for three days
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Hour)
			if err := newMailer(t, db, p).Run(ctx); err != nil {
				t.Fatal(err)
			}
			cancel()
		}
		synctest.Wait()
		if len(p.mails) != 2 {
			t.Fatalf("%d mails were sent: %v", len(p.mails), p.texts)
		}
		for i, at := range p.times {
			if midnight := dayStart(dayOf(start) + 1); at.Before(midnight) || at.After(midnight.Add(4*time.Hour+3*time.Minute)) {
				t.Errorf("mail %d left at %v", i, at)
			}
		}
		if p.times[0].Equal(p.times[1]) {
			t.Error("both left at the same moment")
		}
	})
}

// What is sent reads as what was counted.
func TestReportMail(t *testing.T) {
	db := openKV(t)
	p := &post{db: db}
	o, twice := outcome(1), outcome(2)
	o.Reasons, o.Problem = []Override{{LocalPolicy, "because <&> of us"}}, "sp is unknown"
	twice.Problem = o.Problem
	collect(db, o, twice, twice)
	m := newMailer(t, db, p)
	now := dayStart(dayOf(day0) + 1).Add(5 * time.Hour)
	m.round(t.Context(), now)
	m.round(t.Context(), now.Add(time.Hour))
	if len(p.mails) != 2 {
		t.Fatalf("%d mails", len(p.mails))
	}
	for i, text := range p.texts {
		got, err := ReadReports(strings.NewReader(text), ReadLimits{})
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		x := message.Parse([]byte(text), message.Limits{})
		subject, _ := message.FirstField(x.Header(), "subject")
		switch {
		case len(got.DMARC) == 1:
			a := got.DMARC[0]
			if len(a.Records) != 2 || a.Records[0].Count != 2 || a.Records[1].Reasons[0].Comment != "because <&> of us" || a.Policy != o.Policy || a.Problems[0] != o.Problem {
				t.Errorf("report is %+v", a)
			}
			if p.mails[i].From != (postino.Address{Local: "dmarc-reports", Domain: "mx.example"}) || p.mails[i].To[0].String() != "dmarc@shop.example" {
				t.Errorf("envelope %+v", p.mails[i])
			}
			name := x.Parts[2].Filename()
			if want := "mx.example!shop.example!1772323200!1772409599.xml.gz"; name != want || !x.Parts[2].Is("application", "gzip") {
				t.Errorf("file %q, want %q", name, want)
			}
			if want := "Report Domain: shop.example Submitter: mx.example Report-ID: <dmarc.20260301.shop.example@mx.example>"; string(message.Unfold(subject)) != want {
				t.Errorf("subject %q", message.Unfold(subject))
			}
		case len(got.TLS) == 1:
			r := got.TLS[0]
			if r.Domain() != "shop.example" || r.Policies[0].Good != 3 || r.Contact != "postmaster@mx.example" {
				t.Errorf("report is %+v", r)
			}
			for name, want := range map[string]string{"tls-report-domain": "shop.example", "tls-report-submitter": "mx.example", "tls-required": "No"} {
				if v, _ := message.FirstField(x.Header(), name); strings.TrimSpace(string(v)) != want {
					t.Errorf("%s is %q", name, v)
				}
			}
			if x.Parts[0].Subtype != "report" || x.Parts[0].Param("report-type") != "tlsrpt" || !x.Parts[2].Is("application", "tlsrpt+gzip") {
				t.Errorf("parts %+v", x.Parts)
			}
		}
	}
}

// Two servers would else tell each other every day of nothing but their reports.
func TestNoReportOnReports(t *testing.T) {
	db := openKV(t)
	p := &post{db: db}
	o := outcome(1)
	o.Report = true
	collect(db, o)
	m := newMailer(t, db, p)
	m.round(t.Context(), dayStart(dayOf(day0)+1).Add(5*time.Hour))
	if len(p.mails) != 0 {
		t.Errorf("sent %v", p.texts)
	}
}

// RFC 9990 §4, MA8: nobody gets reports who does not want them.
func TestDestinations(t *testing.T) {
	f := names(t, zone)
	v := Verifier{DNS: f}
	for uri, want := range map[string]string{
		"mailto:dmarc@shop.example": "dmarc@shop.example", "mailto:a@reports.shop.example!10m": "a@reports.shop.example", "mailto:a@collector.example": "a@collector.example",
		"mailto:a@moved.example": "other@moved.example", "mailto:a@away.example": "", "mailto:a@silent.example": "", "mailto:a@victim.example": "",
		"https://shop.example/": "", "mailto:": "", "mailto:a%40b@shop.example": "", "ftp:x": "", "": "", "mailto:a@shop.example!x": "", "MAILTO:a@shop.example?subject=x": "a@shop.example",
		"mailto:a@" + strings.Repeat("a.", 100) + "example": "",
	} {
		all, err := v.destinations(t.Context(), "shop.example", "rua", []string{uri})
		var got []string
		for _, d := range all {
			got = append(got, d.to.String())
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s leads to %q, %v; want %q", uri, got, err, want)
		}
	}
	f.SetFault("shop.example._report._dmarc.collector.example", dns.TypeTXT, dns.Fault{Kind: dns.FaultServFail})
	if _, err := v.destinations(t.Context(), "shop.example", "rua", []string{"mailto:a@collector.example"}); !postino.Is(err, postino.Transient) {
		t.Errorf("an answer that cannot be had gave %v", err)
	}
}

// A report that cannot go now goes later; one that never can is given up.
func TestRetries(t *testing.T) {
	db := openKV(t)
	p := &post{db: db, err: postino.E(postino.Transient, "send", "", nil)}
	collect(db, outcome(1))
	m := newMailer(t, db, p)
	now := dayStart(dayOf(day0) + 1).Add(5 * time.Hour)
	next := m.round(t.Context(), now)
	if next.Sub(now) > 2*time.Hour {
		t.Errorf("tried again after %v", next.Sub(now))
	}
	p.err = nil
	m.round(t.Context(), next)
	if len(p.mails) != 2 {
		t.Errorf("%d mails after the second try", len(p.mails))
	}
	other := outcome(1)
	other.Time = day0.Add(24 * time.Hour)
	collect(db, other)
	p.err = errors.New("never")
	for at := now.Add(24 * time.Hour); at.Before(now.Add(4 * 24 * time.Hour)); {
		at = m.round(t.Context(), at)
	}
	p.err = nil
	p.mails = nil
	m.round(t.Context(), now.Add(4*24*time.Hour))
	if len(p.mails) != 0 {
		t.Error("sent days later")
	}
}

// Destinations whose reports come back three days in a row have a pause.
func TestBouncesStopReports(t *testing.T) {
	db := openKV(t)
	m := newMailer(t, db, &post{db: db})
	a := postino.Address{Local: "dmarc", Domain: "shop.example"}
	for day := range 3 {
		at := day0.Add(time.Duration(day) * 24 * time.Hour)
		for range 5 {
			if err := m.Bounced(t.Context(), a, at); err != nil {
				t.Fatal(err)
			}
		}
		if got := m.bounces(t.Context(), a, at); got != (day == 2) {
			t.Errorf("day %d: stopped %v", day, got)
		}
	}
	if m.bounces(t.Context(), a, day0.Add(17*24*time.Hour)) {
		t.Error("it has no end")
	}
}

// A power cut at any write leaves a report sent or owed: never both, never neither.
func TestPowerCutBetweenMarkAndMail(t *testing.T) {
	mem := vfs.Memory()
	var cuts []*vfs.Mem
	armed := false
	fs := vfs.Hook(mem, func(op vfs.Op) error {
		if armed && op.Writes() {
			cuts = append(cuts, mem.Crash(30*(len(cuts)%4), uint64(len(cuts))))
		}
		return nil
	})
	db, err := lsm.Open(fs, "db", lsm.Options{MemTableBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	collect(db, outcome(1))
	now := dayStart(dayOf(day0) + 1).Add(5 * time.Hour)
	armed = true
	newMailer(t, db, &post{db: db}).round(t.Context(), now)
	armed = false
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if len(cuts) < 2 {
		t.Fatalf("only %d writes", len(cuts))
	}
	before := 0
	for i, cut := range cuts {
		db, err := lsm.Open(cut, "db", lsm.Options{MemTableBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		queued := 0
		count := func() {
			queued = 0
			if err := db.View(t.Context(), nil, func(r kv.Reader) error {
				return r.Scan(kv.Prefix([]byte("queue")), func(_, _ []byte) bool { queued++; return true })
			}); err != nil {
				t.Fatal(err)
			}
		}
		count()
		p := &post{db: db}
		newMailer(t, db, p).round(t.Context(), now)
		if queued+len(p.mails) != 2 {
			t.Errorf("cut %d: %d were on the queue, then %d were sent", i, queued, len(p.mails))
		}
		if count(); queued != 2 {
			t.Errorf("cut %d: %d on the queue at the end", i, queued)
		}
		before += 2 - len(p.mails)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d power cuts, %d mails had been queued before them", len(cuts), before)
}

// RFC 9991: who asks for it is told of a failure at once, an hour later of the
// next, and learns no address of others.
func TestFailureReports(t *testing.T) {
	db := openKV(t)
	p := &post{db: db}
	m := newMailer(t, db, p)
	f := &DMARCFailure{
		DMARCOutcome: outcome(1), RUF: []string{"mailto:ruf@shop.example", "mailto:a@victim.example"}, MailFrom: postino.Address{Local: "jane.doe", Domain: "esp.example"}, SourcePort: 4242,
		Header: []byte("Received: from x by y for <secret.person@mx.example>; Mon, 2 Mar 2026 10:00:00 +0000\r\nFrom: Shop <news@shop.example>\r\nTo: \"Secret Person\" <secret.person@mx.example>\r\n" +
			"Subject: Offer\r\nX-Secret: keep\r\nMessage-ID: <1@shop.example>\r\n\r\n"),
	}
	m.failure(t.Context(), f, day0)
	m.failure(t.Context(), f, day0.Add(time.Minute))
	m.failure(t.Context(), f, day0.Add(2*time.Minute))
	m.failure(t.Context(), f, day0.Add(time.Hour))
	if len(p.texts) != 2 || len(p.mails[0].To) != 1 {
		t.Fatalf("%d mails", len(p.texts))
	}
	for _, secret := range []string{"secret.person", "Secret Person", "X-Secret", "jane.doe"} {
		if strings.Contains(p.texts[0], secret) {
			t.Errorf("the report tells %q:\n%s", secret, p.texts[0])
		}
	}
	got, err := ParseFeedback(strings.NewReader(p.texts[1]), ReadLimits{})
	if err != nil {
		t.Fatalf("%v\n%s", err, p.texts[1])
	}
	if got.Type != "auth-failure" || got.AuthFailure != "dmarc" || got.Alignment != "dkim, spf" || got.Source.String() != "192.0.0.1" || got.Port != 4242 || got.Incidents != 3 ||
		got.About() != "shop.example" || got.Delivery != "reject" || got.DKIMDomain != "shop.example" || got.Subject != "Offer" || got.From != "news@shop.example" || got.Reporter != "mx.example" {
		t.Errorf("read %+v", got)
	}
}

func TestFailureIsWanted(t *testing.T) {
	for _, tc := range []struct {
		fo        string
		dkim, spf bool
		result    mailauth.Result
		want      bool
	}{
		{"", false, false, mailauth.Fail, true}, {"0", true, false, mailauth.Pass, false}, {"1", true, false, mailauth.Pass, true}, {"1", true, true, mailauth.Pass, false},
		{"d", true, true, mailauth.Fail, true}, {"d", false, false, mailauth.None, false}, {"0:s", true, true, mailauth.Pass, false}, {"x", false, false, mailauth.Fail, false},
	} {
		f := &DMARCFailure{DMARCOutcome: outcome(1)}
		f.Policy.FO, f.DKIMAligned, f.SPFAligned, f.DKIM[0].Result, f.SPF.Result = tc.fo, tc.dkim, tc.spf, tc.result, tc.result
		if got := f.wanted(); got != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}

// RFC 6590: a local part is always hidden in the same way.
func TestRedact(t *testing.T) {
	secret := []byte("secret")
	out := string(redactText(nil, []byte(`for <ana.b@mx.example>; "x y"@mx.example, news@shop.example id 1@2 @`), "shop.example", secret))
	if strings.Contains(out, "ana.b") || strings.Contains(out, "x y") || !strings.Contains(out, "news@shop.example") || strings.Count(out, "redacted.") < 3 {
		t.Errorf("redacted to %q", out)
	}
	if a, b := redactLocal("a", "x.example", "y.example", secret), redactLocal("a", "x.example", "y.example", secret); a != b || a == "a" {
		t.Errorf("%q and %q", a, b)
	}
}

// What is old is removed.
func TestMailerTrims(t *testing.T) {
	db := openKV(t)
	collect(db, outcome(1))
	m := newMailer(t, db, &post{db: db})
	m.round(t.Context(), dayStart(dayOf(day0)+1).Add(5*time.Hour))
	m.round(t.Context(), day0.Add(40*24*time.Hour))
	if err := db.View(t.Context(), nil, func(r kv.Reader) error {
		return r.Scan(kv.Prefix([]byte{'R'}), func(k, _ []byte) bool { t.Errorf("row %q stays", k); return true })
	}); err != nil {
		t.Fatal(err)
	}
}
