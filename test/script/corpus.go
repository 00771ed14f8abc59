package script

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// letter is a message to send and where to.
type letter struct {
	name     string
	from, to string
	utf8     bool
	body     []byte
}

// corpus sends n varied messages and compares what comes back, octet for
// octet: PA7 from the client's side.
func (w *world) corpus(ts *testscript.TestScript, args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	letters := makeLetters(n)
	out, err := w.dialSMTP("smtp")
	if err != nil {
		return err
	}
	defer out.conn.Close()
	byUser := map[string][]letter{}
	for i, l := range letters {
		if err := out.deliver(l, i%3 == 1); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		byUser[l.to] = append(byUser[l.to], l)
	}
	for user, sent := range byUser {
		if err := w.compare(user, sent); err != nil {
			return fmt.Errorf("%s: %w", user, err)
		}
	}
	fmt.Fprintf(ts.Stdout(), "%d messages equal\n", len(letters))
	return nil
}

// makeLetters makes every special case once, and random MIME for the rest.
func makeLetters(n int) []letter {
	r := rand.New(rand.NewPCG(20, 26))
	head := func(subject string) string {
		return "From: Ana <ana@sender.example>\r\nTo: b@example.org\r\nSubject: " + subject + "\r\n"
	}
	mime := func(typ, text string) string {
		return head("mime") + "MIME-Version: 1.0\r\nContent-Type: " + typ + "\r\n\r\n" + text
	}
	special := map[string]string{
		"plain":                 head("plain") + "\r\nHello.\r\n",
		"empty body":            head("empty") + "\r\n",
		"no body, no blank":     head("no blank line"),
		"one line":              "x\r\n",
		"nothing at all":        "",
		"only blank":            "\r\n",
		"dots":                  head("dots") + "\r\n.\r\n..\r\n...\r\n.a\r\n..a\r\n \r\n.\r\n",
		"dot at start":          ".Subject: dot\r\n\r\n.\r\n",
		"8-bit body":            head("8bit") + "Content-Type: text/plain; charset=iso-8859-1\r\n\r\nperch\xe9 no\r\n",
		"8-bit header":          head("caff\xe8 \xff\xfe") + "\r\nx\r\n",
		"utf-8 header":          head("perché ș ț 日本語") + "\r\nx\r\n",
		"NUL":                   head("nul") + "\r\na\x00b\x00\r\n",
		"NUL in header":         head("n\x00l") + "\r\nx\r\n",
		"control characters":    head("ctl") + "\r\n\x01\x02\x1b[31m\x7f\r\n",
		"line of 998":           head("998") + "\r\n" + strings.Repeat("x", 998) + "\r\n",
		"line of 60000":         head("long line") + "\r\n" + strings.Repeat("y", 60000) + "\r\n",
		"long header":           head("long") + "X-Long: " + strings.Repeat("abc def ", 2000) + "\r\n\r\nx\r\n",
		"many headers":          head("many") + strings.Repeat("X-H: v\r\n", 1500) + "\r\nx\r\n",
		"folded":                "Subject: a\r\n\tb\r\n  c\r\n\r\nx\r\n",
		"no colon":              "Subject: a\r\nthis is no field\r\nTo: x@y.example\r\n\r\nx\r\n",
		"space before colon":    "Subject : a\r\n\r\nx\r\n",
		"header after body":     "\r\nSubject: late\r\n\r\nx\r\n",
		"encoded word":          head("=?utf-8?q?caff=C3=A8?= =?iso-8859-1?b?6Q==?=") + "\r\nx\r\n",
		"bad encoded word":      head("=?x-none?q?=zz?= =?utf-8?b?!!!?=") + "\r\nx\r\n",
		"open multipart":        mime("multipart/mixed; boundary=b", "--b\r\n\r\nnever closed"),
		"no boundary":           mime("multipart/mixed", "--b\r\n\r\nx\r\n--b--\r\n"),
		"empty boundary":        mime(`multipart/mixed; boundary=""`, "--\r\n\r\nx\r\n----\r\n"),
		"no parts":              mime("multipart/mixed; boundary=b", "preamble only\r\n"),
		"only end":              mime("multipart/mixed; boundary=b", "--b--\r\nepilogue\r\n"),
		"same boundary inside":  mime("multipart/mixed; boundary=b", "--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n--b--\r\n"),
		"two content types":     "Content-Type: text/html\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n",
		"bad type":              mime("nonsense;;;=\"", "x\r\n"),
		"bad base64":            mime("text/plain\r\nContent-Transfer-Encoding: base64", "!!!not base64###\r\n"),
		"unknown encoding":      mime("text/plain\r\nContent-Transfer-Encoding: x-rot13", "uryyb\r\n"),
		"uuencode":              mime("text/plain\r\nContent-Transfer-Encoding: x-uuencode", "begin 644 a\r\n#0V%T\r\n`\r\nend\r\n"),
		"message in message":    mime("message/rfc822", head("inner")+"\r\ninner text\r\n"),
		"empty message inside":  mime("message/rfc822", ""),
		"message, encoded":      mime("message/rfc822\r\nContent-Transfer-Encoding: base64", "U3ViamVjdDogeA0KDQp4DQo=\r\n"),
		"digest":                mime("multipart/digest; boundary=d", "--d\r\n\r\nSubject: one\r\n\r\n1\r\n--d\r\n\r\nSubject: two\r\n\r\n2\r\n--d--\r\n"),
		"2231":                  mime("text/plain; name*0*=utf-8''perch%C3; name*1*=%A9.txt; name*2=x", "x\r\n"),
		"deep":                  deep(60),
		"no line end at end":    head("no end") + "\r\nlast line without end",
		"html":                  mime("text/html", "<p>Hi<script>x</script>\r\n"),
		"trailing spaces":       head("spaces") + "\r\n  a  \r\n\t\r\n   \r\n",
		"received already":      "Received: from a by b; Sat, 1 Jan 2000 00:00:00 +0000\r\nReturn-Path: <x@y.example>\r\n" + head("trace") + "\r\nx\r\n",
		"200 KB of text":        head("200k") + "\r\n" + strings.Repeat("The quick brown fox jumps over the lazy dog.\r\n", 4500),
		"exactly 64 KiB":        sized(head("64k")+"\r\n", 64<<10),
		"just over 64 KiB":      sized(head("64k+1")+"\r\n", 64<<10+1),
		"exactly one read less": sized(head("32k")+"\r\n", 32<<10-1),
	}
	var out []letter
	for name, text := range special {
		out = append(out, letter{name: name, from: "ana@sender.example", to: "b@example.org", body: []byte(text)})
	}
	out = append(out,
		letter{name: "20 MB", from: "ana@sender.example", to: "b@example.org", body: big(r, 20<<20)},
		letter{name: "null sender", to: "b@example.org", body: []byte(head("bounce") + "\r\nx\r\n")},
		letter{name: "utf-8 addresses", from: "josé@correo.example", to: "grå@example.org", utf8: true, body: []byte("From: José <josé@correo.example>\r\nTo: <grå@example.org>\r\nSubject: ñ\r\n\r\nñ\r\n")},
		letter{name: "quoted address", from: `"a b"@sender.example`, to: "b@example.org", body: []byte(head("quoted") + "\r\nx\r\n")},
	)
	for i := len(out); i < n; i++ {
		out = append(out, letter{name: fmt.Sprintf("random %d", i), from: "ana@sender.example", to: "b@example.org", body: random(r, 0)})
	}
	return out
}

