package tlspolicy

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
)

// maxRecord bounds a TXT record.
const maxRecord = 8 << 10

// field is one "name=value" of a record.
type field struct{ name, value string }

// parseRecord reads a TXT record that begins with a version: fields between
// semicolons, as RFC 8461 §3.1 and RFC 8460 §3 have it. Fields that nobody knows
// are for the caller to pass over.
func parseRecord(text, version string) ([]field, error) {
	if len(text) > maxRecord || !begins(text, version) {
		return nil, invalidRecord("it does not begin with " + version + ";")
	}
	var fields []field
	parts := strings.Split(text, ";")[1:]
	for i, part := range parts {
		part = strings.Trim(part, " \t")
		if part == "" && i == len(parts)-1 && i > 0 {
			break // the last semicolon
		}
		name, value, ok := strings.Cut(part, "=")
		if !ok || !fieldName(name) || !visible(value) {
			return nil, invalidRecord(fmt.Sprintf("%q is no field", postino.Printable(part[:min(len(part), 100)])))
		}
		fields = append(fields, field{name, value})
	}
	return fields, nil
}

// begins tells whether a record is of a version.
func begins(text, version string) bool {
	rest, ok := strings.CutPrefix(text, version)
	return ok && strings.HasPrefix(strings.TrimLeft(rest, " \t"), ";")
}

// visible tells whether a value holds printable US-ASCII only.
func visible(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' && c != '\t' || c >= 0x7f {
			return false
		}
	}
	return s != ""
}

// lookupRecord asks for the one TXT record of a name that begins with a version:
// of several that do, none counts.
func lookupRecord(ctx context.Context, r dns.Resolver, name, version string) (string, error) {
	a, err := r.Lookup(ctx, name, dns.TypeTXT)
	if err != nil {
		return "", err
	}
	var found []string
	for _, text := range a.TXT {
		if begins(text, version) {
			found = append(found, text)
		}
	}
	if len(found) != 1 {
		return "", postino.E(postino.NotFound, "look up", name, fmt.Errorf("%d records say %s", len(found), version))
	}
	return found[0], nil
}

func invalidRecord(why string) error { return postino.E(postino.Invalid, "", "", errors.New(why)) }
