package submit

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/mailauth"
	"github.com/postino-mail/postino/message"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/story"
)

// someRSA is one key for all, since making one takes long.
var someRSA = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// publish puts the keys of all domains into a DNS and makes them sign.
func (h *house) publish() *dns.Fake {
	h.t.Helper()
	d, fake := h.opts.Directory, dns.NewFake()
	domains, err := d.Domains(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	for _, dom := range domains {
		keys, err := d.DKIMKeys(h.t.Context(), dom.Name)
		if err != nil {
			h.t.Fatal(err)
		}
		zone := ""
		for _, k := range keys {
			name, text := k.Record()
			zone += name + ". IN TXT " + mailauth.ZoneText(text) + "\n"
		}
		if err := fake.AddZone(dom.Name, zone, dns.Secure); err != nil {
			h.t.Fatal(err)
		}
		if _, err := directory.NewKeeper(d, directory.KeeperOptions{DNS: fake}).Check(h.t.Context(), dom.Name, false); err != nil {
			h.t.Fatal(err)
		}
	}
	return fake
}

// leaves is the message of an item as it goes out.
func (h *house) leaves(it *queue.Item) []byte {
	return append(bytes.Clone(it.Prefix), h.body(it)...)
}

func verify(t *testing.T, r dns.Resolver, msg []byte) *mailauth.Verdict {
	t.Helper()
	end := message.HeaderEnd(msg)
	v := mailauth.NewVerifier(msg[:end], mailauth.VerifyOptions{Resolver: r, Now: time.Now()})
	v.Write(msg[end:])
	return v.Verify(t.Context())
}

// signedBy words the signatures of a message: "here.example rsa-sha256 pass, …".
func signedBy(v *mailauth.Verdict) string {
	var all []string
	for _, s := range v.DKIM {
		all = append(all, s.Domain+" "+s.Algorithm+" "+string(s.Result))
	}
	return strings.Join(all, ", ")
}

const both = "here.example rsa-sha256 pass, here.example ed25519-sha256 pass"

// What users, programs here and hosts that relay through us send is signed for the
// domain of the author if it is ours, what strangers send is not (MA5).
func TestSigned(t *testing.T) {
	h := open(t, nil)
	if err := h.opts.Directory.AddDomain(t.Context(), directory.Domain{Name: "bücher.example"}); err != nil {
		t.Fatal(err)
	}
	fake := h.publish()
	user := func(l *Letter) { l.User, l.Repair, l.Outward = h.ana(), true, true }
	program := func(l *Letter) { l.Repair, l.Outward = true, true }
	host := func(l *Letter) { l.Outward = true }
	stranger := func(*Letter) {}
	const ours, theirs = "From: Ana <ANA@Here.Example>\r\n", "From: x@far.example\r\n"
	for _, c := range []struct {
		name, header string
		as           func(*Letter)
		want         string
	}{
		{"a user", ours, user, both},
		{"a user without From", "", user, both},
		{"a program", "From: root@mx.here.example\r\n", program, both},
		{"a program without From", "", program, both},
		{"a host", ours, host, both},
		{"a host for the relay domain", "From: x@mx.example\r\n", host, "mx.example rsa-sha256 pass, mx.example ed25519-sha256 pass"},
		{"an author with an international domain", "From: x@Bücher.example\r\n", host, "xn--bcher-kva.example rsa-sha256 pass, xn--bcher-kva.example ed25519-sha256 pass"},
		{"a host that sends for somebody else", theirs, host, ""},
		{"a host without From", "X: y\r\n", host, ""},
		{"a host with two From fields", ours + ours, host, ""},
		{"two authors", "From: Ana <ana@here.example>, x@far.example\r\nSender: ana@here.example\r\n", host, both},
		{"a group", "From: Friends:;\r\n", user, ""},
		{"a stranger", ours, stranger, ""},
	} {
		for _, body := range []string{"", "\r\n", "\r\n\r\nHi  there \r\n.\r\n..x\r\n\r\n\r\n", "\r\nno end", "\r\n\xff\x00" + strings.Repeat("long", 3000) + "\r\n"} {
			for _, piece := range []int{1 << 20, 1} {
				l := h.Begin(time.Now(), postino.Envelope{From: addr("ana@here.example")})
				c.as(l)
				if err := l.Rcpt(t.Context(), postino.Recipient{Address: addr("ana@here.example")}, 0); err != nil {
					t.Fatal(err)
				}
				l.Open(time.Now())
				for b := []byte(c.header + "Subject: x\r\n" + body); len(b) > 0; b = b[min(piece, len(b)):] {
					if _, err := l.Write(b[:min(piece, len(b))]); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := l.Finish(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := l.Commit(t.Context()); err != nil {
					t.Fatal(err)
				}
				l.Close()
				msg := h.leaves(h.next())
				if got := signedBy(verify(t, fake, msg)); got != c.want {
					t.Fatalf("%s, body of %d, pieces of %d: signed by %q, want %q\n%s", c.name, len(body), piece, got, c.want, msg)
				}
				if c.name == "a host" && !bytes.HasSuffix(msg, []byte("\r\n"+c.header+"Subject: x\r\n"+body)) {
					t.Fatalf("the message was changed:\n%s", msg)
				}
			}
		}
	}
}

// failing is a token that lost its keys, or fails when it signs.
type failing struct{ found crypto.Signer }

func (f failing) Key(context.Context, string) (crypto.Signer, error) { return someRSA() }

func (f failing) Find(_ context.Context, label string) (crypto.Signer, error) {
	if f.found == nil {
		return nil, postino.E(postino.Transient, "find key", label, errors.New("the token is away"))
	}
	return f.found, nil
}

func (f failing) Remove(context.Context, string) error { return nil }

// mute cannot sign.
type mute struct{ crypto.Signer }

func (mute) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("the token is away")
}

// While a key cannot be used its mail waits at the sender: unsigned it might be
// refused for good.
func TestUnsignable(t *testing.T) {
	h := open(t, nil)
	with := func(token directory.Token) {
		d := directory.New(h.opts.DB, directory.Options{DKIM: &directory.DKIM{Token: token}})
		t.Cleanup(d.Close)
		h.opts.Directory = d
	}
	with(failing{})
	if err := h.opts.Directory.AddDomain(t.Context(), directory.Domain{Name: "token.example"}); err != nil {
		t.Fatal(err)
	}
	h.publish()
	key, err := someRSA()
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]failing{"away": {}, "mute": {mute{key}}} {
		with(token)
		err := h.letter("x@token.example", "From: x@token.example\r\n\r\nbody\r\n", func(l *Letter) { l.Outward = true }, "bob@there.example")
		if !postino.Is(err, postino.Transient) {
			t.Errorf("%s: %v", name, err)
		}
		if err := h.letter("x@far.example", text, func(l *Letter) { l.Outward = true }, "bob@there.example"); err != nil {
			t.Errorf("%s: mail of others: %v", name, err)
		}
		h.next()
	}
}

// Other software verifies what we sign, and before anything is published nothing is
// signed.
func TestSignedForOthers(t *testing.T) {
	h := open(t, nil)
	send := func() []byte {
		t.Helper()
		as := func(l *Letter) { l.User, l.Repair, l.Outward = h.ana(), true, true }
		if err := h.letter("ana@here.example", "To: b@there.example\r\nSubject: x\r\n\r\nbody\r\n", as, "bob@there.example"); err != nil {
			t.Fatal(err)
		}
		return h.leaves(h.next())
	}
	if msg := send(); bytes.Contains(msg, []byte("DKIM-Signature")) {
		t.Errorf("signed without a published key:\n%s", msg)
	}
	fake := h.publish()
	msg := send()
	list, err := dkim.VerifyWithOptions(bytes.NewReader(msg), &dkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		a, err := fake.Lookup(t.Context(), strings.TrimSuffix(name, "."), dns.TypeTXT)
		if err != nil {
			return nil, err
		}
		return a.TXT, nil
	}})
	if err != nil || len(list) != 2 {
		t.Fatalf("%d signatures, %v\n%s", len(list), err, msg)
	}
	for _, v := range list {
		if v.Err != nil || v.Domain != "here.example" {
			t.Errorf("%s: %v", v.Domain, v.Err)
		}
	}
}

