package interop

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// users is the way in for users, with STARTTLS and a login.
func (s *server) users(t *testing.T, user int) door {
	return door{addr: s.smtp, tls: s.tlsConfig(t), user: s.user(user), password: s.password}
}

// route makes a route to a peer, for a domain of which it is the only test's.
func (s *server) route(t *testing.T, domain, host string, flags ...string) {
	t.Helper()
	input := ""
	if len(flags) > 1 && flags[0] == "--user" {
		flags, input = append(flags, "--password-file", "-"), peerPassword+"\n"
	}
	args := append([]string{"route", "add", fmt.Sprintf("r%d", s.made.Add(1)), host, "--domain", domain, "--private"}, flags...)
	s.postino(t, input, args...)
}

// TestSendToPeers sends mail to a server of each kind, in every way that both can.
func TestSendToPeers(t *testing.T) {
	eachPeer(t, func(t *testing.T, s *server, p *peer) {
		for _, c := range []struct {
			way, with string
			flags     []string
		}{
			{"plain", `with ESMTP\b`, nil},
			{"tls", `with ESMTPS\b`, []string{"--per-connection", "1"}}, // Postfix logs the commands at the end
			{"auth", `with ESMTPSA\b`, []string{"--user", peerUser, "--tls", "required"}},
			{"implicit", `with ESMTPS\b`, []string{"--tls", "implicit"}},
		} {
			t.Run(c.way, func(t *testing.T) {
				t.Parallel()
				user, to := s.fresh(t), "box@"+c.way+"."+p.domain()
				s.route(t, c.way+"."+p.domain(), p.ways[c.way], c.flags...)
				id := "to-" + p.name + "-" + c.way
				sent := by(s.user(user), message(id, to, oddBody))
				s.users(t, user).post(t, letter{from: s.user(user), params: "BODY=8BITMIME", rcpts: []string{to}, data: sent})
				wantPassedOn(t, p.arrived(t, id), sent, `Return-Path: <`+s.user(user)+`>`, `mx\.`+s.domain+`.*by mx\.`+p.domain()+`.*`+c.with)
				if c.way == "tls" {
					p.logged(t, map[string]string{"postfix": `disconnect from .* bdat=1`, "exim": `<= .* K S=\d.* id=` + id}[p.name], 1) // RFC 3030
				}
			})
		}
	})
}

// TestSendVerified trusts a certificate for the address of the peer, and does not
// give mail to a peer whose certificate is for another name.
func TestSendVerified(t *testing.T) {
	eachPeer(t, func(t *testing.T, s *server, p *peer) {
		user, domain := s.fresh(t), "implicit."+p.domain()
		s.route(t, domain, p.ways["tls"], "--tls", "verified", "--sender", s.user(user))
		sent := by(s.user(user), message("verified-"+p.name, "box@"+domain, "text\n"))
		s.users(t, user).post(t, letter{from: s.user(user), rcpts: []string{"box@" + domain}, data: sent})
		wantPassedOn(t, p.arrived(t, "verified-"+p.name), sent, `ESMTPS`)
	})
}

// mainRoute leads mail for the peer's own domain, of one sender, to it.
func (s *server) mainRoute(t *testing.T, p *peer, user int) {
	t.Helper()
	s.route(t, p.domain(), p.ways["tls"], "--sender", s.user(user))
}

// TestSendLargeMail is about 30 MB.
func TestSendLargeMail(t *testing.T) {
	eachPeer(t, func(t *testing.T, s *server, p *peer) {
		user, to := s.fresh(t), "box@"+p.domain()
		s.mainRoute(t, p, user)
		sent := by(s.user(user), message("large-"+p.name, to, large))
		s.users(t, user).post(t, letter{from: s.user(user), params: "BODY=8BITMIME", rcpts: []string{to}, data: sent})
		wantPassedOn(t, p.arrived(t, "large-"+p.name), sent)
	})
}

