package dns_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/postino-mail/postino/dns"
)

// peerZones are served by NSD and signed by ldns, those below first.
var peerZones = []struct {
	origin, algorithm string
	nsec3             bool
}{
	{"good.test.", "ED25519", false}, {"hash.test.", "ECDSAP256SHA256", true}, {"rsa.test.", "RSASHA256", false}, {"open.test.", "", false},
	{"below.open.test.", "ECDSAP256SHA256", false}, {"old.test.", "ECDSAP256SHA256", false}, {"test.", "ECDSAP256SHA256", true}, {".", "ECDSAP256SHA256", false},
}

// TestPeers asks a real name server for zones that others signed, by recursion
// from its root, and compares each answer with what Unbound makes of it.
func TestPeers(t *testing.T) {
	for _, program := range []string{"nsd", "unbound", "ldns-keygen", "ldns-signzone"} {
		if _, err := exec.LookPath(program); err != nil || testing.Short() {
			t.Skipf("long, and without %s: %v", program, err)
		}
	}
	dir := t.TempDir()
	run := func(program string, args ...string) string {
		cmd := exec.Command(program, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", program, args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	var conf strings.Builder
	port := freePort(t)
	fmt.Fprintf(&conf, "server:\n ip-address: 127.0.0.1@%d\n username: \"\"\n database: \"\"\n zonesdir: %q\n pidfile: \"\"\n xfrdfile: \"\"\n zonelistfile: %q\n xfrdir: %q\nremote-control:\n control-enable: no\n", port, dir, filepath.Join(dir, "zl"), dir)
	delegations := map[string]string{} // by parent
	anchor := ""
	for _, z := range peerZones {
		file := "zone." + z.origin + "db"
		text := fmt.Sprintf("$ORIGIN %s\n$TTL 3600\n@ SOA ns.test. host.test. 1 3600 600 864000 300\n@ NS ns.test.\n", z.origin)
		switch {
		case z.origin == "test.":
			text += "ns A 198.51.100.1\n"
		case z.origin != ".":
			text += strings.ReplaceAll(records, "DNAME other.tld.test.", "TXT none")
			text = strings.ReplaceAll(text, "mx.plain.test.", "mx.open.test.")
		}
		write(file, text+delegations[z.origin])
		parent := "."
		if _, above, _ := strings.Cut(strings.TrimSuffix(z.origin, "."), "."); above != "" {
			parent = above + "."
		}
		delegation := z.origin + " NS ns.test.\n"
		if z.origin == "test." {
			delegation += "ns.test. A 198.51.100.1\n"
		}
		if z.algorithm != "" {
			args := []string{"-a", z.algorithm, "-k"}
			if z.algorithm == "RSASHA256" {
				args = append(args, "-b", "2048")
			}
			key := run("ldns-keygen", append(args, z.origin)...)
			sign := []string{"-f", file + ".signed", "-b"}
			if z.origin == "old.test." {
				sign = append(sign, "-i", "20200101", "-e", "20200201")
			}
			if z.nsec3 {
				sign = append(sign, "-n", "-s", "abcd", "-t", "1")
			}
			run("ldns-signzone", append(sign, file, key)...)
			file += ".signed"
			delegation += read(key + ".ds")
			anchor = read(key + ".ds")
		}
		delegations[parent] += delegation
		fmt.Fprintf(&conf, "zone:\n name: %q\n zonefile: %q\n", z.origin, file)
	}
	write("nsd.conf", conf.String())
	server := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	start(t, server, "nsd", "-d", "-c", filepath.Join(dir, "nsd.conf"))

	write("anchor", anchor)
	judge := freePort(t)
	var stubs strings.Builder // it is told where each zone is, as it asks port 53 else
	for _, z := range peerZones {
		fmt.Fprintf(&stubs, "stub-zone:\n name: %q\n stub-addr: 127.0.0.1@%d\n stub-prime: no\n", z.origin, port)
	}
	write("unbound.conf", fmt.Sprintf("server:\n directory: %q\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n interface: 127.0.0.1@%d\n do-not-query-localhost: no\n do-daemonize: no\n use-syslog: no\n"+
		" trust-anchor-file: %q\n module-config: \"validator iterator\"\n ede: yes\n num-threads: 1\n local-zone: \"test.\" transparent\nremote-control:\n control-enable: no\n%s",
		dir, judge, filepath.Join(dir, "anchor"), stubs.String()))
	unbound := net.JoinHostPort("127.0.0.1", strconv.Itoa(judge))
	start(t, unbound, "unbound", "-d", "-c", filepath.Join(dir, "unbound.conf"))

	rr, err := mdns.NewRR(anchor)
	if err != nil {
		t.Fatal(err)
	}
	ds := rr.(*mdns.DS)
	hash, err := hex.DecodeString(ds.Digest)
	if err != nil {
		t.Fatal(err)
	}
	v, err := dns.NewValidator(dns.ValidatorOptions{
		Options: dns.Options{Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, server)
		}},
		Recursive: true, Hints: []netip.Addr{netip.MustParseAddr("198.51.100.1")},
		Anchors: []dns.Anchor{{KeyTag: ds.KeyTag, Algorithm: ds.Algorithm, Digest: ds.DigestType, Hash: hash}},
	})
	if err != nil {
		t.Fatal(err)
	}
	peer := dns.NewStub(dns.Options{Servers: []dns.Server{{Addr: netip.MustParseAddrPort(unbound)}}})
	secure := 0
	for _, z := range peerZones[:6] {
		for _, q := range questions {
			name := q.name + strings.TrimSuffix(z.origin, ".")
			a, err := v.Lookup(t.Context(), name, q.t)
			b, peerErr := peer.Lookup(t.Context(), name, q.t)
			got, want := outcome(a, err), outcome(b, peerErr)
			if got == "bogus" && want == got && z.origin == "old.test." {
				continue
			}
			if got != want || a == nil || b == nil || a.Name != b.Name || len(a.Addrs) != len(b.Addrs) || len(a.MX) != len(b.MX) || len(a.TLSA) != len(b.TLSA) {
				t.Errorf("%s %v: %s (%v), Unbound says %s (%v)", name, q.t, got, err, want, peerErr)
			}
			if strings.HasPrefix(got, "secure") {
				secure++
			}
		}
	}
	if secure < 2*len(questions) {
		t.Errorf("%d answers are secure", secure)
	}
}

// start runs a server until the test ends, and waits until it answers.
func start(t *testing.T, at, program string, args ...string) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		kill := time.AfterFunc(5*time.Second, func() { cmd.Process.Kill() })
		cmd.Wait()
		kill.Stop()
		if t.Failed() {
			t.Logf("%s:\n%s", program, out.String())
		}
	})
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		s := dns.NewStub(dns.Options{Servers: []dns.Server{{Addr: netip.MustParseAddrPort(at)}}, Attempts: 1})
		_, err := s.Lookup(ctx, "test", dns.TypeSOA)
		cancel()
		if err == nil {
			return
		}
	}
	t.Fatalf("%s does not answer:\n%s", program, out.String())
}

func freePort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