// The story says who signed; a message that waits is signed for longer.
func TestSignedStory(t *testing.T) {
	h := open(t, nil)
	fake := h.publish()
	hold := time.Now().Add(30 * 24 * time.Hour)
	l := h.Begin(time.Now(), postino.Envelope{From: addr("ana@here.example")})
	defer l.Close()
	l.User, l.Repair, l.Outward, l.Envelope.HoldUntil = h.ana(), true, true, hold
	if err := l.Rcpt(t.Context(), postino.Recipient{Address: addr("bob@there.example")}, 0); err != nil {
		t.Fatal(err)
	}
	l.Open(time.Now())
	if _, err := io.WriteString(l, "Subject: x\r\n\r\nbody\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	year := time.Now().UTC().Format("2006")
	if got, want := l.Accepted(nil).First(story.Signed), fmt.Sprintf("here.example (%[1]sa-rsa, %[1]sa-ed25519)", year); got != want {
		t.Errorf("the story says %q, want %q", got, want)
	}
	msg := slices.Concat(l.signatures, []byte("Subject: x\r\n\r\nbody\r\n"))
	for _, s := range verify(t, fake, msg).DKIM {
		if life := s.Expires.Sub(hold); life < 7*24*time.Hour-time.Minute || life > 7*24*time.Hour+time.Minute {
			t.Errorf("the signature lives for %v after the message leaves", life)
		}
	}
}

// Reports of ours are signed (SC9).
func TestReportIsSigned(t *testing.T) {
	h := open(t, func(*queue.Item, int) queue.Outcome {
		return queue.Outcome{Result: queue.Rejected, Reply: "550 5.1.1 No such user"}
	})
	fake := h.publish()
	if err := h.letter("x@mx.example", text, func(l *Letter) { l.Outward = true }, "bob@there.example"); err != nil {
		t.Fatal(err)
	}
	h.next()
	if got := signedBy(verify(t, fake, h.leaves(h.next()))); got != both {
		t.Errorf("the report is signed by %q", got)
	}
}

// A domain that seals adds a set to what its aliases send on, over what leaves; one
// that does not leaves the message as it is (RFC 8617 §5.1).
func TestSealed(t *testing.T) {
	h := open(t, nil)
	fake := h.publish()
	d := h.opts.Directory
	found := []mailauth.AuthResult{{Method: "spf", Result: mailauth.Pass}, {Method: "arc", Result: mailauth.None}}
	results := string(mailauth.AppendAuthResults(nil, "mx.here.example", found))
	send := func(arrival *Arrival) *queue.Item {
		t.Helper()
		err := h.letter("x@far.example", text, func(l *Letter) { l.Arrival, l.Prefix = arrival, []byte(results) }, "away@here.example")
		if err != nil {
			t.Fatal(err)
		}
		return h.next()
	}
	arrived := &Arrival{Results: found, Chain: mailauth.Chain{Result: mailauth.None}}
	if it := send(arrived); string(it.Prefix) != "Delivered-To: away@here.example\r\n"+results {
		t.Errorf("without being asked to it seals: %q", it.Prefix)
	}
	if err := d.UpdateDomain(t.Context(), "here.example", func(dom *directory.Domain) { dom.Seal = true }); err != nil {
		t.Fatal(err)
	}
	if it := send(nil); strings.Contains(string(it.Prefix), "ARC-") {
		t.Errorf("sealed although nothing is known of it: %q", it.Prefix)
	}
	it := send(arrived)
	chain := verify(t, fake, h.leaves(it)).ARC
	if chain.Result != mailauth.Pass || len(chain.Sets) != 1 || chain.Sets[0].Seal.Domain != "here.example" {
		t.Fatalf("the chain is %s %q\n%s", chain.Result, chain.Reason, h.leaves(it))
	}
	claim, err := mailauth.ParseAuthResults(chain.Sets[0].Results, 0)
	if err != nil || claim.ID != "mx.here.example" || len(claim.Results) != 2 || claim.Results[0].Method != "spf" {
		t.Errorf("the set claims %+v, %v", claim, err)
	}
	if len(verify(t, fake, h.leaves(it)).DKIM) != 0 {
		t.Error("a stranger's message was signed")
	}

	// The next hop finds a chain, seals again, and so on until somebody breaks it.
	again := &Arrival{Results: found, Chain: chain}
	err = h.letter("x@far.example", string(h.leaves(it)), func(l *Letter) { l.Arrival = again }, "away@here.example")
	if err != nil {
		t.Fatal(err)
	}
	if chain := verify(t, fake, h.leaves(h.next())).ARC; chain.Result != mailauth.Pass || len(chain.Sets) != 2 {
		t.Errorf("sealed twice: %s %q, %d sets", chain.Result, chain.Reason, len(chain.Sets))
	}
}

// A message that turns out to lead elsewhere when it is delivered is sealed with
// what its own results say of its arrival.
func TestSealedOnward(t *testing.T) {
	h := open(t, nil)
	fake := h.publish()
	if err := h.opts.Directory.UpdateDomain(t.Context(), "here.example", func(dom *directory.Domain) { dom.Seal = true }); err != nil {
		t.Fatal(err)
	}
	onward := func(prefix string) *queue.Item {
		t.Helper()
		body := strings.Repeat("0123456789 \t\r\n", 50_000) + "\r\n\r\n"
		if err := h.letter("x@far.example", "From: x@far.example\r\nSubject: hello\r\n\r\n"+body, func(l *Letter) { l.Prefix = []byte(prefix) }, "ana@here.example"); err != nil {
			t.Fatal(err)
		}
		it := h.next()
		if _, err := h.Onward(t.Context(), it, 0, []directory.Forward{{Address: addr("bob@there.example"), Via: addr("ana@here.example")}}); err != nil {
			t.Fatal(err)
		}
		sets, err := h.sealStored(t.Context(), it, []string{"here.example"})
		if err != nil {
			t.Fatal(err)
		}
		it.Prefix = slices.Concat(sets["here.example"], it.Prefix)
		return it
	}
	ours := func(results ...mailauth.AuthResult) string {
		return string(mailauth.AppendAuthResults(nil, "mx.here.example", results))
	}
	it := onward(ours(mailauth.AuthResult{Method: "spf", Result: mailauth.Fail}))
	if chain := verify(t, fake, h.leaves(it)).ARC; chain.Result != mailauth.Pass || len(chain.Sets) != 1 || !bytes.Contains(chain.Sets[0].Results, []byte("spf=fail")) {
		t.Errorf("the chain is %s %q\n%s", chain.Result, chain.Reason, it.Prefix)
	}
	for _, prefix := range []string{
		"", "Authentication-Results: other.example; spf=pass\r\n", "Authentication-Results: (\r\n",
		ours(mailauth.AuthResult{Method: "auth", Result: mailauth.Pass}),
	} {
		if it := onward(prefix); strings.Contains(string(it.Prefix), "ARC-") {
			t.Errorf("after %q it is sealed: %q", prefix, it.Prefix)
		}
	}
	for in, want := range map[mailauth.Result]mailauth.Result{mailauth.Fail: mailauth.Fail, mailauth.Pass: mailauth.Pass} {
		if a := h.arrival([]byte(ours(mailauth.AuthResult{Method: "arc", Result: in}))); a == nil || a.Chain.Result != want {
			t.Errorf("arc=%s is read as %+v", in, a)
		}
	}
}

func BenchmarkSubmit(b *testing.B) {
	for _, published := range []bool{false, true} {
		for _, size := range []int{9 << 10, 1400 << 10} {
			b.Run(fmt.Sprintf("signed=%v/%dKiB", published, size>>10), func(b *testing.B) {
				h := open(b, nil)
				if published {
					h.publish()
				}
				content := []byte("Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", size/72))
				ana := h.ana()
				b.SetBytes(int64(len(content)))
				b.ReportAllocs()
				for b.Loop() {
					l := h.Begin(time.Now(), postino.Envelope{From: ana.Address})
					l.User, l.Repair, l.Outward = ana, true, true
					l.Open(time.Now())
					if _, err := l.Write(content); err != nil {
						b.Fatal(err)
					}
					if _, err := l.Finish(b.Context()); err != nil {
						b.Fatal(err)
					}
					if got := bytes.Count(l.signatures, []byte("DKIM-Signature")); (got == 2) != published {
						b.Fatalf("%d signatures", got)
					}
					l.Close()
				}
			})
		}
	}
}
