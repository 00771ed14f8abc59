package check

import (
	"context"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/mailauth"
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
	trouble := Fix
	if !k.Signs { // it is published first, and signs later
		trouble = Advice
	}
	_, err := mailauth.CheckKeyRecord(ctx, r, k.Selector, r.dom.Name, k.Public)
	want := r.wanted(owner, "TXT")
	switch {
	case absent(err):
		return finding(trouble, name, k.Selector, "the key %s is not published", k.Selector).publish(want...)
	case postino.Is(err, postino.Conflict):
		f := finding(trouble, name, k.Selector, "what is published as key %s is not our key: signatures fail", k.Selector).detail("%s", why(err))
		if a, err := r.Lookup(ctx, owner, dns.TypeTXT); err == nil {
			for i := range want {
				want[i].Replaces = strings.Join(a.TXT, "  +  ")
			}
		}
		return f.publish(want...)
	case err != nil:
		return unsure(name, k.Selector, "whether the key "+k.Selector+" is published", err)
	case !k.Signs:
		return finding(OK, name, k.Selector, "the key %s is published", k.Selector)
	}
	return finding(OK, name, k.Selector, "the key %s, which signs, is published", k.Selector)
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
