package smtp

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino"
)

// noon is when the parameters of these tests are read.
var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// everything announces all parameters.
func everything() *extensions {
	return &extensions{dsn: true, binary: true, auth: true, requireTLS: true, rrvs: true, deliverBy: true, priority: true, raise: true, solicit: true,
		unwanted: []string{"net.example:ADV"}, deliverByMin: 10 * time.Minute, holdFor: 24 * time.Hour, holdUntil: noon.Add(24 * time.Hour), size: 1 << 30, now: noon}
}

func TestTerms(t *testing.T) {
	at := func(d time.Duration) time.Time { return noon.Add(d) }
	for _, c := range []struct {
		in, code string
		want     MailOptions
	}{
		{" REQUIRETLS", "", MailOptions{Terms: postino.Terms{RequireTLS: true}}},
		{" REQUIRETLS=1", "501", MailOptions{}},
		{" HOLDFOR=1", "", MailOptions{Terms: postino.Terms{HoldUntil: at(time.Second)}}},
		{" holdfor=86400", "", MailOptions{Terms: postino.Terms{HoldUntil: at(24 * time.Hour)}}},
		{" HOLDFOR=86401", "501 5.5.4", MailOptions{}},
		{" HOLDFOR", "501", MailOptions{}}, {" HOLDFOR=0", "501", MailOptions{}}, {" HOLDFOR=01", "501", MailOptions{}}, {" HOLDFOR=-1", "501", MailOptions{}},
		{" HOLDFOR=1234567890", "501", MailOptions{}}, {" HOLDFOR=1 HOLDFOR=1", "501", MailOptions{}}, {" HOLDFOR=1 HOLDUNTIL=2026-11-21T13:00:00Z", "501", MailOptions{}},
		{" HOLDUNTIL=2026-11-21T13:00:00Z HOLDFOR=1", "501", MailOptions{}},
		{" HOLDUNTIL=2026-11-22T12:00:00Z", "", MailOptions{Terms: postino.Terms{HoldUntil: at(24 * time.Hour)}}},
		{" HOLDUNTIL=2026-11-21t12:00:01.5z", "", MailOptions{Terms: postino.Terms{HoldUntil: at(1500 * time.Millisecond)}}},
		{" HOLDUNTIL=2026-11-22T12:00:01Z", "501 5.5.4", MailOptions{}}, {" HOLDUNTIL=2026-11-21T12:00:00Z", "501 5.5.4", MailOptions{}},
		{" HOLDUNTIL=2026-11-21T14:00:00+01:00", "501", MailOptions{}}, {" HOLDUNTIL=2026-11-21T14:00Z", "501", MailOptions{}}, {" HOLDUNTIL", "501", MailOptions{}},
		{" BY=600;R", "", MailOptions{Terms: postino.Terms{DeliverBy: at(10 * time.Minute), DeliverByReturn: true}}},
		{" BY=+3600;rt", "", MailOptions{Terms: postino.Terms{DeliverBy: at(time.Hour), DeliverByReturn: true, DeliverByTrace: true}}},
		{" BY=-5;N", "", MailOptions{Terms: postino.Terms{DeliverBy: at(-5 * time.Second)}}},
		{" BY=0;NT", "", MailOptions{Terms: postino.Terms{DeliverBy: noon, DeliverByTrace: true}}},
		{" BY=999999999;N", "", MailOptions{Terms: postino.Terms{DeliverBy: at(maxInterval)}}},
		{" BY=599;R", "555 5.5.4", MailOptions{}}, {" BY=0;R", "501 5.5.4", MailOptions{}}, {" BY=-5;R", "501 5.5.4", MailOptions{}},
		{" BY=5", "501", MailOptions{}}, {" BY=5;", "501", MailOptions{}}, {" BY=5;X", "501", MailOptions{}}, {" BY=5;T", "501", MailOptions{}}, {" BY=5;NTT", "501", MailOptions{}},
		{" BY=;N", "501", MailOptions{}}, {" BY=+;N", "501", MailOptions{}}, {" BY=+-5;N", "501", MailOptions{}}, {" BY=--5;N", "501", MailOptions{}}, {" BY=1234567890;N", "501", MailOptions{}}, {" BY", "501", MailOptions{}},
		{" HOLDFOR=700 BY=600;R", "501 5.5.4", MailOptions{}}, {" BY=600;R HOLDFOR=700", "501 5.5.4", MailOptions{}},
		{" HOLDFOR=5 BY=600;R", "", MailOptions{Terms: postino.Terms{HoldUntil: at(5 * time.Second), DeliverBy: at(10 * time.Minute), DeliverByReturn: true}}},
		{" MT-PRIORITY=9", "", MailOptions{Terms: postino.Terms{Priority: 9}}}, {" mt-priority=-9", "", MailOptions{Terms: postino.Terms{Priority: -9}}}, {" MT-PRIORITY=0", "", MailOptions{}},
		{" MT-PRIORITY=10", "501", MailOptions{}}, {" MT-PRIORITY=-0", "501", MailOptions{}}, {" MT-PRIORITY=+1", "501", MailOptions{}}, {" MT-PRIORITY=01", "501", MailOptions{}},
		{" MT-PRIORITY", "501", MailOptions{}}, {" MT-PRIORITY=1 MT-PRIORITY=1", "501", MailOptions{}},
		{" SOLICIT=org.example:ADV:ADLT,com.example:X", "", MailOptions{Solicit: []string{"org.example:ADV:ADLT", "com.example:X"}}},
		{" SOLICIT=org.example:A,NET.example:adv", "550 5.7.1 SOLICIT=net.example:ADV", MailOptions{}},
		{" SOLICIT", "501", MailOptions{}}, {" SOLICIT=a,,b", "501", MailOptions{}}, {" SOLICIT=1a", "501", MailOptions{}}, {" SOLICIT=a;b", "501", MailOptions{}}, {" SOLICIT=" + strings.Repeat("a", 1000), "501", MailOptions{}},
	} {
		var o MailOptions
		code := ""
		if r := parseMailParams(c.in, everything(), &o); r != nil {
			code = r.Error()
		}
		if !strings.HasPrefix(code, c.code) || (c.code == "") != (code == "") || code == "" && !reflect.DeepEqual(o, c.want) {
			t.Errorf("MAIL%q: %q %+v, want %q %+v", c.in, code, o, c.code, c.want)
		}
	}
	for _, p := range []string{" REQUIRETLS", " HOLDFOR=1", " HOLDUNTIL=2026-11-21T13:00:00Z", " BY=600;R", " MT-PRIORITY=1", " SOLICIT=a"} {
		var o MailOptions
		if code := codeOf(parseMailParams(p, &extensions{size: 1000, now: noon}, &o)); code != "555" {
			t.Errorf("not announced %q: %s", p, code)
		}
	}
}

