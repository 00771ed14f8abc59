package receive

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/kv/lsm"
	"github.com/postino-mail/postino/mailauth"
	"github.com/postino-mail/postino/reports"
	"github.com/postino-mail/postino/smtp"
	"github.com/postino-mail/postino/submit"
	"github.com/postino-mail/postino/vfs"
)

// In whatever pieces a message comes, the header is given away once and whole, and
// what follows it begins with the empty line.
func TestContentInPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		header := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"A: b\r\n", " c\r\n", "From: x\r\n", "x\r", "\n", "\r\n"}), 0, 8).Draw(t, "header"), "")
		text := header + rapid.SampledFrom([]string{"", "\r\n", "\r\ntext\r\n\r\nmore", "\ntext"}).Draw(t, "body")
		var c content
		var got, rest []byte
		times := 0
		complete := func(h []byte) error {
			times++
			got = append(got, h...)
			return nil
		}
		for left := []byte(text); len(left) > 0; {
			n := rapid.IntRange(1, len(left)).Draw(t, "piece")
			p := left[:n:n]
			left = left[n:]
			if !c.ended {
				var err error
				if p, err = c.add(p, complete); err != nil {
					t.Fatal(err)
				}
			}
			rest = append(rest, p...)
		}
		early := times
		if err := c.end(complete); err != nil || times != 1 {
			t.Fatalf("the header was given away %d times, %v", times, err)
		}
		if whole := string(got) + string(rest); whole != text {
			t.Fatalf("%q became %q", text, whole)
		}
		if early == 1 && !bytes.HasPrefix(rest, []byte("\r\n")) && !bytes.HasPrefix(rest, []byte("\n")) || early == 0 && len(rest) > 0 {
			t.Fatalf("%q was cut into %q and %q", text, got, rest)
		}
		if end := headerEnd([]byte(text), 0); end >= 0 && end != len(got) {
			t.Fatalf("%q was cut at %d, not at %d", text, len(got), end)
		}
	})
}

// A header without an end is not held back for ever (SS9, G1).
func TestContentIsBounded(t *testing.T) {
	var c content
	var err error
	taken := 0
	for piece := bytes.Repeat([]byte("X: y\r\n"), 1000); err == nil && taken < 2*maxHeader; taken += len(piece) {
		_, err = c.add(piece, func([]byte) error { return nil })
	}
	if !errors.Is(err, submit.ErrHeader) || taken > maxHeader+6000 {
		t.Errorf("after %d octets: %v", taken, err)
	}
}

