package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/mailfile"
	"github.com/postino-mail/postino/smtp"
	"github.com/postino-mail/postino/vfs"
)

const (
	exitUnavailable = 69 // EX_UNAVAILABLE: the server refused the message
	exitCantCreate  = 73 // EX_CANTCREAT: the spool cannot be written
	exitIO          = 74 // EX_IOERR: the input cannot be read
)

// exitError is an error with the exit code that sendmail has for it.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string { return e.err.Error() }
func (e exitError) Unwrap() error { return e.err }

// sendmailCmd is the command as a word after postino; main also runs it when the
// program is called by one of the names of sendmail.
type sendmailCmd struct {
	Args []string `arg:"" optional:"" help:"Flags and recipients as of sendmail(8)."`
}

func (c *sendmailCmd) Run(e *env) error { return sendmail(e, c.Args) }

// sendmailByName is the command line of a program that is called sendmail, mailq or
// newaliases; false for any other name.
func sendmailByName(program string, args []string) ([]string, bool) {
	switch filepath.Base(program) {
	case "sendmail":
		return args, true
	case "mailq":
		return append([]string{"-bp"}, args...), true
	case "newaliases":
		return append([]string{"-bi"}, args...), true
	}
	return nil, false
}

// runSendmail is run for the names of sendmail.
func runSendmail(e *env, args []string) int {
	if err := sendmail(e, args); err != nil {
		fmt.Fprintln(e.err, "sendmail:", postino.Printable(err.Error()))
		return exitCode(err)
	}
	return exitOK
}

const sendmailUsage = `Usage: postino sendmail [flags] [recipient ...], or as sendmail, mailq, newaliases

Takes a message on standard input, as sendmail(8) does, and gives it to the
server; without one it goes into the spool, which the server empties.

  -t            also send to the recipients in To, Cc and Bcc; Bcc is removed
  -i, -oi       a line with a single dot does not end the message
  -f ADDRESS    envelope sender; -f "<>" for none
  -F NAME       full name of the sender, if there is no From
  -N, -R, -V    delivery reports: failure,delay,success or never; full or hdrs; id
  -B BODY       7BIT or 8BITMIME
  -bs           speak SMTP on standard input and output
  -bp, mailq    list the queue
  -q            try all waiting mail now
  -C FILE       configuration; else $POSTINO_CONFIG, /etc/postino/postino.toml

Flags that tune other programs are taken and mean nothing.
`

// sendmail does what one command line in its style asks for.
func sendmail(e *env, args []string) error {
	if len(args) == 1 && args[0] == "--help" {
		_, err := io.WriteString(e.out, sendmailUsage)
		return err
	}
	a, err := parseSendmail(args)
	if err != nil {
		return exitError{exitUsage, err}
	}
	if a.config == "" {
		if a.config = os.Getenv("POSTINO_CONFIG"); a.config == "" {
			a.config = "/etc/postino/postino.toml"
		}
	}
	switch a.mode {
	case 'i':
		return said(e, "Aliases are kept in the directory of the server and need no rebuilding: see \"postino alias\".")
	case 'p':
		return queueCommand(e, a.config, "list")
	case 'q':
		return queueCommand(e, a.config, "retry", "--all", "--yes")
	}
	cfg, err := loadConfig(a.config)
	if err != nil {
		return err
	}
	s := &sender{host: cfg.Hostname(), dataDir: cfg.DataDir(), maxSize: cfg.MaxMessage(), login: login(), quiet: a.mode == 's' || !a.verbose}
	if a.mode == 's' {
		return s.talk(e)
	}
	if a.fullName == "" {
		a.fullName = os.Getenv("NAME")
	}
	return s.submit(e, a)
}

// queueCommand runs a command of postino queue.
func queueCommand(e *env, config string, args ...string) error {
	if code := run(e, append([]string{"queue"}, append(args, "-c", config)...)); code != exitOK {
		return exitError{code, errors.New("the queue did not answer")}
	}
	return nil
}

// login is the name of the user who calls.
func login() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "uid" + strconv.Itoa(os.Getuid())
}

// sender brings messages to the server of a data directory.
type sender struct {
	host, dataDir, login string
	maxSize              int64
	quiet                bool
}

// errDown means that no server takes mail at the moment.
var errDown = errors.New("the server is not running")

// dial connects to the socket on which the server takes mail from users of this
// machine; it knows them by the kernel's word.
func (s *sender) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", filepath.Join(s.dataDir, "submit.sock"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EAGAIN) {
		return nil, errDown
	}
	return c, err
}

