package interop

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// TestGoIMAPOrder sorts and threads on the server.
func TestGoIMAPOrder(t *testing.T) {
	s, user := mine(t)
	c := open(t, s, user, nil)
	for i, m := range []struct{ from, subject, references, size string }{
		{"zoe", "Re: plan", "<o-1@client.test>", "x"},
		{"adam", "Plan", "", "xxxxxxxxxx"},
		{"mia", "Äpfel", "", "xxx"},
		{"bob", "[list] re: Plan (fwd)", "<o-1@client.test> <o-0@client.test>", "xx"},
	} {
		text := strings.Replace(message(fmt.Sprintf("o-%d", i), s.user(user), strings.Repeat(m.size, 10)+"\n"), "sender@client.test", m.from+"@client.test", 1)
		text = strings.Replace(text, fmt.Sprintf("Subject: interop o-%d", i), "Subject: "+m.subject, 1)
		text = strings.Replace(text, "10:00:00", []string{"12", "10", "13", "14"}[i]+":00:00", 1)
		if m.references != "" {
			text = "References: " + m.references + "\r\n" + text
		}
		add(t, c, "INBOX", text, &imap.AppendOptions{Time: time.Date(2026, 1, 1+i, 0, 0, 0, 0, time.UTC)})
	}
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	for _, q := range []struct {
		keys []imapclient.SortCriterion
		want []uint32
	}{
		{[]imapclient.SortCriterion{{Key: imapclient.SortKeyDate}}, []uint32{2, 1, 3, 4}},
		{[]imapclient.SortCriterion{{Key: imapclient.SortKeyFrom, Reverse: true}}, []uint32{1, 3, 4, 2}},
		{[]imapclient.SortCriterion{{Key: imapclient.SortKeySubject}, {Key: imapclient.SortKeyDate, Reverse: true}}, nil},
		{[]imapclient.SortCriterion{{Key: imapclient.SortKeyArrival, Reverse: true}}, []uint32{4, 3, 2, 1}},
	} {
		got, err := c.Sort(&imapclient.SortOptions{SearchCriteria: &imap.SearchCriteria{}, SortCriteria: q.keys}).Wait()
		if err != nil {
			t.Errorf("SORT %v: %v", q.keys, err)
		}
		if q.want == nil { // three of one base subject, the last first; Äpfel before or after all of them
			q.want = []uint32{3, 4, 1, 2}
			if len(got) == 4 && got[3] == 3 {
				q.want = []uint32{4, 1, 2, 3}
			}
		}
		if !slices.Equal(got, q.want) {
			t.Errorf("SORT %v: %v, want %v", q.keys, got, q.want)
		}
	}
	some, err := c.UIDSort(&imapclient.SortOptions{
		SearchCriteria: &imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: "Subject", Value: "PLAN"}}},
		SortCriteria:   []imapclient.SortCriterion{{Key: imapclient.SortKeySize}},
	}).Wait()
	if err != nil || !slices.Equal(some, []uint32{1, 4, 2}) {
		t.Errorf("UID SORT of some: %v, %v", some, err)
	}
	for _, a := range []imap.ThreadAlgorithm{imap.ThreadReferences, imap.ThreadOrderedSubject, "REFS"} {
		threads, err := c.Thread(&imapclient.ThreadOptions{Algorithm: a, SearchCriteria: &imap.SearchCriteria{}}).Wait()
		if err != nil {
			t.Errorf("THREAD %s: %v", a, err)
			continue
		}
		var first []uint32
		for _, thread := range threads {
			first = append(first, flat(thread)...)
		}
		if want := []uint32{2, 1, 4, 3}; len(threads) != 2 || !slices.Equal(first, want) && !slices.Equal(first, []uint32{3, 2, 1, 4}) {
			t.Errorf("THREAD %s: %+v, want two threads, %v", a, threads, want)
		}
	}
}

// flat lists a thread from its root down.
func flat(t imapclient.ThreadData) []uint32 {
	all := slices.Clone(t.Chain)
	for _, sub := range t.SubThreads {
		all = append(all, flat(sub)...)
	}
	return all
}

// TestGoIMAPMetadata keeps annotations, and shows the quota.
func TestGoIMAPMetadata(t *testing.T) {
	s, user := mine(t)
	s.postino(t, "", "user", "quota", s.user(user), "--storage", "10 MiB", "--messages", "100")
	put(t, s, user, "INBOX", "q", 3)
	c := open(t, s, user, nil)
	value := []byte("line 1\r\nline 2 \"quoted\" \\ ü")
	for _, box := range []string{"", "INBOX"} {
		if err := c.SetMetadata(box, map[string]*[]byte{"/private/comment": &value}).Wait(); err != nil {
			t.Fatalf("SETMETADATA %q: %v", box, err)
		}
		got, err := c.GetMetadata(box, []string{"/private/comment"}, nil).Wait()
		if err != nil || got.Entries["/private/comment"] == nil || string(*got.Entries["/private/comment"]) != string(value) {
			t.Errorf("GETMETADATA %q: %+v, %v", box, got, err)
		}
		if err := c.SetMetadata(box, map[string]*[]byte{"/private/comment": nil}).Wait(); err != nil {
			t.Errorf("removing the annotation of %q: %v", box, err)
		}
		if got, err := c.GetMetadata(box, []string{"/private/comment"}, nil).Wait(); err != nil || got.Entries["/private/comment"] != nil {
			t.Errorf("after its removal: %+v, %v", got, err)
		}
	}
	quota, err := c.GetQuotaRoot("INBOX").Wait()
	if err != nil || len(quota) != 1 {
		t.Fatalf("GETQUOTAROOT: %+v, %v", quota, err)
	}
	storage, messages := quota[0].Resources[imap.QuotaResourceStorage], quota[0].Resources[imap.QuotaResourceMessage]
	if storage.Limit != 10<<10 || storage.Usage < 1 || messages.Limit != 100 || messages.Usage != 3 {
		t.Errorf("quota: %+v", quota)
	}
	if err := c.SetQuota(quota[0].Root, map[imap.QuotaResourceType]int64{imap.QuotaResourceStorage: 1 << 30}).Wait(); err == nil {
		t.Error("a user raised his own quota")
	}
	big := strings.Repeat("x", 9<<20)
	add(t, c, "INBOX", message("big-0", s.user(user), big), nil)
	cmd := c.Append("INBOX", int64(len(big)), nil)
	cmd.Write([]byte(big))
	cmd.Close()
	if _, err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "OVERQUOTA") {
		t.Errorf("over the quota: %v", err)
	}
}

// TestGoIMAPUnauthenticate changes users on a connection (RFC 8437).
func TestGoIMAPUnauthenticate(t *testing.T) {
	s, first := mine(t)
	second := s.fresh(t)
	put(t, s, second, "INBOX", "second", 1)
	c := open(t, s, first, nil)
	if err := c.Unauthenticate().Wait(); err != nil {
		t.Fatal(err)
	}
	if err := c.Login(s.user(second), s.password).Wait(); err != nil {
		t.Fatal(err)
	}
	if box, err := c.Select("INBOX", nil).Wait(); err != nil || box.NumMessages != 1 {
		t.Errorf("the second user's INBOX: %+v, %v", box, err)
	}
}
