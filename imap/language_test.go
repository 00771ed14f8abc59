package imap

import (
	"strings"
	"testing"
)

// TestLanguage: RFC 5255 §3.
func TestLanguage(t *testing.T) {
	_, connect := start(t, newMemStore(), nil)
	c := connect()
	c.line()
	c.play(`
		C: a LANGUAGE
		S: * LANGUAGE (i-default en it ro)
		S: a OK LANGUAGE completed
		C: b LANGUAGE mul fr
		S: b NO Unsupported language
		C: c LANGUAGE fr-CA "it-CH"
		S: * LANGUAGE (it)
		S: c OK LANGUAGE completato
		C: d LOGIN ann wrong
		S: d NO [AUTHENTICATIONFAILED] Autenticazione non riuscita
		C: e LOGIN ann secret
		S~ e OK \[CAPABILITY .*\] LOGIN completato
		C: f LANGUAGE ro
		S: * LANGUAGE (ro)
		S: * NAMESPACE (("" "/")) NIL NIL
		S: f OK LANGUAGE efectuat
		C: g XYZZY
		S: g BAD Comandă necunoscută
		C: h STATUS INBOX MESSAGES
		S: h BAD Se aștepta '('
		C: i LANGUAGE de
		S: i NO Limbă nesuportată
		C: j LANGUAGE en-GB
		S: * LANGUAGE (en)
		S: * NAMESPACE (("" "/")) NIL NIL
		S: j OK LANGUAGE completed
		C: k LANGUAGE "default"
		S: * LANGUAGE (i-default)
		S: * NAMESPACE (("" "/")) NIL NIL
		S: k OK LANGUAGE completed
		C: l LOGOUT
		S: * BYE Logging out
		S: l OK LOGOUT completed`)
}

// TestNamespaceTranslation: RFC 5255 §3.4.
func TestNamespaceTranslation(t *testing.T) {
	for _, c := range []struct {
		l    language
		utf8 bool
		want string
	}{
		{byDefault, false, ""},
		{italian, false, ` "TRANSLATION" ("Altri utenti/")`},
		{romanian, false, ` "TRANSLATION" ("Al&Ahs-i utilizatori/")`},
		{romanian, true, ` "TRANSLATION" ("Alți utilizatori/")`},
	} {
		o := output{enabled: enabled{language: c.l, utf8: c.utf8}}
		o.translation("Other Users/")
		o.translation("")
		o.translation("ann/")
		if string(o.buf) != c.want {
			t.Errorf("%v: %q, want %q", c, o.buf, c.want)
		}
	}
}

// TestComparator: RFC 5255 §4.7.
func TestComparator(t *testing.T) {
	_, connect := start(t, newMemStore(), nil)
	login(t, connect).play(`
		C: a COMPARATOR
		S: * COMPARATOR i;unicode-casemap
		S: a OK COMPARATOR completed
		C: b COMPARATOR "cz;*" i;octet
		S: * COMPARATOR i;octet
		S: b OK COMPARATOR completed
		C: c COMPARATOR
		S: * COMPARATOR i;octet
		S: c OK COMPARATOR completed
		C: d COMPARATOR "i;*-casemap"
		S: * COMPARATOR i;unicode-casemap (i;unicode-casemap i;ascii-casemap)
		S: d OK COMPARATOR completed
		C: e COMPARATOR i;basic
		S: e NO [BADCOMPARATOR] No such comparator
		C: f COMPARATOR default
		S: * COMPARATOR i;unicode-casemap
		S: f OK COMPARATOR completed`)
}

// TestUnauthenticate: RFC 8437.
func TestUnauthenticate(t *testing.T) {
	store := five()
	_, connect := start(t, store, func(o *Options) { o.Limits.PerUser = 1 })
	c := connect()
	c.line()
	c.play(`
		C: a UNAUTHENTICATE
		S: a BAD Log in first`)
	for range 3 { // more than one session of the user is not allowed
		c.do("LOGIN ann secret")
		c.do("ENABLE IMAP4rev2 QRESYNC UTF8=ACCEPT UIDONLY")
		c.do("COMPARATOR i;octet")
		c.do("LANGUAGE it")
		if got := c.do("SELECT INBOX"); !strings.HasPrefix(got[len(got)-1], "x OK") {
			t.Fatal(got)
		}
		c.play(`
			C: a UNAUTHENTICATE
			S: a OK UNAUTHENTICATE completato
			C: b NOOP
			S: b OK NOOP completed
			C: c SELECT INBOX
			S: c BAD Log in first`)
	}
	c.play(`
		C: d LOGIN ann secret
		S~ d OK .*
		C: e COMPARATOR
		S: * COMPARATOR i;unicode-casemap
		S: e OK COMPARATOR completed
		C: f FETCH 1 UID
		S: f BAD Select a mailbox first
		C: g SELECT INBOX
		S~ \* FLAGS .*
		S~ \* OK \[PERM.*
		S: * 5 EXISTS
		S: * 0 RECENT
		S~ .*UNSEEN.*
		S~ .*UIDVALIDITY.*
		S~ .*UIDNEXT.*
		S~ .*MODSEQ.*
		S~ g OK .*
		C: h FETCH 1 FLAGS
		S: * 1 FETCH (FLAGS ())
		S: h OK FETCH completed`)
}
