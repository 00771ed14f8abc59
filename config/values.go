package config

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/postino-mail/postino"
)

// set gives the key's field a value of the file; list is what an array holds.
func (k key) set(t target, kind unstable.Kind, text string, list []string) error {
	switch field := k.field(t).(type) {
	case *[]string:
		if kind == unstable.String { // one needs no brackets
			list = []string{text}
		} else if kind != unstable.Array || list == nil {
			return wrongType("a list of texts in quotes", kind)
		}
		return k.setList(field, list)
	case *string:
		if kind != unstable.String {
			return wrongType("text in quotes", kind)
		}
		return k.setString(field, text)
	case *bool:
		if kind != unstable.Bool {
			return wrongType("true or false", kind)
		}
		*field = text == "true"
	case *int:
		if kind != unstable.Integer {
			return wrongType("a number", kind)
		}
		n, err := integer(text)
		if err != nil {
			return err
		}
		*field = int(n)
		return k.within(n)
	case *int64:
		n, err := sizeOf(kind, text)
		if err != nil {
			return err
		}
		*field = n
		return k.within(n)
	case *time.Duration:
		if kind != unstable.String {
			return wrongType("a time with its unit in quotes", kind)
		}
		d, err := time.ParseDuration(strings.ReplaceAll(text, " ", ""))
		if err != nil {
			return errors.New("this is no time with units h, m, s or ms")
		}
		*field = d
		return k.within(int64(d))
	}
	return nil
}

// maxList bounds a list.
const maxList = 1000

func (k key) setList(field *[]string, list []string) error {
	if len(list) > maxList {
		return fmt.Errorf("the list has more than %d entries", maxList)
	}
	out := make([]string, 0, len(list))
	for _, text := range list {
		if postino.Printable(text) != text {
			return errors.New("the text has control characters")
		}
		item, err := k.item(text)
		if err != nil {
			return err
		}
		out = append(out, item)
	}
	*field = out
	return nil
}

// network reads an address or a network, "10.0.0.0/8".
func network(text string) (string, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a, a.BitLen()).String(), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return "", fmt.Errorf("%q is no network", text)
	}
	return p.Masked().String(), nil
}

// server reads the address of a name server, port 53 or 853 if it says none.
func server(text string) (string, error) {
	if text == Recursive {
		return text, nil
	}
	addr, name, port, scheme := text, "", uint16(53), ""
	if rest, ok := strings.CutPrefix(text, "tls://"); ok {
		addr, name, _ = strings.Cut(rest, "#")
		var err error
		if name, err = domain(name); err != nil {
			return "", fmt.Errorf("%q does not say whose certificate it must be. Example: \"tls://9.9.9.9#dns.quad9.net\"", text)
		}
		port, scheme, name = 853, "tls://", "#"+name
	}
	if a, err := netip.ParseAddr(addr); err == nil {
		return scheme + netip.AddrPortFrom(a, port).String() + name, nil
	}
	a, err := netip.ParseAddrPort(addr)
	if err != nil {
		return "", fmt.Errorf("%q is no IP address", text)
	}
	return scheme + a.String() + name, nil
}

// domain reads a name of letters.
func domain(text string) (string, error) {
	name, err := postino.CanonicalDomain(text)
	if err != nil || strings.HasPrefix(name, "[") {
		return "", fmt.Errorf("%q is no domain name", text)
	}
	return name, nil
}

// legacy reads the name of an elder SASL mechanism.
func legacy(text string) (string, error) {
	name := strings.ToLower(text)
	if name != "cram-md5" && name != "digest-md5" {
		return "", fmt.Errorf("%q is none of cram-md5, digest-md5", text)
	}
	return name, nil
}

// text takes any.
func text(s string) (string, error) {
	if s == "" {
		return "", errors.New("the text is empty")
	}
	return s, nil
}

// hostname reads a name to get a certificate for.
func hostname(s string) (string, error) {
	name, err := postino.CanonicalDomain(s)
	if err != nil || strings.HasPrefix(name, "[") {
		return "", fmt.Errorf("%q is no host name", s)
	}
	return name, nil
}

// challenge reads a way to prove that a name is ours (RFC 8555 §8, RFC 8737).
func challenge(s string) (string, error) {
	if s != "http-01" && s != "tls-alpn-01" && s != "dns-01" {
		return "", fmt.Errorf("%q is none of http-01, tls-alpn-01, dns-01", s)
	}
	return s, nil
}

// solicitation reads a class keyword of RFC 3865 §2.1: "org.example:ADV".
func solicitation(text string) (string, error) {
	domain, class, ok := strings.Cut(text, ":")
	if !ok || domain == "" || class == "" || len(text) > 1000 || strings.ContainsFunc(text, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._:", r))
	}) {
		return "", fmt.Errorf("%q is no class of solicitations", text)
	}
	return text, nil
}

