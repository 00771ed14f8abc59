package interop

import (
	"net"
	"strings"
	"testing"
)

// TestWaitsForBetter has peers that do not give what a route demands: mail waits, with
// the reason in the queue, and nothing of it reaches the peer.
func TestWaitsForBetter(t *testing.T) {
	s, p := usePeer(t, postfix)
	// The certificate is for 127.0.0.1.
	elsewhere := net.JoinHostPort("127.0.0.5", p.port("tls"))
	forward(t, elsewhere, p.ways["tls"])
	t.Run("cases", func(t *testing.T) {
		for _, c := range []struct {
			name, host, why string
			flags           []string
		}{
			{"no STARTTLS", p.ways["plain"], "4.7.5", []string{"--tls", "required"}},
			{"other name", elsewhere, "4.7.5", []string{"--tls", "verified"}},
			{"clear instead of TLS", p.ways["plain"], "4.7.5", []string{"--tls", "implicit"}},
			{"wrong user", p.ways["auth"], "535 5.7.8", []string{"--user", "stranger@dovecot.test", "--tls", "required"}},
			{"no login", p.ways["auth"], "", nil},
			{"try later", p.ways["tls"], "Not yet", nil},
		} {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				user, to := s.fresh(t), "box@postfix.test"
				if c.name == "try later" {
					to = "later@postfix.test"
				}
				s.route(t, "postfix.test", c.host, append(c.flags, "--sender", s.user(user))...)
				id := "waits-" + strings.ReplaceAll(c.name, " ", "-")
				s.users(t, user).post(t, letter{from: s.user(user), rcpts: []string{to}, data: by(s.user(user), message(id, to, "text\n"))})
				if c.name == "no login" { // a definite answer: 530 or 554
					wantReport(t, await(t, s, user, "INBOX", 1)[0], report{mta: "mx." + s.domain, final: to, action: "failed", status: `^5\.7\.`, id: id})
					return
				}
				eventually(t, func() string {
					out := s.postino(t, "", "queue", "list", "--sender", s.user(user))
					if !strings.Contains(out, "waiting") || !strings.Contains(out, c.why) {
						return "the queue does not tell of " + c.why + ":\n" + out
					}
					return ""
				})
				if got := p.count(t, id); got > 0 {
					t.Errorf("the mail is there all the same")
				}
			})
		}
	})
}

// TestOldServer sends to a server without extensions: a report that the mail was
// passed on is ours (RFC 3461 §5.2.2), and 8-bit text does not go there (RFC 6152 §3).
func TestOldServer(t *testing.T) {
	s, p := usePeer(t, postfix)
	t.Parallel()
	user, to := s.fresh(t), "box@old.postfix.test"
	s.route(t, "old.postfix.test", p.ways["old"])
	sent := by(s.user(user), message("old-success", to, ".dot\n"))
	s.users(t, user).post(t, letter{from: s.user(user), params: "ENVID=letter-13", rcpts: []string{to}, rcptParams: "NOTIFY=SUCCESS", data: sent})
	wantPassedOn(t, p.arrived(t, "old-success"), sent, `with E?SMTP\b`)
	wantReport(t, await(t, s, user, "INBOX", 1)[0], report{
		mta: "mx." + s.domain, envID: "letter-13", final: to, action: "relayed", status: `^2\.`, id: "old-success",
	})

	sent = by(s.user(user), message("old-utf8", to, "text\n"))
	s.users(t, user).post(t, letter{from: s.user(user), params: "SMTPUTF8", rcpts: []string{"pelé@old.postfix.test"}, data: sent})
	wantReport(t, await(t, s, user, "INBOX", 2)[1], report{mta: "mx." + s.domain, final: "pelé@old.postfix.test", action: "failed", status: `^5\.6\.7`, id: "old-utf8"})
}

// TestRequireTLS asks for protection that no server of the distribution knows of: the
// mail comes back (RFC 8689 §4.2.1).
func TestRequireTLS(t *testing.T) {
	eachPeer(t, func(t *testing.T, s *server, p *peer) {
		user, to := s.fresh(t), "box@"+p.domain()
		s.mainRoute(t, p, user)
		id := "requiretls-" + p.name
		s.users(t, user).post(t, letter{from: s.user(user), params: "REQUIRETLS", rcpts: []string{to}, data: by(s.user(user), message(id, to, "text\n"))})
		wantReport(t, await(t, s, user, "INBOX", 1)[0], report{mta: "mx." + s.domain, final: to, action: "failed", status: `^5\.7\.`, id: id})
		if p.count(t, id) > 0 {
			t.Error("the mail is there all the same")
		}
	})
}

// TestCallAhead asks the peer whether a recipient of its domain exists.
func TestCallAhead(t *testing.T) {
	s, p := usePeer(t, postfix)
	t.Parallel()
	s.postino(t, "", "domain", "add", "ahead.postfix.test", "--relay", "--recipients", "call-ahead")
	s.route(t, "ahead.postfix.test", p.ways["tls"])
	sent := message("ahead", "box@ahead.postfix.test", "text\n")
	rcpts, final := door{addr: s.mx}.open(t).send(letter{
		from: "sender@client.test", rcpts: []string{"nobody@ahead.postfix.test", "box@ahead.postfix.test"}, data: sent,
	})
	if rcpts[0][:3] != "550" || rcpts[1][:3] != "250" || len(final) != 1 || final[0][:3] != "250" {
		t.Errorf("replies %q, then %q", rcpts, final)
	}
	wantPassedOn(t, p.arrived(t, "ahead"), sent)
	if out := s.postino(t, "", "probe", "box@ahead.postfix.test"); !strings.Contains(out, "STARTTLS") && !strings.Contains(out, "TLS") {
		t.Errorf("probe says\n%s", out)
	}
}
