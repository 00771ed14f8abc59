package directory

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/kv"
)

// someRSA makes keys that tests can afford: the same few again and again.
var someRSA = sync.OnceValue(func() []*rsa.PrivateKey {
	list := make([]*rsa.PrivateKey, 2)
	for i := range list {
		list[i], _ = rsa.GenerateKey(rand.Reader, 2048)
	}
	return list
})

func testDKIM() *DKIM {
	n := 0
	return &DKIM{RSA: func() (*rsa.PrivateKey, error) {
		n++
		return someRSA()[n%2], nil
	}}
}

// names is the DNS of a test: what was published.
type names struct {
	mu    sync.Mutex
	txt   map[string]string
	fail  bool
	deaf  bool // takes no changes
	asked int
}

func (n *names) Lookup(_ context.Context, name string, _ dns.Type) (*dns.Answer, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	if n.fail {
		return nil, postino.E(postino.Transient, "look up", name, dns.ErrServer)
	}
	if text, ok := n.txt[name]; ok {
		return &dns.Answer{Name: name, TXT: []string{text}, TTL: 2 * time.Hour}, nil
	}
	return &dns.Answer{}, postino.E(postino.NotFound, "look up", name, dns.ErrNXDomain)
}

func (n *names) publish(keys ...DKIMKey) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, k := range keys {
		name, text := k.Record()
		n.txt[name] = text
	}
}

func (n *names) remove(keys ...DKIMKey) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, k := range keys {
		delete(n.txt, k.String())
	}
}

// held returns what is published.
func (n *names) held() map[string]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.txt)
}

func newNames() *names { return &names{txt: map[string]string{}} }

// states words the keys of a domain: "2026a-rsa signing, …".
func states(t testing.TB, d *Directory, domain string) string {
	t.Helper()
	list, err := d.DKIMKeys(t.Context(), domain)
	ok(t, err)
	all := make([]string, len(list))
	for i, k := range list {
		all[i] = k.Selector + " " + k.State.String()
	}
	return strings.Join(all, ", ")
}

func signers(t testing.TB, d *Directory, from string) string {
	t.Helper()
	keys, err := d.SignKeys(t.Context(), from)
	ok(t, err)
	all := make([]string, len(keys))
	for i, k := range keys {
		all[i] = k.Selector + "." + k.Domain
	}
	return strings.Join(all, " ")
}

// A domain has its keys from the start, and none of them signs.
func TestKeysOfNewDomain(t *testing.T) {
	d, _ := open(t, Options{DKIM: testDKIM()})
	year := time.Now().UTC().Format("2006")
	ok(t, d.AddDomain(t.Context(), Domain{Name: "new.example"}))
	if got, want := states(t, d, "new.example"), year+"a-ed25519 planned, "+year+"a-rsa planned"; got != want {
		t.Errorf("the keys are %s, want %s", got, want)
	}
	if got := signers(t, d, "new.example"); got != "" {
		t.Errorf("%s signs unpublished", got)
	}
	list, err := d.DKIMKeys(t.Context(), "new.example")
	ok(t, err)
	for _, k := range list {
		name, text := k.Record()
		if name != k.Selector+"._domainkey.new.example" || !strings.HasPrefix(text, "v=DKIM1; k="+k.Algorithm.String()+"; p=") {
			t.Errorf("the record is %s %q", name, text)
		}
	}
	ok(t, d.RemoveDomain(t.Context(), "new.example"))
	if all, err := d.DKIMKeys(t.Context(), ""); err != nil || slices.ContainsFunc(all, func(k DKIMKey) bool { return k.Domain == "new.example" }) {
		t.Errorf("after its domain was removed: %v, %v", all, err)
	}
	ok(t, d.AddDomain(t.Context(), Domain{Name: "localhost"}))
	if got := states(t, d, "localhost"); got != "" { // RFC 6376 §6.1.1
		t.Errorf("a top-level domain has the keys %s", got)
	}
	if _, err := d.DKIMKeys(t.Context(), "new.example"); !postino.Is(err, postino.NotFound) {
		t.Errorf("the keys of a foreign domain: %v", err)
	}
}