func openDirectory(t testing.TB) *directory.Directory {
	t.Helper()
	db, err := lsm.Open(vfs.Memory(), "/kv", lsm.Options{Still: true, MemTableBytes: 1 << 20, Guard: lsm.GuardOptions{Ballast: -1}})
	if err != nil {
		t.Fatal(err)
	}
	d := directory.New(db, directory.Options{})
	t.Cleanup(func() {
		d.Close()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// judgedTrial is a trial as it stands when all is known.
func judgedTrial(d mailauth.DMARC) *trial {
	tr := &trial{client: mailauth.Client{Remote: netip.MustParseAddr("192.0.2.66")}}
	tr.DMARC, tr.Verdict = d, &mailauth.Verdict{}
	tr.SPF.MailFrom = mailauth.SPFIdentity{Result: mailauth.None, Domain: "x.example"}
	return tr
}

// The decision over all that DMARC can find, in each way to enforce it. What is
// temporarily unknown is never taken as if it had passed, unless the domain
// itself is seen to have sent it (DN2); nothing but a failure is refused for good.
func TestRulings(t *testing.T) {
	dir := openDirectory(t)
	policies := []mailauth.DMARCPolicy{"", mailauth.PolicyNone, mailauth.PolicyQuarantine, mailauth.PolicyReject}
	for _, mode := range []Enforcement{Enforce, QuarantineOnly, Record} {
		for _, result := range []mailauth.Result{mailauth.Pass, mailauth.Fail, mailauth.None, mailauth.TempError, mailauth.PermError} {
			for _, policy := range policies {
				for _, signed := range []bool{false, true} {
					if result == mailauth.Fail && (policy == "" || signed) {
						continue // a failure has a policy, and no proof
					}
					d := mailauth.DMARC{Result: result, Domain: "a.example", Policy: policy, Disposition: mailauth.PolicyNone, Author: mailauth.Author{Domain: "a.example", Domains: []string{"a.example"}}}
					if policy != "" {
						d.Record = &mailauth.DMARCRecord{P: policy, Valid: true}
					}
					if result == mailauth.Fail {
						d.Disposition = policy
					}
					tr := judgedTrial(d)
					if signed {
						tr.Verdict.DKIM = []mailauth.Signature{{Result: mailauth.Pass, Domain: "a.example"}}
					}
					r, err := tr.rule(t.Context(), &Options{Directory: dir, DMARC: mode})
					if err != nil {
						t.Fatal(err)
					}
					want := "taken"
					switch {
					case mode == Record:
					case result == mailauth.Fail && policy == mailauth.PolicyReject && mode == Enforce:
						want = "refused"
					case result == mailauth.Fail && (policy == mailauth.PolicyReject || policy == mailauth.PolicyQuarantine):
						want = "taken as junk"
					case result == mailauth.TempError && !signed && policy != mailauth.PolicyNone:
						want = "put off"
					}
					if r.String() != want {
						t.Errorf("mode %d, dmarc=%s p=%s signed %v: %s, want %s", mode, result, policy, signed, &r, want)
					}
					if r.refusal != nil && (want == "refused") != (r.refusal.Code == 550 && r.refusal.Enhanced == "5.7.1") {
						t.Errorf("dmarc=%s p=%s: %v", result, policy, r.refusal)
					}
					asked := result == mailauth.Fail && (policy == mailauth.PolicyReject || policy == mailauth.PolicyQuarantine)
					done := want == "refused" && policy == mailauth.PolicyReject || want == "taken as junk" && policy == mailauth.PolicyQuarantine
					if told := len(r.overrides) > 0; asked && told == done {
						t.Errorf("mode %d, dmarc=%s p=%s: overrides %v", mode, result, policy, r.overrides)
					}
				}
			}
		}
	}
}

// A record that is only tested is not applied in full, and reports say so.
func TestTestMode(t *testing.T) {
	tr := judgedTrial(mailauth.DMARC{Result: mailauth.Fail, Domain: "a.example", Policy: mailauth.PolicyReject, Disposition: mailauth.PolicyQuarantine,
		Record: &mailauth.DMARCRecord{P: mailauth.PolicyReject, Testing: true, Valid: true}, Author: mailauth.Author{Domain: "a.example"}})
	r, err := tr.rule(t.Context(), &Options{Directory: openDirectory(t)})
	if err != nil || !r.junk || len(r.overrides) != 1 || r.overrides[0].Type != "policy_test_mode" || r.disposition(&tr.DMARC) != "quarantine" {
		t.Errorf("%v %+v", err, r)
	}
}

// A domain that sends no mail is believed, unless DMARC proved the author, or the
// null sender only names a host.
func TestSendsNothing(t *testing.T) {
	dir := openDirectory(t)
	for _, c := range []struct {
		record string
		result mailauth.Result
		dmarc  mailauth.Result
		null   bool
		want   string
	}{
		{"v=spf1 -all", mailauth.Fail, mailauth.None, false, "refused"},
		{"V=SPF1  -ALL", mailauth.Fail, mailauth.None, false, "refused"},
		{"v=spf1 -all", mailauth.Fail, mailauth.Pass, false, "taken"},
		{"v=spf1 -all", mailauth.Fail, mailauth.None, true, "taken"},
		{"v=spf1 ip4:192.0.2.1 -all", mailauth.Fail, mailauth.None, false, "taken"}, // a mere forward fails like this
		{"v=spf1 ~all", mailauth.SoftFail, mailauth.None, false, "taken"},
		{"", mailauth.TempError, mailauth.None, false, "taken"},
	} {
		tr := judgedTrial(mailauth.DMARC{Result: c.dmarc, Author: mailauth.Author{Domain: "a.example"}})
		tr.SPF = mailauth.SPF{MailFrom: mailauth.SPFIdentity{Result: c.result, Record: c.record, Domain: "x.example"}, NullSender: c.null}
		r, err := tr.rule(t.Context(), &Options{Directory: dir})
		if err != nil || r.String() != c.want {
			t.Errorf("%q %s: %s, %v", c.record, c.result, &r, err)
		}
		if c.want == "refused" && (r.refusal.Code != 550 || r.refusal.Enhanced != "5.7.23") { // RFC 7372 §3.2
			t.Errorf("%v", r.refusal)
		}
	}
}

// told are the reports that were asked for.
type told struct {
	passed []reports.DMARCOutcome
	failed []reports.DMARCFailure
}

func (r *told) DMARC(o reports.DMARCOutcome)        { r.passed = append(r.passed, o) }
func (r *told) DMARCFailure(f reports.DMARCFailure) { r.failed = append(r.failed, f) }

// Domains that ask are told of each message in their name that was judged, with
// what was done and why; none is told of what could not be judged.
func TestReports(t *testing.T) {
	record, _ := mailauth.ParseDMARC("v=DMARC1; p=reject; sp=none; adkim=s; fo=1; rua=mailto:a@a.example; ruf=mailto:f@a.example")
	for _, c := range []struct {
		result mailauth.Result
		spf    bool
		r      ruling
		want   reports.Disposition
		failed int
	}{
		{mailauth.Pass, true, ruling{}, reports.Passed, 1}, // DKIM does not pass
		{mailauth.Fail, false, ruling{refusal: &smtp.Reply{Code: 550}}, reports.Reject, 1},
		{mailauth.Fail, false, ruling{junk: true}, reports.Quarantine, 1},
		{mailauth.Fail, false, ruling{overrides: []reports.Override{{Type: reports.MailingList}}}, reports.None, 1},
		{mailauth.TempError, false, ruling{refusal: &smtp.Reply{Code: 451}}, "", 0},
		{mailauth.PermError, false, ruling{}, "", 0},
	} {
		sink := new(told)
		tr := judgedTrial(mailauth.DMARC{Result: c.result, Record: record, Domain: "a.example", Policy: mailauth.PolicyReject, SPF: c.spf, Author: mailauth.Author{Domain: "sub.a.example"}})
		tr.Verdict.DKIM = []mailauth.Signature{{Domain: "list.example", Selector: "s", Result: mailauth.Fail, Reason: "the body has changed"}}
		tr.SPF.MailFrom = mailauth.SPFIdentity{Domain: "b.example", Result: mailauth.SoftFail, Record: "v=spf1 ~all"}
		tx := &transaction{trial: tr, s: &session{b: &Backend{opts: Options{Reports: sink}}}, letter: &submit.Letter{Envelope: postino.Envelope{From: postino.Address{Local: "x", Domain: "b.example"}}},
			accepted: []postino.Address{{Local: "bob", Domain: "c.example"}}}
		tx.report(&c.r)
		if c.want == "" {
			if len(sink.passed)+len(sink.failed) > 0 {
				t.Errorf("%s was reported", c.result)
			}
			continue
		}
		if len(sink.passed) != 1 || len(sink.failed) != c.failed {
			t.Fatalf("%s: %d and %d reports", c.result, len(sink.passed), len(sink.failed))
		}
		o := sink.passed[0]
		want := reports.DMARCOutcome{Source: tr.client.Remote, HeaderFrom: "sub.a.example", EnvelopeFrom: "b.example", EnvelopeTo: "c.example",
			Policy: reports.DMARCPolicy{Domain: "a.example", P: "reject", SP: "none", ADKIM: "s", ASPF: "r", FO: "1", Testing: "n", Discovery: "treewalk"},
			RUA:    []string{"mailto:a@a.example"}, Disposition: c.want, SPFAligned: c.spf, Reasons: c.r.overrides,
			DKIM: []reports.DKIMResult{{Domain: "list.example", Selector: "s", Result: mailauth.Fail, Human: "the body has changed"}},
			SPF:  reports.SPFResult{Domain: "b.example", Result: mailauth.SoftFail}}
		if !reflect.DeepEqual(o, want) {
			t.Errorf("told %+v, want %+v", o, want)
		}
		if f := sink.failed[0]; f.RUF[0] != "mailto:f@a.example" || f.SPFRecord != "v=spf1 ~all" || f.MailFrom.Local != "x" {
			t.Errorf("told at once %+v", f)
		}
	}
}

func TestListID(t *testing.T) {
	for header, want := range map[string]string{
		"List-Id: Go <go.groups.example>\r\n":                         "go.groups.example",
		"LIST-ID:\r\n <GO.Groups.example>\r\n":                        "go.groups.example",
		"List-Id: go.groups.example\r\n":                              "go.groups.example",
		"List-Id: \"a <b.example>\" <go.groups.example> (c)\r\n":      "go.groups.example",
		"List-Id: <a.example>\r\nList-Id: <b.example>\r\n":            "",
		"List-Id: no name\r\n":                                        "",
		"Subject: List-Id: <a.example>\r\nX-List-Id: <a.example>\r\n": "",
	} {
		if got := listID([]byte(header)); got != want {
			t.Errorf("%q is of %q, want %q", header, got, want)
		}
	}
}

// resolver answers by a function.
type resolver func(ctx context.Context, name string, t dns.Type) (*dns.Answer, error)

func (r resolver) Lookup(ctx context.Context, name string, t dns.Type) (*dns.Answer, error) {
	return r(ctx, name, t)
}

func startTrial(ctx context.Context, r dns.Resolver) *trial {
	tr := &trial{inquiry: mailauth.NewInquiry(r, mailauth.Limits{}), client: mailauth.Client{
		Remote: netip.MustParseAddr("192.0.2.1"), Helo: "mx.a.example", MailFrom: postino.Address{Local: "x", Domain: "a.example"}, Host: "mx.b.example", Now: time.Now(),
	}}
	tr.start(ctx)
	return tr
}

// A client that goes away leaves nothing behind that still asks (G11).
func TestTrialEndsWithItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended atomic.Int64
		tr := startTrial(context.Background(), resolver(func(ctx context.Context, _ string, _ dns.Type) (*dns.Answer, error) {
			<-ctx.Done()
			ended.Add(1)
			return nil, postino.E(postino.Transient, "look up", "", ctx.Err())
		}))
		synctest.Wait()
		begin := time.Now()
		tr.close()
		if time.Since(begin) > 0 || ended.Load() == 0 {
			t.Errorf("%d questions ended after %v", ended.Load(), time.Since(begin))
		}
	})
}

