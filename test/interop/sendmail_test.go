package interop

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// sendmail prepares the program under the name that other software calls it by.
func (s *server) sendmail(t *testing.T, name, input string, args ...string) *exec.Cmd {
	t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.Symlink(s.binary(), path); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin = strings.NewReader(input)
	cmd.Env = append(os.Environ(), "POSTINO_CONFIG="+s.config())
	return cmd
}

// TestSendmail has a server of its own, since it is stopped.
func TestSendmail(t *testing.T) {
	if os.Getenv("INTEROP_REFERENCE") != "" {
		t.Skip("skip: the command is a part of the program under test")
	}
	dir, err := os.MkdirTemp("", "interop")
	if err != nil {
		t.Fatal(err)
	}
	t.Parallel()
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	s, err := boot(dir, "sendmail.test", 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			var b strings.Builder
			s.tail(&b)
			t.Log(b.String())
		}
	})
	me, other, n := s.user(0), s.user(1), 0
	mail := fmt.Sprintf("From: <%s>\nTo: <%s>\nBcc: <%s>\nSubject: Grüße\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\nfirst\n.\nGrüße\n", me, me, other)

	t.Run("programs", func(t *testing.T) {
		for _, args := range [][]string{
			{"-t", "-i"},                         // PHP
			{"-t", "-i", "-f" + me},              // PHP, the fifth argument
			{"-oi", "-t", "-f", me, "-F", "Ana"}, // Perl
			{"-i", "-B8BITMIME", me, other},      // cron
			{"-oem", "-oi", "-f", me, "--", me, other},
			{"-i", "-N", "never", "-R", "hdrs", "-V", "id", me, other},
		} {
			if out, err := s.sendmail(t, "sendmail", mail, args...).CombinedOutput(); err != nil || len(out) > 0 {
				t.Fatalf("sendmail %v: %v\n%s", args, err, out)
			}
			n++
			for user := range 2 {
				got := string(await(t, s, user, "INBOX", n)[n-1])
				for _, want := range []string{"\r\n\r\nfirst\r\n.\r\nGrüße\r\n", "Subject: Grüße\r\n", "\r\nDate: ", "\r\nMessage-ID: "} {
					if !strings.Contains(got, want) {
						t.Errorf("sendmail %v: no %q in\n%s", args, want, got)
					}
				}
				if args[0] == "-t" && strings.Contains(got, "Bcc:") {
					t.Errorf("sendmail %v: Bcc is still there:\n%s", args, got)
				}
			}
		}
		// Without -i a dot ends the message.
		if out, err := s.sendmail(t, "sendmail", mail, "-f", me, me).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		n++
		if got := string(await(t, s, 0, "INBOX", n)[n-1]); !strings.HasSuffix(got, "\r\n\r\nfirst\r\n") {
			t.Errorf("the message did not end at its dot:\n%s", got)
		}
	})

	t.Run("cron", func(t *testing.T) {
		if out, err := s.sendmail(t, "sendmail", "Subject: cron\n\ntext\n", "-i", "-FCronDaemon", "-oem", "root").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		n++ // the first user stands in for a postmaster whom nobody has named
		got := await(t, s, 0, "INBOX", n)[n-1]
		if !strings.Contains(string(got), "Subject: cron\r\n") || !strings.Contains(string(got), "CronDaemon") {
			t.Errorf("mail for root is\n%s", got)
		}
	})

	t.Run("exit codes", func(t *testing.T) {
		for _, c := range []struct {
			code  int
			input string
			args  []string
		}{
			{64, mail, []string{"-Z", me}},
			{64, mail, []string{"-i"}},
			{65, "Subject: nobody\n\ntext\n", []string{"-t", "-i"}},
			{67, mail, []string{"-i", "-f", me, "nobody-here@" + s.domain}},
			{78, mail, []string{"-C", "/nonexistent/postino.toml", "-i", me}},
		} {
			err := s.sendmail(t, "sendmail", c.input, c.args...).Run()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != c.code {
				t.Errorf("sendmail %v: %v, want exit code %d", c.args, err, c.code)
			}
		}
	})

	t.Run("other users", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("skip: no root")
		}
		nobody := func(input string, args ...string) (string, error) {
			cmd := s.sendmail(t, "sendmail", input, args...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			cmd.Dir = "/"
			out, err := cmd.CombinedOutput()
			return string(out), err
		}
		if out, err := nobody("Subject: x\n\ntext\n", "-i", other); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		got := await(t, s, 1, "INBOX", n-1)
		if last := string(got[len(got)-1]); !strings.Contains(last, "Return-Path: <nobody@mx."+s.domain+">") || !strings.Contains(last, "\r\nFrom: ") {
			t.Errorf("the sender is not the user who called:\n%s", last)
		}
		// Any sender can be named, as with every sendmail; the trace tells who did it.
		if out, err := nobody("Subject: x\n\ntext\n", "-i", "-f", me, other); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		got = await(t, s, 1, "INBOX", n)
		if last := string(got[len(got)-1]); !strings.Contains(last, "Return-Path: <"+me+">") || !strings.Contains(last, "uid 65534") {
			t.Errorf("the trace does not tell who sent it:\n%s", last)
		}
		if log, err := os.ReadFile(s.ownLog); err != nil || !strings.Contains(string(log), `remote="uid 65534 (nobody)"`) {
			t.Errorf("the log does not tell who sent it: %v", err)
		}
	})

	t.Run("mail programs", func(t *testing.T) {
		sendmail := filepath.Join(s.dir, "sendmail")
		for _, c := range [][]string{
			{"mutt", "-F", "/dev/null", "-e", "set sendmail='" + sendmail + " -oem -oi'; set from='" + me + "'; set use_envelope_from; set copy=no", "-s", "from mutt", me},
			{"s-nail", "-:/", "-S", "mta=" + sendmail, "-S", "v15-compat", "-S", "from=" + me, "-s", "from s-nail", me},
			{"python3", "-c", `import subprocess, sys
subprocess.run([sys.argv[1], "-t", "-i"], check=True, input=f"From: {sys.argv[2]}\nTo: {sys.argv[2]}\nSubject: from python3\n\ntext\n.\nmore\n".encode())`, sendmail, me},
		} {
			need(t, c[0])
			if out, err := try(t, "text\n.\nmore\n", "env", append([]string{"POSTINO_CONFIG=" + s.config()}, c...)...); err != nil {
				t.Fatalf("%s: %v\n%s", c[0], err, out)
			}
			n++
			got := string(await(t, s, 0, "INBOX", n)[n-1])
			if !strings.Contains(got, "Subject: from "+c[0]+"\r\n") || !strings.HasSuffix(strings.TrimRight(got, "\r\n"), "\r\n\r\ntext\r\n.\r\nmore") {
				t.Errorf("%s sent\n%s", c[0], got)
			}
		}
	})

	t.Run("SMTP", func(t *testing.T) {
		dialogue := fmt.Sprintf("EHLO x\r\nMAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nDATA\r\nSubject: batch\r\n\r\ntext\r\n.\r\nQUIT\r\n", me, me)
		out, err := s.sendmail(t, "sendmail", dialogue, "-bs").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "\r\n221") {
			t.Fatalf("sendmail -bs: %v\n%s", err, out)
		}
		n++
		await(t, s, 0, "INBOX", n)
	})

	t.Run("mailq", func(t *testing.T) {
		addr, err := freeAddress()
		if err != nil {
			t.Fatal(err)
		}
		s.route(t, "down.test", addr)
		if out, err := s.sendmail(t, "sendmail", mail, "-i", "-f", me, "box@down.test").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		eventually(t, func() string {
			out, err := s.sendmail(t, "mailq", "").CombinedOutput()
			if err != nil || !strings.Contains(string(out), "waiting") {
				return fmt.Sprintf("mailq: %v\n%s", err, out)
			}
			return ""
		})
		if out, err := s.sendmail(t, "sendmail", "", "-q").CombinedOutput(); err != nil {
			t.Errorf("sendmail -q: %v\n%s", err, out)
		}
		if out, err := s.sendmail(t, "mailq", "").CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		if out, err := s.sendmail(t, "newaliases", "").CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})

	t.Run("spool", func(t *testing.T) {
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if out, err := s.sendmail(t, "sendmail", mail, "-t", "-i", "-f", me).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		}
		if err := s.launch(); err != nil {
			t.Fatal(err)
		}
		n += 3
		if got := await(t, s, 0, "INBOX", n); !strings.Contains(string(got[n-1]), "\r\n\r\nfirst\r\n.\r\nGrüße\r\n") {
			t.Errorf("from the spool:\n%s", got[n-1])
		}
	})
}
