package pop3

import (
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain: no goroutine outlives its connection (G11).
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const login = "USER ann\r\nPASS sesame\r\n"

var letters = []string{
	"Subject: one\r\n\r\nHello.\r\n",
	"Subject: two\r\n\r\n.dot\r\n..two\r\n.\r\nlast\r\n",
	"Subject: three\r\n\r\n1\r\n2\r\n3\r\n",
}

// TestDialogues: what clients say and what they hear.
func TestDialogues(t *testing.T) {
	plain := base64.StdEncoding.EncodeToString([]byte("\x00ann\x00sesame"))
	wrong := base64.StdEncoding.EncodeToString([]byte("\x00ann\x00wrong"))
	for _, x := range []struct {
		name, in, want string
		change         func(*Options)
	}{
		{"nothing", "", "", nil},
		{"quit", "QUIT\r\nNOOP\r\n", "+OK Bye\n", nil},
		{"case and bare LF", "user ann\nPass sesame\nstat\nquit\n", "+OK Send your password\n+OK Mailbox locked and ready\n+OK 3 89\n+OK Bye\n", nil},
		{"before login", "STAT\r\nLIST\r\n", "-ERR Log in first\n-ERR Log in first\n", nil},
		{"after login", login + "USER ann\r\nSTLS\r\nUTF8\r\n", "~-ERR Already logged in\n-ERR Already logged in\n-ERR Already logged in\n", nil},
		{"wrong password", "USER ann\r\nPASS wrong\r\nPASS sesame\r\n", "+OK Send your password\n-ERR [AUTH] Wrong name or password\n-ERR USER comes first\n", nil},
		{"nobody (AU2)", "USER nobody\r\nPASS sesame\r\n", "+OK Send your password\n-ERR [AUTH] Wrong name or password\n", nil},
		{"damaged", "USER damaged\r\nPASS sesame\r\n", "~-ERR [SYS/PERM] Stored data are damaged\n", nil},
		{"busy", "USER busy\r\nPASS sesame\r\n", "~-ERR [SYS/TEMP] Temporary failure, try again later\n", nil},
		{"too soon", "USER quick\r\nPASS sesame\r\n", "~-ERR [LOGIN-DELAY] Too soon after the last login\n", nil},
		{"name in UTF-8", "USER grå\r\nPASS sesame\r\n", "+OK Send your password\n+OK Mailbox locked and ready\n", nil},
		{"name not in UTF-8", "USER gr\xe5\r\n", "-ERR Wrong arguments\n", nil},
		{"no name", "USER\r\nUSER \r\n", "-ERR Wrong arguments\n-ERR Wrong arguments\n", nil},
		{"needs TLS", "USER ann\r\nPASS x\r\nAUTH PLAIN " + plain + "\r\nCAPA\r\n",
			"-ERR [AUTH] Begin TLS before you log in\n-ERR [AUTH] Begin TLS before you log in\n-ERR [AUTH] Begin TLS before you log in\n" +
				"+OK Capabilities follow\nTOP\nUIDL\nRESP-CODES\nAUTH-RESP-CODE\nPIPELINING\nUTF8 USER\nLANG\nEXPIRE NEVER\nIMPLEMENTATION Postino\n.\n",
			func(o *Options) { o.AllowClear = false }},
		{"capabilities", "CAPA\r\n", "+OK Capabilities follow\nTOP\nUIDL\nRESP-CODES\nAUTH-RESP-CODE\nPIPELINING\nUTF8 USER\nLANG\nUSER\nSASL PLAIN LOGIN\n" +
			"LOGIN-DELAY 90\nEXPIRE 30\nIMPLEMENTATION Postino\n.\n", func(o *Options) { o.LoginDelay, o.Expire = 90*time.Second, 30 }},
		{"capabilities after login", login + "CAPA\r\n", "~SASL PLAIN LOGIN\nEXPIRE NEVER\nIMPLEMENTATION Postino\n.\n", nil},

		{"mechanisms", "AUTH\r\n", "+OK Mechanisms follow\nPLAIN\nLOGIN\n.\n", nil},
		{"AUTH PLAIN", "AUTH PLAIN " + plain + "\r\nSTAT\r\n", "+OK Mailbox locked and ready\n+OK 3 89\n", nil},
		{"AUTH in two lines", "auth plain\r\n" + plain + "\r\n", "+ \n+OK Mailbox locked and ready\n", nil},
		{"AUTH LOGIN", "AUTH LOGIN\r\nYW5u\r\nc2VzYW1l\r\n", "+ VXNlcm5hbWU6\n+ UGFzc3dvcmQ6\n+OK Mailbox locked and ready\n", nil},
		{"AUTH wrong", "AUTH PLAIN " + wrong + "\r\nAUTH PLAIN " + plain + "\r\n", "-ERR [AUTH] Wrong name or password\n+OK Mailbox locked and ready\n", nil},
		{"AUTH cancelled", "AUTH PLAIN\r\n*\r\nQUIT\r\n", "+ \n-ERR Authentication cancelled\n+OK Bye\n", nil},
		{"AUTH in bad base64", "AUTH PLAIN =AAA\r\nAUTH PLAIN AAA=BBB\r\n", "-ERR Wrong arguments\n-ERR Wrong arguments\n", nil},
		{"AUTH empty", "AUTH PLAIN =\r\nQUIT\r\n", "-ERR [AUTH] Wrong name or password\n+OK Bye\n", nil},
		{"AUTH unknown", "AUTH GSSAPI\r\n", "-ERR No such mechanism\n", nil},
		{"AUTH long (AU4)", "AUTH PLAIN\r\n" + strings.Repeat("A", maxResponse) + "\r\nQUIT\r\n", "+ \n-ERR Line too long\n", nil},
		{"AUTH longer than a buffer", "AUTH PLAIN\r\n" + strings.Repeat("A", 16<<10) + "\r\nQUIT\r\n", "+ \n-ERR [AUTH] Wrong name or password\n+OK Bye\n", nil},

		{"LIST", login + "LIST\r\nLIST 2\r\nLIST 4\r\nLIST 0\r\nLIST x\r\nLIST 1 2\r\n",
			"~+OK 3 messages (89 octets)\n1 24\n2 38\n3 27\n.\n+OK 2 38\n-ERR No such message\n-ERR No such message\n-ERR Wrong arguments\n-ERR Wrong arguments\n", nil},
		{"UIDL", login + "UIDL\r\nUIDL 3\r\nUIDL 9\r\n", "~+OK Unique-ids follow\n1 uid-1\n2 uid-2\n3 uid-3\n.\n+OK 3 uid-3\n-ERR No such message\n", nil},
		{"RETR", login + "RETR 1\r\nRETR 2\r\n", "~+OK 24 octets follow\nSubject: one\n\nHello.\n.\n+OK 38 octets follow\nSubject: two\n\n..dot\n...two\n..\nlast\n.\n", nil},
		{"TOP", login + "TOP 3 2\r\nTOP 3 0\r\nTOP 1 99\r\nTOP 1\r\nTOP 1 -1\r\n", "~+OK Top of the message follows\nSubject: three\n\n1\n2\n.\n" +
			"+OK Top of the message follows\nSubject: three\n\n.\n+OK Top of the message follows\nSubject: one\n\nHello.\n.\n-ERR Wrong arguments\n-ERR Wrong arguments\n", nil},
		{"DELE", login + "DELE 2\r\nDELE 2\r\nSTAT\r\nLIST\r\nUIDL 2\r\nRETR 2\r\nTOP 2 0\r\nRSET\r\nSTAT\r\n",
			"~+OK Marked as deleted\n-ERR This message is marked as deleted\n+OK 2 51\n+OK 2 messages (51 octets)\n1 24\n3 27\n.\n-ERR This message is marked as deleted\n" +
				"-ERR This message is marked as deleted\n-ERR This message is marked as deleted\n+OK Nothing is marked as deleted\n+OK 3 89\n", nil},
		{"QUIT", login + "DELE 1\r\nQUIT\r\n", "~+OK Marked as deleted\n+OK Bye, deleted messages are removed\n", nil},
		{"NOOP", login + "NOOP\r\nNOOP x\r\nNOOP  \r\n", "~+OK Nothing done\n-ERR Wrong arguments\n+OK Nothing done\n", nil},
		{"LAST is not there", login + "LAST\r\nXTND XLST\r\nTOOLONGACOMMAND\r\n\r\n", "~-ERR Unknown command\n-ERR Unknown command\n-ERR Unknown command\n-ERR Unknown command\n", nil},

		{"LANG", "LANG\r\nLANG it-CH\r\nSTAT\r\nLANG uga\r\nLANG ro\r\nSTAT\r\nLANG *\r\nLANG EN\r\nQUIT\r\n", "+OK Languages follow\nen English\nit Italiano\nro Română\n.\n" +
			"+OK it Si parla italiano\n-ERR Prima occorre autenticarsi\n-ERR Questa lingua qui non si parla\n+OK ro Se vorbește română\n-ERR Întâi autentificați-vă\n" +
			"+OK en English is spoken\n+OK en English is spoken\n+OK Bye\n", nil},
		{"LANG of the user", login + "LANG *\r\n", "~+OK ro Se vorbește română\n", nil},
		{"UTF8", "UTF8\r\nUTF8 x\r\n", "+OK UTF-8 is on\n-ERR Wrong arguments\n", nil},

		{"errors before login (IM1)", "A\r\nB\r\nC\r\nD\r\n", "-ERR Unknown command\n-ERR Unknown command\n-ERR Unknown command\n-ERR Too many errors\n", nil},
		{"errors after login (IM4)", login + strings.Repeat("X\r\n", 12), "~" + strings.Repeat("-ERR Unknown command\n", 10) + "-ERR Too many errors\n", nil},
		{"absent messages are no errors", login + strings.Repeat("RETR 9\r\n", 12) + "NOOP\r\n", "~-ERR No such message\n-ERR No such message\n+OK Nothing done\n", nil},
		{"HTTP (IM4)", "GET / HTTP/1.1\r\nHost: x\r\n", "-ERR This is not a web server\n", nil},
		{"line at the limit (IM12)", "USER " + strings.Repeat("x", 505) + "\r\nQUIT\r\n", "+OK Send your password\n+OK Bye\n", nil},
		{"line (IM12)", "USER " + strings.Repeat("x", 506) + "\r\nQUIT\r\n", "-ERR Line too long\n", nil},
		{"line without end (IM12)", strings.Repeat("x", 9<<10), "-ERR Line too long\n", nil},
		{"panic (G4)", "USER panic\r\nPASS x\r\nQUIT\r\n", "+OK Send your password\n-ERR [SYS/PERM] Internal error, the administrator can see more\n", nil},
		{"APOP is not offered", "APOP ann 0123456789abcdef0123456789abcdef\r\n", "-ERR Not offered here\n", nil},
		{"STLS is not offered", "STLS\r\n", "-ERR Not offered here\n", nil},
	} {
		t.Run(x.name, func(t *testing.T) {
			store := newMemStore(letters...)
			store.language = "ro-MD"
			got, ok := strings.CutPrefix(talk(store, x.change, x.in), "+OK POP3 ready\r\n")
			if !ok || strings.Count(got, "\n") != strings.Count(got, "\r\n") {
				t.Fatalf("greeting or line ends of %q", got)
			}
			got = strings.ReplaceAll(got, "\r\n", "\n")
			want, some := strings.CutPrefix(x.want, "~")
			if some && !strings.HasSuffix(got, want) || !some && got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if store.locked {
				t.Error("the maildrop is still locked")
			}
		})
	}
}

// TestUpdate: only QUIT changes anything (IM12).
func TestUpdate(t *testing.T) {
	for _, x := range []struct{ name, in, want string }{
		{"QUIT", "RETR 1\r\nDELE 2\r\nQUIT\r\n", "1*3"},
		{"connection breaks", "RETR 1\r\nDELE 2\r\n", "123"},
		{"line breaks", "RETR 1\r\nDELE 2\r\nQUI", "123"},
		{"QUIT with arguments", "DELE 2\r\nQUIT now\r\n", "123"},
		{"RSET", "RETR 1\r\nDELE 1\r\nDELE 2\r\nRSET\r\nDELE 3\r\nQUIT\r\n", "1*2"},
		{"TOP is not RETR", "TOP 1 1\r\nQUIT\r\n", "123"},
		{"deleted and retrieved", "RETR 1\r\nDELE 1\r\nQUIT\r\n", "23"},
		{"too many errors", "DELE 1\r\n" + strings.Repeat("X\r\n", 10) + "QUIT\r\n", "123"},
		{"line too long", "DELE 1\r\n" + strings.Repeat("X", 600) + "\r\nQUIT\r\n", "123"},
	} {
		t.Run(x.name, func(t *testing.T) {
			store := newMemStore(letters...)
			talk(store, nil, login+x.in)
			if got := store.state(); got != x.want {
				t.Errorf("the store has %q, want %q", got, x.want)
			}
		})
	}
	store := newMemStore(letters...)
	store.fail = errors.New("the disk is full")
	if got := talk(store, nil, login+"DELE 1\r\nQUIT\r\n"); !strings.HasSuffix(got, "-ERR [SYS/PERM] Deleted messages were not removed\r\n") || store.state() != "123" {
		t.Errorf("got %q", got)
	}
}

func TestAPOP(t *testing.T) {
	with := func(o *Options) { o.APOP, o.Name = true, "mx.example.org" }
	greeting := talk(newMemStore(), with, "")
	m := regexp.MustCompile(`^\+OK mx\.example\.org POP3 ready (<[0-9a-f]{16}\.1\.\d+@mx\.example\.org>)\r\n$`).FindStringSubmatch(greeting)
	if m == nil {
		t.Fatalf("greeting %q", greeting)
	}
	_, connect := start(t, newMemStore(letters...), with)
	c := connect()
	timestamp := regexp.MustCompile(`<.*>`).FindString(c.line())
	c.send("APOP ann 0123\r\nAPOP ann 0123456789abcdef0123456789abcdef\r\n")
	for _, want := range []string{"-ERR Wrong arguments", "-ERR [AUTH] Wrong name or password"} {
		if got := c.line(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	c.send(fmt.Sprintf("APOP ann %x\r\n", md5.Sum([]byte(timestamp+memPassword))))
	if got := c.line(); got != "+OK Mailbox locked and ready" {
		t.Error(got)
	}
}

// TestGoneAndBroken: a message that another program removed is refused, half a message
// ends the connection.
func TestGoneAndBroken(t *testing.T) {
	store := newMemStore(letters...)
	_, connect := start(t, store, nil)
	c := connect()
	c.send(login + "NOOP\r\n")
	for range 4 {
		c.line()
	}
	store.mu.Lock()
	store.msgs = store.msgs[1:]
	store.broken, store.piece = 2, 1
	store.mu.Unlock()
	c.send("RETR 1\r\n")
	if got := c.line(); got != "-ERR Another program has removed this message" {
		t.Error(got)
	}
	c.send("RETR 3\r\nNOOP\r\n")
	for range 8 {
		c.line()
	}
	store.mu.Lock()
	store.msgs[0].body = []byte("A: b\r\n\r\n" + strings.Repeat("x", 1000))
	store.mu.Unlock()
	c.send("RETR 2\r\nNOOP\r\n")
	var all string
	for l := c.line(); l != ""; l = c.line() {
		all += l + "\n"
	}
	if strings.Contains(all, "\n.\n") || strings.Contains(all, "Nothing done") {
		t.Errorf("half a message was sent as a whole: %q", all)
	}
}

// TestTexts: every text in every language, one line of at most 255 octets with its
// code; English in ASCII.
func TestTexts(t *testing.T) {
	for l := range texts {
		for i, s := range texts[l] {
			if s == "" || len(s) > 200 || strings.ContainsAny(s, "\r\n") || strings.HasPrefix(s, "[") || l == int(english) && !ascii([]byte(s)) {
				t.Errorf("%s text %d: %q", tongues[l].tag, i, s)
			}
			if l != int(english) && s == texts[english][i] {
				t.Errorf("%s text %d is English: %q", tongues[l].tag, i, s)
			}
		}
	}
}