func TestValidSince(t *testing.T) {
	for _, c := range []struct {
		in, code string
		want     time.Time
	}{
		{"2014-04-03T23:01:00Z", "", time.Date(2014, 4, 3, 23, 1, 0, 0, time.UTC)},
		{"2014-04-03T23:01:00Z;C", "", time.Date(2014, 4, 3, 23, 1, 0, 0, time.UTC)},
		{"2014-04-03T23:01:00-02:00;r", "", time.Date(2014, 4, 4, 1, 1, 0, 0, time.UTC)},
		{"2014-04-03T23:01:00.5Z", "501", time.Time{}}, {"2014-04-03T23:01:00,5Z", "501", time.Time{}}, {"2014-04-03T23:01:00Z;", "501", time.Time{}}, {"2014-04-03T23:01:00Z;X", "501", time.Time{}},
		{"2014-04-03T23:01:00", "501", time.Time{}}, {"2014-04-03 23:01:00Z", "501", time.Time{}}, {"2014-02-30T23:01:00Z", "501", time.Time{}}, {"2014-4-03T23:01:00Z", "501", time.Time{}},
		{"2014-04-03T23:01:00+24:00", "501", time.Time{}}, {"2014-04-03T23:01:00+01:60", "501", time.Time{}}, {"2014-04-03T23:01:00+1", "501", time.Time{}}, {"2014-04-03T23:60:00Z", "501", time.Time{}},
		{"2014-04-03T23:01:00Z RRVS=2014-04-03T23:01:00Z", "501", time.Time{}},
	} {
		var r postino.Recipient
		if code := codeOf(parseRcptParams(" RRVS="+c.in, everything(), &r)); code != c.code || code == "" && (r.ValidSince != c.want || r.ValidSinceContinue != strings.HasSuffix(c.in, "C")) {
			t.Errorf("RCPT RRVS=%s: %q %v, want %q %v", c.in, code, r.ValidSince, c.code, c.want)
		}
	}
	var r postino.Recipient
	if code := codeOf(parseRcptParams(" RRVS=2014-04-03T23:01:00Z", &extensions{}, &r)); code != "555" {
		t.Error(code)
	}
}

