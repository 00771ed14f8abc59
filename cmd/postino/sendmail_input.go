package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/message"
)

var errInputSize = errors.New("the message is too large")

// readLines reads a message and ends every line with CRLF. Unless dots may stand
// alone a line with a single dot ends it. Lines before the header that a mailbox
// would have ("From ana Sat …") are dropped.
func readLines(r io.Reader, dots bool, limit int64) ([]byte, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	var out []byte
	start := 0 // of the line in out
	for {
		piece, err := in.ReadSlice('\n')
		if int64(len(out)+len(piece)) > limit {
			return nil, errInputSize
		}
		out = append(out, piece...)
		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
		line := bytes.TrimSuffix(bytes.TrimSuffix(out[start:], []byte("\n")), []byte("\r"))
		if !dots && string(line) == "." {
			return out[:start], nil
		}
		switch {
		case start == len(out): // the end of the input
		case start == 0 && (bytes.HasPrefix(line, []byte("From ")) || bytes.HasPrefix(line, []byte(">From "))):
			out = out[:0]
		default:
			// Some programs write a line again and again behind a bare CR.
			end := string(bytes.ReplaceAll(line, []byte("\r"), []byte("\r\n")))
			out = append(append(out[:start], end...), '\r', '\n')
		}
		if start = len(out); err == io.EOF {
			return out, nil
		}
	}
}

// field is a header field within a text.
type field struct {
	name       string // as written
	start, end int
}

// scanHeader finds the fields at the beginning of a text with CRLF, and where the
// body begins: after the empty line or, when there is none, at the first line that
// is no field; then proper is false.
func scanHeader(text []byte) (fields []field, end int, proper bool) {
	for at := 0; at < len(text); {
		next := at + bytes.Index(text[at:], []byte("\r\n")) + 2
		line := text[at : next-2]
		switch {
		case len(line) == 0:
			return fields, next, true
		case (line[0] == ' ' || line[0] == '\t') && len(fields) > 0:
			fields[len(fields)-1].end = next
		default:
			name, _, ok := bytes.Cut(line, []byte(":"))
			name = bytes.TrimRight(name, " \t")
			if !ok || len(name) == 0 || bytes.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
				return fields, at, false
			}
			fields = append(fields, field{string(name), at, next})
		}
		at = next
	}
	return fields, len(text), false
}

// outgoing is a message on its way from a program to the server.
type outgoing struct {
	envelope postino.Envelope
	text     []byte // CRLF
	has8Bit  bool

	seen map[postino.Address]bool // recipients
}

// compose makes a message and its envelope of what was read and of the command
// line. Host completes addresses without domain; login is who calls.
func compose(a *sendmailArgs, text []byte, host, login string) (*outgoing, error) {
	m := &outgoing{seen: map[postino.Address]bool{}}
	m.envelope = postino.Envelope{EnvID: a.envID, Ret: a.ret, Body: a.body}
	if err := m.setSender(a, host, login); err != nil {
		return nil, err
	}
	fields, end, proper := scanHeader(text)
	for _, r := range a.rcpts {
		if err := m.addRcpts(a, []byte(r), host); err != nil {
			return nil, exitError{exitUsage, err}
		}
	}
	if a.extract {
		if err := m.extract(a, text, fields, host); err != nil {
			return nil, err
		}
	}
	if len(m.envelope.Rcpts) == 0 {
		return nil, exitError{exitUsage, errors.New("no recipients: name them as arguments, or in the header with -t")}
	}
	header, body := text[:end], text[end:]
	if !proper {
		header = append(slices.Clip(header), "\r\n"...)
	}
	if a.extract {
		header = message.AppendHeaderFields(nil, header, []string{"Bcc", "Resent-Bcc"}, true)
	}
	var err error
	if m.text, err = m.from(a, fields, host, login); err != nil {
		return nil, err
	}
	m.text = append(append(m.text, header...), body...)
	m.has8Bit = slices.ContainsFunc(m.text, func(c byte) bool { return c >= 0x80 })
	if m.has8Bit && a.body == postino.BodyDefault {
		m.envelope.Body = postino.Body8BitMIME
	}
	utf8 := func(r postino.Recipient) bool { return r.Address.NeedsUTF8() }
	// Scripts put raw UTF-8 into the header and mean no more by it than before there
	// was SMTPUTF8; asking for it would have many hosts refuse their mail.
	m.envelope.SMTPUTF8 = m.envelope.From.NeedsUTF8() || slices.ContainsFunc(m.envelope.Rcpts, utf8)
	return m, nil
}

