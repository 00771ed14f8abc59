package crash

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// patience is how long a client waits for an answer.
const patience = 30 * time.Second

// imapConn is a plain IMAP client: it waits for each answer. After an error the
// connection is of no use.
type imapConn struct {
	net.Conn
	r        *bufio.Reader
	n        int
	selected string
}

// response is an untagged response; literals stand in it as {n}.
type response struct {
	text     string
	literals [][]byte
}

// errRefused is an answer of NO or BAD.
var errRefused = errors.New("refused")

func dialIMAP(addr, user string) (*imapConn, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &imapConn{Conn: conn, r: bufio.NewReaderSize(conn, 64<<10)}
	if _, err = c.response(); err == nil {
		_, _, err = c.do(fmt.Sprintf("LOGIN %s %q", user, "correct horse"))
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// do sends a command and reads up to its answer.
func (c *imapConn) do(command string) (got []response, answer string, err error) {
	if err = c.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, "", err
	}
	c.n++
	tag := fmt.Sprintf("t%d ", c.n)
	if _, err = io.WriteString(c, tag+command+"\r\n"); err != nil {
		return nil, "", err
	}
	for {
		r, err := c.response()
		if err != nil {
			return nil, "", err
		}
		if answer, ok := strings.CutPrefix(r.text, tag); ok {
			if !strings.HasPrefix(answer, "OK") {
				err = fmt.Errorf("%w: %.80q: %s", errRefused, command, answer)
			}
			return got, answer, err
		}
		got = append(got, r)
	}
}

func (c *imapConn) response() (r response, err error) {
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return r, err
		}
		line = strings.TrimRight(line, "\r\n")
		r.text += line
		i := strings.LastIndexByte(line, '{')
		if i < 0 || !strings.HasSuffix(line, "}") {
			return r, nil
		}
		n, err := strconv.Atoi(line[i+1 : len(line)-1])
		if err != nil {
			return r, nil
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(c.r, b); err != nil {
			return r, err
		}
		r.literals = append(r.literals, b)
	}
}

var (
	uidItem      = regexp.MustCompile(`\bUID (\d+)`)
	flagsItem    = regexp.MustCompile(`\bFLAGS \(([^)]*)\)`)
	uidsCode     = regexp.MustCompile(`\[(?:APPENDUID \d+|COPYUID \d+ [\d:,]+) ([\d:,]+)\]`)
	statusItem   = regexp.MustCompile(`(UIDNEXT|UIDVALIDITY|HIGHESTMODSEQ) (\d+)`)
	listItem     = regexp.MustCompile(`^\* (?:LIST|LSUB) \(([^)]*)\) "/" "?([^"]*)"?$`)
	expectedLost = []string{`\Recent`}
)

func (c *imapConn) choose(box string) error {
	if c.selected == box {
		return nil
	}
	command := fmt.Sprintf("SELECT %q", box)
	if box == "" {
		command = "UNSELECT"
	}
	_, _, err := c.do(command)
	if err == nil {
		c.selected = box
	}
	return err
}

// run performs an operation; it returns the UIDs that the answer tells.
func (c *imapConn) run(o *operation) ([]uint32, error) {
	var command string
	need := o.box
	set := strings.Trim(strings.ReplaceAll(fmt.Sprint(o.uids), " ", ","), "[]")
	flags := "(" + strings.Join(o.flags, " ") + ")"
	switch o.kind {
	case "append":
		need = c.selected
		command = fmt.Sprintf("APPEND %q", o.box)
		for _, tag := range o.tags {
			text := textOf(tag)
			command += fmt.Sprintf(" %s {%d+}\r\n%s", flags, len(text), text)
		}
	case "add", "remove", "replace":
		command = fmt.Sprintf("UID STORE %s %sFLAGS.SILENT %s", set, map[string]string{"add": "+", "remove": "-"}[o.kind], flags)
	case "copy", "move":
		command = fmt.Sprintf("UID %s %s %q", strings.ToUpper(o.kind), set, o.to)
	case "expunge":
		command = "UID EXPUNGE " + set
	case "rename":
		need, command = "", fmt.Sprintf("RENAME %q %q", o.box, o.to)
	default:
		need, command = "", fmt.Sprintf("%s %q", strings.ToUpper(o.kind), o.box)
	}
	if err := c.choose(need); err != nil {
		return nil, &before{err}
	}
	got, answer, err := c.do(command)
	if err != nil {
		return nil, err
	}
	for _, r := range append(got, response{text: answer}) {
		if m := uidsCode.FindStringSubmatch(r.text); m != nil {
			return parseSet(m[1])
		}
	}
	return nil, nil
}

// before is an error that came before the operation was sent.
type before struct{ error }

func parseSet(set string) (uids []uint32, err error) {
	for _, part := range strings.Split(set, ",") {
		lo, hi, _ := strings.Cut(part, ":")
		first, err := strconv.ParseUint(lo, 10, 32)
		if err != nil {
			return nil, err
		}
		last := first
		if hi != "" {
			if last, err = strconv.ParseUint(hi, 10, 32); err != nil {
				return nil, err
			}
		}
		for u := first; u <= last; u++ {
			uids = append(uids, uint32(u))
		}
	}
	return uids, nil
}

