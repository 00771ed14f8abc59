package interop

import (
	"fmt"
	"strings"
	"testing"
)

// curl calls curl for a user of the server; TLS is required and verified.
func (s *server) curl(t *testing.T, user int, args ...string) string {
	t.Helper()
	return run(t, "", "curl", s.curlArgs(user, args)...)
}

func (s *server) curlArgs(user int, args []string) []string {
	return append([]string{"-sS", "--ssl-reqd", "--cacert", s.ca, "-u", s.user(user) + ":" + s.password, "-m", "120"}, args...)
}

func TestCurlSMTP(t *testing.T) {
	need(t, "curl")
	s := use(t)
	empty(t, s, userCurl)
	to := s.user(userCurl)
	ways := []struct {
		name, url, body string
		extra           []string
	}{
		{"starttls", "smtp://" + s.smtp, oddBody, nil},
		{"smtps", "smtps://" + s.smtps, oddBody, nil},
		{"auth-plain", "smtp://" + s.smtp, oddBody, []string{"--login-options", "AUTH=PLAIN"}},
		{"auth-login", "smtp://" + s.smtp, oddBody, []string{"--login-options", "AUTH=LOGIN"}},
		{"initial-response", "smtps://" + s.smtps, oddBody, []string{"--sasl-ir"}},
		{"empty-body", "smtps://" + s.smtps, "", nil},
		{"one-dot", "smtps://" + s.smtps, ".\n", nil},
		{"large", "smtps://" + s.smtps, strings.Repeat(oddBody, 7000), nil}, // 8 MB
	}
	for i, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			sent := by(to, message("curl-"+way.name, to, way.body))
			args := []string{way.url + "/client.test", "--mail-from", to, "--mail-rcpt", to, "-T", file(t, "mail", sent)}
			s.curl(t, userCurl, append(args, way.extra...)...)
			got := await(t, s, userCurl, "INBOX", i+1)
			wantDelivered(t, got[i], sent)
		})
	}

	t.Run("refused", func(t *testing.T) {
		sent := file(t, "mail", by(to, message("curl-refused", to, "x\n")))
		out, err := try(t, "", "curl", s.curlArgs(userCurl, []string{
			"-v", "smtp://" + s.smtp, "--mail-from", to, "--mail-rcpt", "nobody-here@" + s.domain, "-T", sent,
		})...)
		if err == nil || !strings.Contains(out, "< 550 5.1.1 ") {
			t.Errorf("mail to an unknown recipient: %v, want 550 5.1.1\n%s", err, out)
		}
		out, err = try(t, "", "curl", "-sS", "-v", "--ssl-reqd", "--cacert", s.ca, "-u", to+":wrong", "smtp://"+s.smtp,
			"--mail-from", to, "--mail-rcpt", to, "-T", sent)
		if err == nil || !strings.Contains(out, "< 535 5.7.8 ") {
			t.Errorf("wrong password: %v, want 535 5.7.8\n%s", err, out)
		}
		await(t, s, userCurl, "INBOX", len(ways))
	})
}

// TestCurlFromOutside sends as another server would, without a login.
func TestCurlFromOutside(t *testing.T) {
	need(t, "curl")
	s := use(t)
	empty(t, s, userCurl)
	to := s.user(userCurl)
	for i, extra := range [][]string{nil, {"--ssl-reqd", "--cacert", s.ca}} {
		sent := message(fmt.Sprintf("curl-outside-%d", i), to, oddBody)
		run(t, "", "curl", append([]string{
			"-sS", "smtp://" + s.mx + "/client.test", "--mail-from", "sender@client.test", "--mail-rcpt", to, "-T", file(t, "mail", sent),
		}, extra...)...)
		wantDelivered(t, await(t, s, userCurl, "INBOX", i+1)[i], sent)
	}
	if s.foreign {
		return // the reference relays for this host
	}
	out, err := try(t, "", "curl", "-sSv", "smtp://"+s.mx+"/client.test", "--mail-from", "sender@client.test",
		"--mail-rcpt", "somebody@elsewhere.test", "-T", file(t, "mail", message("relay", to, "x\n")))
	if err == nil || !strings.Contains(out, "< 550 5.7.1 ") && !strings.Contains(out, "< 554 5.7.1 ") {
		t.Errorf("relaying without a login: %v\n%s", err, out)
	}
}

