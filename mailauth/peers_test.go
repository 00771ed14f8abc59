package mailauth

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// program finds one that the tests need; in CI it must be there.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	for _, dir := range []string{"/usr/sbin", "/usr/bin"} {
		if path = filepath.Join(dir, name); exists(path) {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatal(name, "is missing; scripts/install-test-deps brings it")
	}
	t.Skip(name, "is not installed")
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// peerLetters are messages as other programs take them: with a date, an identity,
// and all that canonical forms are about.
func peerLetters(n int) (list [][]byte) {
	rng := rand.New(rand.NewPCG(5, 9))
	const head = "Date: Sun, 22 Nov 2026 03:00:00 +0000\r\nMessage-ID: <1@example.org>\r\nFrom: Ana <ana@example.org>\r\nTo: bob@example.net\r\n" +
		"Subject: Letters\r\n  with  folds\t\r\n"
	list = append(list, []byte(head+"\r\n"), []byte(head+"\r\n\r\n"), []byte(head+"\r\nx"), []byte(head+"\r\n . \r\n\r\n\t\r\n"),
		[]byte(head+"X-8bit: caf\xc3\xa9\r\n\r\n"+strings.Repeat("long line ", 90)+"\r\n"))
	for len(list) < n {
		m := randomMessage(rng)
		_, body := split(m)
		list = append(list, append([]byte(head+"X-Random: "+strings.Repeat("a ", rng.IntN(60))+"\r\n\r\n"), body...))
	}
	return list
}

// forms are all keys and canonical forms.
func forms() (keys []SignKey) {
	for _, k := range []SignKey{rsaKey(), edKey()} {
		for _, h := range []Canonicalization{Relaxed, Simple} {
			for _, b := range []Canonicalization{Relaxed, Simple} {
				k.Header, k.Body = h, b
				keys = append(keys, k)
			}
		}
	}
	return keys
}

