package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/mailfile"
	"github.com/postino-mail/postino/smtp"
	"github.com/postino-mail/postino/vfs"
)

func TestSendmailArgs(t *testing.T) {
	from := func(s string) *string { return &s }
	for line, want := range map[string]sendmailArgs{
		// PHP mail(), with and without its fifth argument.
		"-t -i":                   {extract: true, dots: true},
		"-t -i -fwww@example.org": {extract: true, dots: true, sender: from("www@example.org")},
		// cron: Debian's and cronie.
		"-i -FCronDaemon -B8BITMIME -oem root":        {dots: true, fullName: "CronDaemon", body: postino.Body8BitMIME, rcpts: []string{"root"}},
		"-FCronDaemon -i -odi -oem -oi -t -f root":    {fullName: "CronDaemon", dots: true, extract: true, sender: from("root")},
		"-i -f ana@example.org -- -odd@example.org":   {dots: true, sender: from("ana@example.org"), rcpts: []string{"-odd@example.org"}},
		"-i -t -f ana@example.org -F Ana -h 3 -p x:y": {dots: true, extract: true, sender: from("ana@example.org"), fullName: "Ana"},
		// bsd-mailx, s-nail, mutt, git send-email, logwatch, smartd, apt-listchanges.
		"-i bob@example.net":                          {dots: true, rcpts: []string{"bob@example.net"}},
		"-i -r ana@example.org bob@example.net":       {dots: true, sender: from("ana@example.org"), rcpts: []string{"bob@example.net"}},
		"-oem -oi -f ana@x.example -- b@y.example":    {dots: true, sender: from("ana@x.example"), rcpts: []string{"b@y.example"}},
		"-f ana@x.example -i b@y.example c@y.example": {dots: true, sender: from("ana@x.example"), rcpts: []string{"b@y.example", "c@y.example"}},
		"-oi -t":                            {dots: true, extract: true},
		"-oi -oem -it root":                 {dots: true, extract: true, rcpts: []string{"root"}},
		"-N success,delay -R hdrs -V id1 a": {notify: postino.DSNSuccess | postino.DSNDelay, ret: postino.DSNReturnHeaders, envID: "id1", rcpts: []string{"a"}},
		"-N never -Rfull a":                 {notify: postino.DSNNever, ret: postino.DSNReturnFull, rcpts: []string{"a"}},
		"-ti -f":                            {mode: 0}, // no value
		"-f <> a":                           {sender: from("<>"), rcpts: []string{"a"}},
		"a -i b":                            {dots: true, rcpts: []string{"a", "b"}},
		"-itv":                              {dots: true, extract: true, verbose: true},
		"-itfana a":                         {dots: true, extract: true, sender: from("ana"), rcpts: []string{"a"}},
		"-O IgnoreDots=true":                {dots: true},
		"-O DeliveryMode=b -oQ/tmp -OTimeout=1h -o DefaultUser=x a": {rcpts: []string{"a"}},
		"-G -U -n -m -s -x -d0.1 -d -em -X log -L tag -Am a":        {rcpts: []string{"a"}},
		"-bm a":             {mode: 'm', rcpts: []string{"a"}},
		"-bs":               {mode: 's'},
		"-bp -v":            {mode: 'p', verbose: true},
		"-b p":              {mode: 'p'},
		"-bi":               {mode: 'i'},
		"-q":                {mode: 'q'},
		"-q15m":             {mode: 'q'},
		"-qRexample.org -v": {mode: 'q', verbose: true},
		"-C /x.toml a":      {config: "/x.toml", rcpts: []string{"a"}},
		"-":                 {rcpts: []string{"-"}},
		"-bd -q15m":         {mode: 0},
		"-bt":               {mode: 0},
		"-Z":                {mode: 0},
		"-N sometimes a":    {mode: 0},
		"-N never,delay a":  {mode: 0},
		"-R some a":         {mode: 0},
		"-B BINARY a":       {mode: 0},
	} {
		got, err := parseSendmail(strings.Fields(line))
		refused := want.mode == 0 && reflect.DeepEqual(want, sendmailArgs{})
		if want.mode == 0 {
			want.mode = 'm'
		}
		if refused != (err != nil) || !refused && !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: %+v, %v", line, got, err)
		}
	}
	if got, err := parseSendmail([]string{"-f", "", "-F", "Ana B"}); err != nil || *got.sender != "" || got.fullName != "Ana B" {
		t.Errorf("empty value: %+v, %v", got, err)
	}
}

