package dns

import (
	"context"
	"encoding/base64"
	"errors"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/postino-mail/postino"
)

const testKey = "hmac-sha256:postino:cG9zdGlubyBwb3N0aW5vIHBvc3Rpbm8gcG9zdGlubyE="

// primary is a server of example.org that takes updates.
type primary struct {
	t        *testing.T
	mu       sync.Mutex
	records  map[string]bool // in the notation of zone files
	rcode    int
	unsigned bool // replies
	silent   bool
}

func (p *primary) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := new(dns.Msg).SetReply(q)
	m.Authoritative = true
	soa, err := dns.NewRR("example.org. 3600 SOA ns hostmaster 1 2 3 4 5")
	if err != nil {
		p.t.Error(err)
	}
	t := q.IsTsig()
	switch {
	case p.silent:
		return
	case t == nil || w.TsigStatus() != nil:
		m.Rcode = dns.RcodeNotAuth
	case q.Opcode == dns.OpcodeUpdate:
		m.Rcode = p.rcode
		if q.Question[0].Name != "example.org." || q.Question[0].Qtype != dns.TypeSOA {
			p.t.Errorf("the zone is %v", q.Question[0])
		}
		for _, rr := range q.Ns {
			h := rr.Header()
			if h.Class == dns.ClassNONE { // RFC 2136 §2.5.4
				h.Class = dns.ClassINET
				delete(p.records, rr.String())
				continue
			}
			ttl := h.Ttl
			h.Ttl = 0 // as removal has it
			p.records[rr.String()] = ttl == 60
		}
	case dns.IsSubDomain("example.org.", q.Question[0].Name):
		m.Ns = append(m.Ns, soa)
		m.Rcode = dns.RcodeNameError
	default:
		m.Authoritative = false
		m.Rcode = dns.RcodeRefused
	}
	if t != nil && !p.unsigned && w.TsigStatus() == nil {
		m.SetTsig(t.Hdr.Name, t.Algorithm, 300, time.Now().Unix())
	}
	if err := w.WriteMsg(m); err != nil {
		p.t.Log(err)
	}
}

// startPrimary serves on loopback.
func startPrimary(t *testing.T) (*primary, *Updater) {
	t.Helper()
	p := &primary{t: t, records: map[string]bool{}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	s := &dns.Server{Listener: ln, Handler: p, MsgAcceptFunc: func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }, TsigSecret: map[string]string{"postino.": testKey[len("hmac-sha256:postino:"):]}, NotifyStartedFunc: func() { close(started) }}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = s.Shutdown(); <-done })
	key, err := ParseTSIG(testKey)
	if err != nil {
		t.Fatal(err)
	}
	return p, &Updater{Server: netip.MustParseAddrPort(ln.Addr().String()), Key: key}
}

func (p *primary) all() (list []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for r, ttl := range p.records {
		if !ttl {
			r += " (another TTL)"
		}
		list = append(list, strings.Join(strings.Fields(r), " "))
	}
	slices.Sort(list)
	return list
}

