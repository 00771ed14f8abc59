package interop

import (
	"fmt"
	"strings"
	"testing"
)

func TestMsmtp(t *testing.T) {
	need(t, "msmtp")
	s := use(t)
	empty(t, s, userMsmtp)
	me := s.user(userMsmtp)
	n := 0
	for _, way := range []struct{ name, addr, starttls, auth string }{
		{"starttls-plain", s.smtp, "on", "plain"},
		{"starttls-login", s.smtp, "on", "login"},
		{"tls-plain", s.smtps, "off", "plain"},
		{"tls-auto", s.smtps, "off", "on"},
	} {
		t.Run(way.name, func(t *testing.T) {
			host, port := split(t, way.addr)
			config := file(t, "msmtprc", fmt.Sprintf(
				"account default\nhost %s\nport %s\ndomain client.test\nfrom %s\nuser %s\npassword %s\nauth %s\ntls on\ntls_starttls %s\ntls_trust_file %s\n",
				host, port, me, me, s.password, way.auth, way.starttls, s.ca))
			sent := by(me, message("msmtp-"+way.name, me, oddBody))
			run(t, strings.ReplaceAll(sent, "\r\n", "\n"), "msmtp", "-C", config, me)
			n++
			wantDelivered(t, await(t, s, userMsmtp, "INBOX", n)[n-1], sent)

			if out, err := try(t, sent, "msmtp", "-C", config, "nobody-here@"+s.domain); err == nil || !strings.Contains(out, "550 5.1.1") {
				t.Errorf("unknown recipient: %v\n%s", err, out)
			}
		})
	}
	await(t, s, userMsmtp, "INBOX", n)
}
