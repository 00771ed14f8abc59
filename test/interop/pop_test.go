package interop

import (
	"fmt"
	"strings"
	"testing"
)

// TestCurlPOP3 lists, reads, looks and deletes by both ways in.
func TestCurlPOP3(t *testing.T) {
	s, user := mine(t, "curl")
	for _, way := range []struct{ name, url string }{{"stls", "pop3://" + s.pop3}, {"pop3s", "pop3s://" + s.pop3s}} {
		t.Run(way.name, func(t *testing.T) {
			empty(t, s, user)
			sent := put(t, s, user, "INBOX", "pop-"+way.name, 3)
			curl := func(args ...string) string { t.Helper(); return s.curl(t, user, args...) }
			for _, mechanism := range []string{"PLAIN", "LOGIN"} {
				got := curl(way.url+"/", "--login-options", "AUTH="+mechanism)
				want := ""
				for i, text := range sent {
					want += fmt.Sprintf("%d %d\r\n", i+1, len(text))
				}
				if got != want {
					t.Errorf("LIST after %s: %q, want %q", mechanism, got, want)
				}
			}
			for i, want := range sent {
				if got := curl(fmt.Sprintf("%s/%d", way.url, i+1)); got != want {
					t.Errorf("mail %d: %q, want %q", i+1, clip(got), clip(want))
				}
			}
			head, body, _ := strings.Cut(sent[1], "\r\n\r\n")
			lines := strings.SplitAfter(body, "\r\n")
			if got := curl(way.url+"/", "-X", "TOP 2 2"); got != head+"\r\n\r\n"+lines[0]+lines[1] {
				t.Errorf("TOP 2 2: %q", clip(got))
			}
			first, again := curl(way.url+"/", "-X", "UIDL"), curl(way.url+"/", "-X", "UIDL")
			if first != again || strings.Count(first, "\r\n") != 3 {
				t.Errorf("UIDL: %q, then %q", first, again)
			}
			curl(way.url+"/2", "-X", "DELE", "-I")
			if got := await(t, s, user, "INBOX", 2); string(got[1]) != sent[2] {
				t.Errorf("after DELE the second mail is %q", clip(string(got[1])))
			}
			for i := 2; i > 0; i-- {
				curl(fmt.Sprintf("%s/%d", way.url, i), "-X", "DELE", "-I")
			}
			await(t, s, user, "INBOX", 0)
			out, err := try(t, "", "curl", "-sS", "-v", "--ssl-reqd", "--cacert", s.ca, "-u", s.user(user)+":wrong", way.url)
			if err == nil || !strings.Contains(out, "-ERR [AUTH]") {
				t.Errorf("wrong password: %v\n%s", err, out)
			}
			if out, err := try(t, "", "curl", "-sS", "-v", "-u", s.user(user)+":"+s.password, "pop3://"+s.pop3); err == nil {
				t.Errorf("login in clear: %s", out)
			}
		})
	}
}

// TestLarge sends 30 MB there and back.
func TestLarge(t *testing.T) {
	s, user := mine(t, "curl", "fetchmail")
	attachment := strings.Repeat(strings.Repeat("QUJD", 19)+"\n", 30<<20/57+1) // base64, 30 MB when decoded
	sent := strings.Replace(message("large", s.user(user), ""), "text/plain; charset=utf-8", `application/octet-stream; name="large.bin"`, 1)
	sent = strings.Replace(sent, "8bit", "base64", 1) + strings.ReplaceAll(attachment, "\n", "\r\n")
	s.curl(t, user, "imaps://"+s.imaps+"/INBOX", "-T", file(t, "mail", sent))
	for _, url := range []string{"imaps://" + s.imaps + "/INBOX;MAILINDEX=1", "imap://" + s.imap + "/INBOX;MAILINDEX=1", "pop3s://" + s.pop3s + "/1", "pop3://" + s.pop3 + "/1"} {
		if got := s.curl(t, user, url); got != sent {
			t.Errorf("%s: %d octets, want %d", url, len(got), len(sent))
		}
	}
}

// TestPOPLib runs a script that goes through what poplib can do.
func TestPOPLib(t *testing.T) {
	s, user := mine(t, "python3")
	put(t, s, user, "INBOX", "pl", 6)
	c := open(t, s, user, nil)
	// A message whose header is in UTF-8 (RFC 6856).
	add(t, c, "INBOX", strings.Replace(message("pl-utf8", "дядя@client.test", "text\n"), "interop", "Grüße", 1), nil)
	c.Logout()
	out := run(t, "", "python3", "testdata/pop.py", s.pop3, s.pop3s, s.ca, s.user(user), s.password)
	if !strings.HasSuffix(strings.TrimSpace(out), "all done") {
		t.Errorf("the script ended early:\n%s", out)
	}
	wantBox(t, s, user, "INBOX", map[string]string{"pl-0": "S", "pl-2": "", "pl-3": "", "pl-4": "", "pl-5": "", "pl-utf8": "S"})
}

// TestOpenSSL connects as openssl does, with and without a protocol named by ALPN
// (RFC 7301), and after STARTTLS and STLS.
func TestOpenSSL(t *testing.T) {
	s, user := mine(t, "openssl")
	for _, c := range []struct {
		name, addr, input, want string
		args                    []string
	}{
		{"imaps", s.imaps, "a LOGIN %s %s\nb LOGOUT\n", "b OK", []string{"-alpn", "imap"}},
		{"imaps without", s.imaps, "a LOGIN %s %s\nb LOGOUT\n", "b OK", nil},
		{"pop3s", s.pop3s, "USER %s\nPASS %s\nSTAT\nQUIT\n", "+OK 0 0", []string{"-alpn", "pop3"}},
		{"imap", s.imap, "a LOGIN %s %s\nb LOGOUT\n", "b OK", []string{"-starttls", "imap"}},
		{"pop3", s.pop3, "USER %s\nPASS %s\nSTAT\nQUIT\n", "+OK 0 0", []string{"-starttls", "pop3"}},
		{"TLS 1.2", s.imaps, "a LOGIN %s %s\nb LOGOUT\n", "b OK", []string{"-tls1_2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"s_client", "-connect", c.addr, "-crlf", "-ign_eof", "-verify_return_error", "-CAfile", s.ca, "-verify_hostname", "localhost"}, c.args...)
			out := run(t, fmt.Sprintf(c.input, s.user(user), s.password), "openssl", args...)
			if !strings.Contains(out, c.want) || !strings.Contains(out, "Verify return code: 0 (ok)") && !strings.Contains(out, "Verification: OK") {
				t.Errorf("openssl says\n%s", out)
			}
			if len(c.args) > 0 && c.args[0] == "-alpn" && !strings.Contains(out, "ALPN protocol: "+c.args[1]) {
				t.Errorf("no ALPN:\n%s", out)
			}
		})
	}
	for _, old := range []string{"-tls1", "-tls1_1"} {
		if out, err := try(t, "", "openssl", "s_client", "-connect", s.imaps, "-cipher", "ALL:@SECLEVEL=0", old); err == nil {
			t.Errorf("%s is spoken:\n%s", old, lastLines(out, 20))
		}
	}
	if out, err := try(t, "", "openssl", "s_client", "-connect", s.imaps, "-alpn", "h2"); err == nil && strings.Contains(out, "ALPN protocol: h2") {
		t.Errorf("HTTP is agreed on:\n%s", out)
	}
}
