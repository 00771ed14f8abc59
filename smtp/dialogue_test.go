package smtp

import (
	"reflect"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postino-mail/postino"
)

// play runs a script against a fresh server in virtual time. The bubble fails
// when a goroutine outlives the session (G11).
func play(t *testing.T, opts Options, f *fake, script string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		opts.Hostname, opts.Backend = "mx.example.org", f
		s := NewServer(opts)
		c := dial(t, s)
		defer c.Close()
		c.script(script)
		c.Close()
		synctest.Wait()
		f.check(t)
	})
}

const hello = "S: 220 mx.example.org\nC: EHLO client.example\nS: 250 LIMITS\n"

func TestDialogues(t *testing.T) {
	for _, d := range []struct {
		name, script string
		posts        []string // content
		opts         Options
		refuse       error
	}{
		{name: "whole session", script: hello + `
			C: MAIL FROM:<a@example.org>
			S: 250 2.1.0
			C: RCPT TO:<b@example.org>
			S: 250 2.1.5
			C: DATA
			S: 354 
			C: Subject: x
			C: 
			C: ..dot
			C: .
			S: 250 2.0.0 Queued as id1
			C: QUIT
			S: 221 2.0.0 mx.example.org
			E:`, posts: []string{"Subject: x\r\n\r\n.dot\r\n"}},
		{name: "HELO has no extensions", script: `
			S: 220 
			C: HELO client.example
			S: 250 mx.example.org
			C: MAIL FROM:<>
			S: 250 2.1.0
			C: RCPT TO:<postmaster>
			S: 250 2.1.5
			C: QUIT
			S: 221 2.0.0
			E:`},
		{name: "case and spaces", script: hello + `
			C: mAiL from: <a@example.org>  
			S: 250 2.1.0
			C: rcpt To:<b@example.org>
			S: 250 2.1.5
			C: rset
			S: 250 2.0.0`},
		{name: "order", script: `
			S: 220 
			C: MAIL FROM:<a@example.org>
			S: 503 5.5.1
			C: EHLO x
			S: 250 
			C: RCPT TO:<b@example.org>
			S: 503 5.5.1
			C: DATA
			S: 503 5.5.1
			C: MAIL FROM:<a@example.org>
			S: 250 
			C: MAIL FROM:<a@example.org>
			S: 503 5.5.1
			C: DATA
			S: 554 5.5.1
			C: RCPT TO:<no@example.org>
			S: 550 5.1.1
			C: DATA
			S: 554 5.5.1
			C: EHLO again
			S: 250 
			C: RCPT TO:<b@example.org>
			S: 503 5.5.1`},
		{name: "bad EHLO keeps the transaction", script: hello + `
			C: MAIL FROM:<a@example.org>
			S: 250 
			C: EHLO two words
			S: 501 5.5.4
			C: EHLO refused.example
			S: 550 5.7.1
			C: RCPT TO:<b@example.org>
			S: 250 `},
		{name: "anytime commands", script: `
			S: 220 
			C: NOOP anything
			S: 250 2.0.0
			C: RSET
			S: 250 2.0.0
			C: HELP MAIL
			S: 214 2.0.0
			C: VRFY someone
			S: 252 2.5.0
			C: VRFY known
			S: 250 2.1.5
			C: EXPN list
			S: 252 2.5.0
			C: EXPN no
			S: 550 5.1.1
			C: VRFY
			S: 501 5.5.4
			C: TURN
			S: 502 5.5.1
			C: SEND FROM:<a@example.org>
			S: 502 5.5.1`},
		{name: "obsolete and unknown", script: hello + `
			C: SOML FROM:<a@example.org>
			S: 502 5.5.1
			C: SAML FROM:<a@example.org>
			S: 502 5.5.1
			C: XYZZY
			S: 500 5.5.2
			C: 
			S: 500 5.5.2`},
		{name: "arguments where none belong", script: hello + `
			C: RSET now
			S: 501 5.5.4
			C: DATA now
			S: 501 5.5.4
			C: QUIT now
			S: 501 5.5.4
			C: STARTTLS
			S: 502 5.5.1`},
		{name: "paths SS18 SS19", script: hello + `
			C: MAIL FROM:a@example.org
			S: 501 5.1.7
			C: MAIL TO:<a@example.org>
			S: 501 5.5.4
			C: MAIL FROM:<postmaster>
			S: 501 5.1.7
			C: MAIL FROM:<@x.example:a@example.org>
			S: 250 
			C: RCPT TO:<>
			S: 501 5.1.3`},
		{name: "UTF-8 needs SMTPUTF8", script: hello + `
			C: MAIL FROM:<ä@example.org>
			S: 553 5.6.7
			C: MAIL FROM:<a@example.org>
			S: 250 
			C: RCPT TO:<ö@example.org>
			S: 553 5.6.7
			C: RSET
			S: 250 
			C: MAIL FROM:<ä@example.org> SMTPUTF8
			S: 250 
			C: RCPT TO:<ö@bücher.example>
			S: 250 2.1.5
			C: VRFY ü
			S: 553 5.6.7
			C: VRFY ü SMTPUTF8
			S: 252 `},
		{name: "illegal octets", script: hello + `
			R: NOOP \0\r\n
			S: 501 5.5.2
			R: MAIL FROM:<a\tb@example.org>\r\n
			S: 501 5.5.2
			R: MAIL FROM:<\xff@example.org> SMTPUTF8\r\n
			S: 501 5.5.2
			C: EHLO ünion
			S: 501 5.5.2`},
		{name: "replies of the session", script: hello + `
			C: MAIL FROM:<no@example.org>
			S: 550 5.1.1
			C: MAIL FROM:<later@example.org>
			S: 451 4.3.0
			C: MAIL FROM:<denied@example.org>
			S: 550 5.7.1
			C: MAIL FROM:<plain@example.org>
			S: 451 4.3.0 Local error
			C: MAIL FROM:<a@example.org>
			S: 250 
			C: RCPT TO:<ok251@example.org>
			S: 251 2.1.5 Will forward
			C: RCPT TO:<bye@example.org>
			S: 421 4.3.0 Bye
			E:`},
		{name: "failures of content destroy the transaction SS3", script: hello + `
			C: MAIL FROM:<a@example.org>
			S: 250 
			C: RCPT TO:<nosink@example.org>
			S: 250 
			C: DATA
			S: 452 4.3.1
			C: DATA
			S: 503 5.5.1
			C: MAIL FROM:<a@example.org>
			S: 250 
			C: RCPT TO:<nowrite@example.org>
			S: 250 
			C: DATA
			S: 354 
			C: text
			C: .
			S: 452 4.3.1
			C: RCPT TO:<b@example.org>
			S: 503 5.5.1
			C: MAIL FROM:<a@example.org>
			S: 250 
			C: RCPT TO:<nocommit@example.org>
			S: 250 
			C: DATA
			S: 354 
			C: text
			C: .
			S: 550 5.7.1 Spam
			C: MAIL FROM:<a@example.org>
			S: 250 
			C: RCPT TO:<odd@example.org>
			S: 250 
			C: DATA
			S: 354 
			C: .
			S: 421 4.3.0
			E:`},
		{name: "commit times out SS12", script: hello + `
			C: MAIL FROM:<a@example.org>
			S: 250 
			C: RCPT TO:<slow@example.org>
			S: 250 
			C: DATA
			S: 354 
			C: .
			S: 451 4.3.0
			C: NOOP
			S: 250 `},
		{name: "pipelined group", script: hello + `
			R: MAIL FROM:<a@example.org>\r\nRCPT TO:<no@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n
			S: 250 2.1.0
			S: 550 5.1.1
			S: 250 2.1.5
			S: 354 
			R: one\r\n.\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n
			S: 250 2.0.0
			S: 250 2.1.0
			S: 250 2.1.5
			S: 354 
			R: two\r\n.\r\nQUIT\r\n
			S: 250 2.0.0
			S: 221 
			E:`, posts: []string{"one\r\n", "two\r\n"}},
		{name: "BDAT", script: hello + `
			C: MAIL FROM:<a@example.org>
			S: 250 
			C: RCPT TO:<b@example.org>
			S: 250 
			R: BDAT 6\r\none\r\n.
			S: 250 2.0.0
			R: BDAT 0\r\nBDAT 2 LAST\r\n\r\n
			S: 250 2.0.0 Chunk
			S: 250 2.0.0 Queued
			R: BDAT 3 LAST\r\nabc
			S: 503 5.5.1
			C: NOOP
			S: 250 `, posts: []string{"one\r\n.\r\n"}},
		{name: "BDAT in wrong places", script: hello + `
			R: BDAT 6\r\nRSET\r\n
			S: 503 5.5.1
			C: MAIL FROM:<a@example.org>
			S: 250 
			R: BDAT 6 LAST\r\nRSET\r\n
			S: 554 5.5.1
			C: RCPT TO:<b@example.org>
			S: 250 
			R: BDAT 1\r\nx
			S: 250 
			C: DATA
			S: 503 5.5.1
			C: RCPT TO:<b@example.org>
			S: 503 5.5.1
			C: RSET
			S: 250 
			C: BDAT x LAST
			S: 501 5.5.4
			E:`},
		{name: "BDAT failure consumes the chunk SS5", script: hello + `
			C: MAIL FROM:<a@example.org>
			S: 250 
			C: RCPT TO:<nowrite@example.org>
			S: 250 
			R: BDAT 6\r\nRSET\r\nBDAT 6 LAST\r\nQUIT\r\n
			S: 452 4.3.1
			S: 503 5.5.1
			C: MAIL FROM:<a@example.org>
			S: 250 
			C: RCPT TO:<b@example.org>
			S: 250 
			C: BDAT 99999999999999999999 LAST
			S: 552 5.3.4
			E:`},
		{name: "BDAT text ends in CR SS1", script: hello + `
			C: MAIL FROM:<a@example.org>
			S: 250 
			C: RCPT TO:<b@example.org>
			S: 250 
			R: BDAT 2\r\nx\r
			S: 250 
			R: BDAT 2\r\n\ny
			S: 250 
			R: BDAT 1 LAST\r\n\r
			S: 554 5.6.0
			E:`},
		{name: "BINARYMIME", opts: Options{BinaryMIME: true}, script: `
			S: 220 
			C: EHLO x
			S: 250 
			C: MAIL FROM:<a@example.org> BODY=BINARYMIME
			S: 250 
			C: RCPT TO:<b@example.org>
			S: 250 
			C: DATA
			S: 503 5.5.1
			R: BDAT 4 LAST\r\n\n\r\0\r
			S: 250 2.0.0`, posts: []string{"\n\r\x00\r"}},
		{name: "BINARYMIME not announced", script: hello + `
			C: MAIL FROM:<a@example.org> BODY=BINARYMIME
			S: 555 5.5.4`},
		{name: "size SS10", opts: Options{Limits: Limits{MessageBytes: 10}}, script: hello + `
			C: MAIL FROM:<a@example.org> SIZE=11
			S: 552 5.3.4
			C: MAIL FROM:<a@example.org> SIZE=99999999999999999999
			S: 552 5.3.4
			C: MAIL FROM:<a@example.org> SIZE=-1
			S: 501 5.5.4
			C: MAIL FROM:<a@example.org> SIZE=10
			S: 250 
			C: RCPT TO:<b@example.org>
			S: 250 
			C: DATA
			S: 354 
			C: 123456789
			C: .
			S: 552 5.3.4
			C: MAIL FROM:<a@example.org>
			S: 250 
			C: RCPT TO:<b@example.org>
			S: 250 
			C: DATA
			S: 354 
			C: ..2345678
			C: .
			S: 250 2.0.0
			C: MAIL FROM:<a@example.org>
			S: 250 
			C: RCPT TO:<b@example.org>
			S: 250 
			R: BDAT 6\r\n123456BDAT 5 LAST\r\n12345
			S: 250 
			S: 552 5.3.4`, posts: []string{".2345678\r\n"}},
		{name: "bare LF in what is thrown away SS1", script: hello + `
			C: MAIL FROM:<a@example.org>
			S: 250 
			C: RCPT TO:<nowrite@example.org>
			S: 250 
			C: DATA
			S: 354 
			C: text
			R: x\n.\r\nNOOP\r\n
			S: 554 5.6.0
			E:`},
		{name: "too much is thrown away", opts: Options{Limits: Limits{MessageBytes: 10, Discard: 100}}, script: hello + `
			C: MAIL FROM:<a@example.org>
			S: 250 
			C: RCPT TO:<b@example.org>
			S: 250 
			C: DATA
			S: 354 
			C: 1234567890
			C: ` + strings.Repeat("x", 40000) + `
			S: 552 5.3.4
			E:`},
		{name: "DSN off", script: hello + `
			C: MAIL FROM:<a@example.org> RET=FULL
			S: 555 5.5.4
			C: MAIL FROM:<a@example.org>
			S: 250 
			C: RCPT TO:<b@example.org> NOTIFY=NEVER
			S: 555 5.5.4`},
		{name: "normalise SS1", opts: Options{Normalise: true}, script: hello + `
			C: MAIL FROM:<a@example.org>
			S: 250 
			C: RCPT TO:<b@example.org>
			S: 250 
			C: DATA
			S: 354 
			R: a\nb\rc\r\n..d\n.\n.\r\ne\r\n.\r\n
			S: 250 2.0.0`, posts: []string{"a\r\nb\r\nc\r\n.d\r\n.\r\n.\r\ne\r\n"}},
		{name: "early pipelining SS17", script: `
			S: 220 
			R: EHLO x\r\nMAIL FROM:<a@example.org>\r\n
			S: 554 5.5.0
			E:`},
		{name: "content before 354 SS17", script: hello + `
			C: MAIL FROM:<a@example.org>
			S: 250 
			C: RCPT TO:<b@example.org>
			S: 250 
			R: DATA\r\nx\r\n.\r\n
			S: 554 5.5.0
			E:`},
		{name: "lax pipelining", opts: Options{LaxPipelining: true}, script: `
			R: EHLO x\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nx\r\n.\r\nNOOP\r\nQUIT\r\n
			S: 220 
			S: 250 
			S: 250 2.1.0
			S: 250 2.1.5
			S: 354 
			S: 250 2.0.0 Queued
			S: 250 2.0.0 OK
			S: 221 
			E:`, posts: []string{"x\r\n"}},
		{name: "HELO may not pipeline SS17", script: `
			S: 220 
			C: HELO x
			S: 250 
			R: MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\n
			S: 554 5.5.0
			E:`},
		{name: "HTTP SS17", script: `
			S: 220 
			R: POST / HTTP/1.1\r\nHost: x\r\n
			S: 554 5.5.0 This is not the service you want
			E:`},
		{name: "TLS in clear", script: "S: 220 \nR: \\x16TLS\\r\\n\nS: 554 5.5.0\nE:"},
		{name: "bare LF ends no command SS1", script: hello + `
			R: NOOP\n
			S: 500 5.5.2
			E:`},
		{name: "line lengths SS7", script: hello + `
			C: NOOP ` + strings.Repeat("x", 900) + `
			S: 250 
			C: MAIL FROM:<a@example.org> X=` + strings.Repeat("x", 3900) + `
			S: 555 5.5.4
			C: NOOP ` + strings.Repeat("x", 1000) + `
			S: 500 5.5.2
			E:`},
		{name: "endless line SS7", script: hello + `
			R: NOOP ` + strings.Repeat("x", 1200) + `
			S: 500 5.5.2
			E:`},
		{name: "refused with 554", refuse: &Reply{554, "5.7.1", "No service for you"}, script: `
			S: 554 5.7.1
			C: EHLO x
			S: 503 5.5.1
			C: QUIT
			S: 221 
			E:`},
		{name: "refused with 521", refuse: &Reply{521, "5.3.2", "mx.example.org does not accept mail"}, script: "S: 521 5.3.2\nE:"},
		{name: "refused for a cause", refuse: postino.E(postino.Transient, "x", "", nil), script: "S: 451 4.3.0\nE:"},
		{name: "RequireTLS", opts: Options{RequireTLS: true, TLS: serverTLS()}, script: `
			S: 220 
			C: EHLO x
			S: 250 
			C: NOOP
			S: 250 
			C: MAIL FROM:<a@example.org>
			S: 530 5.7.0
			R: BDAT 6\r\nNOOP\r\n
			S: 530 5.7.0
			E:`},
		{name: "panic G4", script: hello + `
			C: MAIL FROM:<a@example.org>
			S: 250 
			C: RCPT TO:<panic@example.org>
			S: 421 4.3.0
			E:`},
		{name: "panic keeps the replies before it SS21", script: hello + `
			C: MAIL FROM:<a@example.org>
			S: 250 
			C: RCPT TO:<b@example.org>
			S: 250 
			C: DATA
			S: 354 
			R: x\r\n.\r\nMAIL FROM:<panic@example.org>\r\n
			S: 250 2.0.0 Queued
			S: 421 4.3.0
			E:`, posts: []string{"x\r\n"}},
		{name: "panic in content G4", script: hello + `
			C: MAIL FROM:<a@example.org>
			S: 250 
			C: RCPT TO:<panicwrite@example.org>
			S: 250 
			C: DATA
			S: 354 
			C: x
			S: 421 4.3.0
			E:`},
		{name: "content line of 64 KiB SS8", script: hello + `
			C: MAIL FROM:<a@example.org>
			S: 250 
			C: RCPT TO:<b@example.org>
			S: 250 
			C: DATA
			S: 354 
			C: ` + strings.Repeat("x", 64<<10-2) + `
			C: .
			S: 250 2.0.0
			C: MAIL FROM:<a@example.org>
			S: 250 
			C: RCPT TO:<b@example.org>
			S: 250 
			C: DATA
			S: 354 
			C: ` + strings.Repeat("x", 64<<10-1) + `
			C: .
			S: 554 5.6.0
			C: NOOP
			S: 250 `, posts: []string{strings.Repeat("x", 64<<10-2) + "\r\n"}},
	} {
		t.Run(d.name, func(t *testing.T) {
			f := &fake{refuse: d.refuse}
			play(t, d.opts, f, d.script)
			var got []string
			for _, p := range f.posts {
				got = append(got, p.content)
			}
			if len(got) != len(d.posts) {
				t.Fatalf("accepted %q", got)
			}
			for i := range got {
				if got[i] != d.posts[i] {
					t.Fatalf("message %d is %q", i, got[i])
				}
			}
		})
	}
}