// setSender decides the sender of the envelope: -f, or the user who calls.
func (m *outgoing) setSender(a *sendmailArgs, host, login string) (err error) {
	if a.sender == nil {
		m.envelope.From, err = postino.ParseAddress(postino.Address{Local: login, Domain: host}.String())
	} else if s := strings.TrimSpace(*a.sender); s != "" && s != "<>" {
		var list []postino.Address
		if list, err = parseAddresses([]byte(s), host); err == nil && len(list) != 1 {
			err = fmt.Errorf("%q is not one sender", s)
		}
		if err == nil {
			m.envelope.From = list[0]
		}
	}
	if err != nil {
		return exitError{exitUsage, err}
	}
	return nil
}

// extract takes the recipients from the header: those of Resent- fields alone if
// there are any, for they say where the message goes this time (RFC 5322 §3.6.6).
// They come in addition to those of the command line, as with Postfix.
func (m *outgoing) extract(a *sendmailArgs, text []byte, fields []field, host string) error {
	names := []string{"to", "cc", "bcc"}
	resent := []string{"resent-to", "resent-cc", "resent-bcc"}
	named := func(f field, names []string) bool { return slices.Contains(names, strings.ToLower(f.name)) }
	if slices.ContainsFunc(fields, func(f field) bool { return named(f, resent) }) {
		names = resent
	}
	for _, f := range fields {
		if !named(f, names) {
			continue
		}
		_, value, _ := bytes.Cut(text[f.start:f.end], []byte(":"))
		if err := m.addRcpts(a, value, host); err != nil {
			return exitError{exitData, fmt.Errorf("%s: %w", f.name, err)}
		}
	}
	if len(m.envelope.Rcpts) == 0 {
		return exitError{exitData, errors.New("no recipients in the header")}
	}
	return nil
}

// addRcpts adds the addresses of a list, each once.
func (m *outgoing) addRcpts(a *sendmailArgs, list []byte, host string) error {
	addrs, err := parseAddresses(list, host)
	if err != nil {
		return err
	}
	for _, addr := range addrs {
		if !m.seen[addr] {
			m.seen[addr] = true
			m.envelope.Rcpts = append(m.envelope.Rcpts, postino.Recipient{Address: addr, Notify: a.notify})
		}
	}
	return nil
}

// parseAddresses reads an address list; an address without domain is of this host.
func parseAddresses(list []byte, host string) (out []postino.Address, err error) {
	if len(list) > 0 && !bytes.ContainsAny(list, "<>()\",:; \t\r\n") {
		// A bare address, as programs give it: nothing is to be guessed.
		addr, err := postino.ParseAddress(string(list))
		if !bytes.ContainsRune(list, '@') {
			addr, err = postino.ParseAddress(string(list) + "@" + host)
		}
		return []postino.Address{addr}, err
	}
	for _, entry := range message.ParseAddressList(list, 0) {
		if entry.Group != message.Member {
			continue
		}
		if entry.Host == "" {
			entry.Host = host
		}
		addr, err := postino.ParseAddress(postino.Address{Local: entry.Mailbox, Domain: entry.Host}.String())
		if err != nil {
			return nil, fmt.Errorf("%q is no address: %w", entry.String(), err)
		}
		out = append(out, addr)
	}
	return out, nil
}

// from makes the field From for a message without one if the name of the sender is
// known; else the server makes it.
func (m *outgoing) from(a *sendmailArgs, fields []field, host, login string) ([]byte, error) {
	has := func(f field) bool { return strings.EqualFold(f.name, "From") }
	if a.fullName == "" || slices.ContainsFunc(fields, has) {
		return nil, nil
	}
	addr := m.envelope.From
	if addr.IsNull() {
		addr = postino.Address{Local: login, Domain: host}
	}
	var b bytes.Buffer
	w := message.NewBuilder(&b, message.BuilderOptions{})
	w.Addresses("From", message.Address{Name: a.fullName, Mailbox: addr.Local, Host: addr.Domain})
	w.Text("plain", "")
	if err := w.Close(); err != nil {
		return nil, exitError{exitData, err}
	}
	from := message.AppendHeaderFields(nil, b.Bytes(), []string{"From"}, false)
	return bytes.TrimSuffix(from, []byte("\r\n")), nil
}