// TestSendUTF8 has addresses that need SMTPUTF8 (RFC 6531).
func TestSendUTF8(t *testing.T) {
	eachPeer(t, func(t *testing.T, s *server, p *peer) {
		user, to := s.fresh(t), "pelé@"+p.domain()
		s.postino(t, "", "alias", "add", fmt.Sprintf("jürgen%d@%s", user, s.domain), s.user(user))
		s.route(t, p.domain(), p.ways["tls"], "--sender", fmt.Sprintf("jürgen%d@%s", user, s.domain))
		sent := strings.Replace(by(s.user(user), message("utf8-"+p.name, to, oddBody)), "Subject: ", "Subject: Grüße, ", 1)
		s.users(t, user).post(t, letter{
			from: fmt.Sprintf("jürgen%d@%s", user, s.domain), params: "BODY=8BITMIME SMTPUTF8", rcpts: []string{to}, data: sent,
		})
		wantPassedOn(t, p.arrived(t, "utf8-"+p.name), sent, fmt.Sprintf(`Return-Path: <jürgen%d@`, user), `with UTF8SMTPS`)
	})
}

// TestSendToThousand gives one message to 1,000 recipients.
func TestSendToThousand(t *testing.T) {
	eachPeer(t, func(t *testing.T, s *server, p *peer) {
		user := s.fresh(t)
		s.postino(t, "", "user", "limits", s.user(user), "--hour", "none", "--day", "none")
		s.route(t, "many."+p.domain(), p.ways["tls"], "--sender", s.user(user))
		l := letter{from: s.user(user), data: by(s.user(user), message("thousand-"+p.name, "everybody@client.test", "text\n"))}
		for i := range 1000 {
			l.rcpts = append(l.rcpts, fmt.Sprintf("r%d@many.%s", i, p.domain()))
		}
		s.users(t, user).post(t, l)
		p.thousand(t, "r")
	})
}

// thousand waits until the peer has delivered to 1,000 addresses that begin so.
func (p *peer) thousand(t *testing.T, prefix string) {
	t.Helper()
	p.logged(t, map[string]string{
		"postfix": `to=<(` + prefix + `\d+)@many\.postfix\.test>.* status=sent`,
		"exim":    `=> :blackhole: <(` + prefix + `\d+)@many\.exim\.test>`,
		"dovecot": `lmtp\((` + prefix + `\d+)@dovecot\.test\).*saved mail to INBOX`,
	}[p.name], 1000)
}

// TestPeersSendToThousandThroughHere lets each peer send one message to 1,000
// recipients at the other, of whose domain this server is the backup.
func TestPeersSendToThousandThroughHere(t *testing.T) {
	s, from := usePeer(t, postfix)
	_, to := usePeer(t, exim)
	t.Parallel()
	for _, way := range [][2]*peer{{from, to}, {to, from}} {
		domain := "many." + way[1].domain()
		s.postino(t, "", "domain", "add", domain, "--relay")
		s.route(t, domain, way[1].ways["tls"], "--sender", "sender@client.test")
		l := letter{from: "sender@client.test", data: message("through-"+way[1].name, "everybody@client.test", "text\n")}
		for i := range 1000 {
			l.rcpts = append(l.rcpts, fmt.Sprintf("t%d@%s", i, domain))
		}
		way[0].plain().post(t, l)
		way[1].thousand(t, "t")
	}
}