// No private key is in a list, a log or a text (MA5).
func TestKeysAreSecret(t *testing.T) {
	d, db := open(t, Options{DKIM: testDKIM()})
	ok(t, d.AddDomain(t.Context(), Domain{Name: "new.example"}))
	list, err := d.DKIMKeys(t.Context(), "new.example")
	ok(t, err)
	have, err := domainKeys(memoryTx{db.m}, "new.example")
	ok(t, err)
	b, err := json.Marshal(list)
	ok(t, err)
	var logged strings.Builder
	slog.New(slog.NewTextHandler(&logged, nil)).Info("keys", "one", have[0], "all", have)
	shown := string(b) + logged.String() + fmt.Sprintf("%v %+v %#v %s", have, have, have, have)
	for _, k := range have {
		if len(k.secret) == 0 {
			t.Fatal("the key has no secret")
		}
		secret, _ := json.Marshal(k.secret)
		for _, s := range []string{strings.Trim(string(secret), `"`), fmt.Sprint(k.secret), fmt.Sprintf("%#v", k.secret)} {
			if strings.Contains(shown, s) {
				t.Errorf("%s is shown in %s", k, shown)
			}
		}
	}
	for _, k := range list {
		if k.secret != nil {
			t.Errorf("the list holds the secret of %s", k)
		}
	}
}

// The life of keys, with the clock of months.
func TestKeyLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		d, _ := open(t, Options{DKIM: testDKIM()})
		net := newNames()
		k := NewKeeper(d, KeeperOptions{DNS: net, Rotate: 30 * 24 * time.Hour, Hold: 24 * time.Hour})
		done := make(chan error)
		go func() { done <- k.Run(ctx) }()
		defer func() {
			stop()
			ok(t, <-done)
		}()
		const domain = "example.org" // was there before there were keys
		year := time.Now().UTC().Format("2006")
		expect := func(after time.Duration, want string) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if got := strings.ReplaceAll(states(t, d, domain), year, ""); got != want {
				t.Fatalf("after %v the keys are %s, want %s", after, got, want)
			}
		}
		keys := func() []DKIMKey {
			list, err := d.DKIMKeys(ctx, domain)
			ok(t, err)
			return list
		}
		expect(keeperStart, "a-ed25519 planned, a-rsa planned")
		expect(2*time.Hour, "a-ed25519 planned, a-rsa planned")
		first := keys()
		net.publish(first[1])
		expect(lookFresh, "a-ed25519 planned, a-rsa signing") // each for itself
		if got := strings.ReplaceAll(signers(t, d, domain), year, ""); got != "a-rsa.example.org" {
			t.Errorf("%s sign", got)
		}
		wrong := first[0]
		wrong.Public = first[1].Public
		net.publish(wrong)
		expect(time.Hour, "a-ed25519 planned, a-rsa signing")
		net.publish(first[0])
		expect(lookFresh, "a-ed25519 signing, a-rsa signing")
		if got := strings.ReplaceAll(signers(t, d, domain), year, ""); got != "a-rsa.example.org a-ed25519.example.org" {
			t.Errorf("%s sign", got)
		}

		expect(29*24*time.Hour, "a-ed25519 signing, a-rsa signing")
		expect(24*time.Hour, "a-ed25519 signing, a-rsa signing, b-ed25519 planned, b-rsa planned")
		expect(20*24*time.Hour, "a-ed25519 signing, a-rsa signing, b-ed25519 planned, b-rsa planned")
		second := keys()[2:]
		net.publish(second...)
		expect(lookRarely, "a-ed25519 signing, a-rsa signing, b-ed25519 published, b-rsa published")
		net.remove(second[0])
		expect(2*time.Hour, "a-ed25519 signing, a-rsa retiring, b-ed25519 planned, b-rsa signing") // TTL is 2 h
		net.publish(second[0])
		expect(24*time.Hour, "a-ed25519 retiring, a-rsa retiring, b-ed25519 signing, b-rsa signing")
		expect(6*24*time.Hour, "a-ed25519 retiring, a-rsa retiring, b-ed25519 signing, b-rsa signing")
		expect(2*24*time.Hour+lookRarely, "b-ed25519 signing, b-rsa signing")
		var all []DKIMKey
		ok(t, d.view(ctx, func(r kv.Reader) (err error) {
			all, err = domainKeys(r, domain)
			return err
		}))
		for _, k := range all {
			if (k.State == KeyRemoved) != (k.secret == nil) {
				t.Errorf("%s is %s with a secret of %d octets", k, k.State, len(k.secret))
			}
		}
		// What the DNS loses goes on signing: it may be there again when the mail is read.
		net.remove(second...)
		expect(24*time.Hour, "b-ed25519 signing, b-rsa signing")
		list, err := k.Status(ctx, domain)
		ok(t, err)
		for _, s := range list {
			if !postino.Is(s.Trouble, postino.NotFound) || s.Looked.IsZero() {
				t.Errorf("%s: %v at %v", s, s.Trouble, s.Looked)
			}
		}
	})
}