func FuzzSendmailArgs(f *testing.F) {
	f.Add("-t -i -fwww@example.org")
	f.Add("-itfana -- -a")
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, " ")
		a, err := parseSendmail(args)
		if err == nil && (len(a.rcpts) > len(args) || strings.IndexByte("mspiq", a.mode) < 0) {
			t.Errorf("%q: %+v", line, a)
		}
	})
}

func TestSendmailNames(t *testing.T) {
	for name, want := range map[string]string{"/usr/sbin/sendmail": "x", "mailq": "-bp x", "/usr/bin/newaliases": "-bi x", "postino": "-"} {
		args, ok := sendmailByName(name, []string{"x"})
		if got := strings.Join(args, " "); ok != (want != "-") || ok && got != want {
			t.Errorf("%s: %q, %v", name, got, ok)
		}
	}
}

func TestReadLines(t *testing.T) {
	for _, c := range []struct {
		dots     bool
		in, want string
	}{
		{false, "", ""},
		{false, "a\nb\n", "a\r\nb\r\n"},
		{false, "a\r\nb", "a\r\nb\r\n"},
		{false, "a\n.\nb\n", "a\r\n"},
		{false, "a\n.\r\nb\n", "a\r\n"},
		{false, ".", ""},
		{false, "a\n..\n", "a\r\n..\r\n"},
		{true, "a\n.\nb\n", "a\r\n.\r\nb\r\n"},
		{true, ".", ".\r\n"},
		{true, "1%\r2%\r\n", "1%\r\n2%\r\n"},
		{true, "From ana Sat Mar 7\nSubject: x\n\nFrom y\n", "Subject: x\r\n\r\nFrom y\r\n"},
		{true, "\n\n", "\r\n\r\n"},
		{true, strings.Repeat("x", 100_000) + "\n.\n", strings.Repeat("x", 100_000) + "\r\n.\r\n"},
	} {
		got, err := readLines(strings.NewReader(c.in), c.dots, 1<<20)
		if err != nil || string(got) != c.want {
			t.Errorf("%.40q: %.40q, %v", c.in, got, err)
		}
	}
	if _, err := readLines(strings.NewReader(strings.Repeat("x", 1000)), true, 999); !errors.Is(err, errInputSize) {
		t.Error(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.StringOf(rapid.SampledFrom([]rune("\r\n.ax"))).Draw(t, "in")
		got, err := readLines(strings.NewReader(in), rapid.Bool().Draw(t, "dots"), 1<<20)
		if err != nil || len(got) > 0 && !bytes.HasSuffix(got, []byte("\r\n")) {
			t.Fatalf("%q, %v", got, err)
		}
		if rest := bytes.ReplaceAll(got, []byte("\r\n"), nil); bytes.ContainsAny(rest, "\r\n") {
			t.Fatalf("%q holds a bare CR or LF", got)
		}
	})
}

// composed is what a message looks like on its way: sender, recipients, text.
func composed(m *outgoing) string {
	var b strings.Builder
	b.WriteString("<" + m.envelope.From.String() + ">")
	for _, r := range m.envelope.Rcpts {
		b.WriteString(" " + r.Address.String())
	}
	return b.String() + "|" + strings.ReplaceAll(string(m.text), "\r\n", "\n")
}