func sized(head string, n int) string {
	line := strings.Repeat("z", 70) + "\r\n"
	s := head + strings.Repeat(line, n/len(line)+1)
	return s[:n-2] + "\r\n"
}

// deep nests multiparts beyond the limit (PA1).
func deep(n int) string {
	var b strings.Builder
	b.WriteString("Subject: deep\r\nMIME-Version: 1.0\r\n")
	for i := range n {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	b.WriteString("\r\nbottom\r\n")
	for i := n - 1; i >= 0; i-- {
		fmt.Fprintf(&b, "--b%d--\r\n", i)
	}
	return b.String()
}

// big makes n octets of base64 in a multipart.
func big(r *rand.Rand, n int) []byte {
	var b bytes.Buffer
	b.WriteString("Subject: big\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=big\r\n\r\n--big\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	line := make([]byte, 57)
	for b.Len() < n {
		for i := range line {
			line[i] = byte(r.Uint32())
		}
		b.WriteString(base64.StdEncoding.EncodeToString(line))
		b.WriteString("\r\n")
	}
	b.WriteString("--big--\r\n")
	return b.Bytes()
}

// random makes a message, or a part of one, that is mostly well formed.
func random(r *rand.Rand, depth int) []byte {
	var b bytes.Buffer
	if depth == 0 {
		fmt.Fprintf(&b, "From: u%d@sender.example\r\nTo: b@example.org\r\nMessage-ID: <%x@sender.example>\r\nSubject: random %d\r\nMIME-Version: 1.0\r\n", r.IntN(99), r.Uint64(), r.IntN(1000))
	}
	text := func() {
		for range r.IntN(30) {
			for range r.IntN(20) {
				fmt.Fprintf(&b, "%s ", []string{"ciao", "mondo", "perch\xc3\xa9", ".", "=3D", "--x", "From", "\xe9"}[r.IntN(8)])
			}
			b.WriteString("\r\n")
		}
	}
	switch k := r.IntN(6); {
	case k < 2 && depth < 4:
		boundary := fmt.Sprintf("=_%x", r.Uint64())
		fmt.Fprintf(&b, "Content-Type: multipart/%s; boundary=%q\r\n\r\n", []string{"mixed", "alternative", "related"}[r.IntN(3)], boundary)
		text()
		for range r.IntN(4) {
			fmt.Fprintf(&b, "--%s\r\n%s\r\n", boundary, random(r, depth+1))
		}
		if r.IntN(5) > 0 {
			fmt.Fprintf(&b, "--%s--\r\n", boundary)
		}
	case k == 2 && depth < 4:
		b.WriteString("Content-Type: message/rfc822\r\n\r\n")
		b.Write(random(r, 0))
	case k == 3:
		b.WriteString("Content-Type: application/octet-stream; name=\"a b.bin\"\r\nContent-Disposition: attachment; filename*=utf-8''a%20b.bin\r\nContent-Transfer-Encoding: base64\r\n\r\n")
		raw := make([]byte, r.IntN(3000))
		for i := range raw {
			raw[i] = byte(r.Uint32())
		}
		for s := base64.StdEncoding.EncodeToString(raw); s != ""; s = s[min(76, len(s)):] {
			b.WriteString(s[:min(76, len(s))] + "\r\n")
		}
	default:
		b.WriteString("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n")
		text()
	}
	return b.Bytes()
}

// sender is an SMTP client that sends exactly what it is given.
type sender struct {
	conn net.Conn
	r    *bufio.Reader
}

func (w *world) dialSMTP(service string) (*sender, error) {
	addr, err := w.address(service)
	if err != nil {
		return nil, err
	}
	conn, err := w.dial(addr)
	if err != nil {
		return nil, err
	}
	s := &sender{conn, bufio.NewReader(conn)}
	name := "client.example"
	if w.fake != nil && service == "smtp" && w.fake.helo != "" {
		name = w.fake.helo
	}
	if err = s.reply("220"); err == nil {
		err = s.command("250", "EHLO "+name)
	}
	if err != nil {
		conn.Close()
	}
	return s, err
}

func (s *sender) reply(code string) error {
	if err := s.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return err
		}
		if !strings.HasPrefix(line, code) {
			return fmt.Errorf("wanted %s, got %q", code, line)
		}
		if line[3] != '-' {
			return nil
		}
	}
}