// talk connects input and output with the server.
func (s *sender) talk(e *env) error {
	c, err := s.dial(e.ctx)
	if err != nil {
		fmt.Fprint(e.out, "421 4.3.2 The mail server is not running\r\n")
		return exitError{exitTemp, err}
	}
	defer c.Close()
	stop := context.AfterFunc(e.ctx, func() { c.Close() })
	defer stop()
	go func() {
		// At the end of the input the server hears so; it may still have to answer.
		if _, err := io.Copy(c, e.in); err == nil {
			_ = c.(*net.UnixConn).CloseWrite()
		}
	}()
	if _, err := io.Copy(e.out, c); err != nil {
		return exitError{exitTemp, err}
	}
	return nil
}

// submit reads a message and hands it to the server, or to the spool when there is
// none.
func (s *sender) submit(e *env, a *sendmailArgs) error {
	text, err := readLines(e.in, a.dots, s.maxSize)
	if errors.Is(err, errInputSize) {
		return exitError{exitData, err}
	} else if err != nil {
		return exitError{exitIO, err}
	}
	m, err := compose(a, text, s.host, s.login)
	if err != nil {
		return err
	}
	if int64(len(m.text)) > s.maxSize {
		return exitError{exitData, errInputSize}
	}
	left, err := s.send(e, m)
	if err != nil || len(left) == 0 {
		return err
	}
	m.envelope.Rcpts = left
	return s.spool(e, m)
}

// send speaks SMTP with the server. It returns the recipients that nobody decided
// about, all of them when there is no server. An error is what the server refused,
// with which the others were sent all the same.
func (s *sender) send(e *env, m *outgoing) (left []postino.Recipient, err error) {
	conn, err := s.dial(e.ctx)
	if err != nil {
		// Who may not use the socket may perhaps use the spool.
		return m.envelope.Rcpts, nil
	}
	// The server is near: it answers soon or not at all.
	opts := smtp.ClientOptions{Name: s.host, Timeouts: smtp.ClientTimeouts{Greeting: 30 * time.Second, Hello: 30 * time.Second}}
	c, err := smtp.NewClient(e.ctx, conn, opts)
	if err != nil {
		if refused := new(smtp.ClientError); errors.As(err, &refused) && refused.Permanent() {
			return nil, exitError{exitUnavailable, err}
		}
		return m.envelope.Rcpts, nil
	}
	defer c.Close()
	for rest := m.envelope.Rcpts; len(rest) > 0; {
		env := m.envelope
		env.Rcpts = rest
		res, serr := c.Send(e.ctx, &smtp.Mail{
			Envelope: &env, Size: int64(len(m.text)), Has8Bit: m.has8Bit, Allow8Bit: true,
			Content: func(w io.Writer) error { _, err := w.Write(m.text); return err },
		})
		if res == nil {
			return nil, refusal(env.From.String(), serr)
		}
		rest = nil
		for i, r := range env.Rcpts {
			reply := res.Final(i)
			switch {
			case res.Again(i) && len(env.Rcpts) > 1:
				rest = append(rest, r)
			case reply.Code == 0:
				left = append(left, r)
			case !reply.Success():
				err = errors.Join(err, exitError{replyExit(reply), fmt.Errorf("%s: %w", r.Address, &reply)})
			case !s.quiet:
				fmt.Fprintf(e.out, "%s: %s\n", r.Address, postino.Printable(reply.Error()))
			}
		}
		if serr != nil {
			return append(left, rest...), err
		}
		if len(rest) == len(env.Rcpts) { // none was taken: no progress
			return append(left, rest...), err
		}
	}
	_ = c.Quit(e.ctx) // all is decided
	return left, err
}

// refusal is a message that was not sent at all.
func refusal(what string, err error) error {
	code := exitTemp
	if refused := new(smtp.ClientError); errors.As(err, &refused) && refused.Permanent() {
		code = replyExit(*refused.Reply)
	}
	return exitError{code, fmt.Errorf("%s: %w", what, err)}
}

// replyExit finds the exit code for a refusal.
func replyExit(r smtp.Reply) int {
	switch {
	case r.Temporary():
		return exitTemp
	case strings.HasPrefix(r.Enhanced, "5.1."):
		return exitNotFound
	case strings.HasPrefix(r.Enhanced, "5.7."):
		return exitDenied
	case strings.HasPrefix(r.Enhanced, "5.6."), r.Enhanced == "5.3.4":
		return exitData
	}
	return exitUnavailable
}

// spool leaves the message for the server.
func (s *sender) spool(e *env, m *outgoing) error {
	spool := mailfile.Spool{FS: vfs.OS(), Dir: filepath.Join(s.dataDir, "spool"), Limits: mailfile.SpoolLimits{MessageBytes: s.maxSize}}
	name, err := spool.Put(e.ctx, &m.envelope, strings.NewReader(string(m.text)))
	switch {
	case postino.Is(err, postino.Invalid):
		return exitError{exitData, err}
	case postino.Is(err, postino.Denied):
		return exitError{exitCantCreate, err}
	case err != nil:
		return exitError{exitTemp, err}
	case !s.quiet:
		return said(e, "%s, left for it in the spool as %s", errDown, name)
	}
	return nil
}
