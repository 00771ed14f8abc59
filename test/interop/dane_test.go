package interop

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// inNamespace marks the process that runs in namespaces of its own, where ports
// and name servers are free.
const inNamespace = "INTEROP_NAMESPACE"

// isolate runs a test again in namespaces of its own, for network and mounts, and
// returns true there: the loopback is up, and only what the test starts is on it.
func isolate(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inNamespace) == t.Name() {
		run(t, "", "ip", "link", "set", "lo", "up")
		file := filepath.Join(t.TempDir(), "resolv.conf")
		if err := os.WriteFile(file, []byte("nameserver 127.0.0.1\noptions edns0 trust-ad\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		run(t, "", "mount", "--bind", file, "/etc/resolv.conf")
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("skip: namespaces and the ports 25 and 53 need root")
	}
	if out, err := exec.Command("unshare", "--net", "--mount", "true").CombinedOutput(); err != nil {
		t.Skipf("skip: this system allows no namespaces: %s", out)
	}
	cmd := exec.Command("unshare", "--net", "--mount", os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), inNamespace+"="+t.Name())
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	return false
}

// nameServer is where the zones are served.
const nameServer = "127.0.0.53"

// tree is a tree of zones from a root of its own down, as files.
type tree struct {
	t    *testing.T
	dir  string
	root strings.Builder
	conf strings.Builder
}

const zoneHead = "@ 60 IN SOA ns.example. admin.example. 1 3600 600 86400 60\n@ 60 IN NS ns.example.\n"

// key makes the key of a zone, and returns its file.
func (z *tree) key(origin string) string {
	z.t.Helper()
	cmd := exec.Command("ldns-keygen", "-a", "ECDSAP256SHA256", "-k", origin)
	cmd.Dir = z.dir
	out, err := cmd.Output()
	if err != nil {
		z.t.Fatalf("ldns-keygen: %v", err)
	}
	return filepath.Join(z.dir, strings.TrimSpace(string(out)))
}

// file writes a zone, signed by the key unless that is empty, and has it served.
func (z *tree) file(origin, text, key string) {
	z.t.Helper()
	name := filepath.Join(z.dir, strings.TrimSuffix(origin, ".")+".zone")
	if err := os.WriteFile(name, []byte("$ORIGIN "+origin+"\n"+zoneHead+text), 0o644); err != nil {
		z.t.Fatal(err)
	}
	if key != "" {
		run(z.t, "", "ldns-signzone", "-o", origin, name, key)
		name += ".signed"
	}
	fmt.Fprintf(&z.conf, "zone:\n\tname: %q\n\tzonefile: %q\n", origin, name)
}

// signed adds a zone with a signature that its parent vouches for; a bogus one
// has the signature of another key.
func (z *tree) signed(origin, text string, bogus bool) {
	z.t.Helper()
	key := z.key(origin)
	ds, err := os.ReadFile(key + ".ds")
	if err != nil {
		z.t.Fatal(err)
	}
	if bogus {
		key = z.key(origin)
	}
	z.file(origin, text, key)
	fmt.Fprintf(&z.root, "%s 60 IN NS ns.example.\n%s", origin, ds)
}

// serve starts NSD with the zones, and Unbound, which believes their root.
func (z *tree) serve() {
	z.t.Helper()
	key := z.key(".")
	z.file(".", "ns.example. 60 IN A "+nameServer+"\n"+z.root.String(), key)
	nsd := &peer{name: "nsd", dir: z.dir, ways: map[string]string{"dns": nameServer + ":53"}, log: filepath.Join(z.dir, "nsd.log")}
	write := func(name, text string) string {
		if err := nsd.write(name, text); err != nil {
			z.t.Fatal(err)
		}
		return nsd.path(name)
	}
	config := write("nsd.conf", fmt.Sprintf(`server:
	ip-address: %s
	username: ""
	chroot: ""
	zonesdir: %q
	pidfile: ""
	logfile: %q
	zonelistfile: %q
	xfrdfile: ""
	server-count: 1
remote-control:
	control-enable: no
%s`, nameServer, z.dir, nsd.log, nsd.path("nsd.list"), z.conf.String()))
	if err := nsd.start("nsd", "-d", "-c", config); err != nil {
		z.t.Fatal(err)
	}
	hints := write("hints", ". 60 NS ns.example.\nns.example. 60 A "+nameServer+"\n")
	config = write("unbound.conf", fmt.Sprintf(`server:
	interface: 127.0.0.1
	do-ip6: no
	do-daemonize: no
	username: ""
	chroot: ""
	directory: %q
	pidfile: ""
	use-syslog: no
	logfile: %q
	do-not-query-localhost: no
	root-hints: %q
	trust-anchor-file: %q
	local-zone: "test." nodefault
remote-control:
	control-enable: no
`, z.dir, filepath.Join(z.dir, "unbound.log"), hints, key+".ds"))
	unbound := &peer{name: "unbound", dir: z.dir, ways: map[string]string{"dns": "127.0.0.1:53"}, log: filepath.Join(z.dir, "unbound.log")}
	// A copy: some systems confine the installed program to files of its own.
	installed, err := exec.LookPath("unbound")
	if err != nil {
		z.t.Fatal(err)
	}
	b, err := os.ReadFile(installed)
	if err != nil {
		z.t.Fatal(err)
	}
	if err := os.WriteFile(unbound.path("unbound"), b, 0o755); err != nil {
		z.t.Fatal(err)
	}
	if err := unbound.start(unbound.path("unbound"), "-c", config); err != nil {
		z.t.Fatal(err)
	}
}