// Names that nobody answers for are waited for half a minute in all (MA7).
func TestTrialIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := startTrial(context.Background(), resolver(func(ctx context.Context, _ string, _ dns.Type) (*dns.Answer, error) {
			<-ctx.Done()
			return nil, postino.E(postino.Transient, "look up", "", ctx.Err())
		}))
		defer tr.close()
		begin := time.Now()
		tr.header([]byte("From: <x@a.example>\r\nDKIM-Signature: v=1; a=rsa-sha256; d=a.example; s=s; h=from; bh=; b=\r\n"))
		tr.body([]byte("\r\ntext\r\n"))
		tr.verdict(context.Background())
		if d := time.Since(begin); d > 60*time.Second || tr.DMARC.Result != mailauth.TempError || tr.SPF.MailFrom.Result != mailauth.TempError {
			t.Errorf("after %v: dmarc=%s spf=%s", d, tr.DMARC.Result, tr.SPF.MailFrom.Result)
		}
	})
}

// What goes wrong in the background ends the connection, not the server (G4).
func TestTrialPanics(t *testing.T) {
	tr := startTrial(context.Background(), resolver(func(context.Context, string, dns.Type) (*dns.Answer, error) { panic("a defect") }))
	defer tr.close()
	defer func() {
		if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), "a defect") {
			t.Errorf("recovered %v", p)
		}
	}()
	tr.header([]byte("From: <x@a.example>\r\n"))
	tr.verdict(context.Background())
	t.Error("nothing was told")
}

