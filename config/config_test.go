package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"
	"pgregory.net/rapid"

	"github.com/postino-mail/postino"
)

// good is the shortest file that works.
const good = `[server]
hostname = "Mail.Example.org"
data_dir = "data"
[[listener]]
kind = "smtp"
[tls]
self_signed = true
`

func parse(t testing.TB, text string) *Config {
	t.Helper()
	c, err := Parse("postino.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestParse(t *testing.T) {
	c := parse(t, `
log = { level = "debug", format = "json" }
imap.sessions_per_user = 1_5

[server]
hostname = "bücher.example"
data_dir = 'C:\data'

[smtp]
max_size = "20 MB"
max_line = 2000
command_timeout = "30m 30s"
connections = 0x20

[[listener]]
kind = "imaps"
client_ca = "clients.pem"
[[listener]]
kind = "imap"
address = "127.0.0.1:1143"
tls = false
[[listener]]
kind = "metrics"

[auth]
legacy = "CRAM-MD5"
channel_binding = false

[tls]
cert = ["cert.pem", "b.pem"]
key = ["key.pem", "b.key"]
`)
	want := parse(t, good)
	want.Server = Server{"xn--bcher-kva.example", `C:\data`}
	want.Log = Log{"debug", "json"}
	want.IMAP.PerUser = 15
	want.SMTP.MaxSize, want.SMTP.MaxLine, want.SMTP.CommandTimeout, want.SMTP.Connections = 20e6, 2000, 30*time.Minute+30*time.Second, 32
	want.TLS = TLS{Cert: []string{"cert.pem", "b.pem"}, Key: []string{"key.pem", "b.key"}}
	want.Listeners = []Listener{{Kind: IMAPS, Address: ":993", TLS: true, ClientCA: "clients.pem"}, {Kind: IMAP143, Address: "127.0.0.1:1143"}, {Kind: Metrics, Address: "127.0.0.1:9464"}}
	want.Auth = Auth{Legacy: []string{"cram-md5"}}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

func TestLists(t *testing.T) {
	c := parse(t, good+"[[listener]]\nkind = \"lmtp\"\naddress = \"unix:/run/postino/lmtp.sock\"\n"+`
[smtp]
relay_from = ["192.0.2.7", # one host
  "2001:db8::/32"]
xclient = "10.1.2.3/8"
no_soliciting = ["org.example:ADV"]
[dns]
servers = ["::1", "192.0.2.53:5353"]
`)
	if got := c.SMTP.RelayFrom; !slices.Equal(got, []string{"192.0.2.7/32", "2001:db8::/32"}) {
		t.Errorf("relay_from is %q", got)
	}
	if !slices.Equal(c.SMTP.XClient, []string{"10.0.0.0/8"}) || !slices.Equal(c.SMTP.NoSoliciting, []string{"org.example:ADV"}) {
		t.Errorf("xclient is %q, no_soliciting %q", c.SMTP.XClient, c.SMTP.NoSoliciting)
	}
	if got := c.DNS.Servers; !slices.Equal(got, []string{"[::1]:53", "192.0.2.53:5353"}) {
		t.Errorf("servers are %q", got)
	}
	if got := c.Listeners[1]; got != (Listener{Kind: LMTP, Address: "unix:/run/postino/lmtp.sock"}) {
		t.Errorf("the socket is %+v", got)
	}
	if d := Diff(parse(t, good), c); len(d) == 0 || d[0].Key != "smtp.relay_from" || d[0].New != `["192.0.2.7/32", "2001:db8::/32"]` {
		t.Errorf("the difference is %v", d)
	}
}

func TestDefaults(t *testing.T) {
	c := parse(t, good)
	if c.Server.Hostname != "mail.example.org" || c.SMTP.MaxSize != 50<<20 || c.SMTP.MaxRecipients != 1000 || c.SMTP.CommandTimeout != 5*time.Minute ||
		c.SMTP.Connections != 2000 || c.IMAP.Connections != 10000 || c.IMAP.IdleTime != 30*time.Minute || c.Storage.Inline != 64<<10 ||
		c.Log != (Log{"info", "text"}) || c.Listeners[0] != (Listener{Kind: SMTP25, Address: ":25", TLS: true}) {
		t.Errorf("defaults are %+v", c)
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unknown key", good + "[smtp]\n        max_sise = 5\n", `9:9: smtp.max_sise: unknown key. Did you mean "max_size"?`},
		{"key of another table", good + "[imap]\nmax_recipients = 5\n", `9:1: imap.max_recipients: unknown key. It belongs to [smtp]`},
		{"hopeless key", good + "[log]\nxyzzy = 5\n", `9:1: log.xyzzy: unknown key. There are: level, format`},
		{"key too deep", good + "[log]\nlevel.x = 5\n", `9:7: log.level.x: unknown key`},
		{"key outside", "max_size = 5\n" + good, `1:1: max_size: unknown key. It belongs to [smtp]`},
		{"unknown table", good + "[stmp]\nmax_size = 5\nx = 6\n", `8:2: stmp: unknown table. Did you mean "smtp"?`},
		{"unknown inline table", "stmp.x = 5\nstmp.y = 6\n" + good, `1:1: stmp: unknown table. Did you mean "smtp"?`},
		{"wrong type", good + "[smtp]\nmax_recipients = \"many\"\n", `9:18: smtp.max_recipients: this wants a number, not text. Example: max_recipients = 1000`},
		{"list", good + "[smtp]\nmax_size = [1]\n", `9:1: smtp.max_size: this wants a size with its unit in quotes, not a list. Example: max_size = "50 MiB"`},
		{"bad unit", good + "[smtp]\nmax_size = \"50 Mb\"\n", `9:12: smtp.max_size: this is no size with a unit B, KiB, MiB, GiB or TiB. Example: max_size = "50 MiB"`},
		{"negative size", good + "[smtp]\nmax_size = \"-5 MiB\"\n", `9:12: smtp.max_size: this is no size`},
		{"huge size", good + "[smtp]\nmax_size = \"9999999999 GiB\"\n", `the size is too large`},
		{"zero never means unlimited", good + "[smtp]\nmax_size = 0\n", `9:12: smtp.max_size: 0 B is out of range, from 64 KiB to 2 GiB. Example: max_size = "50 MiB"`},
		{"floor of the RFC", good + "[smtp]\nmax_recipients = 99\n", `99 is out of range, from 100 to 100000`},
		{"no list", good + "[smtp]\nrelay_from = 5\n", `9:14: smtp.relay_from: this wants a list of texts in quotes, not a number. Example: relay_from = ["192.0.2.25"]`},
		{"list of numbers", good + "[smtp]\nrelay_from = [5]\n", `this wants a list of texts in quotes, not a list`},
		{"no network", good + "[smtp]\nproxies = [\"10.0.0.0/8\", \"10.0.0.0/99\"]\n", `smtp.proxies: "10.0.0.0/99" is no network. Example: proxies = ["192.0.2.80"]`},
		{"no name server", good + "[dns]\nservers = [\"dns.example\"]\n", `dns.servers: "dns.example" is no IP address`},
		{"name server without a name", good + "[dns]\nservers = [\"tls://192.0.2.1\"]\n", `dns.servers: "tls://192.0.2.1" does not say whose certificate it must be`},
		{"not alone", good + "[dns]\nservers = [\"recursive\", \"192.0.2.1\"]\n", `dns.servers: "recursive" stands alone`},
		{"DNSSEC", good + "[dns]\ndnssec = \"perhaps\"\n", `dns.dnssec: `},
		{"negative anchor", good + "[dns]\nnegative_anchors = \"a..b\"\n", `dns.negative_anchors: "a..b" is no domain name`},
		{"no class", good + "[smtp]\nno_soliciting = \"ADV\"\n", `"ADV" is no class of solicitations`},
		{"public lmtp", good + "[[listener]]\nkind = \"lmtp\"\naddress = \":24\"\n", `lmtp is offered on loopback only`},
		{"socket of another kind", good + "[[listener]]\nkind = \"imap\"\naddress = \"unix:/run/x\"\n", `a socket is for lmtp`},
		{"time", good + "[imap]\nidle_time = \"5m\"\n", `5m is out of range, from 30m to 24h`},
		{"time without unit", good + "[imap]\nidle_time = \"1800\"\n", `this is no time with units`},
		{"choice", good + "[log]\nlevel = \"wran\"\n", `9:9: log.level: "wran" is none of debug, info, warn, error. Did you mean "warn"?`},
		{"key twice", good + "[log]\nlevel = \"info\"\nlevel = \"info\"\n", `10:1: log.level: this key is there twice`},
		{"key of a listener twice", good + "[[listener]]\nkind = \"imap\"\nkind = \"imap\"\n", `10:1: listener.kind: this key is there twice`},
		{"table twice", good + "[log]\n[log]\n", `9:2: log: this table is there twice`},
		{"table twice in other words", "log.level = \"info\"\n" + good + "[log]\n", `9:2: log: this table is there twice`},
		{"table twice inline", "log.level = \"info\"\nlog = {}\n" + good, `2:1: log: this table is there twice`},
		{"syntax", good + "[log\n", `8:5: expected ']'`},
		{"unended text", good + "[log]\nlevel = \"in", `9:`},
		{"no value", good + "[log]\nlevel =", `9:7: expected value`},
		{"not UTF-8", good + "# \xff\n", `8:`},
		{"control characters", good + "[tls.x]\n", `8:6: tls.x: unknown key`},
		{"not a host", strings.Replace(good, "Mail.Example.org", "192.0.2.1", 1), `2:12: server.hostname: "192.0.2.1" is not a host name`},
		{"missing key", strings.Replace(good, "data_dir", "#", 1), `1:2: server.data_dir: missing. Write under [server]: data_dir = "/var/lib/postino"`},
		{"missing kind", good + "[[listener]]\naddress = \":26\"\n", `8:3: listener.kind: missing`},
		{"unknown kind", good + "[[listener]]\nkind = \"imasp\"\n", `"imasp" is none of smtp, submission, submissions, imap, imaps, pop3, pop3s, lmtp, http, https, metrics. Did you mean "imaps"?`},
		{"single brackets", strings.Replace(good, "[[listener]]", "[listener]", 1), `4:2: listener: write [[listener]]`},
		{"double brackets", good + "[[log]]\nlevel = \"info\"\n", `8:3: log: there is one of it: write [log]`},
		{"table as value", "log = 5\n" + good, `1:1: log: this is a table`},
		{"bad address", good + "[[listener]]\nkind = \"imap\"\naddress = \"localhost:143\"\n", `10:11: listener.address: "localhost:143" is not an IP address and port`},
		{"bad port", good + "[[listener]]\nkind = \"imap\"\naddress = \":99999\"\n", `has no port from 0 to 65535`},
		{"address twice", good + "[[listener]]\nkind = \"imap\"\naddress = \"[::]:25\"\n", `10:11: listener.address: [::]:25 is listener 1's already`},
		{"login in clear", good + "[[listener]]\nkind = \"submission\"\ntls = false\n", `10:7: listener.tls: without TLS passwords would cross the network in clear`},
		{"TLS that is not", good + "[[listener]]\nkind = \"imaps\"\ntls = false\n", `10:7: listener.tls: imaps always begins with TLS`},
		{"public metrics", good + "[[listener]]\nkind = \"metrics\"\naddress = \":9464\"\n", `10:11: listener.address: metrics is offered on loopback only`},
		{"client certificates in clear", good + "[[listener]]\nkind = \"imap\"\naddress = \"127.0.0.1:143\"\ntls = false\nclient_ca = \"x\"\n", `12:13: listener.client_ca: certificates log users in under TLS only`},
		{"unknown elder mechanism", good + "[auth]\nlegacy = [\"ntlm\"]\n", `9:1: auth.legacy: "ntlm" is none of cram-md5, digest-md5`},
		{"no certificate", strings.Replace(good, "self_signed = true", "", 1), `4:3: listener: smtp needs a certificate`},
		{"half a certificate", good + "cert = \"x\"\n", `6:2: tls: cert and key come together`},
		{"two keys for one", good + "cert = [\"x\"]\nkey = [\"y\", \"z\"]\n", `6:2: tls: cert and key come together`},
		{"ACME without a way", strings.Replace(good, "self_signed = true", "", 1) + "[acme]\nagree_terms = true\n", `8:2: acme: there is no way to prove that the hostname is ours`},
		{"half of a DNS key", good + "[dkim]\ndns_server = \"192.0.2.53\"\n", `dkim: dns_server and dns_key come together`},
		{"no DNS key", good + "[dkim]\ndns_server = \"192.0.2.53\"\ndns_key = \"x\"\n", `dkim.dns_key: this is an algorithm`},
		{"half a token", good + "[pkcs11]\nmodule = \"/m.so\"\n", `pkcs11: module and token come together`},
		{"a PIN for nothing", good + "[pkcs11]\npin_file = \"pin\"\n", `pkcs11: module and token come together`},
		{"ACME and self-signed", good + "[acme]\nagree_terms = true\ndns_server = \"192.0.2.53\"\ndns_key = \"a:b:c\"\n", `tls.self_signed: certificates come by [acme]`},
		{"two certificates", good + "cert = \"x\"\nkey = \"y\"\n", `7:15: tls.self_signed: there is a certificate`},
		{"empty", "", "1:1: listener: missing"},
	} {
		_, err := Parse("postino.toml", []byte(c.text))
		var errs Errors
		if !errors.As(err, &errs) {
			t.Errorf("%s: error is %v", c.name, err)
			continue
		}
		found := false
		for _, e := range errs {
			found = found || strings.Contains(e.Error(), c.want)
		}
		if !found {
			t.Errorf("%s: errors are\n%v\nwant\n%s", c.name, err, c.want)
		}
		if c.name != "empty" && len(errs) != 1 {
			t.Errorf("%s: one mistake gives %d errors:\n%v", c.name, len(errs), err)
		}
	}
}

func TestAllErrorsAtOnce(t *testing.T) {
	_, err := Parse("postino.toml", []byte(`[server]
hostname = 5
[smtp]
max_sise = 1
max_errors = 1
[[listener]]
kind = "pop4"
`))
	var errs Errors
	if !errors.As(err, &errs) || len(errs) != 5 {
		t.Fatalf("errors are\n%v", err)
	}
	for i := range errs[1:] {
		if errs[i].Line > errs[i+1].Line {
			t.Errorf("not in the order of the text:\n%v", err)
		}
	}
	if first := errs[0].Error(); first != `postino.toml:1:2: server.data_dir: missing. Write under [server]: data_dir = "/var/lib/postino"` {
		t.Error(first)
	}
	many := "[log]\n" + strings.Repeat("\"not a key\" = 1\n[x.y]\nz = 1\n", 5000)
	_, err = Parse("postino.toml", []byte(many))
	if !errors.As(err, &errs) || len(errs) > maxErrors+1 {
		t.Errorf("%d errors", len(errs))
	}
}

func TestExample(t *testing.T) {
	text := string(Example(nil))
	if len(parse(t, text).Listeners) != len(usual)-3 || !strings.Contains(text, "\n#[[listener]]\n#kind = \"lmtp\"\n") {
		t.Error("lmtp is not a comment")
	}
	web := parse(t, string(Example(map[string]string{"acme.agree_terms": "true"})))
	if len(web.Listeners) != len(usual)-1 || !web.ACME.AgreeTerms || web.TLS.SelfSigned {
		t.Errorf("with ACME: %+v", web)
	}
	all := regexp.MustCompile(`(?m)^#(\[\[listener\]\]|kind = |address = )`)
	c := parse(t, all.ReplaceAllString(text, "$1"))
	if len(c.Listeners) != len(usual) {
		t.Errorf("listeners are %v", c.Listeners)
	}
	for i, u := range usual {
		if c.Listeners[i].Kind != u.kind || c.Listeners[i].Address != u.address {
			t.Errorf("listener %d is %+v", i, c.Listeners[i])
		}
	}
	for _, k := range keys {
		if k.doc == "" || !strings.Contains(text, "\n# "+strings.Split(k.doc, "\n")[0]+"\n") {
			t.Errorf("%s is not explained", k.path())
		}
		if !strings.Contains(text, "\n"+k.name+" = ") && !strings.Contains(text, "\n#"+k.name+" = ") {
			t.Errorf("%s is not in the example", k.path())
		}
	}
	for i, line := range strings.Split(text, "\n") {
		if len([]rune(line)) > 100 {
			t.Errorf("line %d has %d characters", i+1, len(line))
		}
	}
	// What is commented out is the default: without the # nothing changes.
	var open []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "# ") && !noDefault.MatchString(line) {
			line = line[1:]
		}
		open = append(open, line)
	}
	if changes := Diff(c, parse(t, strings.Join(open, ""))); len(changes) > 0 {
		t.Errorf("the example is not the default: %v", changes)
	}
	c = parse(t, string(Example(map[string]string{
		"server.hostname": "mx.example.net", "server.data_dir": `/a "b" \c`, "tls.cert": "/c", "tls.key": "/k", "log.level": "debug", "smtp.connections": "50",
	})))
	if c.Server != (Server{"mx.example.net", `/a "b" \c`}) || !reflect.DeepEqual(c.TLS, TLS{[]string{"/c"}, []string{"/k"}, false}) || c.Log.Level != "debug" || c.SMTP.Connections != 50 {
		t.Errorf("values of the example are %+v", c)
	}
}