func TestCompose(t *testing.T) {
	for _, c := range []struct {
		args, in, want string
		code           int
	}{
		{"root", "hello\n", "<ana@mx.example> root@mx.example|\nhello\n", 0},
		{"root", "", "<ana@mx.example> root@mx.example|\n", 0},
		{"root", "Subject: x\n", "<ana@mx.example> root@mx.example|Subject: x\n\n", 0},
		{"root", "Subject: x\n\n", "<ana@mx.example> root@mx.example|Subject: x\n\n", 0},
		{"root", "Subject: x\nthis: is\n no header\nline\n", "<ana@mx.example> root@mx.example|Subject: x\nthis: is\n no header\n\nline\n", 0},
		{"-fbob a@b.example,c@d.example", "x: y\n", "<bob@mx.example> a@b.example c@d.example|x: y\n\n", 0},
		{"-f<> a@b.example a@b.example", "x: y\n", "<> a@b.example|x: y\n\n", 0},
		{"-fAna<a@b.example> a@b.example", "x: y\n", "<a@b.example> a@b.example|x: y\n\n", 0},
		{"-t", "To: A <a@b.example>,\n c\nBCC: secret@b.example\nCc: g: d@b.example, a@b.example;\n\nTo: x@y\n",
			"<ana@mx.example> a@b.example c@mx.example secret@b.example d@b.example|To: A <a@b.example>,\n c\nCc: g: d@b.example, a@b.example;\n\nTo: x@y\n", 0},
		{"-t more@b.example", "To: a@b.example\n\n", "<ana@mx.example> more@b.example a@b.example|To: a@b.example\n\n", 0},
		{"-t", "Resent-To: new@b.example\nTo: old@b.example\nResent-Bcc: hidden@b.example\n\n", "<ana@mx.example> new@b.example hidden@b.example|Resent-To: new@b.example\nTo: old@b.example\n\n", 0},
		{"root", "Bcc: kept@b.example\n\n", "<ana@mx.example> root@mx.example|Bcc: kept@b.example\n\n", 0},
		{"-FCron root", "Subject: x\n\n", "<ana@mx.example> root@mx.example|From: Cron <ana@mx.example>\nSubject: x\n\n", 0},
		{"-FCron root", "From: x@y.example\n\n", "<ana@mx.example> root@mx.example|From: x@y.example\n\n", 0},
		{"-FCr\u00f6n -f<> root", "", "<> root@mx.example|From: =?utf-8?b?Q3LDtm4=?= <ana@mx.example>\n\n", 0},
		{"", "x: y\n\n", "", exitUsage},
		{"-t", "x: y\n\n", "", exitData},
		{"-t", "To: undisclosed-recipients:;\n\n", "", exitData},
		{"-t", "To: a@b_c..example\n\n", "", exitData},
		{"a@b@c", "", "", exitUsage},
		{"-fa,b c", "", "", exitUsage},
	} {
		a, err := parseSendmail(strings.Fields(c.args))
		if err != nil {
			t.Fatal(err)
		}
		text, err := readLines(strings.NewReader(c.in), true, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		m, err := compose(a, text, "mx.example", "ana")
		if err != nil {
			if exitCode(err) != c.code {
				t.Errorf("%s: %v, exit code %d", c.args, err, exitCode(err))
			}
			continue
		}
		if got := composed(m); !strings.EqualFold(got, c.want) || c.code != 0 {
			t.Errorf("%s:\n%q\nwant\n%q", c.args, got, c.want)
		}
	}
}

// FuzzCompose: whatever a program writes, the text keeps its lines and loses no
// line but those of Bcc.
func FuzzCompose(f *testing.F) {
	f.Add("To: a@b.example\nBcc: c\n\nhello\n", true)
	f.Add("hello", false)
	f.Fuzz(func(t *testing.T, in string, extract bool) {
		text, err := readLines(strings.NewReader(in), true, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		m, err := compose(&sendmailArgs{extract: extract, rcpts: []string{"root"}}, text, "mx.example", "ana")
		if err != nil {
			return
		}
		if _, end, proper := scanHeader(m.text); !proper {
			t.Errorf("%q has no empty line: %d", m.text, end)
		}
		if !extract && strings.Replace(string(m.text), "\r\n", "", 1) != strings.Replace(string(text), "\r\n", "", 1) && len(m.text) != len(text)+2 {
			t.Errorf("%q became %q", text, m.text)
		}
	})
}

// localServer takes mail on the socket of a data directory.
type localServer struct {
	mu     sync.Mutex
	mails  []string
	refuse map[string]*smtp.Reply
}

func (s *localServer) NewSession(context.Context, *smtp.Conn) (smtp.Session, error) {
	return localSession{s}, nil
}

type localSession struct{ s *localServer }

func (localSession) Hello(context.Context, string, bool) error { return nil }
func (localSession) Mechanisms() []string                      { return nil }
func (localSession) Auth(context.Context, string) (smtp.Exchange, error) {
	return nil, errors.New("none")
}
func (localSession) Verify(context.Context, string) error { return nil }
func (localSession) Expand(context.Context, string) error { return nil }
func (localSession) Turn(context.Context, string) error   { return errors.New("none") }
func (localSession) URL(context.Context, string) (io.ReadCloser, int64, error) {
	return nil, 0, errors.New("none")
}
func (localSession) Close() {}
func (l localSession) Mail(_ context.Context, from postino.Address, o smtp.MailOptions) (smtp.Transaction, error) {
	m := &localMail{s: l.s}
	m.head = "<" + from.String() + "> " + o.EnvID
	if r := l.s.refuse[from.String()]; r != nil {
		return nil, r
	}
	return m, nil
}

type localMail struct {
	s    *localServer
	head string
	text bytes.Buffer
}

func (m *localMail) Rcpt(_ context.Context, to postino.Recipient) error {
	if r := m.s.refuse[to.Address.String()]; r != nil {
		return r
	}
	m.head += " " + to.Address.String()
	return nil
}
func (m *localMail) Data(context.Context) (smtp.Sink, error) { return m, nil }
func (m *localMail) Write(b []byte) (int, error)             { return m.text.Write(b) }
func (m *localMail) Close()                                  {}
func (m *localMail) Commit(context.Context) (smtp.Accepted, error) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	if r := m.s.refuse["content"]; r != nil {
		return smtp.Accepted{}, r
	}
	m.s.mails = append(m.s.mails, m.head+"|"+m.text.String())
	return smtp.Accepted{ID: "ID1"}, nil
}

// took returns what came in since the last call.
func (s *localServer) took() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.mails
	s.mails = nil
	return all
}

