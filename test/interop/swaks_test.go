package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// swaks calls swaks with verified TLS: after STARTTLS, or from the start when
// the arguments ask for it.
func (s *server) swaks(t *testing.T, args ...string) (string, error) {
	t.Helper()
	addr, tls := s.smtp, []string{"--tls"}
	if slices.Contains(args, "--tls-on-connect") {
		addr, tls = s.smtps, nil
	}
	host, port := split(t, addr)
	common := []string{
		"--server", host, "--port", port, "--helo", "client.test", "--timeout", "60", "--tls-verify", "--tls-ca-path", s.ca,
	}
	return try(t, "", "swaks", slices.Concat(common, tls, args)...)
}

// data gives swaks a mail; swaks itself ends the last line.
func data(t *testing.T, mail string) []string {
	t.Helper()
	return []string{"--data", "@" + file(t, "mail", strings.TrimSuffix(mail, "\r\n"))}
}

func (s *server) auth(mechanism string) []string {
	return []string{"--auth", mechanism, "--auth-user", s.user(userSwaks), "--auth-password", s.password}
}

func TestSwaks(t *testing.T) {
	need(t, "swaks")
	s := use(t)
	empty(t, s, userSwaks)
	me, n := s.user(userSwaks), 0
	send := func(name, text string, args ...string) {
		t.Helper()
		sent := by(me, message("swaks-"+name, me, text))
		args = slices.Concat([]string{"--from", me, "--to", me}, data(t, sent), args)
		if out, err := s.swaks(t, args...); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, lastLines(clip(out), 60))
		}
		n++
		wantDelivered(t, await(t, s, userSwaks, "INBOX", n)[n-1], sent)
	}
	for _, mechanism := range []string{"PLAIN", "LOGIN"} {
		send("starttls-"+mechanism, oddBody, s.auth(mechanism)...)
	}
	send("tls-on-connect", oddBody, append(s.auth("PLAIN"), "--tls-on-connect")...)
	send("pipelined", oddBody, append(s.auth("PLAIN"), "--pipeline")...)
	mxHost, mxPort := split(t, s.mx)
	send("null-sender", oddBody, "--from", "<>", "--server", mxHost, "--port", mxPort)

	// Sizes on both sides of the buffers and of the inline limit of bodies.
	line := strings.Repeat("0123456789", 7) + "\n"
	for _, size := range []int{1 << 10, 4 << 10, 64<<10 - 1, 64 << 10, 1 << 20, 8 << 20} {
		send(fmt.Sprint(size), strings.Repeat(line, size/len(line)+1), s.auth("PLAIN")...)
	}
}

// TestSwaksManyRecipients sends one message to several mailboxes in one transaction.
func TestSwaksManyRecipients(t *testing.T) {
	need(t, "swaks")
	s := use(t)
	for i := userManyFirst; i < userCount; i++ {
		empty(t, s, i)
	}
	sent := by(s.user(userSwaks), message("swaks-many", s.many()[0], oddBody))
	from := append(s.auth("PLAIN"), "--from", s.user(userSwaks))
	out, err := s.swaks(t, slices.Concat(from, data(t, sent), []string{"--to", strings.Join(s.many(), ",")})...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for i := userManyFirst; i < userCount; i++ {
		wantDelivered(t, await(t, s, i, "INBOX", 1)[0], sent)
	}

	// One unknown recipient among good ones is refused alone.
	out, err = s.swaks(t, slices.Concat(from, data(t, sent), []string{"--to", s.many()[0] + ",nobody-here@" + s.domain})...)
	if err != nil || !regexp.MustCompile(`<\*\* 550 5\.1\.1 `).MatchString(normal(out)) {
		t.Errorf("one of two recipients unknown: %v\n%s", err, out)
	}
	await(t, s, userManyFirst, "INBOX", 2)
}

// TestSwaksRefusals looks at the replies of what must not pass.
func TestSwaksRefusals(t *testing.T) {
	need(t, "swaks")
	s := use(t)
	me := s.user(userSwaks)
	for _, c := range []struct {
		name, reply string
		args        []string
	}{
		{"wrong password", `535 5\.7\.8`, []string{"--auth", "PLAIN", "--auth-user", me, "--auth-password", "wrong", "--quit-after", "AUTH", "--from", me, "--to", me}},
		{"wrong password, LOGIN", `535 5\.7\.8`, []string{"--auth", "LOGIN", "--auth-user", me, "--auth-password", "wrong", "--quit-after", "AUTH", "--from", me, "--to", me}},
		{"unknown user, same answer", `535 5\.7\.8`, []string{"--auth", "PLAIN", "--auth-user", "nobody-here@" + s.domain, "--auth-password", "wrong", "--quit-after", "AUTH", "--from", me, "--to", me}},
		{"unknown recipient", `550 5\.1\.1`, append(s.auth("PLAIN"), "--quit-after", "RCPT", "--from", me, "--to", "nobody-here@"+s.domain)},
		{"recipient that is no address", `(501 5\.1\.3|501 5\.5\.4|504 5\.5\.2|553 5\.1\.3)`, append(s.auth("PLAIN"), "--quit-after", "RCPT", "--from", me, "--to", "a b@"+s.domain)},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := s.swaks(t, c.args...)
			if err == nil || !regexp.MustCompile(`(?m)^<\*\* `+c.reply).MatchString(normal(out)) {
				t.Errorf("%v, want a reply %s\n%s", err, c.reply, out)
			}
		})
	}
}

// TestSwaksAttachments lets swaks make the MIME structure; the server's view of
// it is compared.
func TestSwaksAttachments(t *testing.T) {
	need(t, "swaks")
	s := use(t)
	empty(t, s, userSwaks)
	me := s.user(userSwaks)
	binary := filepath.Join(t.TempDir(), "all-octets.bin")
	octets := make([]byte, 256*40)
	for i := range octets {
		octets[i] = byte(i)
	}
	if err := os.WriteFile(binary, octets, 0o600); err != nil {
		t.Fatal(err)
	}
	args := append(s.auth("PLAIN"), "--from", me, "--to", me, "--header", "Subject: attached", "--body", "see attachment",
		"--attach-type", "application/octet-stream", "--attach", "@"+binary)
	if out, err := s.swaks(t, args...); err != nil {
		t.Fatalf("%v\n%s", err, clip(out))
	}
	await(t, s, userSwaks, "INBOX", 1)
	wantParts(t, s, userSwaks, []string{"text/plain", "application/octet-stream"}, octets)
}

// normal makes swaks's marks for lines under TLS the same as for others.
func normal(out string) string {
	return regexp.MustCompile(`(?m)^<~\* `).ReplaceAllString(out, "<** ")
}