func (k key) setString(field *string, text string) error {
	if postino.Printable(text) != text {
		return errors.New("the text has control characters")
	}
	if text == "" {
		return errors.New("the text is empty")
	}
	if k.choices != nil && !slices.Contains(k.choices, text) {
		if m := meant(text, k.choices); m != "" {
			return fmt.Errorf("%q is none of %s. Did you mean %q?", text, strings.Join(k.choices, ", "), m)
		}
		return fmt.Errorf("%q is none of %s", text, strings.Join(k.choices, ", "))
	}
	*field = text
	return nil
}

// setDefault sets the default, which is in the notation of the file without
// quotes.
func (k key) setDefault(t target) {
	kind := unstable.String
	switch k.field(t).(type) {
	case *bool:
		kind = unstable.Bool
	case *int:
		kind = unstable.Integer
	}
	if err := k.set(t, kind, k.def, nil); err != nil {
		panic("default of " + k.path() + ": " + err.Error()) // a defect that any test shows
	}
}

// within checks the range of a count, size or time.
func (k key) within(n int64) error {
	if n >= k.min && n <= k.max {
		return nil
	}
	return fmt.Errorf("%s is out of range, from %s to %s", k.write(n), k.write(k.min), k.write(k.max))
}

// write writes a number in the notation of the key, without quotes.
func (k key) write(n int64) string {
	switch k.field(target{&Config{}, &Listener{}}).(type) {
	case *int64:
		return size(n)
	case *time.Duration:
		return duration(time.Duration(n))
	}
	return strconv.FormatInt(n, 10)
}

// show writes the value of the key's field as the file would have it.
func (k key) show(t target) string {
	switch field := k.field(t).(type) {
	case *string:
		return quote(*field)
	case *bool:
		return strconv.FormatBool(*field)
	case *int:
		return strconv.Itoa(*field)
	case *int64:
		return quote(size(*field))
	case *time.Duration:
		return quote(duration(*field))
	case *[]string:
		quoted := make([]string, len(*field))
		for i, item := range *field {
			quoted[i] = quote(item)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	}
	return ""
}

// example is a value that the key takes.
func (k key) example() string {
	t := target{&Config{}, &Listener{}}
	if k.def != "" {
		k.setDefault(t)
		return k.show(t)
	}
	if k.choices != nil {
		return quote(k.choices[0])
	}
	if k.sample != "" {
		return k.sample
	}
	return quote(map[string]string{
		"hostname": "mail.example.org", "data_dir": "/var/lib/postino", "address": ":25",
		"client_ca": "/etc/postino/clients.pem", "email": "postmaster@example.org", "fallback": "https://acme.example.net/directory",
		"eab": "id:key", "fallback_eab": "id:key", "ca_root": "/etc/postino/ca.pem", "dns_server": "192.0.2.53", "dns_key": "hmac-sha256:postino:c2VjcmV0",
		"from": "postmaster@example.org", "organization": "Example Ltd", "contact": "https://example.org/mail",
	}[k.name])
}

// quote writes a basic string of TOML; what is not printable is not in values.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func wrongType(want string, got unstable.Kind) error {
	name := map[unstable.Kind]string{
		unstable.String: "text", unstable.Bool: "true or false", unstable.Integer: "a number", unstable.Float: "a fraction",
		unstable.Array: "a list", unstable.InlineTable: "a table",
	}[got]
	if name == "" {
		name = "a date"
	}
	return fmt.Errorf("this wants %s, not %s", want, name)
}

// integer reads a number of TOML, which the library has checked.
func integer(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 0, 64)
	if err != nil {
		return 0, errors.New("the number is too large")
	}
	return n, nil
}

var units = []struct {
	name string
	n    int64
}{
	{"TiB", tib}, {"GiB", gib}, {"MiB", mib}, {"KiB", kib},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3}, {"B", 1},
}

// sizeOf reads "50 MiB"; a number alone is octets.
func sizeOf(kind unstable.Kind, text string) (int64, error) {
	if kind == unstable.Integer {
		return integer(text)
	}
	if kind != unstable.String {
		return 0, wrongType("a size with its unit in quotes", kind)
	}
	for _, u := range units {
		digits, ok := strings.CutSuffix(strings.TrimSpace(text), u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 63)
		if err != nil {
			break
		}
		if int64(n) > math.MaxInt64/u.n {
			return 0, errors.New("the size is too large")
		}
		return int64(n) * u.n, nil
	}
	return 0, errors.New("this is no size with a unit B, KiB, MiB, GiB or TiB")
}

// size writes octets in the largest unit that needs no fraction.
func size(n int64) string {
	for _, u := range units[:4] {
		if n >= u.n && n%u.n == 0 {
			return fmt.Sprintf("%d %s", n/u.n, u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}

// duration writes 5m0s as 5m.
func duration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}