// AddTXT implements KeyRecords.
func (n *names) AddTXT(_ context.Context, name, text string, _ time.Duration) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.deaf {
		return postino.E(postino.Transient, "add TXT record", name, dns.ErrServer)
	}
	n.txt[name] = text
	return nil
}

// RemoveTXT implements KeyRecords.
func (n *names) RemoveTXT(_ context.Context, name, _ string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.deaf {
		return postino.E(postino.Transient, "remove TXT record", name, dns.ErrServer)
	}
	delete(n.txt, name)
	return nil
}

// With a DNS that takes changes keys rotate by themselves; while it does not, they
// wait, and nobody signs with what is not there.
func TestKeysByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		d, _ := open(t, Options{DKIM: testDKIM()})
		net := newNames()
		k := NewKeeper(d, KeeperOptions{DNS: net, Records: net, Rotate: 10 * 24 * time.Hour})
		done := make(chan error)
		go func() { done <- k.Run(ctx) }()
		defer func() {
			stop()
			ok(t, <-done)
		}()
		expect := func(after time.Duration, want string) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if got := strings.ReplaceAll(states(t, d, "example.org"), time.Now().UTC().Format("2006"), ""); got != want {
				t.Fatalf("after %v the keys are %s, want %s", after, got, want)
			}
		}
		expect(keeperStart, "a-ed25519 signing, a-rsa signing")
		net.mu.Lock()
		net.deaf = true
		net.mu.Unlock()
		expect(11*24*time.Hour, "a-ed25519 signing, a-rsa signing, b-ed25519 planned, b-rsa planned")
		if got := signers(t, d, "example.org"); strings.Contains(got, "b-") {
			t.Errorf("%s sign", got)
		}
		net.mu.Lock()
		net.deaf = false
		net.mu.Unlock()
		expect(lookLater, "a-ed25519 signing, a-rsa signing, b-ed25519 published, b-rsa published")
		expect(2*time.Hour, "a-ed25519 retiring, a-rsa retiring, b-ed25519 signing, b-rsa signing")
		expect(SignatureLife+time.Hour, "b-ed25519 signing, b-rsa signing")
		if held := net.held(); len(held) != 2 {
			t.Errorf("the DNS holds %v", held)
		}
		for range 3 {
			time.Sleep(10 * 24 * time.Hour)
			synctest.Wait()
			if got := len(strings.Fields(signers(t, d, "example.org"))); got != 2 || len(net.held()) > 6 {
				t.Fatalf("%d keys sign, %d are in the DNS: %s", got, len(net.held()), states(t, d, "example.org"))
			}
		}
		list, err := d.DKIMKeys(ctx, "example.org")
		ok(t, err)
		last := list[len(list)-1]
		if last.Created.Before(time.Now().Add(-20 * 24 * time.Hour)) {
			t.Errorf("the last key is of %v", last.Created)
		}
		ok(t, d.RetireDKIM(ctx, "example.org", last.Selector, time.Now()))
		ok(t, k.Remove(ctx, "example.org", last.Selector))
		if net.held()[last.String()] != "" {
			t.Error("the record of a key that is removed stays")
		}
	})
}

