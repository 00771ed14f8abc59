package script

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// talk holds a dialogue. Each line of the file is one of:
//
//	# text        nothing
//	> text        send text and CRLF; \r, \n and \x00 are escapes
//	>> text       send text without CRLF
//	< regexp      the next line matches, without its CRLF
//	<* regexp     some line from here on matches; those before are passed over
//	<starttls     begin TLS
//	<eof          the server closes the connection
func (w *world) talk(ts *testscript.TestScript, args []string) error {
	addr, err := w.address(args[0])
	if err != nil {
		return err
	}
	script, err := os.ReadFile(ts.MkAbs(args[1]))
	if err != nil {
		return err
	}
	conn, err := w.dial(addr)
	if err != nil {
		return err
	}
	d := &dialogue{conn: conn, r: bufio.NewReaderSize(conn, 1<<20)}
	defer func() { d.conn.Close() }()
	if strings.HasSuffix(args[0], "s") { // imaps, submissions
		d.startTLS()
	}
	for n, line := range strings.Split(string(script), "\n") {
		if err := d.step(line); err != nil {
			return fmt.Errorf("%s:%d: %s: %w", args[1], n+1, line, err)
		}
	}
	return nil
}

type dialogue struct {
	conn net.Conn
	r    *bufio.Reader
}

func (d *dialogue) startTLS() {
	d.conn = tls.Client(d.conn, &tls.Config{InsecureSkipVerify: true})
	d.r = bufio.NewReaderSize(d.conn, 1<<20)
}

func (d *dialogue) step(line string) error {
	if err := d.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	switch {
	case line == "" || line[0] == '#':
		return nil
	case line == "<starttls":
		d.startTLS()
		return nil
	case line == "<eof":
		rest, err := io.ReadAll(d.r)
		if err == nil && len(rest) > 0 {
			err = fmt.Errorf("the server said %q", rest)
		}
		return err
	case strings.HasPrefix(line, ">> "):
		return d.send(line[3:], "")
	case strings.HasPrefix(line, "> "):
		return d.send(line[2:], "\r\n")
	case line == ">":
		return d.send("", "\r\n")
	case strings.HasPrefix(line, "<* "):
		return d.expect(line[3:], true)
	case strings.HasPrefix(line, "< "):
		return d.expect(line[2:], false)
	}
	return errors.New("no such step")
}

// escape finds \r, \n and \xNN; IMAP's flags begin with backslashes too.
var escape = regexp.MustCompile(`\\r|\\n|\\x[0-9a-f]{2}`)

func (d *dialogue) send(text, end string) error {
	_, err := io.WriteString(d.conn, unescape(text)+end)
	return err
}

func unescape(text string) string {
	return escape.ReplaceAllStringFunc(text, func(e string) string {
		plain, err := strconv.Unquote(`"` + e + `"`)
		if err != nil {
			return e
		}
		return plain
	})
}

func (d *dialogue) expect(pattern string, search bool) error {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return err
	}
	var passed bytes.Buffer
	for {
		got, err := d.r.ReadString('\n')
		if err != nil {
			return fmt.Errorf("%w after %q", err, passed.String()+got)
		}
		line := strings.TrimSuffix(got, "\r\n")
		if len(line) == len(got) {
			return fmt.Errorf("line without CRLF: %q", got)
		}
		if re.MatchString(line) {
			return nil
		}
		if !search {
			return fmt.Errorf("got %q", line)
		}
		passed.WriteString(got)
	}
}
