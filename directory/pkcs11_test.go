//go:build pkcs11

package directory

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/mailauth"
)

// softHSM makes a token of SoftHSM and returns its module. CI installs it; where it
// is missing the test is skipped.
func softHSM(t testing.TB) PKCS11 {
	t.Helper()
	module := ""
	for _, path := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so", "/usr/lib/pkcs11/libsofthsm2.so", "/opt/homebrew/lib/softhsm/libsofthsm2.so"} {
		if _, err := os.Stat(path); err == nil {
			module = path
			break
		}
	}
	tool, err := exec.LookPath("softhsm2-util")
	if module == "" || err != nil {
		t.Skip("SoftHSM is not installed")
	}
	dir := t.TempDir()
	conf := dir + "/softhsm2.conf"
	ok(t, os.WriteFile(conf, []byte("directories.tokendir = "+dir+"\nobjectstore.backend = file\nlog.level = ERROR\n"), 0o600))
	t.Setenv("SOFTHSM2_CONF", conf)
	out, err := exec.CommandContext(t.Context(), tool, "--init-token", "--free", "--label", "postino", "--so-pin", "5678", "--pin", "1234", "--module", module).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return PKCS11{Module: module, Label: "postino", PIN: "1234"}
}

// Keys of a token sign, and are found again by another process; what is removed is
// gone from the token (MA5).
func TestPKCS11(t *testing.T) {
	o := softHSM(t)
	token, err := OpenPKCS11(o)
	ok(t, err)
	t.Cleanup(token.(*pkcs11).drop) // the module is one for the process
	ctx := t.Context()
	if _, err := token.Find(ctx, "none"); !postino.Is(err, postino.NotFound) {
		t.Fatalf("a key that is not there: %v", err)
	}
	ok(t, token.Remove(ctx, "none"))

	d, db := open(t, Options{DKIM: &DKIM{Token: token}})
	ok(t, d.AddDomain(ctx, Domain{Name: "new.example"}))
	have, err := domainKeys(memoryTx{db.m}, "new.example")
	ok(t, err)
	if len(have) != 1 || have[0].secret != nil || have[0].Token == "" {
		t.Fatalf("the rows are %v", have)
	}
	net := newNames()
	net.publish(have...)
	_, err = NewKeeper(d, KeeperOptions{DNS: net}).Check(ctx, "new.example", false)
	ok(t, err)

	again := New(db, Options{DKIM: &DKIM{Token: token}}) // nothing is in its memory
	t.Cleanup(again.Close)
	keys, err := again.SignKeys(ctx, "new.example")
	ok(t, err)
	if len(keys) != 1 || keys[0].Key.Public().(*rsa.PublicKey).N.BitLen() != 2048 {
		t.Fatalf("%d keys sign", len(keys))
	}
	header, body := []byte("From: a@new.example\r\n"), []byte("body\r\n")
	s, err := mailauth.NewSigner(header, mailauth.SignOptions{Keys: keys, Time: time.Now()})
	ok(t, err)
	s.Write(body)
	fields, err := s.Sign()
	ok(t, err)
	v := mailauth.NewVerifier(bytes.Join([][]byte{fields, header}, nil), mailauth.VerifyOptions{Resolver: net, Now: time.Now()})
	v.Write(body)
	if list := v.Verify(ctx).DKIM; len(list) != 1 || list[0].Result != mailauth.Pass {
		t.Fatalf("the signature is %+v", list)
	}
	same, err := token.Key(ctx, have[0].Token)
	ok(t, err)
	if !same.Public().(*rsa.PublicKey).Equal(keys[0].Key.Public()) {
		t.Error("a key that was there is made again")
	}

	p := token.(*pkcs11) // the token was out and comes back
	p.mu.Lock()
	p.drop()
	p.mu.Unlock()
	if _, err := keys[0].Key.Sign(rand.Reader, make([]byte, 32), crypto.SHA256); err != nil {
		t.Errorf("a token that came back: %v", err)
	}

	ok(t, d.RemoveDomain(ctx, "new.example"))
	if _, err := token.Find(ctx, have[0].Token); !postino.Is(err, postino.NotFound) {
		t.Errorf("the key of a domain that is gone: %v", err)
	}
	if _, err := keys[0].Key.Sign(rand.Reader, make([]byte, 32), crypto.SHA256); !postino.Is(err, postino.Transient) || p.open != nil {
		t.Errorf("a key that is gone signs: %v", err)
	}
	o.PIN = "9999"
	wrong, err := OpenPKCS11(o)
	ok(t, err)
	if _, err := wrong.Find(ctx, "x"); !postino.Is(err, postino.Transient) || strings.Contains(err.Error(), "9999") {
		t.Errorf("a wrong PIN: %v", err)
	}
	wrong.(*pkcs11).drop()
	none, err := OpenPKCS11(PKCS11{Module: "/nowhere/libsofthsm2.so", Label: "x"})
	ok(t, err)
	if _, err := none.Key(ctx, "x"); !postino.Is(err, postino.Transient) {
		t.Errorf("no module: %v", err)
	}
}

// Several sign at once.
func BenchmarkPKCS11(b *testing.B) {
	token, err := OpenPKCS11(softHSM(b))
	ok(b, err)
	b.Cleanup(token.(*pkcs11).drop)
	key, err := token.Key(b.Context(), "bench")
	ok(b, err)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := key.Sign(rand.Reader, make([]byte, 32), crypto.SHA256); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