// sendmailHome makes a configuration and a data directory with a spool.
func sendmailHome(t *testing.T) (cfg, data string, spool *mailfile.Spool) {
	t.Helper()
	dir, err := os.MkdirTemp("", "sm") // socket names are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	cfg, data = filepath.Join(dir, "postino.toml"), filepath.Join(dir, "data")
	text := "[server]\nhostname = \"mx.example\"\ndata_dir = \"data\"\n[tls]\nself_signed = true\n[[listener]]\nkind = \"smtp\"\naddress = \"127.0.0.1:2525\"\n[smtp]\nmax_size = \"64KiB\"\n"
	if err := os.WriteFile(cfg, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	spool = &mailfile.Spool{FS: vfs.OS(), Dir: filepath.Join(data, "spool")}
	if err := spool.Prepare(); err != nil {
		t.Fatal(err)
	}
	return cfg, data, spool
}

// serveLocal runs a server on the socket until the test ends.
func serveLocal(t *testing.T, data string) *localServer {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(data, "submit.sock"))
	if err != nil {
		t.Fatal(err)
	}
	s := &localServer{refuse: map[string]*smtp.Reply{}}
	srv := smtp.NewServer(smtp.Options{Hostname: "mx.example", Backend: s, DSN: true, Normalise: true, LaxPipelining: true})
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		if err := errors.Join(srv.Shutdown(context.Background()), <-done); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestSendmail(t *testing.T) {
	cfg, data, spool := sendmailHome(t)
	t.Setenv("POSTINO_CONFIG", cfg)
	t.Setenv("NAME", "")
	s := serveLocal(t, data)
	me := login() + "@mx.example"
	s.refuse["nobody@mx.example"] = &smtp.Reply{Code: 550, Enhanced: "5.1.1", Text: "No such user"}
	s.refuse["later@mx.example"] = &smtp.Reply{Code: 451, Enhanced: "4.3.0", Text: "Later"}
	s.refuse["forged@example.org"] = &smtp.Reply{Code: 550, Enhanced: "5.7.1", Text: "Not yours"}
	for _, c := range []struct {
		args, in string
		code     int
		said     string
		want     []string
	}{
		{"root", "Subject: x\n\nhello\n.\nmore\n", exitOK, "", []string{"<" + me + ">  root@mx.example|Subject: x\r\n\r\nhello\r\n"}},
		{"-i -v root", "x: y\n\n.\n", exitOK, "250 2.0.0", []string{"<" + me + ">  root@mx.example|x: y\r\n\r\n.\r\n"}},
		{"-t -V id1 -f bob@example.net", "To: root\nBcc: ana\n\n", exitOK, "", []string{"<bob@example.net> id1 root@mx.example ana@mx.example|To: root\r\n\r\n"}},
		{"root nobody", "x: y\n\n", exitNotFound, "No such user", []string{"<" + me + ">  root@mx.example|x: y\r\n\r\n"}},
		{"nobody", "x: y\n\n", exitNotFound, "No such user", nil},
		{"later", "x: y\n\n", exitTemp, "Later", nil},
		{"-f forged@example.org root", "x: y\n\n", exitDenied, "Not yours", nil},
		{"root", strings.Repeat("0123456789\n", 5_900), exitData, "too large", nil},
		{"-Z root", "", exitUsage, "-Z", nil},
		{"", "", exitUsage, "no recipients", nil},
		{"-C /nonexistent/x root", "", exitConfig, "no such file", nil},
		{"-bi", "", exitOK, "no rebuilding", nil},
		{"-bs", "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<root@mx.example>\r\nDATA\r\nx: y\r\n.\r\nQUIT\r\n", exitOK, "221", []string{"<>  root@mx.example|x: y\r\n"}},
	} {
		r := command(t, t.Context(), c.in, append([]string{"sendmail"}, strings.Fields(c.args)...)...)
		r.want(t, c.code, c.said)
		if got := s.took(); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.args, got, c.want)
		}
	}
	if names, err := spool.List(); err != nil || len(names) != 0 {
		t.Errorf("in the spool: %v, %v", names, err)
	}
}