// A key that retires by hand gets a successor; one whose record the DNS cannot
// tell of now stays what it is.
func TestKeysByHand(t *testing.T) {
	ctx := t.Context()
	d, _ := open(t, Options{DKIM: testDKIM()})
	net := newNames()
	k := NewKeeper(d, KeeperOptions{DNS: net})
	year := time.Now().UTC().Format("2006")
	check := func(hurry bool, want string) {
		t.Helper()
		_, err := k.Check(ctx, "example.org", hurry)
		ok(t, err)
		if got := strings.ReplaceAll(states(t, d, "example.org"), year, ""); got != want {
			t.Fatalf("the keys are %s, want %s", got, want)
		}
	}
	check(false, "a-ed25519 planned, a-rsa planned")
	list, err := d.DKIMKeys(ctx, "example.org")
	ok(t, err)
	net.publish(list...)
	net.fail = true
	check(true, "a-ed25519 planned, a-rsa planned")
	net.fail = false
	check(false, "a-ed25519 signing, a-rsa signing")
	next, err := d.RotateDKIM(ctx, "example.org", time.Now())
	ok(t, err)
	again, err := d.RotateDKIM(ctx, "example.org", time.Now())
	ok(t, err)
	if len(next) != 2 || len(again) != 2 || next[0].Selector != again[0].Selector {
		t.Errorf("rotated twice: %v, then %v", next, again)
	}
	net.publish(next[1])
	check(true, "a-ed25519 signing, a-rsa retiring, b-ed25519 planned, b-rsa signing")
	ok(t, k.Retire(ctx, "example.org", year+"b-rsa"))
	if got := states(t, d, "example.org"); !strings.Contains(got, "c-rsa planned") {
		t.Errorf("nothing comes after a key that retired: %s", got)
	}
	check(false, "a-ed25519 signing, a-rsa retiring, b-ed25519 planned, b-rsa retiring, c-rsa planned")
	if got := signers(t, d, "example.org"); strings.Contains(got, "rsa") {
		t.Errorf("%s sign", got)
	}
	if err := d.RetireDKIM(ctx, "example.org", year+"a-rsa", time.Now()); !postino.Is(err, postino.Conflict) {
		t.Errorf("retired twice: %v", err)
	}
	if err := d.RemoveDKIM(ctx, "example.org", year+"a-ed25519", time.Now()); !postino.Is(err, postino.Conflict) {
		t.Errorf("a key that signs was removed: %v", err)
	}
	ok(t, d.RemoveDKIM(ctx, "example.org", year+"a-rsa", time.Now()))
	if err := d.RemoveDKIM(ctx, "example.org", year+"a-rsa", time.Now()); !postino.Is(err, postino.NotFound) {
		t.Errorf("removed twice: %v", err)
	}
}

// Authors in a domain of ours and below it have its keys; the nearest one counts.
func TestSignKeys(t *testing.T) {
	ctx := t.Context()
	d, _ := open(t, Options{DKIM: testDKIM()})
	net := newNames()
	k := NewKeeper(d, KeeperOptions{DNS: net})
	for _, name := range []string{"sub.example.org", "off.example"} {
		ok(t, d.AddDomain(ctx, Domain{Name: name, Disabled: name == "off.example"}))
	}
	_, err := k.Check(ctx, "example.org", false)
	ok(t, err)
	all, err := d.DKIMKeys(ctx, "")
	ok(t, err)
	net.publish(all...)
	for _, name := range []string{"example.org", "sub.example.org", "off.example"} {
		_, err := k.Check(ctx, name, false)
		ok(t, err)
	}
	year := time.Now().UTC().Format("2006")
	for from, want := range map[string]string{
		"example.org": "example.org", "mx.example.org": "example.org", "a.b.example.org": "example.org",
		"sub.example.org": "sub.example.org", "x.sub.example.org": "sub.example.org",
		"org": "", "other.org": "", "notexample.org": "", "off.example": "", "": "",
		strings.Repeat("a.", maxParents) + "example.org": "",
	} {
		if want != "" {
			want = year + "a-rsa." + want + " " + year + "a-ed25519." + want
		}
		for range 2 { // the second time from memory
			if got := signers(t, d, from); got != want {
				t.Errorf("from %s sign %q, want %q", from, got, want)
			}
		}
	}
	keys, err := d.SignKeys(ctx, "example.org")
	ok(t, err)
	ok(t, d.UpdateDomain(ctx, "example.org", func(dom *Domain) { dom.Seal = true }))
	same, err := d.SignKeys(ctx, "example.org")
	ok(t, err)
	if keys[0].Key != same[0].Key {
		t.Error("a change of the directory parsed the RSA key again")
	}
}

