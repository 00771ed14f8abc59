package interop

import (
	"regexp"
	"strings"
	"testing"
)

// TestTurn asks for the mail of a relay domain with ETRN (RFC 1985) when the domain's
// own server is there again, and for that of a domain that is not known here.
func TestTurn(t *testing.T) {
	s, p := usePeer(t, postfix)
	t.Parallel()
	addr, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	s.postino(t, "", "domain", "add", "turn.postfix.test", "--relay")
	s.route(t, "turn.postfix.test", addr)
	sent := message("turn", "box@turn.postfix.test", "text\n")
	stranger := door{addr: s.mx}
	stranger.post(t, letter{from: "sender@client.test", rcpts: []string{"box@turn.postfix.test"}, data: sent})
	eventually(t, func() string {
		if out := s.postino(t, "", "queue", "list", "--recipient", "turn.postfix.test"); !strings.Contains(out, "waiting") {
			return "the mail does not wait:\n" + out
		}
		return ""
	})
	forward(t, addr, p.ways["tls"])
	w := stranger.open(t)
	if !strings.Contains(w.ehlo, "250-ETRN") && !strings.Contains(w.ehlo, "250 ETRN") {
		t.Errorf("ETRN is not offered:\n%s", w.ehlo)
	}
	w.say("25", "ETRN turn.postfix.test")
	w.say("45", "ETRN unknown.test")
	w.say("501", "ETRN a b")
	w.say("221", "QUIT")
	wantPassedOn(t, p.arrived(t, "turn"), sent)
}

// TestClientsOfClients has peers that may speak for others: PROXY of both versions,
// and XCLIENT. The trace field names the client that they tell.
func TestClientsOfClients(t *testing.T) {
	s := use(t)
	if s.foreign {
		t.Skip("skip: the reference trusts nobody")
	}
	t.Parallel()
	user := s.fresh(t)
	v2 := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + "\xc0\x00\x02\x02" + "\x7f\x00\x00\x01" + "\x30\x39" + "\x00\x19"
	for i, c := range []struct {
		name, client string
		door         door
		say          []string
	}{
		{"PROXY version 1", "192.0.2.1", door{source: sourceProxy, preface: "PROXY TCP4 192.0.2.1 127.0.0.1 12345 25\r\n"}, nil},
		{"PROXY version 2", "192.0.2.2", door{source: sourceProxy, preface: v2}, nil},
		{"XCLIENT", "192.0.2.3", door{source: sourceXClient}, []string{"XCLIENT ADDR=192.0.2.3 NAME=client.test HELO=said.test"}},
	} {
		c.door.addr = s.mx
		w := c.door.open(t)
		for _, line := range c.say {
			w.say("220", line)
			w.hello()
		}
		if rcpts, final := w.send(letter{from: "sender@client.test", rcpts: []string{s.user(user)}, data: message("client", s.user(user), c.name+"\n")}); len(final) != 1 || final[0][0] != '2' {
			t.Errorf("%s: %q %q", c.name, rcpts, final)
			continue
		}
		got := string(await(t, s, user, "INBOX", i+1)[i])
		if !regexp.MustCompile(`(?s)Received: from .*\[` + regexp.QuoteMeta(c.client) + `\]`).MatchString(got[:strings.Index(got, "Date: ")]) {
			t.Errorf("%s: the trace does not name %s:\n%s", c.name, c.client, clip(got))
		}
	}

	// Nobody else may, and it is not even offered.
	w := door{addr: s.mx}.open(t)
	if strings.Contains(w.ehlo, "XCLIENT") {
		t.Errorf("XCLIENT is offered to everybody:\n%s", w.ehlo)
	}
	w.say("5", "XCLIENT ADDR=192.0.2.3")
}