// TestReportsOfFailures sends to recipients whom the peer refuses at once, and to
// some whom it refuses after it has taken the mail. The report is in the sender's
// INBOX in both cases.
func TestReportsOfFailures(t *testing.T) {
	eachPeer(t, func(t *testing.T, s *server, p *peer) {
		for _, c := range []struct {
			name, params, full string
			want               report
		}{
			{"nobody", "RET=HDRS ENVID=letter+2B7", "-", report{mta: "mx." + s.domain, envID: "letter+7", status: `^5\.1\.1`, diagnostic: `(?i)^smtp; *550[- ]5\.1\.1 `}},
			{"nobody", "RET=FULL ENVID=letter-8", "and all the rest", report{mta: "mx." + s.domain, envID: "letter-8", status: `^5\.1\.1`, diagnostic: `No such user here`}},
			{"fail", "RET=HDRS ENVID=letter-9", "-", report{mta: "mx." + p.domain(), envID: "letter-9", status: `^5\.`}},
		} {
			t.Run(c.name+"-"+c.want.envID, func(t *testing.T) {
				t.Parallel()
				user, to := s.fresh(t), c.name+"@"+p.domain()
				s.mainRoute(t, p, user)
				id := "failure-" + p.name + "-" + c.want.envID
				id = strings.ReplaceAll(id, "+", ".")
				want := c.want
				want.original, want.final, want.action, want.id, want.full = "other@"+p.domain(), to, "failed", id, c.full
				s.users(t, user).post(t, letter{
					from: s.user(user), params: c.params, rcpts: []string{to, "box@" + p.domain()},
					rcptParams: "NOTIFY=FAILURE,DELAY ORCPT=rfc822;other@" + p.domain(), data: by(s.user(user), message(id, to, "text\nand all the rest\n")),
				})
				wantReport(t, await(t, s, user, "INBOX", 1)[0], want)
				p.arrived(t, id) // the other recipient has it
			})
		}
	})
}

// TestReportsOfDelivery asks for a report of success: the peer makes it, since it
// knows about such requests.
func TestReportsOfDelivery(t *testing.T) {
	eachPeer(t, func(t *testing.T, s *server, p *peer) {
		user, to := s.fresh(t), "box@"+p.domain()
		s.mainRoute(t, p, user)
		id := "success-" + p.name
		s.users(t, user).post(t, letter{
			from: s.user(user), params: "ENVID=letter-10", rcpts: []string{to}, rcptParams: "NOTIFY=SUCCESS ORCPT=rfc822;" + to, data: by(s.user(user), message(id, to, "text\n")),
		})
		wantReport(t, await(t, s, user, "INBOX", 1)[0], report{
			mta: "mx." + p.domain(), envID: "letter-10", original: to, final: to, action: "delivered", status: `^2\.`, id: id,
		})
	})
}

// TestPeerIsDown queues mail while nobody listens.
func TestPeerIsDown(t *testing.T) {
	s, p := usePeer(t, postfix)
	t.Parallel()
	user, to := s.fresh(t), "box@down.postfix.test"
	addr, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	s.route(t, "down.postfix.test", addr)
	sent := by(s.user(user), message("down", to, "text\n"))
	s.users(t, user).post(t, letter{from: s.user(user), rcpts: []string{to}, data: sent})
	waits := func() string { return s.postino(t, "", "queue", "list", "--recipient", to) }
	eventually(t, func() string {
		if out := waits(); !strings.Contains(out, "waiting") {
			return "the queue does not show that the mail waits:\n" + out
		}
		return ""
	})
	forward(t, addr, p.ways["tls"])
	s.postino(t, "", "queue", "retry", "--recipient", to, "--yes")
	wantPassedOn(t, p.arrived(t, "down"), sent)
	eventually(t, func() string {
		if out := waits(); strings.Contains(out, "down.postfix.test") {
			return "the queue still shows the mail:\n" + out
		}
		return ""
	})
}

// forward passes connections on from one address to another.
func forward(t *testing.T, from, to string) {
	t.Helper()
	l, err := net.Listen("tcp", from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			a, err := l.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", to)
			if err != nil {
				a.Close()
				continue
			}
			go func() { io.Copy(a, b); a.Close() }()
			go func() { io.Copy(b, a); b.Close() }()
		}
	}()
}

// eventually polls until there is nothing to complain about.
func eventually(t *testing.T, complaint func() string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		c := complaint()
		if c == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(c)
		}
	}
}
