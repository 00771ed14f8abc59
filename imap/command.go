package imap

import (
	"maps"
	"slices"

	"github.com/postino-mail/postino/imap/internal/wire"
)

// command is one entry of the command table.
type command struct {
	name   string
	states state
	// numbered commands use sequence numbers, so no EXPUNGE may be sent while they
	// run without UID (RFC 9051 §7.5.1).
	numbered bool
	// message commands take whole messages as literals.
	message bool
	// removes: its answer are messages that leave the selected mailbox.
	removes bool
	run     func(c *conn) error
}

// commandTable is every command by name: RFC 9051 §6, and CHECK and LSUB of
// RFC 3501 §6.
func commandTable() map[string]*command {
	table := map[string]*command{}
	for _, c := range []command{
		{name: "CAPABILITY", states: anyState, run: (*conn).capability},
		{name: "NOOP", states: anyState, run: (*conn).noop},
		{name: "LOGOUT", states: anyState, run: (*conn).logout},
		{name: "ID", states: anyState, run: (*conn).id},
		{name: "LANGUAGE", states: anyState, run: (*conn).languageCommand},

		{name: "STARTTLS", states: notAuthenticated, run: (*conn).startTLS},
		{name: "AUTHENTICATE", states: notAuthenticated, run: (*conn).authenticate},
		{name: "LOGIN", states: notAuthenticated, run: (*conn).login},

		{name: "ENABLE", states: loggedIn, run: (*conn).enable},
		{name: "COMPARATOR", states: loggedIn, run: (*conn).comparator},
		{name: "COMPRESS", states: loggedIn, run: (*conn).compress},
		{name: "UNAUTHENTICATE", states: loggedIn, run: (*conn).unauthenticate},
		{name: "SELECT", states: loggedIn, run: (*conn).selectMailbox},
		{name: "EXAMINE", states: loggedIn, run: (*conn).examine},
		{name: "CREATE", states: loggedIn, run: (*conn).create},
		{name: "DELETE", states: loggedIn, run: (*conn).delete},
		{name: "RENAME", states: loggedIn, run: (*conn).rename},
		{name: "SUBSCRIBE", states: loggedIn, run: (*conn).subscribe},
		{name: "UNSUBSCRIBE", states: loggedIn, run: (*conn).unsubscribe},
		{name: "LIST", states: loggedIn, run: (*conn).list},
		{name: "LSUB", states: loggedIn, run: (*conn).lsub},
		{name: "NAMESPACE", states: loggedIn, run: (*conn).namespace},
		{name: "STATUS", states: loggedIn, run: (*conn).status},
		{name: "APPEND", states: loggedIn, message: true, run: (*conn).append},
		{name: "GETACL", states: loggedIn, run: (*conn).getACL},
		{name: "SETACL", states: loggedIn, run: (*conn).setACL},
		{name: "DELETEACL", states: loggedIn, run: (*conn).deleteACL},
		{name: "LISTRIGHTS", states: loggedIn, run: (*conn).listRights},
		{name: "MYRIGHTS", states: loggedIn, run: (*conn).myRights},
		{name: "GETQUOTA", states: loggedIn, run: (*conn).getQuota},
		{name: "GETQUOTAROOT", states: loggedIn, run: (*conn).getQuotaRoot},
		{name: "SETQUOTA", states: loggedIn, run: (*conn).setQuota},
		{name: "GETMETADATA", states: loggedIn, run: (*conn).getMetadata},
		{name: "SETMETADATA", states: loggedIn, run: (*conn).setMetadata},
		{name: "NOTIFY", states: loggedIn, run: (*conn).notify},
		{name: "IDLE", states: loggedIn, run: (*conn).idle},

		{name: "CHECK", states: selected, run: (*conn).noop},
		{name: "CLOSE", states: selected, run: (*conn).close},
		{name: "UNSELECT", states: selected, run: (*conn).unselect},
		{name: "EXPUNGE", states: selected, removes: true, run: (*conn).expunge},
		{name: "SEARCH", states: selected, numbered: true, run: (*conn).search},
		{name: "SORT", states: selected, numbered: true, run: (*conn).sort},
		{name: "THREAD", states: selected, numbered: true, run: (*conn).thread},
		{name: "ESEARCH", states: loggedIn, numbered: true, run: (*conn).multiSearch},
		{name: "CANCELUPDATE", states: selected, run: (*conn).cancelUpdate},
		{name: "UIDBATCHES", states: selected, run: (*conn).uidBatches},
		{name: "FETCH", states: selected, numbered: true, run: (*conn).fetch},
		{name: "STORE", states: selected, numbered: true, run: (*conn).store},
		{name: "REPLACE", states: selected, message: true, removes: true, run: (*conn).replace},
		{name: "COPY", states: selected, run: (*conn).copy},
		{name: "MOVE", states: selected, removes: true, run: (*conn).move},
		{name: "UID", states: selected, run: (*conn).uidCommand},
	} {
		table[c.name] = &c
	}
	return table
}

