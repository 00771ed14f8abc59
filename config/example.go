package config

import (
	"fmt"
	"strings"
)

// Example returns a file that explains every key and is ready to use: the
// defaults are commented out. Values, as texts by key ("server.hostname"),
// stand for the ones in the example; every key of it must exist in the tables
// that are not listeners, and those given are not commented out.
func Example(values map[string]string) []byte {
	var b strings.Builder
	b.WriteString("# Configuration of a Postino node. Only what the node needs to start is here:\n" +
		"# domains, users and aliases are managed by postino domain, user and alias.\n" +
		"# Lines that begin with # show the default. Check it: postino config check\n")
	for _, t := range tables {
		b.WriteString("\n")
		comment(&b, t.doc)
		if t.name == "listener" {
			writeListeners(&b, values["acme.agree_terms"] == "true")
			continue
		}
		fmt.Fprintf(&b, "[%s]\n", t.name)
		for _, k := range keysOf(t.name) {
			comment(&b, k.doc)
			value, given := values[k.path()]
			switch {
			case given:
				fmt.Fprintf(&b, "%s = %s\n", k.name, k.literal(value))
			case k.sample != "":
				comment(&b, "Example: "+k.name+" = "+k.sample)
				fmt.Fprintf(&b, "#%s = []\n", k.name)
			case k.required, k.path() == "tls.self_signed" && values["tls.cert"] == "" && values["acme.agree_terms"] == "":
				fmt.Fprintf(&b, "%s = %s\n", k.name, exampleValue(k))
			default:
				fmt.Fprintf(&b, "#%s = %s\n", k.name, k.example())
			}
		}
	}
	return []byte(b.String())
}

// exampleValue lets the example start without a certificate.
func exampleValue(k key) string {
	if k.path() == "tls.self_signed" {
		return "true"
	}
	return k.example()
}

// literal writes a value that was given as text.
func (k key) literal(value string) string {
	switch k.field(target{&Config{}, &Listener{}}).(type) {
	case *bool, *int:
		return value
	}
	return quote(value)
}

// writeListeners writes one listener of each kind; the keys are explained at
// the first. Few need LMTP, and HTTP is for web: they are comments.
func writeListeners(b *strings.Builder, web bool) {
	for i, u := range usual {
		if i > 0 {
			b.WriteString("\n")
		}
		off := ""
		if u.kind == LMTP || !web && (u.kind == HTTP || u.kind == HTTPS) {
			off = "#"
		}
		b.WriteString(off + "[[listener]]\n")
		for _, k := range keysOf("listener") {
			if i == 0 {
				comment(b, k.doc)
			}
			switch {
			case k.name == "kind":
				fmt.Fprintf(b, "%skind = %q\n", off, u.kind)
			case k.name == "address":
				fmt.Fprintf(b, "%saddress = %q\n", off, u.address)
			case i == 0:
				fmt.Fprintf(b, "#%s = %s\n", k.name, k.example())
			}
		}
	}
}

// comment writes each line of text after "# ".
func comment(b *strings.Builder, text string) {
	for line := range strings.Lines(text) {
		fmt.Fprintf(b, "# %s\n", strings.TrimSuffix(line, "\n"))
	}
}