// danePostfix runs Postfix as a sender that keeps to DANE, and as a server at two
// addresses, of which the second has no TLS.
func danePostfix(t *testing.T, s *server, domains []string) *peer {
	t.Helper()
	dir := filepath.Join(s.dir, "postfix")
	p := &peer{name: "postfix", dir: dir, box: filepath.Join(dir, "mail", "all"), log: filepath.Join(dir, "log"),
		ways: map[string]string{"tls": "127.0.1.1:25", "clear": "127.0.1.2:25"}}
	for name, mode := range map[string]os.FileMode{"mail": 0o777, "etc": 0o755, "spool": 0o755, "data": 0o755} {
		if err := os.MkdirAll(p.path(name), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(p.path(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.account("postfix", "data"); err != nil {
		t.Fatal(err)
	}
	main := fmt.Sprintf(`compatibility_level = 3.6
queue_directory = %[1]s/spool
data_directory = %[1]s/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = %[1]s/log
maillog_file_prefixes = %[1]s
myhostname = mx.postfix.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
smtpd_peername_lookup = no
smtp_dns_support_level = dnssec
smtp_host_lookup = dns
smtp_tls_security_level = dane
smtp_tls_loglevel = 1
virtual_mailbox_domains = %[4]s
virtual_mailbox_maps = static:all/
virtual_mailbox_base = %[1]s/mail
virtual_uid_maps = static:8
virtual_gid_maps = static:8
virtual_minimum_uid = 8
smtpd_tls_cert_file = %[2]s
smtpd_tls_key_file = %[3]s
smtpd_tls_security_level = may
smtpd_tls_received_header = yes
`, dir, s.ca, filepath.Join(s.dir, "key.pem"), strings.Join(domains, " "))
	master := "127.0.1.1:25 inet n - n - - smtpd\n127.0.1.2:25 inet n - n - - smtpd -o smtpd_tls_security_level=none\n" + postfixServices
	for name, text := range map[string]string{"etc/main.cf": main, "etc/master.cf": master} {
		if err := p.write(name, text); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "", "postfix", "-c", p.path("etc"), "check")
	if err := p.start("/usr/lib/postfix/sbin/master", "-c", p.path("etc"), "-s"); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestDANE sends mail both ways between this server and Postfix, over zones that a
// real name server serves and a real resolver validates (RFC 7672): to a host whose
// TLSA record is right, wrong, missing or of no use, to a zone whose signatures are
// bad, and to a host that is made to offer no TLS.
func TestDANE(t *testing.T) {
	for _, program := range []string{"unshare", "ip", "nsd", "unbound", "ldns-signzone", "postfix"} {
		need(t, program)
	}
	if !isolate(t) {
		return
	}
	dir, err := os.MkdirTemp("", "interop")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	s, err := prepare(dir, "dane.example")
	if err != nil {
		t.Fatal(err)
	}
	s.mx = "127.0.0.10:25"
	s.more = "[dns]\nservers = [\"127.0.0.1\"]\n\n[relay]\nallow_private = [\"127.0.0.0/8\"]\n\n"

	b, err := os.ReadFile(s.ca)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	right := fmt.Sprintf("_25._tcp.mx 60 IN TLSA 3 1 1 %x\n", sha256.Sum256(cert.RawSubjectPublicKeyInfo))
	authority := fmt.Sprintf("_25._tcp.mx 60 IN TLSA 2 0 1 %x\n", sha256.Sum256(cert.Raw))
	wrong := "_25._tcp.mx 60 IN TLSA 3 1 1 " + strings.Repeat("00", 32) + "\n"
	records := map[string]string{"right": right, "wrong": wrong, "none": "", "bogus": right, "stripped": right, "authority": authority,
		"unusable": "_25._tcp.mx 60 IN TLSA 1 1 1 " + strings.Repeat("00", 32) + "\n"}
	z := &tree{t: t, dir: filepath.Join(dir, "dns")}
	if err := os.Mkdir(z.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var ours, theirs []string
	for name, tlsa := range records {
		for way, addr := range map[string]string{"in": "127.0.0.10", "out": "127.0.1.1"} {
			domain := name + "-" + way + ".example"
			switch {
			case way == "in" && (name == "stripped" || name == "authority"):
				continue // our listener is one, and its certificate signs itself
			case way == "in":
				ours = append(ours, domain)
			case name == "stripped":
				addr = "127.0.1.2"
				fallthrough
			default:
				theirs = append(theirs, domain)
			}
			z.signed(domain+".", "@ 60 IN MX 10 mx\nmx 60 IN A "+addr+"\n"+tlsa, name == "bogus")
		}
	}
	// What every resolver is tested with at the start.
	z.signed("ietf.org.", "", false)
	z.signed("dnssec-failed.org.", "", true)
	z.signed(s.domain+".", "@ 60 IN MX 10 mx\nmx 60 IN A 127.0.0.10\n", false)
	z.serve()

	wanted = false // this server is ended here
	if err := s.begin(2); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			var b strings.Builder
			s.tail(&b)
			t.Log(b.String())
		}
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	for _, domain := range ours {
		s.postino(t, "", "domain", "add", domain)
		s.postino(t, s.password+"\n", "user", "add", "--password-file", "-", "box@"+domain)
	}
	p := danePostfix(t, s, theirs)
	me := &peer{name: "postino", log: s.ownLog}
	t.Cleanup(func() {
		if t.Failed() {
			b, _ := os.ReadFile(p.log)
			t.Logf("%s", b[max(0, len(b)-4000):])
		}
	})

	for name, want := range map[string][]string{
		"right":    {`: (Verified) TLS connection established to mx\.right-in\.example\[127\.0\.0\.10\]:25`, `to=<box@right-in\.example>.* (status=sent)`},
		"wrong":    {`to=<box@wrong-in\.example>.* (status=deferred)`},
		"none":     {`: (\w+) TLS connection established to mx\.none-in\.example`, `to=<box@none-in\.example>.* (status=sent)`},
		"unusable": {`: (Untrusted) TLS connection established to mx\.unusable-in\.example`, `to=<box@unusable-in\.example>.* (status=sent)`},
		"bogus":    {`to=<box@bogus-in\.example>.* (status=deferred)`},
	} {
		t.Run("in/"+name, func(t *testing.T) {
			to := "box@" + name + "-in.example"
			p.plain().post(t, letter{from: "sender@none-out.example", rcpts: []string{to}, data: message("in-"+name, to, "text\n")})
			for _, pattern := range want {
				p.logged(t, pattern, 1)
			}
		})
	}
	for name, tc := range map[string]struct {
		arrives bool
		trace   string
	}{
		"right":     {true, "TLS 1.3, DANE: certificate matches TLSA 3 1 1 "},
		"authority": {false, "4.7.5 DANE requires TLS that mx.authority-out.example does not give: no TLSA record matches the certificate"}, // RFC 7672 §3.1.2: nothing above the server's own is shown
		"wrong":     {false, "4.7.5 DANE requires TLS that mx.wrong-out.example does not give: no TLSA record matches the certificate"},
		"unusable":  {true, "TLS 1.3, DANE without a usable TLSA record: "},
		"none":      {true, "(127.0.1.1), TLS 1.3"},
		"bogus":     {false, "4.4.3 the servers of bogus-out.example cannot be looked up"},
		"stripped":  {false, "4.7.5 DANE requires TLS that mx.stripped-out.example does not give: it does not offer STARTTLS"},
	} {
		t.Run("out/"+name, func(t *testing.T) {
			to := "box@" + name + "-out.example"
			s.users(t, 0).post(t, letter{from: s.user(0), rcpts: []string{to}, data: by(s.user(0), message("out-"+name, to, "text\n"))})
			if tc.arrives {
				p.arrived(t, "out-"+name)
			}
			result := map[bool]string{true: "relayed", false: "deferred"}[tc.arrives]
			me.logged(t, `relay: attempted.*`+to+`.*(`+result+`)`, 1)
			if got := s.postino(t, "", "trace", to); !strings.Contains(got, tc.trace) {
				t.Errorf("the story of the message does not have %q:\n%s", tc.trace, got)
			}
			if !tc.arrives && p.count(t, "out-"+name) != 0 {
				t.Error("the message was sent")
			}
		})
	}
	if got := s.postino(t, "", "probe", "box@right-out.example"); !strings.Contains(got, "wanted by DANE") {
		t.Errorf("the probe does not tell what is wanted:\n%s", got)
	}
}
