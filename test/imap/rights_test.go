package imap

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// call is one way to name a mailbox in a command; NAME stands for it.
type call struct {
	text  string
	needs string // rights, "" l alone; "?" none is determined by the standards
}

// calls are the ways to call every command with the name of a mailbox; nil for those
// that take none. The rights are those of RFC 4314 §4 and RFC 5464 §3.
var calls = map[string][]call{
	"CAPABILITY": nil, "NOOP": nil, "LOGOUT": nil, "ID": nil, "LANGUAGE": nil, "STARTTLS": nil, "AUTHENTICATE": nil, "LOGIN": nil,
	"ENABLE": nil, "COMPARATOR": nil, "COMPRESS": nil, "UNAUTHENTICATE": nil, "NAMESPACE": nil, "IDLE": nil, "CHECK": nil,
	"CLOSE": nil, "UNSELECT": nil, "EXPUNGE": nil, "UID EXPUNGE": nil, "SEARCH": nil, "UID SEARCH": nil, "SORT": nil, "UID SORT": nil,
	"THREAD": nil, "UID THREAD": nil, "CANCELUPDATE": nil, "UIDBATCHES": nil, "FETCH": nil, "UID FETCH": nil, "STORE": nil,
	"UID STORE": nil, "UID": nil, "GETQUOTA": nil, "SETQUOTA": nil,

	"SELECT":       {{"SELECT NAME", "r"}, {"SELECT NAME (QRESYNC (1 1))", "?"}},
	"EXAMINE":      {{"EXAMINE NAME", "r"}},
	"CREATE":       {{"CREATE NAME", "?"}, {"CREATE NAME/below", "k"}},
	"DELETE":       {{"DELETE NAME", "x"}},
	"RENAME":       {{"RENAME NAME Elsewhere", "?"}, {"RENAME Source NAME", "?"}, {"RENAME Source NAME/below", "?"}},
	"SUBSCRIBE":    {{"SUBSCRIBE NAME", "?"}},
	"UNSUBSCRIBE":  {{"UNSUBSCRIBE NAME", "?"}},
	"LIST":         {{"LIST \"\" NAME", ""}, {"LIST (SUBSCRIBED) \"\" NAME RETURN (STATUS (MESSAGES) MYRIGHTS CHILDREN)", "?"}},
	"LSUB":         {{"LSUB \"\" NAME", "?"}},
	"STATUS":       {{"STATUS NAME (MESSAGES UIDNEXT)", "r"}},
	"APPEND":       {{"APPEND NAME {1+}\r\nx", "i"}, {"APPEND NAME CATENATE (URL \"/INBOX/;UID=1\")", "?"}, {"APPEND INBOX CATENATE (URL \"/PATH/;UID=1\")", "?"}},
	"GETACL":       {{"GETACL NAME", "a"}},
	"SETACL":       {{"SETACL NAME carl@b.example lr", "a"}},
	"DELETEACL":    {{"DELETEACL NAME carl@b.example", "a"}},
	"LISTRIGHTS":   {{"LISTRIGHTS NAME carl@b.example", "a"}},
	"MYRIGHTS":     {{"MYRIGHTS NAME", ""}},
	"GETQUOTAROOT": {{"GETQUOTAROOT NAME", "?"}},
	"GETMETADATA":  {{"GETMETADATA NAME /shared/comment", "r"}, {"GETMETADATA NAME /private/comment", "r"}},
	"SETMETADATA":  {{"SETMETADATA NAME (/shared/comment \"x\")", "?"}},
	"NOTIFY":       {{"NOTIFY SET STATUS (mailboxes NAME (MessageNew MessageExpunge))", "?"}},
	"ESEARCH":      {{"ESEARCH IN (mailboxes NAME) RETURN (COUNT) ALL", "?"}, {"ESEARCH IN (subtree NAME) ALL", "?"}},
	"COPY":         {{"COPY 1 NAME", "i"}},
	"UID COPY":     {{"UID COPY 1:* NAME", "i"}},
	"MOVE":         {{"MOVE 1 NAME", "i"}},
	"UID MOVE":     {{"UID MOVE 1:* NAME", "i"}},
	"REPLACE":      {{"REPLACE 1 NAME {1+}\r\nx", "i"}},
	"UID REPLACE":  {{"UID REPLACE * NAME {1+}\r\nx", "i"}},
}