// TestSendmailSpool: without a server the message waits for it.
func TestSendmailSpool(t *testing.T) {
	cfg, data, spool := sendmailHome(t)
	t.Setenv("POSTINO_CONFIG", cfg)
	command(t, t.Context(), "Subject: x\n\nhello\n", "sendmail", "-N", "never", "-R", "hdrs", "root").want(t, exitOK, "")
	command(t, t.Context(), "Subject: y\n\n", "sendmail", "-v", "-f<>", "root").want(t, exitOK, "left for it in the spool")
	command(t, t.Context(), "", "sendmail", "-bs").want(t, exitTemp, "421 4.3.2")
	var got []string
	n, err := spool.Collect(t.Context(), func(_ context.Context, d *mailfile.Drop) error {
		text, err := io.ReadAll(d.Content)
		got = append(got, "<"+d.Envelope.From.String()+"> "+d.Envelope.Rcpts[0].Address.String()+"|"+string(text))
		if strings.Contains(string(text), "hello") && (d.Envelope.Rcpts[0].Notify != postino.DSNNever || d.Envelope.Ret != postino.DSNReturnHeaders) {
			t.Errorf("envelope %+v", d.Envelope)
		}
		return err
	})
	slices.Sort(got)
	want := []string{"<" + login() + "@mx.example> root@mx.example|Subject: x\r\n\r\nhello\r\n", "<> root@mx.example|Subject: y\r\n\r\n"}
	slices.Sort(want)
	if n != 2 || err != nil || !slices.Equal(got, want) {
		t.Errorf("%d, %v: %q, want %q", n, err, got, want)
	}
	if err := os.RemoveAll(filepath.Join(data, "spool")); err != nil {
		t.Fatal(err)
	}
	command(t, t.Context(), "Subject: x\n\n", "sendmail", "root").want(t, exitTemp, "no such file")
}

// TestSendmailServerDies: what the server did not answer for goes into the spool.
func TestSendmailServerDies(t *testing.T) {
	cfg, data, spool := sendmailHome(t)
	t.Setenv("POSTINO_CONFIG", cfg)
	l, err := net.Listen("unix", filepath.Join(data, "submit.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for _, answers := range []string{"", "421 4.3.2 Not now\r\n", "220 x\r\n250 x\r\n", "220 x\r\n250 x\r\n250 ok\r\n250 ok\r\n354 go\r\n"} {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, answers)
			_ = c.(*net.UnixConn).CloseWrite()
			_, _ = io.Copy(io.Discard, c)
			c.Close()
		}
	}()
	for n := 1; n <= 4; n++ {
		command(t, t.Context(), "Subject: x\n\n", "sendmail", "root").want(t, exitOK, "")
		if names, err := spool.List(); err != nil || len(names) != n {
			t.Errorf("after %d: %v, %v", n, names, err)
		}
	}
}