// noDefault are the keys that the example has a value for that is not theirs.
var noDefault = regexp.MustCompile("^#(client_ca|email|fallback|eab|fallback_eab|ca_root|dns_server|dns_key|module|token|pin_file|from|organization|contact) ")

// Every field can be set by a key, and no two keys set the same.
func TestEveryFieldHasItsKey(t *testing.T) {
	seen := map[any]string{}
	c, l := &Config{}, &Listener{}
	for _, k := range keys {
		f := k.field(target{c, l})
		if seen[f] != "" {
			t.Errorf("%s and %s set the same", seen[f], k.path())
		}
		seen[f] = k.path()
	}
	n := reflect.TypeFor[Listener]().NumField()
	for i := range reflect.TypeFor[Config]().NumField() {
		if f := reflect.TypeFor[Config]().Field(i); f.Name != "Listeners" {
			n += f.Type.NumField()
		}
	}
	if n != len(keys) {
		t.Errorf("%d fields and %d keys", n, len(keys))
	}
}

func TestDiff(t *testing.T) {
	a, b := parse(t, good), parse(t, good+"[log]\nlevel = \"warn\"\n[smtp]\nmax_size = \"1 GiB\"\n[[listener]]\nkind = \"metrics\"\n")
	changes := Diff(a, b)
	if len(changes) != 3 || changes[0] != (Change{"log.level", `"info"`, `"warn"`}) || changes[1] != (Change{"smtp.max_size", `"50 MiB"`, `"1 GiB"`}) || changes[2].Key != "listener" {
		t.Errorf("changes are %+v", changes)
	}
	if changes := Diff(a, parse(t, good)); changes != nil {
		t.Errorf("the same text has changes %v", changes)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "postino.toml")
	if _, err := Load(name); !postino.Is(err, postino.NotFound) {
		t.Errorf("missing file: %v", err)
	}
	if err := os.WriteFile(name, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(name)
	if err != nil || c.Server.DataDir != filepath.Join(dir, "data") || c.TLS.Cert != nil {
		t.Errorf("%+v, %v", c, err)
	}
	if err := os.WriteFile(name, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(name); err == nil || !strings.Contains(err.Error(), "larger than 1 MiB") {
		t.Errorf("large file: %v", err)
	}
}

func TestSizesAndTimes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := keys[0]
		for _, k = range keys {
			if k.path() == "storage.min_free" {
				break
			}
		}
		n := rapid.Int64Range(0, k.max).Draw(t, "octets")
		c := &Config{}
		c.Storage.MinFree = n
		text := good + "[storage]\nmin_free = " + k.show(target{Config: c}) + "\n"
		got, err := Parse("", []byte(text))
		if err != nil || got.Storage.MinFree != n {
			t.Fatalf("%d becomes %s: %v", n, k.show(target{Config: c}), err)
		}
		d := time.Duration(rapid.Int64Range(int64(30*time.Minute), int64(24*time.Hour)).Draw(t, "time"))
		got, err = Parse("", []byte(good+"[imap]\nidle_time = \""+duration(d)+"\"\n"))
		if err != nil || got.IMAP.IdleTime != d {
			t.Fatalf("%d becomes %s: %v", d, duration(d), err)
		}
	})
}