// asked runs a command and gives all that comes back, with the name and what changes
// from one time to the next taken out.
func asked(c *client, text, name string) string {
	r := c.do(text)
	var out strings.Builder
	for _, u := range append(slices.Clone(r.all), r.response) {
		if u.kind == "EXISTS" || u.kind == "RECENT" || u.code == "CLOSED" {
			continue
		}
		raw := strings.ReplaceAll(u.raw, c.taggedWith(r), "TAG")
		raw = strings.ReplaceAll(raw, strings.ReplaceAll(name, " ", "%20"), "PATH")
		out.WriteString(strings.ReplaceAll(raw, name, "NAME"))
	}
	return out.String()
}

func (c *client) taggedWith(r *reply) string { return r.tag }

// TestAuthorisation (AU8): to every command a mailbox that the user may not see, one
// that was taken from him and one that was deleted are as one that never was; with l
// alone what needs more is NOPERM.
func TestAuthorisation(t *testing.T) {
	w := newWorld(t, settings{users: userNames})
	for _, name := range w.srv.Commands() {
		if _, known := calls[name]; !known {
			t.Errorf("command %s is not in the table of calls", name)
		}
	}
	for _, name := range w.srv.Commands() {
		for _, k := range calls[name] {
			t.Run(k.text, func(t *testing.T) { guard(t, func() { w.authorise(t, k, false) }) })
			t.Run(k.text+" beside", func(t *testing.T) { guard(t, func() { w.authorise(t, k, true) }) })
		}
	}
}

// authorise tries one call; beside tells whether the owner shares something else, so
// that the guest may know of the account.
func (w *world) authorise(t *testing.T, k call, beside bool) {
	owner, guest := connect("owner", w.dial()).login("anna"), connect("guest", w.dial()).login("bert")
	defer owner.nc.Close()
	defer guest.nc.Close()
	if beside {
		owner.must("CREATE Beside")
		owner.must("SETACL Beside bert@b.example lr")
		defer owner.do("DELETE Beside")
	}
	root := "Other Users/anna@b.example/"
	answers := map[string]string{}
	for _, x := range []struct{ kind, first, then string }{
		{"foreign", "", ""}, {"revoked", "lrswite", ""}, {"deleted", "lrswite", ""}, {"missing", "", ""}, {"nobody", "", ""},
		{"lookup", "l", "l"}, {"read", "lr", "lr"}, {"below", "", ""}, {"own", "", ""},
	} {
		name := root + "Box"
		switch x.kind {
		case "nobody":
			name = "Other Users/nobody@b.example/Box"
		case "own":
			name = "Box"
			guest.must("CREATE Box")
		case "missing":
		case "below": // there is a mailbox above it that one may not see
			owner.must("CREATE Box")
			name += "/sub"
		default:
			owner.must("CREATE Box")
			owner.must("APPEND Box " + literal("Subject: secret\r\n\r\n"))
			if x.first != "" {
				owner.must("SETACL Box bert@b.example " + x.first)
			}
			if x.first != x.then {
				guest.mustf(`STATUS "%s" (MESSAGES)`, name) // it was seen
				owner.must(`SETACL Box bert@b.example ""`)
			}
			if x.kind == "deleted" {
				owner.must("DELETE Box")
			}
		}
		guest.do("CREATE Source")
		guest.must("APPEND INBOX {1+}\r\nx")
		if strings.Contains(k.text, "QRESYNC") && !guest.qresync {
			guest.must("ENABLE QRESYNC")
		}
		guest.must("SELECT INBOX")
		text := strings.ReplaceAll(k.text, "PATH", strings.ReplaceAll(name, " ", "%20"))
		text = strings.ReplaceAll(text, "NAME/below", `"`+name+`/below"`)
		answers[x.kind] = asked(guest, strings.ReplaceAll(text, "NAME", `"`+name+`"`), name)
		if strings.HasPrefix(k.text, "NOTIFY") {
			guest.must("NOTIFY NONE")
		}
		// All as before.
		guest.must("SELECT INBOX")
		guest.must("UID STORE 1:* +FLAGS.SILENT (\\Deleted)")
		guest.must("EXPUNGE")
		for _, c := range []*client{owner, guest} {
			for _, m := range []string{"Box/below", "Box/sub", "Box", "Source", "Elsewhere"} {
				c.do("DELETE " + m)
			}
		}
		guest.do(`UNSUBSCRIBE "` + name + `"`)
	}
	for _, kind := range []string{"foreign", "revoked", "deleted", "nobody", "below"} {
		if answers[kind] != answers["missing"] && !(beside && kind == "nobody") {
			t.Errorf("%s:\n%s\nmissing:\n%s", kind, answers[kind], answers["missing"])
		}
	}
	if k.needs == "?" {
		return
	}
	for kind, rights := range map[string]string{"lookup": "l", "read": "lr"} {
		want := "TAG NO [NOPERM]"
		if k.needs == "" || strings.Contains(rights, k.needs) {
			want = "TAG OK"
		}
		got := answers[kind]
		if last := got[strings.LastIndex(strings.TrimSuffix(got, "\r\n"), "\n")+1:]; !strings.HasPrefix(last, want) {
			t.Errorf("%s: %q, want %s", kind, got, want)
		}
	}
	if !strings.Contains(answers["own"], "TAG OK") {
		t.Errorf("own: %q", answers["own"])
	}
}

