package check

import (
	"context"
	"maps"
	"strings"

	"github.com/postino-mail/postino/dns"
)

// dkim compares the published keys with those that sign (RFC 6376 §3.6).
func (r *run) dkim(ctx context.Context) (list []Finding) {
	if !r.ours {
		return nil
	}
	if len(r.dom.Keys) == 0 {
		return []Finding{finding(Fix, "dkim.keys", "", "mail from %s is not signed (DKIM): make keys with postino dkim rotate %[1]s", r.dom.Name)}
	}
	for _, k := range r.dom.Keys {
		list = append(list, r.dkimKey(ctx, k))
	}
	return list
}

func (r *run) dkimKey(ctx context.Context, k Key) Finding {
	const name = "dkim.key"
	owner := k.Selector + "._domainkey." + r.dom.Name
	a, err := r.Lookup(ctx, owner, dns.TypeTXT)
	trouble := Fix
	if !k.Signs { // it is published first, and signs later
		trouble = Advice
	}
	want := r.wanted(owner, "TXT")
	switch {
	case absent(err):
		return finding(trouble, name, k.Selector, "the key %s is not published", k.Selector).publish(want...)
	case err != nil:
		return unsure(name, k.Selector, "whether the key "+k.Selector+" is published", err)
	case len(a.TXT) > 1: // RFC 6376 §3.6.2.2: the result is undefined
		return finding(Fix, name, k.Selector, "%d records stand where the key %s should be: remove all but this one", len(a.TXT), k.Selector).publish(want...)
	case !maps.Equal(tags(a.TXT[0]), tags(k.Record)):
		f := finding(trouble, name, k.Selector, "another key is published as %s: signatures fail", k.Selector).publish(want...)
		for i := range f.Records {
			f.Records[i].Replaces = a.TXT[0]
		}
		return f
	}
	if !k.Signs {
		return finding(OK, name, k.Selector, "the key %s is published", k.Selector)
	}
	return finding(OK, name, k.Selector, "the key %s, which signs, is published", k.Selector)
}

// tags splits a key record (RFC 6376 §3.2). White space means nothing in keys, and
// what has a default may be left out.
func tags(text string) map[string]string {
	m := map[string]string{"v": "DKIM1", "k": "rsa"}
	for part := range strings.SplitSeq(text, ";") {
		name, value, ok := strings.Cut(part, "=")
		if ok {
			m[strings.ToLower(strings.TrimSpace(name))] = strings.Join(strings.Fields(value), "")
		}
	}
	return m
}

// adsp looks for a record that nobody needs (RFC 5617 is historic) and that still
// makes some reject mail that mailing lists have changed.
func (r *run) adsp(ctx context.Context) []Finding {
	a, err := r.Lookup(ctx, "_adsp._domainkey."+r.dom.Name, dns.TypeTXT)
	switch {
	case absent(err):
		return nil
	case err != nil:
		return []Finding{unsure("adsp.record", "", "whether there is an ADSP record", err)}
	}
	return []Finding{finding(Advice, "adsp.record", "", "the ADSP record is historic: remove it, DMARC says the same").detail("%s", strings.Join(a.TXT, ", "))}
}
