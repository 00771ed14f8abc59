package smtp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/postino-mail/postino"
)

// Success tells that the code is 2yz.
func (r Reply) Success() bool { return r.Code/100 == 2 }

// Temporary tells that the code is 4yz.
func (r Reply) Temporary() bool { return r.Code/100 == 4 }

// Permanent tells that the code is 5yz.
func (r Reply) Permanent() bool { return r.Code/100 == 5 }

// readReply reads one reply of at most Limits within d (SC4). All its lines
// must have the same code; its text is made harmless.
func (c *Client) readReply(d time.Duration) (Reply, error) {
	var r Reply
	var sep byte
	armed := false
	lines, octets := 0, 0
	c.text = c.text[:0]
	for {
		line, ok, err := c.replyLine()
		if err != nil {
			return r, err
		}
		if !ok {
			if err := c.more(d, &armed); err != nil {
				return r, err
			}
			continue
		}
		lines++
		if octets += len(line) + 2; lines > c.opts.Limits.Lines || octets > c.opts.Limits.Reply {
			return r, fmt.Errorf("%w: too long", ErrMalformed)
		}
		code, s, text, ok := splitReply(line)
		if !ok || lines > 1 && code != r.Code {
			return r, fmt.Errorf("%w: %q", ErrMalformed, postino.Printable(string(line[:min(len(line), 80)])))
		}
		r.Code, sep = code, s
		if lines == 1 && sep == ' ' {
			r.setText(harmless(string(text)))
			return r, nil
		}
		if lines > 1 {
			c.text = append(c.text, '\n')
		}
		c.text = append(c.text, harmless(string(text))...)
		if sep == ' ' {
			r.setText(string(c.text))
			c.text = c.text[:0]
			return r, nil
		}
	}
}

// more reads from the network. The time for a reply begins with the first wait
// for it and is not renewed by what comes.
func (c *Client) more(d time.Duration, armed *bool) error {
	if !*armed {
		if c.hurry.Load() {
			d = min(d, lastWords)
		}
		if err := c.raw.SetReadDeadline(c.deadline(d)); err != nil {
			return err
		}
		*armed = true
	}
	if err := c.ctx.Err(); err != nil {
		return err
	}
	c.shrink()
	err := c.wire.read()
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.ErrClosedPipe) {
		return fmt.Errorf("%w: %w", errShort, err)
	}
	return err
}

// replyLine takes one line off the buffer, without its CRLF; ok is false when
// there is no whole line yet. Only CRLF ends a line (RFC 5321 §2.3.8).
func (c *Client) replyLine() (line []byte, ok bool, err error) {
	in := c.buf[c.r:c.w]
	i := bytes.IndexByte(in, '\n')
	if i >= c.opts.Limits.Line || i < 0 && len(in) >= c.opts.Limits.Line {
		return nil, false, fmt.Errorf("%w: line too long", ErrMalformed)
	}
	if i < 0 {
		return nil, false, nil
	}
	c.r += i + 1
	if i == 0 || in[i-1] != '\r' {
		return nil, false, fmt.Errorf("%w: line does not end in CRLF", ErrMalformed)
	}
	return in[:i-1], true, nil
}

// splitReply takes a line of a reply apart (RFC 5321 §4.2). A line of the code
// alone is complete.
func splitReply(line []byte) (code int, sep byte, text []byte, ok bool) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' {
		return 0, 0, nil, false
	}
	for _, b := range line[:3] {
		if b < '0' || b > '9' {
			return 0, 0, nil, false
		}
		code = code*10 + int(b-'0')
	}
	if len(line) == 3 {
		return code, ' ', nil, true
	}
	return code, line[3], line[4:], line[3] == ' ' || line[3] == '-'
}

// harmless replaces what may not stand in a log or a report (G6): octets that
// are no UTF-8, control characters, bidi controls.
func harmless(s string) string {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' {
			return strings.Map(func(r rune) rune {
				switch {
				case r == '\t':
					return ' '
				case r == utf8.RuneError || postino.Printable(string(r)) != string(r):
					return '?'
				}
				return r
			}, s)
		}
	}
	return s
}

// setText finds the enhanced code, on the first line and on all that repeat it
// (RFC 2034 §4).
func (r *Reply) setText(s string) {
	n := enhancedLen(s, r.Code)
	if n == 0 {
		r.Text = s
		return
	}
	r.Enhanced = s[:n]
	s = strings.TrimPrefix(s[n:], " ")
	if strings.IndexByte(s, '\n') < 0 {
		r.Text = s
		return
	}
	s = strings.ReplaceAll(s, "\n"+r.Enhanced+" ", "\n")
	r.Text = strings.ReplaceAll(s+"\n", "\n"+r.Enhanced+"\n", "\n\n")
	r.Text = r.Text[:len(r.Text)-1]
}

// enhancedLen is how long the enhanced code at the start of s is; 0 for none.
// Its class is that of the code, else it is just text (RFC 3463 §2).
func enhancedLen(s string, code int) int {
	class := code / 100
	if len(s) < 5 || s[0] != byte('0'+class) || s[1] != '.' || class == 3 {
		return 0
	}
	i, dots, digits := 2, 1, 0
	for ; i < len(s); i++ {
		c := s[i]
		if '0' <= c && c <= '9' && digits < 3 {
			digits++
		} else if c == '.' && dots == 1 && digits > 0 {
			dots, digits = 2, 0
		} else {
			break
		}
	}
	if dots == 2 && digits > 0 && (i == len(s) || s[i] == ' ' || s[i] == '\n') {
		return i
	}
	return 0
}