// look returns the account as it is shown, with all octets compared.
func (c *imapConn) look(sums *digests) (got *found, err error) {
	got = &found{folders: map[string]*folder{}, subs: map[string]bool{}}
	if err = c.choose(""); err != nil && !errors.Is(err, errRefused) {
		return nil, err
	}
	for command, take := range map[string]func(string){
		`LIST "" "*"`: func(name string) { got.folders[name] = nil },
		`LSUB "" "*"`: func(name string) { got.subs[name] = true },
	} {
		list, _, err := c.do(command)
		if err != nil {
			return nil, err
		}
		for _, r := range list {
			m := listItem.FindStringSubmatch(r.text)
			if m == nil {
				return nil, fmt.Errorf("%s gives %q", command, r.text)
			}
			if !strings.Contains(strings.ToLower(m[1]), `\nonexistent`) && !(strings.HasPrefix(command, "LIST") && strings.Contains(m[1], `\Noselect`)) {
				take(m[2])
			}
		}
	}
	for name := range got.folders {
		if got.folders[name], err = c.lookFolder(name, sums, &got.problems); err != nil {
			return nil, err
		}
	}
	return got, nil
}

func (c *imapConn) lookFolder(name string, sums *digests, problems *[]string) (f *folder, err error) {
	f = &folder{mails: map[uint32]mail{}}
	if err := c.choose(name); err != nil {
		return nil, err
	}
	mails, _, err := c.do("UID FETCH 1:* (FLAGS BODY.PEEK[])")
	if err != nil {
		return nil, err
	}
	for _, r := range mails {
		if len(r.literals) == 0 {
			continue
		}
		uid, flags, err := fetched(r)
		if err != nil {
			return nil, err
		}
		tag := tagOf(r.literals[0])
		f.mails[uid] = mail{tag, flags}
		what := "no tag"
		if tag != "" {
			what = sums.check(tag, r.literals[0])
		}
		if what != "" {
			*problems = append(*problems, fmt.Sprintf("%s: UID %d: tag %q: %s", name, uid, tag, what))
		}
	}
	// After the messages, so that it is true of all of them.
	status, _, err := c.do(fmt.Sprintf("STATUS %q (UIDNEXT UIDVALIDITY HIGHESTMODSEQ)", name))
	if err != nil {
		return nil, err
	}
	for _, r := range status {
		for _, m := range statusItem.FindAllStringSubmatch(r.text, -1) {
			n, err := strconv.ParseUint(m[2], 10, 64)
			if err != nil {
				return nil, err
			}
			switch m[1] {
			case "UIDNEXT":
				f.next = uint32(n)
			case "UIDVALIDITY":
				f.validity = uint32(n)
			default:
				f.modseq = n
			}
		}
	}
	return f, nil
}

func fetched(r response) (uid uint32, flags string, err error) {
	u, f := uidItem.FindStringSubmatch(r.text), flagsItem.FindStringSubmatch(r.text)
	if u == nil || f == nil {
		return 0, "", fmt.Errorf("FETCH gives %q", r.text)
	}
	n, err := strconv.ParseUint(u[1], 10, 32)
	names := slices.DeleteFunc(strings.Fields(f[1]), func(s string) bool { return slices.Contains(expectedLost, s) })
	return uint32(n), joinFlags(names), err
}

// tagOf finds the tag in a header.
func tagOf(header []byte) string {
	_, rest, _ := bytes.Cut(header, []byte("\r\nX-Tag: "))
	tag, _, _ := bytes.Cut(rest, []byte("\r\n"))
	return string(tag)
}

// letters returns the letters in INBOX that m has not yet seen.
func (c *imapConn) letters(m *model) (uids []uint32, tags []string, err error) {
	if err = c.choose("INBOX"); err != nil {
		return nil, nil, err
	}
	got, _, err := c.do("UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (X-TAG)])")
	if err != nil {
		return nil, nil, err
	}
	for _, r := range got {
		if len(r.literals) == 0 {
			continue
		}
		uid, _, err := fetched(r)
		if err != nil {
			return nil, nil, err
		}
		if _, known := m.folders["INBOX"].mails[uid]; !known {
			uids, tags = append(uids, uid), append(tags, tagOf(append([]byte("\r\n"), r.literals[0]...)))
		}
	}
	return uids, tags, nil
}

// smtpConn is a plain SMTP client.
type smtpConn struct {
	net.Conn
	r *bufio.Reader
}

func dialSMTP(addr string) (*smtpConn, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &smtpConn{conn, bufio.NewReader(conn)}
	if _, err = c.reply(); err == nil {
		_, err = c.command("EHLO mail.a.example")
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

func (c *smtpConn) reply() (string, error) {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	for {
		line, err := c.r.ReadString('\n')
		if err != nil || len(line) < 4 || line[3] != '-' {
			return strings.TrimRight(line, "\r\n"), err
		}
	}
}

// command sends a line and reads its reply.
func (c *smtpConn) command(line string) (string, error) {
	if _, err := io.WriteString(c, line+"\r\n"); err != nil {
		return "", err
	}
	return c.reply()
}

// post sends a letter; the reply is the first that is not a success, or the
// last one. An error leaves open what became of the letter.
func (c *smtpConn) post(text []byte, to ...string) (reply string, err error) {
	commands := []string{"MAIL FROM:<x@a.example>"}
	for _, a := range to {
		commands = append(commands, "RCPT TO:<"+a+">")
	}
	for _, line := range append(commands, "DATA") {
		if reply, err = c.command(line); err != nil || reply[0] > '3' {
			if err == nil {
				_, err = c.command("RSET")
			}
			return reply, err
		}
	}
	if _, err = c.Write(append(slices.Clone(text), ".\r\n"...)); err != nil {
		return "", err
	}
	return c.reply()
}
