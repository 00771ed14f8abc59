package imap

import (
	"reflect"
	"slices"
	"testing"
)

func TestMailboxFilter(t *testing.T) {
	for in, want := range map[string]MailboxFilter{
		"selected":                         {Kind: FilterSelected},
		"SELECTED-DELAYED":                 {Kind: FilterSelectedDelayed},
		"inboxes":                          {Kind: FilterInboxes},
		"Personal":                         {Kind: FilterPersonal},
		"subscribed":                       {Kind: FilterSubscribed},
		"subtree inbox":                    {Kind: FilterSubtree, Names: []string{"INBOX"}},
		"subtree-one (a &AOk-/b)":          {Kind: FilterSubtreeOne, Names: []string{"a", "é/b"}},
		"mailboxes (\"a b\" \"c/\" \"*\")": {Kind: FilterMailboxes, Names: []string{"a b", "c", "*"}},
	} {
		got, err := parsing(in).mailboxFilter()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "all", "subtree", "subtree ()", "mailboxes (a", "mailboxes (a  b)", "mailboxes ../x"} {
		if f, err := parsing(in).mailboxFilter(); err == nil {
			t.Errorf("%q: %+v", in, f)
		}
	}
}

func TestSources(t *testing.T) {
	store := newMemStore("A", "A/B", "A/B/C", "AB", "Work")
	store.boxes["A/B"].attrs = AttrNoSelect
	store.subs["AB"], store.subs["Gone"] = true, true
	c := parsing("")
	c.sess, c.mailbox = &memSession{store: store}, "Work"
	for _, x := range []struct {
		filters []MailboxFilter
		want    []string
	}{
		{[]MailboxFilter{{Kind: FilterSelected}}, []string{"Work"}},
		{[]MailboxFilter{{Kind: FilterPersonal}}, []string{"A", "A/B/C", "AB", "INBOX", "Work"}},
		{[]MailboxFilter{{Kind: FilterSubscribed}, {Kind: FilterSelected}}, []string{"AB", "Work"}},
		{[]MailboxFilter{{Kind: FilterSubtree, Names: []string{"A"}}}, []string{"A", "A/B/C"}},
		{[]MailboxFilter{{Kind: FilterSubtreeOne, Names: []string{"A"}}}, []string{"A"}},
		{[]MailboxFilter{{Kind: FilterMailboxes, Names: []string{"X", "A", "A"}}}, []string{"A", "X"}},
	} {
		got, err := c.sources(x.filters)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, x.want) {
			t.Errorf("%+v: %v", x.filters, got)
		}
	}
	ns := &Namespaces{Other: []Namespace{{Prefix: "Other/"}}, Shared: []Namespace{{Prefix: "Shared/"}}}
	f := MailboxFilter{Kind: FilterPersonal}
	if f.lists(&Mailbox{Name: "Shared/x"}, ns) || f.lists(&Mailbox{Name: "Other/x"}, ns) || !f.lists(&Mailbox{Name: "Others"}, ns) {
		t.Error("personal")
	}
}