// names answers from memory at once, as a cache does.
type names map[string][]string

func (n names) Lookup(_ context.Context, name string, t dns.Type) (*dns.Answer, error) {
	if txt := n[name]; t == dns.TypeTXT && txt != nil {
		return &dns.Answer{Name: name, Security: dns.Insecure, TXT: txt}, nil
	}
	if hosts := n[name]; t == dns.TypePTR && hosts != nil {
		return &dns.Answer{Name: name, Security: dns.Insecure, Hosts: hosts}, nil
	}
	if t == dns.TypeA && name == "mx.a.example" {
		return &dns.Answer{Name: name, Security: dns.Insecure, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}, nil
	}
	return &dns.Answer{Name: name}, postino.E(postino.NotFound, "look up", name, dns.ErrNXDomain)
}

// signedMessage is a message of a.example with one RSA-2048 signature, and the
// names that prove it.
func signedMessage(tb testing.TB, body int) (header, text []byte, n names) {
	tb.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		tb.Fatal(err)
	}
	header = []byte("From: Ana <ana@a.example>\r\nTo: <bob@b.example>\r\nSubject: hello\r\nDate: Sat, 1 Jan 2000 00:00:00 +0000\r\nMessage-ID: <1@a.example>\r\nMIME-Version: 1.0\r\n")
	text = bytes.Repeat([]byte("All work and no play makes a dull boy of whoever reads this again.\r\n"), body/68)
	s, err := mailauth.NewSigner(header, mailauth.SignOptions{Keys: []mailauth.SignKey{{Domain: "a.example", Selector: "s", Key: key}}, Time: time.Now()})
	if err != nil {
		tb.Fatal(err)
	}
	s.Write(text)
	sig, err := s.Sign()
	if err != nil {
		tb.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		tb.Fatal(err)
	}
	return slices.Concat(sig, header), text, names{
		"a.example": {"v=spf1 ip4:192.0.2.0/24 -all"}, "_dmarc.a.example": {"v=DMARC1; p=reject"},
		"s._domainkey.a.example": {"v=DKIM1; p=" + base64.StdEncoding.EncodeToString(der)}, "1.2.0.192.in-addr.arpa": {"mx.a.example"},
	}
}

