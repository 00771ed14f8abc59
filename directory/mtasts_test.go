package directory

import (
	"regexp"
	"strings"
	"testing"

	"github.com/postino-mail/postino"
)

func TestMTASTS(t *testing.T) { // RFC 8461
	d, _ := open(t, Options{})
	ctx := t.Context()
	set := func(s MTASTS) (Domain, error) {
		err := d.UpdateDomain(ctx, "example.org", func(dom *Domain) { dom.MTASTS = s })
		dom, derr := d.Domain(ctx, "example.org")
		ok(t, derr)
		return dom, err
	}
	seen := map[string]string{}
	for _, c := range []struct {
		in   MTASTS
		want string
	}{
		{MTASTS{}, ""},
		{MTASTS{Mode: STSNone, MX: []string{"mx2.example.net"}}, "version: STSv1|mode: none|max_age: 86400|"},
		{MTASTS{Mode: STSTesting}, "version: STSv1|mode: testing|mx: mail.example.org|max_age: 86400|"},
		{MTASTS{Mode: STSEnforce}, "version: STSv1|mode: enforce|mx: mail.example.org|max_age: 1209600|"},
		{MTASTS{Mode: STSEnforce, MX: []string{"MX2.Example.NET", "*.Bücher.example"}}, "version: STSv1|mode: enforce|mx: mail.example.org|mx: mx2.example.net|mx: *.xn--bcher-kva.example|max_age: 1209600|"},
	} {
		dom, err := set(c.in)
		ok(t, err)
		if got := strings.ReplaceAll(dom.STSPolicy("mail.example.org"), "\r\n", "|"); got != c.want {
			t.Errorf("%v: the policy is %s", c.in, got)
		}
		record := dom.STSRecord("mail.example.org")
		if (record == "") != (c.want == "") || record != "" && !regexp.MustCompile(`^v=STSv1; id=[0-9a-z]{1,32};$`).MatchString(record) {
			t.Errorf("%v: the record is %s", c.in, record)
		}
		if other := seen[record]; other != "" {
			t.Errorf("%s and %s have the same id", other, c.want)
		}
		seen[record] = c.want
		if record != dom.STSRecord("mail.example.org") || record != "" && c.in.Mode != STSNone && record == dom.STSRecord("other.example.org") {
			t.Errorf("%v: the id does not go with the policy", c.in)
		}
		dom.Disabled = true
		if dom.STSPolicy("mail.example.org") != "" {
			t.Error("a disabled domain has a policy")
		}
	}
	for _, bad := range []MTASTS{{Mode: 9}, {MX: []string{"no host"}}, {MX: []string{"[192.0.2.1]"}}, {MX: []string{"a.*.example"}}, {MX: make([]string, maxSTSHosts+1)}} {
		if _, err := set(bad); !postino.Is(err, postino.Invalid) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	for _, m := range []STSMode{STSOff, STSNone, STSTesting, STSEnforce} {
		if got, err := ParseSTSMode(m.String()); err != nil || got != m {
			t.Errorf("%v: %v, %v", m, got, err)
		}
	}
	changed, stop := d.WatchDomains()
	defer stop()
	if _, err := set(MTASTS{Mode: STSTesting}); err != nil {
		t.Fatal(err)
	}
	<-changed
}