// TestKeywords shows which keywords EHLO tells, each only where its option says so.
func TestKeywords(t *testing.T) {
	with := func(opts Options) string {
		var all string
		opts.Hostname = "mx.example.org"
		bubble(t, opts, &fake{login: "tim"}, func(t *testing.T, _ *Server, c *client) {
			c.expect("220 ")
			c.send(map[bool]string{false: "EHLO x\r\n", true: "LHLO x\r\n"}[opts.LMTP])
			for _, line := range c.expect("250 LIMITS") {
				all += line[4:] + "\n"
			}
			if opts.AuthInsecure {
				c.script("C: AUTH PLAIN " + b64("\x00tim\x00tim") + "\nS: 235 ")
				c.send("EHLO x\r\n")
				all += "\n"
				for _, line := range c.expect("250 LIMITS") {
					all += line[4:] + "\n"
				}
			}
		})
		return all
	}
	const base = "mx.example.org\nPIPELINING\nSIZE 52428800\n8BITMIME\nSMTPUTF8\nENHANCEDSTATUSCODES\nCHUNKING\n"
	const limits = "LIMITS MAILMAX=1000 RCPTMAX=1000\n"
	if got := with(Options{}); got != base+limits {
		t.Errorf("nothing: %q", got)
	}
	all := Options{RequireTLSOption: true, FutureRelease: 90*time.Minute + time.Millisecond, DeliverBy: true, DeliverByMin: 10 * time.Minute, Priority: true, PriorityPolicy: "MIXER",
		NoSoliciting: []string{"net.example:ADV", "org.example:X"}, RRVS: true, ETRN: true, BURL: true}
	const shared = "DELIVERBY 600\nMT-PRIORITY MIXER\nNO-SOLICITING net.example:ADV,org.example:X\nRRVS\n"
	// The bubble's clock begins at the year 2000.
	if got := with(all); got != base+"FUTURERELEASE 5400 2000-01-01T01:30:00Z\n"+shared+"ETRN\nBURL\n"+limits {
		t.Errorf("all: %q", got)
	}
	all.LMTP = true
	if got := with(all); got != base+shared+limits {
		t.Errorf("LMTP: %q", got)
	}
	if got := with(Options{BURL: true, AuthInsecure: true}); got != base+"AUTH PLAIN LOGIN\nBURL\n"+limits+"\n"+base+"BURL imap://mx.example.org\n"+limits {
		t.Errorf("AUTH: %q", got)
	}
	if got := with(Options{DeliverBy: true, Priority: true, NoSoliciting: []string{}}); got != base+"DELIVERBY\nMT-PRIORITY\nNO-SOLICITING\n"+limits {
		t.Errorf("bare: %q", got)
	}
	bubble(t, Options{TLS: serverTLS(), ImplicitTLS: true, RequireTLSOption: true}, &fake{}, func(t *testing.T, _ *Server, c *client) {
		if err := c.startTLS(); err != nil {
			t.Fatal(err)
		}
		c.script("S: 220 \nC: EHLO x")
		if got := strings.Join(c.expect("250 "), "\n"); !strings.Contains(got, "\n250-REQUIRETLS\n") {
			t.Error(got)
		}
		c.script("C: MAIL FROM:<a@example.org> REQUIRETLS\nS: 250 2.1.0")
	})
}

// TestPriority shows that only known clients may raise the priority (RFC 6710 §4.1).
func TestPriority(t *testing.T) {
	f := &fake{login: "tim"}
	send := `
		C: RCPT TO:<b@example.org>
		S: 250 
		R: BDAT 0 LAST\r\n
		S: 250 `
	play(t, Options{Priority: true, AuthInsecure: true}, f, hello+`
		C: MAIL FROM:<a@example.org> MT-PRIORITY=3
		S: 250 2.3.6 0 is`+send+`
		C: MAIL FROM:<a@example.org> MT-PRIORITY=-3
		S: 250 2.1.0`+send+`
		C: AUTH PLAIN `+b64("\x00tim\x00tim")+`
		S: 235 
		C: MAIL FROM:<a@example.org> MT-PRIORITY=3
		S: 250 2.1.0`+send)
	if len(f.posts) != 3 || f.posts[0].opts.Priority != 0 || f.posts[1].opts.Priority != -3 || f.posts[2].opts.Priority != 3 {
		t.Fatalf("%+v", f.posts)
	}
}

// TestETRN is RFC 1985 §5.
func TestETRN(t *testing.T) {
	play(t, Options{}, &fake{}, hello+"C: ETRN a.example\nS: 502 5.5.1")
	play(t, Options{ETRN: true, Limits: Limits{Errors: 100, FreeErrors: 100}}, &fake{}, `
		S: 220 
		C: ETRN a.example
		S: 503 5.5.1
		C: EHLO x
		S: 250 
		C: ETRN
		S: 501 5.5.4
		C: ETRN localname
		S: 501 5.5.4
		C: ETRN a.example b.example
		S: 501 5.5.4
		C: ETRN [192.0.2.1]
		S: 501 5.5.4
		C: ETRN @
		S: 501 5.5.4
		C: ETRN #
		S: 501 5.5.4
		C: ETRN a.example
		S: 250 2.0.0 Queuing
		C: ETRN @A.Example
		S: 250 2.0.0 Queuing
		C: ETRN #later
		S: 250 
		C: MAIL FROM:<a@example.org>
		S: 250 
		C: ETRN a.example
		S: 503 5.5.1
		C: RCPT TO:<b@example.org>
		S: 250 `)
	for in, want := range map[string]string{"A.Example": "a.example", "@Bücher.example": "@xn--bcher-kva.example", "#Q 1": "", "#Q": "#Q", "@@a.b": "", "a..b": ""} {
		if got, ok := parseNode(in); ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q, %v", in, got, ok)
		}
	}
}