func TestLinear(t *testing.T) { // G2
	cost := func(lines int) float64 {
		var b strings.Builder
		b.WriteString(good + "[log]\n")
		for i := range lines {
			fmt.Fprintf(&b, "key%d = \"value\"\n", i)
		}
		text := []byte(b.String())
		return testing.AllocsPerRun(1, func() {
			if _, err := Parse("f", text); err == nil {
				t.Error("unknown keys were taken")
			}
		})
	}
	last := cost(250)
	for lines := 500; lines <= 16000; lines *= 2 {
		now := cost(lines)
		if now > 2.6*last {
			t.Errorf("%d lines take %v allocations, half of them %v", lines, now, last)
		}
		last = now
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"max_sise", "max_size", 1}, {"stmp", "smtp", 1}, {"imasp", "imaps", 1}, {"kitten", "sitting", 3}, {"abc", "xyz", 3}, {"abcdefgh", "x", 4}} {
		if got := distance(c.a, c.b, 3); got != c.want {
			t.Errorf("distance of %q and %q is %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(good)
	f.Add(string(Example(nil)))
	f.Add("[[listener]]\nkind=1\n[listener.x]\n[a.b]\nlog.level.x={a=[{b=1}]}\n")
	for _, line := range []string{"log = {level = \"info\"}", "log.level = \"info\"", "[smtp]\n'max_size' = 70000\n\"connections\" = +50\n", "imap = {connections = 0b1111, per_user = 5}"} {
		f.Add(line + "\n" + good)
		f.Add(good + line + "\n")
	}
	f.Add("listener = [{kind = \"smtp\"}]\n")
	f.Add("\"\\u0000\" = 1")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse("f", []byte(text))
		if err == nil {
			var m map[string]any
			if err := toml.Unmarshal([]byte(text), &m); err != nil {
				t.Errorf("not TOML: %v", err)
			}
			if len(c.Listeners) == 0 || c.Server.Hostname == "" || len(Diff(c, c)) > 0 {
				t.Errorf("incomplete: %+v", c)
			}
			return
		}
		var errs Errors
		if !errors.As(err, &errs) || len(errs) == 0 || len(errs) > maxErrors+1 {
			t.Fatalf("error is %v", err)
		}
		lines := strings.Count(text, "\n") + 1
		for _, e := range errs {
			if e.Line < 1 || e.Line > lines || e.Column < 1 || e.Text == "" {
				t.Errorf("error is nowhere: %v", e)
			}
			if s := e.Error(); postino.Printable(s) != s {
				t.Errorf("not printable: %q", s)
			}
		}
	})
}