func (s *sender) command(code, line string) error {
	if _, err := io.WriteString(s.conn, line+"\r\n"); err != nil {
		return err
	}
	return s.reply(code)
}

// deliver sends a letter, by BDAT in two chunks or by DATA. What does not end a
// line gets a line end by DATA, so it always goes by BDAT.
func (s *sender) deliver(l letter, chunks bool) error {
	mail := "MAIL FROM:<" + l.from + "> BODY=8BITMIME"
	if l.utf8 {
		mail += " SMTPUTF8"
	}
	if err := errors.Join(s.command("250", mail), s.command("250", "RCPT TO:<"+l.to+">")); err != nil {
		return err
	}
	if chunks || !bytes.HasSuffix(l.body, []byte("\r\n")) {
		half := len(l.body) / 2
		if half > 0 && l.body[half-1] == '\r' {
			half-- // a CR at the end of a chunk is complete only with the next one
		}
		if _, err := fmt.Fprintf(s.conn, "BDAT %d\r\n%s", half, l.body[:half]); err != nil {
			return err
		}
		if err := s.reply("250"); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(s.conn, "BDAT %d LAST\r\n%s", len(l.body)-half, l.body[half:]); err != nil {
			return err
		}
		return s.reply("250")
	}
	return s.data(l.body)
}