// TestCurlSMTPUTF8 sends from an internationalised address; curl then asks for
// SMTPUTF8 by itself. RFC 6531 §3.4
func TestCurlSMTPUTF8(t *testing.T) {
	need(t, "curl")
	s := use(t)
	empty(t, s, userCurl)
	to := s.user(userCurl)
	sent := strings.Replace(message("curl-utf8", to, oddBody), "sender@client.test", "grüße@client.test", 1)
	out := run(t, "", "curl", "-sSv", "--ssl-reqd", "--cacert", s.ca, "smtp://"+s.mx+"/client.test",
		"--mail-from", "grüße@client.test", "--mail-rcpt", to, "-T", file(t, "mail", sent))
	if !strings.Contains(out, "SMTPUTF8") || !strings.Contains(out, "MAIL FROM:<grüße@client.test>") {
		t.Errorf("curl did not use SMTPUTF8:\n%s", out)
	}
	if s.foreign {
		return // the reference's LMTP server has no SMTPUTF8: it accepts and bounces
	}
	wantDelivered(t, await(t, s, userCurl, "INBOX", 1)[0], sent)
}

func TestCurlIMAP(t *testing.T) {
	need(t, "curl")
	s := use(t)
	for _, way := range []struct{ name, url string }{{"starttls", "imap://" + s.imap}, {"imaps", "imaps://" + s.imaps}} {
		t.Run(way.name, func(t *testing.T) {
			empty(t, s, userCurlIMAP)
			curl := func(args ...string) string { t.Helper(); return s.curl(t, userCurlIMAP, args...) }
			var sent []string
			for i := range 3 {
				sent = append(sent, message(fmt.Sprintf("curl-%s-%d", way.name, i), s.user(userCurlIMAP), oddBody))
				curl(way.url+"/INBOX", "-T", file(t, "mail", sent[i]))
			}
			for i, want := range sent {
				if got := curl(fmt.Sprintf("%s/INBOX;MAILINDEX=%d", way.url, i+1)); got != want {
					t.Errorf("mail %d: got %q, want %q", i+1, clip(got), clip(want))
				}
			}
			head, _, _ := strings.Cut(sent[1], "\r\n\r\n")
			if got := curl(way.url + "/INBOX;MAILINDEX=2;SECTION=HEADER"); got != head+"\r\n\r\n" {
				t.Errorf("header: got %q", got)
			}
			if got := curl(way.url + "/INBOX;MAILINDEX=2;SECTION=1"); !strings.HasSuffix(sent[1], "\r\n\r\n"+got) || got == "" {
				t.Errorf("part 1: got %q", clip(got))
			}
			expect := func(want string, args ...string) {
				t.Helper()
				if got := curl(args...); !strings.Contains(got, want) {
					t.Errorf("curl %q: got %q, want %q in it", args, got, want)
				}
			}
			expect("* SEARCH 2\r\n", way.url+"/INBOX?SUBJECT%20"+"curl-"+way.name+"-1")
			expect("* SEARCH 1 2 3\r\n", way.url+"/INBOX?ALL")
			expect("* SEARCH\r\n", way.url+"/INBOX?FLAGGED")
			expect(`\Flagged`, way.url+"/INBOX", "-X", `STORE 3 +FLAGS (\Flagged)`)
			expect("* SEARCH 3\r\n", way.url+"/INBOX?FLAGGED")
			expect("(MESSAGES 3)", way.url, "-X", "STATUS INBOX (MESSAGES)")
			expect("INBOX", way.url, "-X", `LIST "" "*"`)
			curl(way.url, "-X", "CREATE Fromcurl")
			curl(way.url+"/INBOX", "-X", "COPY 1:2 Fromcurl")
			expect("* SEARCH 1 2\r\n", way.url+"/Fromcurl?ALL")
			curl(way.url+"/INBOX", "-X", `STORE 1 +FLAGS.SILENT (\Deleted)`)
			expect("* 1 EXPUNGE\r\n", way.url+"/INBOX", "-X", "EXPUNGE")
			await(t, s, userCurlIMAP, "INBOX", 2)
			curl(way.url, "-X", "DELETE Fromcurl")

			out, err := try(t, "", "curl", "-sS", "-v", "--ssl-reqd", "--cacert", s.ca, "-u", s.user(userCurlIMAP)+":wrong", way.url)
			if err == nil {
				t.Errorf("login with a wrong password succeeded:\n%s", out)
			}
		})
	}
}
