package imap

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	server "github.com/postino-mail/postino/imap"
)

// FuzzSession sends whatever a client may send, before and after login (IM1 to IM4).
// All that comes back is read by the strict grammar, and the server ends the session.
func FuzzSession(f *testing.F) {
	for _, s := range []string{
		"a CAPABILITY\r\nb LOGIN x y\r\nc ID NIL\r\n",
		"a SELECT INBOX\r\nb FETCH 1:* (FLAGS ENVELOPE BODYSTRUCTURE BODY[])\r\nc STORE 1 +FLAGS (\\Deleted x)\r\nd EXPUNGE\r\n",
		"a APPEND INBOX {3+}\r\nabc\r\nb SEARCH RETURN (MIN ALL) OR TEXT {1+}\r\nx NOT SEEN\r\nc IDLE\r\nDONE\r\n",
		"a LIST (SUBSCRIBED) \"\" (\"*\" \"%\") RETURN (STATUS (MESSAGES))\r\nb GETMETADATA (DEPTH 1) \"\" (/private)\r\n",
		"a ENABLE QRESYNC UIDONLY\r\nb SELECT INBOX (QRESYNC (1 2 1:3))\r\nc UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)\r\n",
		"a NOTIFY SET STATUS (personal (MessageNew MessageExpunge))\r\nb CREATE x/y\r\nc RENAME x z\r\nd DELETE z\r\n",
		"\"a\x00{9999999999+}\r\n* \xff\xfe\r\na UID FETCH 0 ()\r\na LOGIN {99999}\r\n",
	} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	w := newWorld(f, settings{users: []string{"anna"}, limits: server.Limits{LoginTime: 2 * time.Second, IdleTime: 2 * time.Second}})
	f.Fuzz(func(t *testing.T, in []byte, login bool) {
		if bytes.Contains(bytes.ToUpper(in), []byte("COMPRESS")) {
			return // what follows is no text
		}
		nc := (&world{TB: t, net: w.net}).dial()
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		go func() {
			if login {
				io.WriteString(nc, "l LOGIN anna@"+domain+" "+password+"\r\n")
			}
			nc.Write(in)
			io.WriteString(nc, "\r\nDONE\r\nz LOGOUT\r\n")
			nc.(interface{ CloseWrite() error }).CloseWrite() // a literal may still be waited for
		}()
		s := &scanner{r: bufio.NewReaderSize(nc, 64<<10), utf8: true}
		for {
			_, err := s.response()
			var wrong *grammarError
			switch {
			case err == nil:
			case errors.As(err, &wrong) && !strings.Contains(err.Error(), "EOF"):
				t.Fatalf("%v\nafter %q\nlogin %v, input %q", err, s.seen.String(), login, in)
			case errors.Is(err, os.ErrDeadlineExceeded):
				t.Fatalf("the session does not end, input %q", in)
			default: // it did, maybe with octets of ours unread
				return
			}
		}
	})
}
