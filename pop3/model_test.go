package pop3

import (
	"fmt"
	"strings"
	"testing"
)

// model is what POP3 is, as simply as it can be said: the states and what each command
// does in them (RFC 1939 §3 to §6).
type model struct {
	user    bool // USER came
	in, out bool // logged in; ended
	sizes   []int
	deleted []bool
	seen    []bool
	bad     int
}

// do returns the beginning of the reply's first line; "" is the end.
func (m *model) do(cmd string) string {
	if m.out {
		return ""
	}
	reply, bad := m.reply(cmd)
	if bad {
		if m.bad++; m.bad >= map[bool]int{false: 3, true: 10}[m.in] {
			m.out = true
		}
	}
	return reply
}

func (m *model) reply(cmd string) (string, bool) {
	verb, arg, _ := strings.Cut(cmd, " ")
	switch verb {
	case "CAPA", "LANG":
		return "+OK", false
	case "QUIT":
		m.out = true
		return "+OK", false
	case "USER", "PASS", "AUTH", "STLS", "UTF8":
		if m.in {
			return "-ERR Already", true
		}
	case "STAT", "LIST", "UIDL", "RETR", "TOP", "DELE", "RSET", "NOOP":
		if !m.in {
			return "-ERR Log in", true
		}
	default:
		return "-ERR Unknown", true
	}
	n := 0
	fmt.Sscan(arg, &n)
	count, octets := 0, 0
	for i, s := range m.sizes {
		if !m.deleted[i] {
			count, octets = count+1, octets+s
		}
	}
	switch verb {
	case "USER":
		m.user = true
		return "+OK", false
	case "PASS":
		if !m.user {
			return "-ERR USER", true
		}
		m.user = false
		if arg != memPassword {
			return "-ERR [AUTH]", false
		}
		m.in, m.bad = true, 0
		return "+OK", false
	case "STLS":
		return "-ERR Not offered", true
	case "STAT":
		return fmt.Sprintf("+OK %d %d", count, octets), false
	case "RSET":
		clear(m.deleted)
		return "+OK", false
	case "LIST", "UIDL":
		if arg == "" {
			return "+OK", false
		}
	case "NOOP", "UTF8", "AUTH":
		return "+OK", false
	}
	switch {
	case n == 0 || n > len(m.sizes):
		return "-ERR No such", false
	case m.deleted[n-1]:
		return "-ERR This message", false
	case verb == "RETR":
		m.seen[n-1] = true
	case verb == "DELE":
		m.deleted[n-1] = true
	}
	return "+OK", false
}

// state is what the store has afterwards.
func (m *model) state(quit bool) (s string) {
	for i := range m.sizes {
		switch {
		case quit && m.deleted[i]:
		case quit && m.seen[i]:
			s += fmt.Sprintf("%d*", i+1)
		default:
			s += fmt.Sprint(i + 1)
		}
	}
	return s
}

var multiline = map[string]bool{"CAPA": true, "LANG": true, "RETR": true, "TOP": true, "LIST": true, "UIDL": true, "AUTH": true}

// TestAllSequences compares the server with the model over all sequences of up to
// three commands, before and after a login, with and without QUIT behind.
func TestAllSequences(t *testing.T) {
	commands := []string{"USER ann", "PASS sesame", "PASS wrong", "AUTH", "CAPA", "LANG", "STLS", "UTF8", "STAT", "LIST", "LIST 2", "UIDL", "UIDL 1",
		"RETR 1", "RETR 3", "TOP 2 0", "DELE 1", "DELE 2", "RSET", "NOOP", "QUIT", "XYZ"}
	bodies := []string{"A: 1\r\n\r\n.\r\n", "B: 2\r\n\r\n"}
	var run func(seq []string, depth int)
	try := func(seq []string) {
		for _, quit := range []bool{false, true} {
			if quit {
				seq = append(seq[:len(seq):len(seq)], "QUIT")
			}
			store := newMemStore(bodies...)
			m := &model{sizes: []int{len(bodies[0]), len(bodies[1])}, deleted: make([]bool, 2), seen: make([]bool, 2)}
			out := strings.TrimPrefix(talk(store, nil, strings.Join(seq, "\r\n")+"\r\n"), "+OK POP3 ready\r\n")
			ended := false
			for _, cmd := range seq {
				in := m.in
				want := m.do(cmd)
				var line string
				line, out, _ = strings.Cut(out, "\r\n")
				if !strings.HasPrefix(line, want) || want == "" && line != "" && line != "-ERR Too many errors" {
					t.Fatalf("%q: %s got %q, want %q", seq, cmd, line, want)
				}
				verb, arg, _ := strings.Cut(cmd, " ")
				if multiline[verb] && strings.HasPrefix(line, "+OK") && !(arg != "" && (verb == "LIST" || verb == "UIDL")) {
					_, rest, ok := strings.Cut("\r\n"+out, "\r\n.\r\n")
					if !ok {
						t.Fatalf("%q: no end of %s in %q", seq, cmd, out)
					}
					out = rest
				}
				if verb == "QUIT" && in && want != "" {
					ended = true
				}
			}
			if got, want := store.state(), m.state(ended); got != want {
				t.Fatalf("%q: the store has %q, want %q", seq, got, want)
			}
			if store.locked {
				t.Fatalf("%q: still locked", seq)
			}
		}
	}
	run = func(seq []string, depth int) {
		try(seq)
		if depth == 0 {
			return
		}
		for _, c := range commands {
			run(append(seq[:len(seq):len(seq)], c), depth-1)
		}
	}
	run(nil, 3)
	run([]string{"USER ann", "PASS sesame"}, 3)
}