// TestEnvelope shows what reaches the session.
func TestEnvelope(t *testing.T) {
	f := &fake{login: "tim"}
	play(t, Options{DSN: true, AuthInsecure: true}, f, hello+`
		C: MAIL FROM:<"a b"@EXAMPLE.org> size=123 Body=8bitmime SMTPUTF8 RET=hdrs ENVID=QQ+2B314 AUTH=e+3Dmc2@example.com
		S: 250 
		C: RCPT TO:<@r.example:b@example.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+2Bc@example.org
		S: 250 
		C: RCPT TO:<ö@Bücher.example> ORCPT=utf-8;\x{F6}@b
		S: 250 
		C: DATA
		S: 354 
		C: .
		S: 250 `)
	p := f.posts[0]
	want := MailOptions{Size: 123, Body: postino.Body8BitMIME, SMTPUTF8: true, EnvID: "QQ+314", Ret: postino.DSNReturnHeaders,
		Auth: postino.Address{Local: "e=mc2", Domain: "example.com"}, HasAuth: true}
	if !reflect.DeepEqual(p.opts, want) || (p.from != postino.Address{Local: "a b", Domain: "example.org"}) || p.content != "" {
		t.Fatalf("%+v", p)
	}
	r := p.rcpts
	if len(r) != 2 || r[0].Address.String() != "b@example.org" || r[0].Notify != postino.DSNSuccess|postino.DSNDelay || r[0].ORcpt != "rfc822;b+c@example.org" ||
		r[1].Address != (postino.Address{Local: "ö", Domain: "xn--bcher-kva.example"}) || r[1].ORcpt != "utf-8;ö@b" {
		t.Fatalf("%+v", r)
	}
	if f.protocol != "UTF8SMTP" {
		t.Fatal(f.protocol)
	}
}