// The whole of what is found out about a message, from the first answer of the DNS
// to the field: it passes by SPF and by DKIM.
func TestTrial(t *testing.T) {
	header, text, n := signedMessage(t, 9<<10)
	tr := startTrial(t.Context(), n)
	defer tr.close()
	tr.header(header)
	for _, p := range [][]byte{[]byte("\r\n" + string(text[:1])), text[1:100], text[100:]} {
		tr.body(p)
	}
	tr.verdict(t.Context())
	field := string(mailauth.AppendAuthResults(nil, "mx.b.example", tr.results()))
	for _, want := range []string{"iprev=pass (mx.a.example)", "spf=pass", "dkim=pass", "dmarc=pass"} {
		if !strings.Contains(field, want) {
			t.Errorf("no %s in %s", want, field)
		}
	}
	for line := range strings.SplitSeq(field, "\r\n") {
		if len(line) > 998 {
			t.Errorf("a line of %d octets", len(line))
		}
	}
	if r, err := tr.rule(t.Context(), &Options{Directory: openDirectory(t)}); err != nil || r.String() != "taken" || r.disposition(&tr.DMARC) != "pass" {
		t.Errorf("%v %v", r, err)
	}
}

// BenchmarkTrial is the full authentication of a message of 9 KB: SPF, iprev, one
// signature of RSA-2048, DMARC, ADSP, with what the DNS says in memory.
func BenchmarkTrial(b *testing.B) {
	header, text, n := signedMessage(b, 9<<10)
	empty := []byte("\r\n")
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		tr := startTrial(b.Context(), n)
		tr.header(header)
		tr.body(empty)
		tr.body(text)
		tr.verdict(b.Context())
		buf = mailauth.AppendAuthResults(buf[:0], "mx.b.example", tr.results())
		tr.close()
		if tr.DMARC.Result != mailauth.Pass {
			b.Fatal(tr.DMARC.Reason)
		}
	}
}

// However much a stranger puts into his signatures, the field that tells of them
// is short enough for a mailbox (which takes 64 KiB), and for other servers.
func TestFieldIsBounded(t *testing.T) {
	long := strings.Repeat(`(\"`, 2000)
	var header []byte
	for i := range 40 {
		header = fmt.Appendf(header, "DKIM-Signature: v=1; a=%s; d=%s.example; s=%s; i=%q@%s.example; h=from; bh=AAAA; b=%d%s\r\n",
			long, strings.Repeat("a.", 100), long, long, long, i, long)
	}
	header = fmt.Appendf(header, "From: <%s@%s.example>\r\n", strings.Repeat("x", 60), strings.Repeat("a.", 100)+"b")
	tr := startTrial(t.Context(), names{})
	defer tr.close()
	tr.header(header)
	tr.body([]byte("\r\ntext\r\n"))
	tr.verdict(t.Context())
	field := mailauth.AppendAuthResults(nil, "mx.b.example", tr.results())
	if len(tr.Verdict.DKIM) != 10 || len(field) > 48<<10 {
		t.Errorf("%d signatures make a field of %d octets", len(tr.Verdict.DKIM), len(field))
	}
	for line := range bytes.SplitSeq(field, []byte("\r\n")) {
		if len(line) > 998 {
			t.Errorf("a line of %d octets", len(line))
		}
	}
	if a, err := mailauth.ParseAuthResults(field[bytes.IndexByte(field, ':')+1:], 0); err != nil || a.ID != "mx.b.example" {
		t.Errorf("it cannot be read again: %v", err)
	}
}