// A crash or an error at any moment leaves a domain with keys that sign as before
// or after the step, never with one whose record was not seen, and the next look
// goes on from there.
func TestKeysAfterFaults(t *testing.T) {
	for at := 1; at < 40; at++ {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			ctx := t.Context()
			d, db := open(t, Options{DKIM: testDKIM()})
			net := newNames()
			writes := 0
			faulty := &faultyDB{memory: db, fault: func() error {
				if writes++; writes == at {
					return errors.New("the power went")
				}
				return nil
			}}
			step := func() { // each in a process of its own
				run := New(faulty, Options{DKIM: testDKIM()})
				defer run.Close()
				_, _ = NewKeeper(run, KeeperOptions{DNS: net}).Check(ctx, "example.org", true)
				sound(t, d, db, net)
			}
			for range 3 {
				step()
			}
			list, err := d.DKIMKeys(ctx, "example.org")
			ok(t, err)
			net.publish(list...)
			for range 3 {
				step()
			}
			if got := len(strings.Fields(signers(t, New(db, Options{}), "example.org"))); got != 2 {
				t.Fatalf("%d keys sign: %s", got, states(t, d, "example.org"))
			}
			run := New(faulty, Options{DKIM: testDKIM()})
			defer run.Close()
			for range 2 {
				_, _ = run.RotateDKIM(ctx, "example.org", time.Now())
			}
			list, err = d.DKIMKeys(ctx, "example.org")
			ok(t, err)
			net.publish(list...)
			for range 4 {
				step()
			}
			year := time.Now().UTC().Format("2006")
			if got, want := strings.ReplaceAll(states(t, d, "example.org"), year, ""), "a-ed25519 retiring, a-rsa retiring, b-ed25519 signing, b-rsa signing"; got != want {
				t.Errorf("the keys are %s, want %s", got, want)
			}
		})
	}
}

// sound looks at what a power cut would leave.
func sound(t *testing.T, d *Directory, db *memory, net *names) {
	t.Helper()
	all, err := domainKeys(memoryTx{db.m}, "example.org")
	ok(t, err)
	signing, retired := map[KeyAlgorithm]int{}, map[KeyAlgorithm]int{}
	for _, k := range all {
		switch name, text := k.Record(); {
		case k.State == KeySigning:
			signing[k.Algorithm]++
			if net.txt[name] != text {
				t.Errorf("%s signs unpublished", k)
			}
			if k.secret == nil {
				t.Errorf("%s signs without a private part", k)
			}
		case k.State == KeyRetiring:
			retired[k.Algorithm]++
		}
	}
	for a, n := range signing {
		if n != 1 {
			t.Errorf("%d %s keys sign", n, a)
		}
	}
	for a := range retired {
		if signing[a] == 0 {
			t.Errorf("no %s key signs any more", a)
		}
	}
}

// faultyDB fails some updates, half of them after they were written.
type faultyDB struct {
	*memory
	fault func() error
	n     int
}

func (f *faultyDB) Update(ctx context.Context, scopes []kv.Scope, fn func(kv.Tx) error) error {
	err := f.fault()
	if f.n++; err != nil && f.n%2 == 0 {
		return err
	}
	if uerr := f.memory.Update(ctx, scopes, fn); uerr != nil {
		return uerr
	}
	return err
}

