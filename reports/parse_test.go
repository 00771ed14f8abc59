package reports

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/postino-mail/postino"
	"pgregory.net/rapid"
)

func parse(t testing.TB, raw string) *DSN {
	t.Helper()
	d, err := ParseDSN(strings.NewReader(raw), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

// foreign are reports in the forms that other servers send.
var foreign = map[string]string{
	"postfix": `Date: Fri,  2 Jan 2026 10:05:00 +0100 (CET)
From: MAILER-DAEMON@mx.example.org (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: ann@example.org
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
	boundary="4ABC.1767344700/mx.example.org"
Message-Id: <20260102090500.4ABD@mx.example.org>

This is a MIME-encapsulated message.

--4ABC.1767344700/mx.example.org
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

Could not be delivered.

--4ABC.1767344700/mx.example.org
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.org
Original-Envelope-Id: QQ314159
X-Postfix-Queue-ID: 4ABC
X-Postfix-Sender: rfc822; ann@example.org
Arrival-Date: Fri,  2 Jan 2026 10:04:00 +0100 (CET)

Final-Recipient: rfc822; bob@example.com
Original-Recipient: rfc822;bob@example.com
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.example.com
Diagnostic-Code: smtp; 550 5.1.1 <bob@example.com>: Recipient address rejected:
    User unknown

--4ABC.1767344700/mx.example.org
Content-Description: Undelivered Message
Content-Type: message/rfc822

From: ann@example.org
Subject: Lunch on Friday
Message-ID: <m1@example.org>

Hello
--4ABC.1767344700/mx.example.org--
`,
	"exim": `X-Failed-Recipients: bob@example.com
Auto-Submitted: auto-replied
From: Mail Delivery System <Mailer-Daemon@mx.example.org>
To: ann@example.org
Content-Type: multipart/report; report-type=delivery-status; boundary=1767344700-eximdsn-1
MIME-Version: 1.0
Subject: Mail delivery failed: returning message to sender
Message-Id: <E1abc-0001@mx.example.org>
Date: Fri, 02 Jan 2026 10:05:00 +0100

--1767344700-eximdsn-1
Content-type: text/plain; charset=us-ascii

A message could not be delivered.

--1767344700-eximdsn-1
Content-type: message/delivery-status

Reporting-MTA: dns; mx.example.org

Action: failed
Final-Recipient: rfc822;bob@example.com
Status: 5.0.0
Remote-MTA: dns; mx.example.com
Diagnostic-Code: smtp; 550 5.1.1 User unknown

--1767344700-eximdsn-1
Content-type: text/rfc822-headers

From: ann@example.org
Subject: Lunch on Friday
Message-ID: <m1@example.org>

--1767344700-eximdsn-1--
`,
	"sendmail": `Date: Fri, 2 Jan 2026 10:05:00 +0100
From: Mail Delivery Subsystem <MAILER-DAEMON>
Message-Id: <202601020905.1@mx.example.org>
To: <ann@example.org>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
	boundary="A05.1767344700/mx.example.org"
Subject: Returned mail: see transcript for details
Auto-Submitted: auto-generated (failure)

This is a MIME-encapsulated message

--A05.1767344700/mx.example.org

The following addresses had permanent fatal errors

--A05.1767344700/mx.example.org
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.org
Received-From-MTA: DNS; pc.example.org
Arrival-Date: Fri, 2 Jan 2026 10:04:00 +0100

Final-Recipient: RFC822; bob@example.com
Action: failed
Status: 5.1.1
Remote-MTA: DNS; mx.example.com
Diagnostic-Code: SMTP; 550 5.1.1 User unknown
Last-Attempt-Date: Fri, 2 Jan 2026 10:04:59 +0100

--A05.1767344700/mx.example.org
Content-Type: text/rfc822-headers

Subject: Lunch on Friday
Message-ID: <m1@example.org>

--A05.1767344700/mx.example.org--
`,
	"gmail": `From: Mail Delivery Subsystem <mailer-daemon@googlemail.com>
To: ann@example.org
Auto-Submitted: auto-replied
Subject: Delivery Status Notification (Failure)
References: <m1@example.org>
In-Reply-To: <m1@example.org>
Message-ID: <6957.mailer-daemon@google.com>
Date: Fri, 02 Jan 2026 01:05:00 -0800 (PST)
Content-Type: multipart/report; boundary="000000000000abc"; report-type=delivery-status

--000000000000abc
Content-Type: multipart/related; boundary="000000000000abd"

--000000000000abd
Content-Type: text/plain; charset="UTF-8"

** Address not found **

--000000000000abd--

--000000000000abc
Content-Type: message/delivery-status

Reporting-MTA: dns; googlemail.com
Received-From-MTA: dns; ann@example.org
Arrival-Date: Fri, 02 Jan 2026 01:04:00 -0800 (PST)
X-Original-Message-ID: <m1@example.org>

Final-Recipient: rfc822; bob@example.com
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.example.com. (192.0.2.1, the server for the domain example.com.)
Diagnostic-Code: smtp; 550-5.1.1 The account does not exist. Please try
 550 5.1.1 again
Last-Attempt-Date: Fri, 02 Jan 2026 01:04:59 -0800 (PST)

--000000000000abc
Content-Type: message/rfc822

Subject: Lunch on Friday
Message-ID: <m1@example.org>

--000000000000abc--
`,
	"exchange": `From: <postmaster@example.org>
To: <ann@example.org>
Date: Fri, 2 Jan 2026 09:05:00 +0000
Content-Type: multipart/report; report-type=delivery-status;
	boundary="aa-bb-cc"
Content-Language: it-IT
Message-ID: <dd@mx.example.org>
In-Reply-To: <m1@example.org>
Subject: Recapito non riuscito: Lunch on Friday
Auto-Submitted: auto-replied
MIME-Version: 1.0

--aa-bb-cc
Content-Type: multipart/alternative; differences=Content-Type;
	boundary="ee-ff"

--ee-ff
Content-Type: text/plain; charset="us-ascii"
Content-Transfer-Encoding: quoted-printable

Non recapitato.

--ee-ff
Content-Type: text/html; charset="us-ascii"

<p>Non recapitato.</p>

--ee-ff--

--aa-bb-cc
Content-Type: message/delivery-status

Reporting-MTA: dns;mx.example.org
Received-From-MTA: dns;pc.example.org
Arrival-Date: Fri, 2 Jan 2026 09:04:00 +0000

Final-Recipient: rfc822;bob@example.com
Action: failed
Status: 5.1.10
Diagnostic-Code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound; not found
Remote-MTA: dns;mx.example.com
X-Display-Name: Bob

--aa-bb-cc
Content-Type: message/rfc822

Subject: Lunch on Friday
Message-ID: <m1@example.org>

--aa-bb-cc--
`,
	"old exim": `X-Failed-Recipients: bob@example.com
From: Mail Delivery System <Mailer-Daemon@mx.example.org>
To: ann@example.org
Subject: Mail delivery failed
In-Reply-To: <m1@example.org>
Date: Fri, 02 Jan 2026 10:05:00 +0100

It failed.
`,
}

// What other servers send is understood.
func TestParseForeign(t *testing.T) {
	for name, raw := range foreign {
		for _, s := range []string{crlf(raw), raw} {
			d := parse(t, s)
			if d.To != addr("ann", "example.org") || !d.Date.Equal(day.Add(time.Minute)) || d.MessageID != "m1@example.org" || len(d.Rcpts) != 1 {
				t.Errorf("%s: %+v", name, d)
				continue
			}
			r := d.Rcpts[0]
			if r.Final != addr("bob", "example.com") || r.Action != Failed {
				t.Errorf("%s: %+v", name, r)
			}
			if name == "old exim" {
				continue
			}
			if !strings.HasPrefix(r.Diagnostic, "550") || r.RemoteMTA != "mx.example.com" || d.ReportingMTA == "" || d.Subject != "Lunch on Friday" || d.Ret == postino.DSNReturnUnset {
				t.Errorf("%s: %+v of %+v", name, r, d)
			}
			if why := r.why(); why != "unknown" && name != "exchange" {
				t.Errorf("%s: reason %s", name, why)
			}
		}
	}
	d := parse(t, foreign["postfix"])
	if r := d.Rcpts[0]; d.EnvID != "QQ314159" || r.Original != "rfc822;bob@example.com" || !d.Arrival.Equal(day) || r.Diagnostic != "550 5.1.1 <bob@example.com>: Recipient address rejected:    User unknown" {
		t.Errorf("%+v", d)
	}
}

// Fields that are missing, odd or broken.
func TestParseOdd(t *testing.T) {
	wrap := func(status string) string {
		return crlf("Content-Type: multipart/report; boundary=b\n\n--b\n\nhi\n--b\nContent-Type: message/delivery-status\n\n" + status + "\n--b--\n")
	}
	for name, tt := range map[string]struct {
		status string
		want   []DSNRcpt
	}{
		"one group":        {"Reporting-MTA: dns; a\nFinal-Recipient: rfc822; b@c.example\nAction: failed\nStatus: 5.1.1\n", []DSNRcpt{{Final: addr("b", "c.example"), Action: Failed, Status: "5.1.1"}}},
		"more empty lines": {"Reporting-MTA: dns; a\n\n\n\nFinal-Recipient: rfc822; b@c.example\nAction: Failed (really)\nStatus: 5.1.1 (no)\n\n\n", []DSNRcpt{{Final: addr("b", "c.example"), Action: Failed, Status: "5.1.1"}}},
		"no action":        {"\nFinal-Recipient: rfc822;<b@c.example>\nStatus: 4.2.2\n", []DSNRcpt{{Final: addr("b", "c.example"), Action: Delayed, Status: "4.2.2"}}},
		"no status":        {"\nFinal-Recipient: b@c.example\nAction: relayed\n", []DSNRcpt{{Final: addr("b", "c.example"), Action: Relayed, Status: "2.0.0"}}},
		"another world":    {"\nFinal-Recipient: x400; /S=b/\nAction: failed\nStatus: 5.1\n", []DSNRcpt{{Original: "x400;/S=b/", Action: Failed, Status: "5.0.0"}}},
		"unitext":          {"\nFinal-Recipient: UTF-8; \\x{0FC}@\\x{1}c.example\nAction: failed\n\nFinal-Recipient: utf-8; \\x{FC}\\x{2B}@c.example\nAction: failed\n", []DSNRcpt{{Original: "utf-8;ü@\\x{1}c.example", Action: Failed, Status: "5.0.0"}, {Final: addr("ü+", "c.example"), Action: Failed, Status: "5.0.0"}}},
		"neither":          {"\nFinal-Recipient: rfc822; b@c.example\n\nFinal-Recipient: rfc822; d@c.example\nAction: failed\n", []DSNRcpt{{Final: addr("d", "c.example"), Action: Failed, Status: "5.0.0"}}},
	} {
		if d := parse(t, wrap(tt.status)); !reflect.DeepEqual(d.Rcpts, tt.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, d.Rcpts, tt.want)
		}
	}
	for name, raw := range map[string]string{
		"nothing": "", "a message": "Subject: hi\n\nhi\n", "no recipients": wrap("Reporting-MTA: dns; a\n"),
		"a report in an attached message": "Content-Type: multipart/mixed; boundary=m\n\n--m\nContent-Type: message/rfc822\n\n" + foreign["postfix"] + "\n--m--\n",
	} {
		if d, err := ParseDSN(strings.NewReader(raw), Limits{}); !postino.Is(err, postino.Invalid) {
			t.Errorf("%s: %v %+v", name, err, d)
		}
	}
}

// SS9, G1: what is read is bounded before memory is taken.
func TestParseLimits(t *testing.T) {
	raw := foreign["postfix"]
	if _, err := ParseDSN(strings.NewReader(raw), Limits{Bytes: int64(len(raw)) - 1}); !postino.Is(err, postino.Full) {
		t.Errorf("too large: %v", err)
	}
	if _, err := ParseDSN(strings.NewReader(raw), Limits{Bytes: int64(len(raw))}); err != nil {
		t.Error(err)
	}
	if _, err := ParseDSN(iotest.ErrReader(errors.New("disk")), Limits{}); !postino.Is(err, postino.Transient) {
		t.Errorf("read error: %v", err)
	}
	built, _ := mustBuild(t, many(100, Failed, "5.1.1"))
	if d, err := ParseDSN(bytes.NewReader(built), Limits{Rcpts: 7}); err != nil || len(d.Rcpts) != 7 {
		t.Errorf("%v, %d recipients", err, len(d.Rcpts))
	}
}

// draw makes a report whose values fields can hold as they are.
func draw(t *rapid.T) *DSN {
	words := rapid.StringMatching(`([a-z0-9<>@.:;,()"\\{}%=+-]{1,12} ){0,20}[a-z.]{1,9}`)
	name := rapid.StringMatching(`[a-z0-9]{1,10}(\.[a-z]{2,9}){1,3}`)
	local := rapid.StringMatching(`[a-z]{1,9}|[a-z+=]{1,5}\.[a-z]{1,5}|[a-z"\\ ]{1,9}x|[a-zé日+=\\ ]{1,9}`)
	address := rapid.Custom(func(t *rapid.T) postino.Address {
		a := addr(local.Draw(t, "local"), name.Draw(t, "domain"))
		b, err := postino.ParseAddress(a.String())
		if err != nil {
			return addr("plain", "example.org")
		}
		return b
	})
	moment := rapid.Custom(func(t *rapid.T) time.Time {
		return time.Unix(rapid.Int64Range(1e9, 2e9).Draw(t, "seconds"), 0).In(time.FixedZone("", rapid.IntRange(-12, 14).Draw(t, "zone")*3600))
	})
	or := func(g *rapid.Generator[string], label string) string {
		return rapid.OneOf(g, rapid.Just("")).Draw(t, label)
	}
	d := &DSN{
		Lang: rapid.SampledFrom([]string{"en", "it", "ro"}).Draw(t, "lang"), ReportingMTA: name.Draw(t, "mta"), To: address.Draw(t, "to"),
		EnvID: or(words, "envid"), ReceivedFrom: or(name, "from"), SMTPUTF8: rapid.Bool().Draw(t, "utf8"), Date: moment.Draw(t, "date"), ID: "id@" + name.Draw(t, "id"),
	}
	if rapid.Bool().Draw(t, "header") {
		d.Ret, d.Subject, d.MessageID = postino.DSNReturnHeaders, words.Draw(t, "subject"), "m@"+name.Draw(t, "mid")
		d.Headers = fmt.Appendf(nil, "Subject: %s\r\nMessage-ID: <%s>\r\n", d.Subject, d.MessageID)
	}
	if rapid.Bool().Draw(t, "arrived") {
		d.Arrival, d.DeliverBy = moment.Draw(t, "arrival"), moment.Draw(t, "by")
	}
	for range rapid.IntRange(1, 4).Draw(t, "recipients") {
		a := Action(rapid.IntRange(1, 5).Draw(t, "action"))
		r := DSNRcpt{Final: address.Draw(t, "final"), Action: a, Status: fmt.Sprintf("%c.%d.%d", a.class(), rapid.IntRange(0, 7).Draw(t, "subject"), rapid.IntRange(0, 30).Draw(t, "detail"))}
		if rapid.Bool().Draw(t, "named") {
			o := address.Draw(t, "original")
			r.Original = "rfc822;" + o.String()
			if o.NeedsUTF8() || strings.Contains(r.Original, "  ") {
				r.Original = "utf-8;" + o.String()
			}
		}
		r.RemoteMTA, r.Diagnostic, r.FinalLogID = or(name, "remote"), or(words, "words"), or(words, "log")
		if rapid.Bool().Draw(t, "reply") {
			r.Diagnostic = "550 5.1.1 " + words.Draw(t, "words")
		}
		if rapid.Bool().Draw(t, "tried") {
			r.LastAttempt = moment.Draw(t, "last")
		}
		if a == Delayed {
			r.WillRetryUntil = moment.Draw(t, "until")
		}
		d.Rcpts = append(d.Rcpts, r)
	}
	return d
}

// PA6: parse(build(d)) == d.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := draw(rt)
		raw, _ := mustBuild(t, d)
		got := parse(t, string(raw))
		got.SMTPUTF8 = d.SMTPUTF8 // told only where something is UTF-8
		sameTimes(&got.Date, d.Date)
		sameTimes(&got.Arrival, d.Arrival)
		sameTimes(&got.DeliverBy, d.DeliverBy)
		for i := range got.Rcpts {
			if i < len(d.Rcpts) {
				sameTimes(&got.Rcpts[i].LastAttempt, d.Rcpts[i].LastAttempt)
				sameTimes(&got.Rcpts[i].WillRetryUntil, d.Rcpts[i].WillRetryUntil)
			}
		}
		if !reflect.DeepEqual(got, d) {
			rt.Fatalf("got  %+v\nwant %+v\n%s", got, d, raw)
		}
	})
}

// sameTimes makes times that are the same moment comparable.
func sameTimes(got *time.Time, want time.Time) {
	if got.Equal(want) {
		*got = want
	}
}

// Whatever comes in, the result can be built again, and is then stable.
func FuzzParseDSN(f *testing.F) {
	for _, raw := range foreign {
		f.Add([]byte(crlf(raw)))
	}
	for _, d := range samples() {
		var out bytes.Buffer
		if err := d.Build(&out); err != nil {
			f.Fatal(err)
		}
		f.Add(out.Bytes())
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := ParseDSN(bytes.NewReader(raw), Limits{Bytes: 1 << 20, Rcpts: 100})
		if err != nil {
			return
		}
		d.ReportingMTA, d.To, d.Date, d.ID = "mx.example.org", addr("ann", "example.org"), day, ""
		all := d.Split()
		n := 0
		for _, d := range all {
			built, _ := mustBuild(t, d)
			back, err := ParseDSN(bytes.NewReader(built), Limits{})
			if err != nil {
				t.Fatalf("%v\n%q", err, built)
			}
			n += len(back.Rcpts)
		}
		if n != len(d.Rcpts) {
			t.Fatalf("%d recipients of %d", n, len(d.Rcpts))
		}
	})
}