// pemOf writes a private key as others read it.
func pemOf(t *testing.T, k SignKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(k.Key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// TestOpenDKIM: what we sign passes OpenDKIM, and what it signs passes here.
func TestOpenDKIM(t *testing.T) {
	opendkim := program(t, "opendkim")
	dir := t.TempDir()
	file := func(name string, text []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	run := func(conf string, files []string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), opendkim, "-x", file("conf", []byte(conf)), "-v", "-t", strings.Join(files, ",")).Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	z := zone()
	var keys []byte
	for name, texts := range z.m {
		if strings.HasSuffix(name, "._domainkey.example.org") {
			keys = fmt.Appendf(keys, "%s %s\n", name, texts[0])
		}
	}
	// It does not take a body whose last line has no end, which no wire brings.
	letters := slices.DeleteFunc(peerLetters(12), func(m []byte) bool { return !bytes.HasSuffix(m, []byte("\n")) })
	var files []string
	for i, m := range letters {
		for j, k := range forms() {
			files = append(files, file(fmt.Sprintf("ours-%d-%d.eml", i, j), signNow(t, m, k)))
		}
		files = append(files, file(fmt.Sprintf("ours-%d-changed.eml", i), append(signNow(t, m, rsaKey()), "more\r\n"...)))
	}
	said := run("TestDNSData file:"+file("keys", keys)+"\nRequireSafeKeys no\n", files)
	for _, f := range files {
		good := strings.Contains(said, f+": verification (s=") && strings.Contains(lineOf(said, f+": verification"), "succeeded")
		if changed := strings.HasSuffix(f, "changed.eml"); good == changed {
			t.Errorf("%s: passes OpenDKIM: %v", filepath.Base(f), good)
		}
	}
	if t.Failed() {
		t.Log(said)
	}

	for _, k := range forms() {
		if k.Header == Simple { // signing from a file, it does not see the header as it is there
			continue
		}
		algorithm := "rsa-sha256"
		if _, ed := k.Key.(ed25519.PrivateKey); ed {
			algorithm = "ed25519-sha256"
		}
		conf := fmt.Sprintf("Mode s\nDomain example.org\nSelector %s\nKeyFile %s\nInternalHosts 0.0.0.0/0,::/0\nCanonicalization %s/%s\nSignatureAlgorithm %s\nOversignHeaders From\nRequireSafeKeys no\n",
			k.Selector, file("private.pem", pemOf(t, k)), k.Header, k.Body, algorithm)
		for i, m := range letters {
			said := run(conf, []string{file("plain.eml", m)})
			_, field, ok := strings.Cut(said, "\nDKIM-Signature:")
			if !ok {
				t.Fatal(said)
			}
			field, _, _ = strings.Cut(field, "\nopendkim:")
			field = strings.TrimRight(strings.ReplaceAll(field, "\r", ""), "\n")
			signed := append([]byte("DKIM-Signature:"+strings.ReplaceAll(field, "\n", "\r\n")+"\r\n"), m...)
			if got := verify(t, z, time.Now(), signed).DKIM; len(got) != 1 || got[0].Result != Pass || got[0].Algorithm != algorithm {
				t.Errorf("letter %d, %s %s/%s: %+v\n%q", i, algorithm, k.Header, k.Body, got, signed)
			}
		}
	}
}

func lineOf(text, part string) string {
	_, rest, _ := strings.Cut(text, part)
	line, _, _ := strings.Cut(rest, "\n")
	return line
}

// script verifies and signs with dkimpy what it reads as JSON.
const dkimpyScript = `
import base64, dkim, json, sys
job = json.load(sys.stdin)
keys = {k.encode(): v.encode() for k, v in job["keys"].items()}
def txt(name, timeout=5):
    return keys.get(name.rstrip(b"."))
out = {"verified": [], "chains": [], "signed": [], "sealed": []}
for m in job["verify"] or []:
    try:
        d = dkim.DKIM(base64.b64decode(m))
        n = sum(1 for h, _ in d.headers if h.lower() == b"dkim-signature")
        out["verified"].append(all(d.verify(idx=i, dnsfunc=txt) for i in range(n)) and n > 0)
    except dkim.DKIMException as e:
        out["verified"].append(False)
for m in job["chain"] or []:
    cv, results, comment = dkim.arc_verify(base64.b64decode(m), dnsfunc=txt)
    out["chains"].append(cv.decode() if cv else "none")
for s in job["sign"] or []:
    out["signed"].append(dkim.sign(base64.b64decode(s["m"]), s["s"].encode(), b"example.org", base64.b64decode(s["k"]),
        canonicalize=(s["h"].encode(), s["b"].encode()), signature_algorithm=s["a"].encode()).decode())
for s in job["seal"] or []:
    m = base64.b64decode(s["m"])
    out["sealed"].append("".join(l.decode() for l in dkim.arc_sign(m, s["s"].encode(), b"example.org", base64.b64decode(s["k"]), b"mx.example.org")))
json.dump(out, sys.stdout)
`

// TestDkimpy: signatures and chains pass there and here, whoever made them.
func TestDkimpy(t *testing.T) {
	python := "/usr/bin/python3" // the one that the distribution's modules are for
	if !exists(python) || exec.Command(python, "-c", "import dkim, nacl").Run() != nil {
		program(t, "dkimverify") // says what is missing
		t.Skip("no dkimpy for the distribution's Python")
	}
	job := struct {
		Keys   map[string]string   `json:"keys"`
		Verify [][]byte            `json:"verify"`
		Chain  [][]byte            `json:"chain"`
		Sign   []map[string]string `json:"sign"`
		Seal   []map[string]string `json:"seal"`
	}{Keys: map[string]string{}}
	z := zone()
	for name, texts := range z.m {
		job.Keys[name] = texts[0]
	}
	letters := peerLetters(12)
	var wantVerified []bool
	var wantChains []string
	var plain [][]byte
	for _, m := range letters {
		for _, k := range forms() {
			job.Verify, wantVerified = append(job.Verify, signNow(t, m, k)), append(wantVerified, true)
			algorithm, private := "rsa-sha256", pemOf(t, k)
			if ed, is := k.Key.(ed25519.PrivateKey); is {
				algorithm, private = "ed25519-sha256", []byte(base64.StdEncoding.EncodeToString(ed.Seed()))
			}
			job.Sign = append(job.Sign, map[string]string{"m": base64.StdEncoding.EncodeToString(m), "k": base64.StdEncoding.EncodeToString(private),
				"s": k.Selector, "h": k.Header.String(), "b": k.Body.String(), "a": algorithm})
			plain = append(plain, m)
		}
		both := signNow(t, signNow(t, m, rsaKey()), edKey())
		job.Verify, wantVerified = append(job.Verify, both), append(wantVerified, true)
		job.Verify, wantVerified = append(job.Verify, append(both[:len(both):len(both)], "more\r\n"...)), append(wantVerified, false)

		sealed := both
		for range 3 {
			sealed = sealNow(t, z, sealed)
			job.Chain, wantChains = append(job.Chain, sealed), append(wantChains, "pass")
		}
		job.Chain, wantChains = append(job.Chain, append(sealed[:len(sealed):len(sealed)], "more\r\n"...)), append(wantChains, "fail")
		withResults := append([]byte("Authentication-Results: mx.example.org; spf=pass smtp.mailfrom=ana@example.org\r\n"), m...)
		job.Seal = append(job.Seal, map[string]string{"m": base64.StdEncoding.EncodeToString(withResults), "s": "rsa",
			"k": base64.StdEncoding.EncodeToString(pemOf(t, rsaKey()))})
	}
	in, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, "-c", dkimpyScript)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var out struct {
		Verified []bool
		Chains   []string
		Signed   []string
		Sealed   []string
	}
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(out.Verified, wantVerified) {
		t.Errorf("our signatures: %v, want %v", out.Verified, wantVerified)
	}
	if !slices.Equal(out.Chains, wantChains) {
		t.Errorf("our chains: %q, want %q", out.Chains, wantChains)
	}
	if len(out.Signed) != len(plain) || len(out.Sealed) != len(letters) {
		t.Fatalf("%d signatures, %d seals", len(out.Signed), len(out.Sealed))
	}
	for i, field := range out.Signed {
		signed := append([]byte(field), plain[i]...)
		if got := verify(t, z, time.Now(), signed).DKIM; len(got) != 1 || got[0].Result != Pass {
			t.Errorf("signature %d: %+v\n%q", i, got, signed)
		}
	}
	for i, fields := range out.Sealed {
		sealed := slices.Concat([]byte(fields), []byte("Authentication-Results: mx.example.org; spf=pass smtp.mailfrom=ana@example.org\r\n"), letters[i])
		if got := verify(t, z, time.Now(), sealed).ARC; got.Result != Pass {
			t.Errorf("seal %d: %+v\n%q", i, got, sealed)
		}
	}
}

// sealNow adds a set to the chain of a message.
func sealNow(t *testing.T, z *texts, m []byte) []byte {
	t.Helper()
	v := verify(t, z, time.Now(), m)
	head, body := split(m)
	s, err := NewSealer(head, SealOptions{AuthServID: "mx.example.org", Time: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	s.Write(body)
	fields, err := s.Seal(rsaKey(), v.Results(), v.ARC)
	if err != nil {
		t.Fatal(err)
	}
	return append(fields, m...)
}