func TestKeyNames(t *testing.T) {
	for n, want := range map[int]string{1: "a", 26: "z", 27: "aa", 52: "az", 53: "ba", 702: "zz", 703: "aaa"} {
		if got := letters(n); got != want || number(got) != n {
			t.Errorf("%d is %s, which is %d", n, got, number(got))
		}
	}
	have := []DKIMKey{{Selector: "2026b-rsa"}, {Selector: "2026a-ed25519"}, {Selector: "2025z-rsa"}, {Selector: "2026-rsa"}, {Selector: "20260101"}}
	if got := nextName(have, 2026); got != "2026c" {
		t.Errorf("the next name is %s", got)
	}
	if got := nextName(have, 2027); got != "2027a" {
		t.Errorf("the first name of a year is %s", got)
	}
}

// tokens is a Token in memory.
type tokens struct {
	keys map[string]crypto.Signer
	gone bool
}

func (x *tokens) Key(ctx context.Context, label string) (crypto.Signer, error) {
	if s, err := x.Find(ctx, label); !postino.Is(err, postino.NotFound) {
		return s, err
	}
	x.keys[label] = someRSA()[len(x.keys)%2]
	return x.keys[label], nil
}

func (x *tokens) Find(_ context.Context, label string) (crypto.Signer, error) {
	switch s, ok := x.keys[label]; {
	case x.gone:
		return nil, postino.E(postino.Transient, "find key", label, errors.New("the token is gone"))
	case ok:
		return s, nil
	}
	return nil, postino.E(postino.NotFound, "find key", label, nil)
}

func (x *tokens) Remove(_ context.Context, label string) error {
	delete(x.keys, label)
	return nil
}

// Keys in a token: the store holds a label, and Ed25519 keys are not made.
func TestToken(t *testing.T) {
	ctx := t.Context()
	x := &tokens{keys: map[string]crypto.Signer{}}
	d, db := open(t, Options{DKIM: &DKIM{Token: x}})
	ok(t, d.AddDomain(ctx, Domain{Name: "new.example"}))
	year := time.Now().UTC().Format("2006")
	if got, want := states(t, d, "new.example"), year+"a-rsa planned"; got != want {
		t.Errorf("the keys are %s", got)
	}
	have, err := domainKeys(memoryTx{db.m}, "new.example")
	ok(t, err)
	if have[0].secret != nil || have[0].Token != "postino "+year+"a-rsa._domainkey.new.example" || x.keys[have[0].Token] == nil {
		t.Errorf("the row has the token %q and a secret of %d octets", have[0].Token, len(have[0].secret))
	}
	net := newNames()
	net.publish(have...)
	_, err = NewKeeper(d, KeeperOptions{DNS: net}).Check(ctx, "new.example", false)
	ok(t, err)
	keys, err := d.SignKeys(ctx, "new.example")
	ok(t, err)
	if len(keys) != 1 || keys[0].Key != x.keys[have[0].Token] {
		t.Errorf("%d keys sign", len(keys))
	}
	x.gone = true
	if _, err := New(db, Options{DKIM: &DKIM{Token: x}}).SignKeys(ctx, "new.example"); !postino.Is(err, postino.Transient) {
		t.Errorf("without the token: %v", err)
	}
	if _, err := New(db, Options{}).SignKeys(ctx, "new.example"); !postino.Is(err, postino.Transient) {
		t.Errorf("with no token configured: %v", err)
	}
	x.gone = false
	ok(t, d.RemoveDomain(ctx, "new.example"))
	if len(x.keys) != 1 || x.keys["postino "+year+"a-rsa._domainkey.example.org"] == nil {
		t.Errorf("the token still has %v", x.keys)
	}
}

func BenchmarkSignKeys(b *testing.B) {
	d, _ := open(b, Options{DKIM: testDKIM()})
	net := newNames()
	k := NewKeeper(d, KeeperOptions{DNS: net})
	for range 2 {
		list, err := k.Check(b.Context(), "example.org", true)
		ok(b, err)
		for _, s := range list {
			net.publish(s.DKIMKey)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if keys, err := d.SignKeys(b.Context(), "mx.example.org"); err != nil || len(keys) != 2 {
			b.Fatal(keys, err)
		}
	}
}