func TestUpdate(t *testing.T) {
	p, u := startPrimary(t)
	ctx := t.Context()
	check := func(err error, want ...string) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
		if got := p.all(); !slices.Equal(got, want) {
			t.Errorf("the zone holds %q, want %q", got, want)
		}
	}
	one, two := `_acme-challenge.mail.example.org. 0 IN TXT "one"`, `_acme-challenge.mail.example.org. 0 IN TXT "two \"2\" \\"`
	const name = "_acme-challenge.Mail.example.org."
	check(u.AddTXT(ctx, name, "one", time.Minute), one)
	check(u.AddTXT(ctx, name, `two "2" \`, time.Minute), one, two)
	check(u.RemoveTXT(ctx, name, "one"), two)
	check(u.RemoveTXT(ctx, name, `two "2" \`))
	record := TLSA{3, 1, 1, []byte{0xab, 0xcd}}
	check(u.AddTLSA(ctx, "_25._tcp.mail.example.org", record, time.Minute), "_25._tcp.mail.example.org. 0 IN TLSA 3 1 1 abcd")
	check(u.RemoveTLSA(ctx, "_25._tcp.mail.example.org", record))
	long := strings.Repeat("x", 600)
	check(u.AddTXT(ctx, "example.org", long, time.Minute), `example.org. 0 IN TXT "`+long[:255]+`" "`+long[:255]+`" "`+long[:90]+`"`)
}

func TestUpdateFails(t *testing.T) {
	p, u := startPrimary(t)
	add := func(u *Updater, name string) error { return u.AddTXT(t.Context(), name, "x", time.Minute) }
	if err := add(u, "mail.elsewhere.example"); !postino.Is(err, postino.Transient) || !strings.Contains(err.Error(), "no zone") {
		t.Errorf("another zone: %v", err)
	}
	if err := add(u, "not a name"); !postino.Is(err, postino.Invalid) {
		t.Errorf("no name: %v", err)
	}
	p.rcode = dns.RcodeRefused
	if err := add(u, "mail.example.org"); !postino.Is(err, postino.Denied) {
		t.Errorf("refused: %v", err)
	}
	p.rcode = dns.RcodeServerFailure
	if err := add(u, "mail.example.org"); !postino.Is(err, postino.Transient) {
		t.Errorf("server failure: %v", err)
	}
	p.rcode = 0
	other := *u
	other.Key.Secret = []byte("another secret")
	if err := add(&other, "mail.example.org"); err == nil || !strings.Contains(err.Error(), "does not take our key") {
		t.Errorf("another key: %v", err)
	}
	p.unsigned = true
	if err := add(u, "mail.example.org"); err == nil || !strings.Contains(err.Error(), "is not signed") {
		t.Errorf("an unsigned reply: %v", err)
	}
	p.unsigned, p.silent = false, true
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := u.AddTXT(ctx, "mail.example.org", "x", time.Minute); !postino.Is(err, postino.Transient) {
		t.Errorf("no reply: %v", err)
	}
	other.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no way") }
	if err := add(&other, "mail.example.org"); !postino.Is(err, postino.Transient) {
		t.Errorf("no connection: %v", err)
	}
	if all := p.all(); len(all) > 0 && !slices.Equal(all, []string{`mail.example.org. 0 IN TXT "x"`}) {
		t.Errorf("the zone holds %q", all)
	}
}

func TestParseTSIG(t *testing.T) {
	for text, want := range map[string]string{
		testKey: "hmac-sha256 postino", "Postino.Example.:YWJj": "hmac-sha256 postino.example", "HMAC-SHA512:k:YWJj": "hmac-sha512 k",
		"": "", "a": "", "hmac-md5:k:YWJj": "", "hmac-sha1:k:YWJj": "", "hmac-sha256:k:": "", "hmac-sha256:k:not base64": "", "hmac-sha256:a..b:YWJj": "", "a:b:c:d": "",
	} {
		k, err := ParseTSIG(text)
		if want == "" {
			if !postino.Is(err, postino.Invalid) || strings.Contains(err.Error(), "YWJj") {
				t.Errorf("%q: %v", text, err)
			}
		} else if got := k.Algorithm + " " + k.Name; err != nil || got != want || len(k.Secret) == 0 {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
}

// What is a key prints as one again, and no text does harm.
func FuzzParseTSIG(f *testing.F) {
	for _, s := range []string{testKey, "k:YWJj", "hmac-sha512:a.b.:YWJj", "::", "hmac-sha256:\x00:YWJj"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParseTSIG(s)
		if err != nil {
			return
		}
		again, err := ParseTSIG(k.Algorithm + ":" + k.Name + ":" + base64.StdEncoding.EncodeToString(k.Secret))
		if err != nil || !reflect.DeepEqual(again, k) {
			t.Errorf("%q is %v, and again %v, %v", s, k, again, err)
		}
	})
}
