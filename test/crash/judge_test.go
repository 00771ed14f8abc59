package crash

import (
	"strings"
	"testing"
)

// The judge must see every kind of damage, or its silence says nothing.
func TestJudge(t *testing.T) {
	shown := func() *found {
		return &found{
			folders: map[string]*folder{
				"INBOX": {validity: 1, next: 9, mails: map[uint32]mail{3: {"A1s", `\Seen`}, 5: {"L2s", ""}}},
				"p1":    {validity: 2, next: 4, modseq: 15, mails: map[uint32]mail{2: {"A1s", ""}}},
			},
			subs: map[string]bool{"INBOX": true}, modseq: 20,
		}
	}
	m := firstModel(shown())
	sent := map[string]bool{"L2s": true, "L7s": true, "L8s": true}
	letters := []string{"L2s", "L7s"}
	arrive := func(f *found) { f.folders["INBOX"].mails[9] = mail{"L7s", ""}; f.folders["INBOX"].next = 12 }
	for name, c := range map[string]struct {
		op     *operation // under way
		damage func(*found)
		want   string
	}{
		"nothing":             {nil, func(*found) {}, ""},
		"unacknowledged":      {nil, func(f *found) { f.folders["INBOX"].mails[10] = mail{"L8s", ""} }, ""},
		"lost letter":         {nil, func(f *found) { delete(f.folders["INBOX"].mails, 9) }, "missing"},
		"letter twice":        {nil, func(f *found) { f.folders["INBOX"].mails[10] = mail{"L7s", ""} }, "twice"},
		"expunged and back":   {nil, func(f *found) { f.folders["INBOX"].mails[10] = mail{"L2s", ""} }, "duplicated"},
		"never sent":          {nil, func(f *found) { f.folders["INBOX"].mails[10] = mail{"L9s", ""} }, "should not"},
		"lost message":        {nil, func(f *found) { delete(f.folders["p1"].mails, 2) }, "should be"},
		"lost flag":           {nil, func(f *found) { f.folders["INBOX"].mails[3] = mail{"A1s", ""} }, "should be"},
		"lost folder":         {nil, func(f *found) { delete(f.folders, "p1") }, "lost"},
		"folder is back":      {nil, func(f *found) { f.folders["p2"] = &folder{validity: 3} }, "back"},
		"lost subscription":   {nil, func(f *found) { f.subs = nil }, "subscriptions"},
		"UID used again":      {nil, func(f *found) { f.folders["INBOX"].mails[4] = mail{"A9s", ""} }, "again"},
		"UIDNEXT":             {nil, func(f *found) { f.folders["p1"].next = 3 }, "UIDNEXT"},
		"UIDVALIDITY":         {nil, func(f *found) { f.folders["p1"].validity = 5 }, "UIDVALIDITY"},
		"MODSEQ":              {nil, func(f *found) { f.modseq = 19 }, "MODSEQ"},
		"HIGHESTMODSEQ":       {nil, func(f *found) { f.folders["p1"].modseq = 14 }, "HIGHESTMODSEQ"},
		"half a move":         {&operation{kind: "move", box: "p1", uids: []uint32{2}, to: "INBOX"}, func(f *found) { f.folders["p1"].mails = nil }, "lacks"},
		"a whole move":        {&operation{kind: "move", box: "p1", uids: []uint32{2}, to: "INBOX"}, func(f *found) { f.folders["p1"].mails = nil; f.folders["INBOX"].mails[11] = mail{"A1s", ""} }, ""},
		"reused UIDVALIDITY":  {&operation{kind: "create", box: "p2"}, func(f *found) { f.folders["p2"] = &folder{validity: 2, next: 1} }, "UIDVALIDITY"},
		"half a rename":       {&operation{kind: "rename", box: "p1", to: "p2"}, func(f *found) { f.folders["p2"] = f.folders["p1"] }, "back"},
		"INBOX renamed":       {&operation{kind: "rename", box: "INBOX", to: "p2"}, renameInbox, ""},
		"a half append":       {&operation{kind: "append", box: "p1", tags: []string{"A8s", "A9s"}}, func(f *found) { f.folders["p1"].mails[4] = mail{"A8s", ""}; f.folders["p1"].next = 5 }, "lacks"},
		"a whole append":      {&operation{kind: "append", box: "p1", tags: []string{"A8s"}}, func(f *found) { f.folders["p1"].mails[4] = mail{"A8s", ""}; f.folders["p1"].next = 5 }, ""},
		"append at a used ID": {&operation{kind: "append", box: "p1", tags: []string{"A8s"}}, func(f *found) { f.folders["p1"].mails[3] = mail{"A8s", ""} }, "again"},
	} {
		got := shown()
		arrive(got)
		c.damage(got)
		judged := m
		if c.op != nil {
			judged = m.apply(c.op, nil)
		}
		missing, problems := judged.judge(got, letters, sent)
		text := strings.Join(problems, "; ")
		if len(missing) > 0 {
			text += " missing"
		}
		if c.want == "" && text != "" || !strings.Contains(text, c.want) {
			t.Errorf("%s: %q, want %q", name, text, c.want)
		}
	}
	sums := &digests{}
	for _, tag := range []string{"A1s", "L1l", "A1e"} {
		body := textOf(tag)
		if tag[0] == 'L' {
			body = append([]byte("Return-Path: <x@a.example>\r\n"), body...)
		}
		if what := sums.check(tag, body); what != "" {
			t.Error(what)
		}
		body[len(body)/2] ^= 1
		if sums.check(tag, body) == "" || sums.check(tag, body[:len(body)-1]) == "" {
			t.Error("a damaged body passes")
		}
	}
}

func renameInbox(f *found) {
	f.folders["p2"] = &folder{validity: 7, next: 9, mails: map[uint32]mail{1: {"A1s", `\Seen`}, 2: {"L2s", ""}, 3: {"L7s", ""}}}
	f.folders["INBOX"].mails = nil
}