// data sends a message that ends a line.
func (s *sender) data(body []byte) error {
	if err := s.command("354", "DATA"); err != nil {
		return err
	}
	stuffed := bytes.ReplaceAll(append([]byte("\r\n"), body...), []byte("\r\n."), []byte("\r\n.."))[2:]
	if _, err := s.conn.Write(append(stuffed, ".\r\n"...)); err != nil {
		return err
	}
	return s.reply("250")
}

// send sends one message in a session of its own.
func (w *world) send(from, to string, body []byte) error {
	s, err := w.dialSMTP("smtp")
	if err != nil {
		return err
	}
	defer s.conn.Close()
	return s.deliver(letter{from: from, to: to, body: body}, false)
}

// trace is what a server puts before a message: whole fields, the last one
// Received.
var traceFields = regexp.MustCompile(`(?s)\A(?:(?:Return-Path|Delivered-To): [^\r\n]*\r\n)*Received: [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*`)

// compare reads all messages of a user and looks for each letter among them.
func (w *world) compare(user string, sent []letter) error {
	addr, err := w.address("imap")
	if err != nil {
		return err
	}
	deadline := time.Now().Add(patience)
	for {
		got, err := w.fetchAll(addr, user, "INBOX")
		if err != nil {
			return err
		}
		if len(got) < len(sent) && time.Now().Before(deadline) {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		if len(got) != len(sent) {
			return fmt.Errorf("%d messages sent, %d found", len(sent), len(got))
		}
		for i := range sent {
			text := traceFields.ReplaceAll(got[i], nil)
			if len(text) == len(got[i]) || !bytes.Equal(text, sent[i].body) {
				return fmt.Errorf("message %d (%s) came back as %.500q, was %.500q", i+1, sent[i].name, got[i], sent[i].body)
			}
		}
		return nil
	}
}

// literal matches the end of a line that octets follow.
var literal = regexp.MustCompile(`\{(\d+)\}\r\n$`)

// fetchAll returns the octets of each message, and checks that its size, header
// and text are those of the whole.
func (w *world) fetchAll(addr, user, mailbox string) ([][]byte, error) {
	conn, err := w.dial(addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(conn, 1<<20)
	fmt.Fprintf(conn, "a ENABLE UTF8=ACCEPT\r\nb LOGIN {%d+}\r\n%s %s\r\nc EXAMINE %s\r\nd FETCH 1:* (RFC822.SIZE BODY.PEEK[HEADER] BODY.PEEK[TEXT] BODY.PEEK[])\r\ne LOGOUT\r\n", len(user), user, password, mailbox)
	var all [][]byte
	var parts [][]byte
	size := regexp.MustCompile(`RFC822\.SIZE (\d+)`)
	want := 0
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		if m := size.FindStringSubmatch(line); m != nil {
			want, _ = strconv.Atoi(m[1])
		}
		if m := literal.FindStringSubmatch(line); m != nil {
			n, _ := strconv.Atoi(m[1])
			b := make([]byte, n)
			if _, err := io.ReadFull(r, b); err != nil {
				return nil, err
			}
			parts = append(parts, b)
			continue
		}
		switch {
		case len(parts) == 3:
			whole := parts[2]
			if len(whole) != want || !bytes.Equal(append(parts[0], parts[1]...), whole) {
				return nil, fmt.Errorf("message %d: size %d, header %d, text %d, whole %d octets do not fit", len(all)+1, want, len(parts[0]), len(parts[1]), len(whole))
			}
			all, parts = append(all, whole), nil
		case strings.HasPrefix(line, "b ") && !strings.HasPrefix(line, "b OK"),
			strings.HasPrefix(line, "c ") && !strings.HasPrefix(line, "c OK"):
			return nil, errors.New(strings.TrimSpace(line))
		case strings.HasPrefix(line, "d BAD"), strings.HasPrefix(line, "d OK"):
			return all, nil // BAD: there is no message yet
		case strings.HasPrefix(line, "d "):
			return nil, errors.New(strings.TrimSpace(line))
		}
	}
}
