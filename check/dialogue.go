package check

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// dialogue speaks to a listener of this server line by line. The engines' own
// clients would not say what an intruder says.
type dialogue struct {
	conn net.Conn
	in   *bufio.Reader
}

const (
	maxLine  = 4 << 10 // octets of a line that is heard
	maxLines = 200     // lines of a reply
)

var errReply = errors.New("the reply cannot be understood")

// dial connects to a listener; the dialogue ends with the deadline.
func (r *run) dial(ctx context.Context, to netip.AddrPort) (*dialogue, error) {
	if r.opts.Dial == nil {
		return nil, errNotKnown
	}
	if to.Addr().IsUnspecified() { // by an address that others use, if there is one
		at := netip.MustParseAddr("127.0.0.1")
		if own := public(r.node.Addrs); len(own) > 0 {
			at = own[0]
		}
		to = netip.AddrPortFrom(at, to.Port())
	}
	ctx, cancel := context.WithTimeout(ctx, r.opts.Limits.Dial)
	defer cancel()
	c, err := r.opts.Dial(ctx, to)
	if err != nil {
		return nil, err
	}
	end, _ := ctx.Deadline()
	_ = c.SetDeadline(end) // a connection that is broken fails when it is read
	return &dialogue{c, bufio.NewReaderSize(c, maxLine)}, nil
}

func (d *dialogue) close() { d.conn.Close() }

// say sends a line.
func (d *dialogue) say(format string, args ...any) error {
	_, err := fmt.Fprintf(d.conn, format+"\r\n", args...)
	return err
}

// line hears one.
func (d *dialogue) line() (string, error) {
	b, err := d.in.ReadSlice('\n')
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return strings.TrimRight(string(b), "\r\n"), err
}

// smtp hears a reply of SMTP: its code and last line.
func (d *dialogue) smtp() (code int, text string, err error) {
	for range maxLines {
		line, err := d.line()
		if err != nil {
			return 0, "", err
		}
		if len(line) < 3 {
			return 0, "", errReply
		}
		if code, err = strconv.Atoi(line[:3]); err != nil || code < 200 || code > 599 {
			return 0, "", errReply
		}
		if len(line) == 3 || line[3] == ' ' {
			return code, line, nil
		}
	}
	return 0, "", errReply
}

// ask says a line of SMTP and hears the reply.
func (d *dialogue) ask(format string, args ...any) (code int, text string, err error) {
	if err := d.say(format, args...); err != nil {
		return 0, "", err
	}
	return d.smtp()
}

// until hears lines until one begins with a prefix of those; it returns which.
func (d *dialogue) until(prefixes ...string) (string, error) {
	for range maxLines {
		line, err := d.line()
		if err != nil {
			return "", err
		}
		for _, p := range prefixes {
			if _, ok := cutFold(line, p); ok {
				return p, nil
			}
		}
	}
	return "", errReply
}

var errNoSTARTTLS = errors.New("TLS is not offered (STARTTLS)")

// startTLS asks for TLS as the service does and shakes hands. Whether the
// certificate is good is for the caller to judge.
func (d *dialogue) startTLS(ctx context.Context, service, name string) (tls.ConnectionState, error) {
	if err := d.beginTLS(service); err != nil {
		return tls.ConnectionState{}, err
	}
	c := tls.Client(d.conn, &tls.Config{ServerName: name, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12})
	if err := c.HandshakeContext(ctx); err != nil {
		return tls.ConnectionState{}, err
	}
	return c.ConnectionState(), nil
}

func (d *dialogue) beginTLS(service string) error {
	switch service {
	case "smtp", "submission": // RFC 3207 §4
		if code, _, err := d.smtp(); err != nil || code != 220 {
			return errors.Join(err, errGreeting(code))
		}
		if code, _, err := d.ask("EHLO localhost"); err != nil || code != 250 {
			return errors.Join(err, errGreeting(code))
		}
		if code, _, err := d.ask("STARTTLS"); err != nil || code != 220 {
			return errors.Join(err, errNoSTARTTLS)
		}
	case "imap": // RFC 9051 §6.2.1
		return d.exchange("* OK", "a STARTTLS", "a OK", "a NO", "a BAD")
	case "pop3": // RFC 2595 §4
		return d.exchange("+OK", "STLS", "+OK", "-ERR")
	}
	return nil // TLS from the first octet (RFC 8314 §3)
}

// exchange hears a greeting, says a command and wants the first of the answers.
func (d *dialogue) exchange(greeting, command string, answers ...string) error {
	if _, err := d.until(greeting); err != nil {
		return err
	}
	if err := d.say("%s", command); err != nil {
		return err
	}
	if got, err := d.until(answers...); err != nil || got != answers[0] {
		return errors.Join(err, errNoSTARTTLS)
	}
	return nil
}

func errGreeting(code int) error { return fmt.Errorf("it answers with %d", code) }

// day is for words about certificates.
const day = 24 * time.Hour