// TestAnnounced shows that EHLO lists only what works in that state.
func TestAnnounced(t *testing.T) {
	base := "PIPELINING|SIZE 52428800|8BITMIME|SMTPUTF8|ENHANCEDSTATUSCODES|CHUNKING|"
	for _, c := range []struct {
		opts Options
		want string
	}{
		{Options{}, base + "LIMITS MAILMAX=1000 RCPTMAX=1000"},
		{Options{TLS: serverTLS(), DSN: true, BinaryMIME: true}, base + "BINARYMIME|DSN|STARTTLS|LIMITS MAILMAX=1000 RCPTMAX=1000"},
		{Options{AuthInsecure: true, Limits: Limits{Recipients: 5, Transactions: 7}}, base + "AUTH PLAIN LOGIN|LIMITS MAILMAX=7 RCPTMAX=100"},
	} {
		synctest.Test(t, func(t *testing.T) {
			c.opts.Hostname, c.opts.Backend = "mx.example.org", &fake{login: "tim"}
			cl := dial(t, NewServer(c.opts))
			defer cl.Close()
			cl.expect("220 ")
			cl.send("EHLO x\r\n")
			lines := cl.expect("250 ")
			for i := range lines {
				lines[i] = lines[i][4:]
			}
			if got := strings.Join(lines, "|"); got != "mx.example.org|"+c.want {
				t.Errorf("%s", got)
			}
		})
	}
}