// TestTakenWhileOpen (AU8): what follows in a session whose mailbox is taken away is
// the same when it was deleted and when the right was revoked.
func TestTakenWhileOpen(t *testing.T) {
	for _, cmd := range []string{"FETCH 1 (FLAGS BODY[])", "UID FETCH 1 BODY.PEEK[]", "STORE 1 +FLAGS (\\Seen)", "SEARCH ALL", "UID SEARCH TEXT secret", "UID SORT (ARRIVAL) UTF-8 ALL", "UID THREAD REFERENCES UTF-8 ALL",
		"COPY 1 INBOX", "UID MOVE 1 INBOX", "EXPUNGE", "UID EXPUNGE 1", "NOOP", "CHECK", "UIDBATCHES 500", "CLOSE", "UNSELECT", "REPLACE 1 INBOX {1+}\r\nx", "SELECT INBOX"} {
		t.Run(cmd, func(t *testing.T) {
			w := newWorld(t, settings{users: userNames})
			answers := map[string]string{}
			for _, how := range []string{"SETACL Box bert@b.example \"\"", "DELETE Box"} {
				guard(t, func() {
					owner, guest := connect("owner", w.dial()).login("anna"), connect("guest", w.dial()).login("bert")
					owner.must("CREATE Box")
					owner.must("SETACL Box bert@b.example lrswite")
					owner.must("APPEND Box " + literal("Subject: secret\r\n\r\n"))
					guest.must(`SELECT "Other Users/anna@b.example/Box"`)
					owner.must(how)
					guest.over = true // BYE is an answer
					func() {
						defer func() {
							if p := recover(); p != nil {
								if b, ok := p.(broken); !ok || !strings.Contains(b.text, "read: EOF") {
									panic(p)
								}
							}
						}()
						answers[how] = asked(guest, cmd, "Box")
					}()
					if log := guest.log.String(); strings.Contains(log[strings.Index(log, "] SELECT completed"):], "secret\r\n") {
						t.Errorf("it is read after all: %s", tail([]byte(log), 500))
					}
					owner.do("DELETE Box")
					answers[how] += fmt.Sprint("BYE ", strings.Contains(guest.log.String(), "* BYE"))
				})
			}
			a, b := answers["SETACL Box bert@b.example \"\""], answers["DELETE Box"]
			if a != b || strings.Contains(a, "TRYCREATE") {
				t.Errorf("revoked:\n%s\ndeleted:\n%s", a, b)
			}
		})
	}
}