// uidNames are the commands that UID can precede (RFC 9051 §6.4.9).
var uidNames = map[string]string{
	"COPY": "UID COPY", "MOVE": "UID MOVE", "FETCH": "UID FETCH", "SEARCH": "UID SEARCH",
	"SORT": "UID SORT", "THREAD": "UID THREAD",
	"STORE": "UID STORE", "EXPUNGE": "UID EXPUNGE", "REPLACE": "UID REPLACE",
}

// Commands lists the names of all commands that the server knows, in capitals and
// in order, those after UID too: for tests that have to try every one (AU8).
func (s *Server) Commands() []string {
	names := slices.Collect(maps.Values(uidNames))
	for name := range s.commands {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (c *conn) uidCommand() error {
	if err := c.p.SP(); err != nil {
		return err
	}
	label, err := c.p.Label()
	if err != nil {
		return err
	}
	name, ok := uidNames[string(label)]
	if !ok {
		return syntax("Unknown UID command")
	}
	c.cmd, c.name, c.uid = c.srv.commands[string(label)], name, true
	return c.cmd.run(c)
}

func syntax(text string) error { return &wire.SyntaxError{Text: text} }

// end reads the end of the command.
func (c *conn) end() error { return c.p.End() }

// parenthesised reads a list whose items item reads, separated by one
// space; it may be empty. There is no recursion in it: item reads no nested list of
// unknown depth.
func (c *conn) parenthesised(item func() error) error {
	return parenthesised(&c.p, c.lim.Items, item)
}

func parenthesised(p *wire.Parser, limit int, item func() error) error {
	if err := p.Byte('('); err != nil {
		return err
	}
	if p.Try(')') {
		return nil
	}
	for n := 0; ; n++ {
		if n == limit {
			return syntax("Too many items")
		}
		if err := item(); err != nil {
			return err
		}
		if p.Try(')') {
			return nil
		}
		if err := p.SP(); err != nil {
			return err
		}
	}
}

// numSet reads a sequence-set, or "$" (RFC 9051 §6.4.4.1).
func (c *conn) numSet() (NumSet, error) {
	if c.p.Try('$') {
		return NumSet{UID: true, Ranges: c.saved}, nil
	}
	ranges, n := parseRanges(c.p.Rest(), c.lim.Ranges)
	if n == 0 {
		return NumSet{}, syntax("Expected a sequence set")
	}
	c.p.Advance(n)
	return NumSet{UID: c.uid, Ranges: ranges}, nil
}

// spNumSet reads a space and a sequence-set.
func (c *conn) spNumSet() (NumSet, error) {
	if err := c.p.SP(); err != nil {
		return NumSet{}, err
	}
	return c.numSet()
}

// flagList reads a flag-list, or with bare set also flags without parentheses
// (RFC 9051 §9 store-att-flags). \Recent is ignored: clients copy it along.
func (c *conn) flagList(bare bool) (f Flag, keywords []string, err error) {
	item := func() error {
		if c.p.Try('\\') {
			name, err := c.p.Atom()
			if err != nil {
				return err
			}
			bit := systemFlag(name)
			if bit == 0 {
				return syntax("Unknown system flag")
			}
			f |= bit &^ Recent
			return nil
		}
		a, err := c.p.Atom()
		if err == nil && len(a) > 255 {
			err = syntax("Keyword too long")
		}
		if err == nil {
			keywords = append(keywords, string(a))
		}
		return err
	}
	if !bare || c.p.Peek() == '(' {
		err = c.parenthesised(item)
		return f, keywords, err
	}
	for n := 0; n < c.lim.Items; n++ {
		if err = item(); err != nil || !c.p.Try(' ') {
			return f, keywords, err
		}
	}
	return f, keywords, syntax("Too many flags")
}

// systemFlag returns the bit of a system flag by its name without backslash.
func systemFlag(name []byte) Flag {
	for i, s := range flagNames {
		if equalFold(name, s[1:]) {
			return 1 << i
		}
	}
	return 0
}

// equalFold compares ASCII without regard to case.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range b {
		x, y := b[i], s[i]
		if x != y && (x^y != 0x20 || x|0x20 < 'a' || x|0x20 > 'z') {
			return false
		}
	}
	return true
}

// setCode sets the response code of the tagged OK from what print prints.
func (c *conn) setCode(print func(o *output)) {
	o := output{buf: append(c.code[:0], '['), enabled: c.out.enabled}
	print(&o)
	c.code = append(o.buf, "] "...)
}
