package interop

import (
	"fmt"
	"strings"
	"testing"
)

// eachPeer runs a test with each of the servers that relay.
func eachPeer(t *testing.T, test func(t *testing.T, s *server, p *peer)) {
	for name, startPeer := range map[string]func() (*peer, error){"postfix": postfix, "exim": exim} {
		t.Run(name, func(t *testing.T) {
			s, p := usePeer(t, startPeer)
			t.Parallel()
			test(t, s, p)
		})
	}
}

// detailed is a user's address with a detail, which tells peers the way to take.
func (s *server) detailed(user int, detail string) string {
	return strings.Replace(s.user(user), "@", "+"+detail+"@", 1)
}

// plain is the way into a peer where it takes everything.
func (p *peer) plain() door { return door{addr: p.ways["tls"]} }

// TestPeersSendHere lets peers pass mail on to the server under test, in every way
// that both can.
func TestPeersSendHere(t *testing.T) {
	eachPeer(t, func(t *testing.T, s *server, p *peer) {
		for _, c := range []struct{ detail, with string }{
			{"plain", `with ESMTP\b`},
			{"tls", `with ESMTPS\b`},
			{"auth", `with ESMTPSA\b`},
			{"lmtp", `with LMTPS?\b`},
			{"socket", `with LMTPS?\b`},
		} {
			t.Run(c.detail, func(t *testing.T) {
				t.Parallel()
				user, from := s.fresh(t), "sender@client.test"
				if c.detail == "auth" {
					from = s.user(userAuth)
				}
				sent := by(from, message(p.name+"-"+c.detail, s.user(user), oddBody))
				p.plain().post(t, letter{from: from, params: "BODY=8BITMIME", rcpts: []string{s.detailed(user, c.detail)}, data: sent})
				wantPassedOn(t, await(t, s, user, "INBOX", 1)[0], sent, `Return-Path: <`+from+`>`, `by mx\.`+s.domain, c.with)
				if p.name == "exim" && c.detail == "tls" {
					p.logged(t, `=> u\d+\+tls@.* K C="250`, 1) // RFC 3030; Postfix sends no BDAT
				}
			})
		}
	})
}

// TestPeersSendLargeMailHere is about 30 MB, which Exim sends in chunks.
func TestPeersSendLargeMailHere(t *testing.T) {
	eachPeer(t, func(t *testing.T, s *server, p *peer) {
		user := s.fresh(t)
		sent := message(p.name+"-large", s.user(user), large)
		p.plain().post(t, letter{from: "sender@client.test", params: "BODY=8BITMIME", rcpts: []string{s.user(user)}, data: sent})
		wantPassedOn(t, await(t, s, user, "INBOX", 1)[0], sent)
	})
}

// large is the text of a message of 30 MB.
var large = strings.Repeat(strings.Repeat("0123456789", 7)+".\n", 30_000_000/73)

// TestPeersSendUTF8Here has addresses that need SMTPUTF8 (RFC 6531).
func TestPeersSendUTF8Here(t *testing.T) {
	eachPeer(t, func(t *testing.T, s *server, p *peer) {
		user := s.fresh(t)
		s.postino(t, "", "alias", "add", fmt.Sprintf("pelé%d@%s", user, s.domain), s.user(user))
		sent := strings.Replace(message(p.name+"-utf8", s.user(user), oddBody), "Subject: ", "Subject: Grüße, ", 1)
		p.plain().post(t, letter{
			from: "jürgen@client.test", params: "BODY=8BITMIME SMTPUTF8", rcpts: []string{fmt.Sprintf("pelé%d@%s", user, s.domain)}, data: sent,
		})
		wantPassedOn(t, await(t, s, user, "INBOX", 1)[0], sent, `Return-Path: <jürgen@client.test>`, `with UTF8SMTPS`)
	})
}

// TestPeersHearOfRefusals sends to nobody: the peer reports to its sender, who is a
// user here.
func TestPeersHearOfRefusals(t *testing.T) {
	eachPeer(t, func(t *testing.T, s *server, p *peer) {
		user, to := s.fresh(t), "nobody-here@"+s.domain
		sent := message(p.name+"-refused", to, "text\n")
		p.plain().post(t, letter{
			from: s.user(user), params: "RET=HDRS ENVID=letter-7", rcpts: []string{to},
			rcptParams: "NOTIFY=FAILURE ORCPT=rfc822;" + to, data: sent,
		})
		wantReport(t, await(t, s, user, "INBOX", 1)[0], report{
			mta: "mx." + p.domain(), envID: "letter-7", original: to, final: to, action: "failed", status: map[string]string{"postfix": `5\.1\.1`, "exim": `5\.`}[p.name], diagnostic: `550.5\.1\.1`, id: p.name + "-refused",
		})
	})
}

// TestDovecotProxiesHere lets Dovecot pass LMTP on.
func TestDovecotProxiesHere(t *testing.T) {
	s, p := usePeer(t, dovecot)
	t.Parallel()
	user := s.fresh(t)
	sent := message("dovecot-proxy", s.user(user), oddBody)
	p.lmtp().post(t, letter{from: "sender@client.test", params: "BODY=8BITMIME", rcpts: []string{s.user(user)}, data: sent})
	wantPassedOn(t, await(t, s, user, "INBOX", 1)[0], sent, `by mx\.`+s.domain, `with LMTPS?\b`)

	// Each recipient has an answer of its own.
	rcpts, final := p.lmtp().open(t).send(letter{
		from: "sender@client.test", rcpts: []string{"nobody-here@" + s.domain, s.user(user), "box@dovecot.test"},
		data: message("dovecot-three", s.user(user), "text\n"),
	})
	if rcpts[0][:3] != "550" || rcpts[1][:3] != "250" || rcpts[2][:3] != "250" || len(final) != 2 || final[0][:3] != "250" || final[1][:3] != "250" {
		t.Errorf("replies %q, then %q", rcpts, final)
	}
	await(t, s, user, "INBOX", 2)
	p.arrived(t, "dovecot-three")
}

// lmtp is the way into Dovecot.
func (p *peer) lmtp() door { return door{addr: p.ways["lmtp"], lmtp: true} }
