package imap

import (
	"context"
	"strings"
	"testing"
)

// Notify of the store in memory knows the selected mailbox alone.
func (s *memSession) Notify(_ context.Context, req *NotifyRequest) (*NotifyData, error) {
	if req != nil && req.Status {
		return &NotifyData{Status: []string{"INBOX", "Work"}}, nil
	}
	return &NotifyData{}, nil
}

// TestNotify: RFC 5465, the selected mailbox. Changes are told between commands, also
// to a session that is parked.
func TestNotify(t *testing.T) {
	store := five()
	s, connect := startParking(t, store, nil)
	c, other := login(t, connect), login(t, connect)
	selectInbox(c)
	selectInbox(other)
	c.play(`
		C: a NOTIFY SET STATUS (selected (MessageNew (UID BODY.PEEK[HEADER.FIELDS (Subject)]) MessageExpunge FlagChange)) (mailboxes Work (MessageNew MessageExpunge))
		S~ \* STATUS "?Work"? \(MESSAGES 0 UIDNEXT 1 UIDVALIDITY 102 UNSEEN 0 HIGHESTMODSEQ 1\)
		S: a OK NOTIFY completed`)
	for range 3 {
		waitParked(t, s, 2)
		other.do(`STORE 1 +FLAGS.SILENT (\Deleted)`)
		c.play(`S~ \* 1 FETCH \(UID [0-9]+ FLAGS \(.Deleted\)\)`)
		other.do("EXPUNGE")
		c.play(`S: * 1 EXPUNGE`)
	}
	store.put("INBOX", mail1, 0)
	c.play(`
		S: * 3 EXISTS
		S: * 3 FETCH (UID 6 BODY[HEADER.FIELDS (Subject)] {16}
		S: Subject: one
		S:
		S: )
		C: b NOTIFY SET (selected-delayed (MessageNew MessageExpunge))
		S: b OK NOTIFY completed`)
	other.do("NOOP")
	other.do(`STORE 1 +FLAGS.SILENT (\Deleted)`)
	other.do("EXPUNGE")
	store.put("INBOX", mail1, 0)
	c.play(`
		S: * 4 EXISTS
		C: c NOOP
		S: * 1 EXPUNGE
		S: c OK NOOP completed
		C: d NOTIFY NONE
		S: d OK NOTIFY completed`)
	other.do(`STORE 2 +FLAGS.SILENT (\Deleted)`)
	c.play(`
		C: e NOOP
		S: e OK NOOP completed
		C: f STORE 1 +FLAGS (\Seen)
		S: * 1 FETCH (FLAGS (\Seen))
		S: f OK STORE completed
		C: g EXPUNGE
		S: * 2 EXPUNGE
		S: g OK EXPUNGE completed`)
}

// TestNotifyRefused: RFC 5465 §3.1, §5 and §6.1.
func TestNotifyRefused(t *testing.T) {
	_, connect := start(t, newMemStore(), func(o *Options) { o.Limits.Errors, o.Limits.Items = 100, 5 })
	c := login(t, connect)
	for _, x := range []struct{ args, want string }{
		{"", "BAD"},
		{"SOME", "BAD Expected SET or NONE"},
		{"NONE x", "BAD"},
		{"SET", "BAD"},
		{"SET STATUS", "BAD"},
		{"SET (selected MessageNew)", "BAD Expected an event"},
		{"SET (selected (MessageNew))", "BAD Events of messages come together"},
		{"SET (selected (FlagChange))", "BAD Events of messages come together"},
		{"SET (selected (MailboxName))", "BAD This event is not one of the selected mailbox"},
		{"SET (selected NONE) (selected-delayed NONE)", "BAD Selected mailbox named twice"},
		{"SET (personal (MessageNew (UID) MessageExpunge))", "BAD Data items are for the selected mailbox only"},
		{"SET (selected (MessageNew () MessageExpunge))", "BAD Expected a data item"},
		{"SET (subtree-one x (MailboxName))", "BAD Unknown mailbox filter"},
		{"SET (personal (AnnotationChange))", "NO [BADEVENT (MessageNew "},
		{"SET (mailboxes (a b c d e) (MailboxName))", "NO [NOTIFICATIONOVERFLOW] "},
		{"SET (personal (MailboxName)) (inboxes NONE) (subscribed (SubscriptionChange)) (subtree (a b) NONE)", "NO [NOTIFICATIONOVERFLOW] "},
		{"SET status (SELECTED NONE)", "OK NOTIFY completed"},
		{"SET (mailboxes a (mailboxname subscriptionchange MAILBOXMETADATACHANGE ServerMetadataChange))", "OK NOTIFY completed"},
	} {
		got := c.do("NOTIFY " + x.args)
		if last := got[len(got)-1]; !strings.HasPrefix(last, "x "+x.want) {
			t.Errorf("%s: %q, want %q", x.args, last, x.want)
		}
	}
}

// FuzzNotify: what passes keeps the rules of RFC 5465 §5.
func FuzzNotify(f *testing.F) {
	for _, s := range []string{" SET STATUS (selected (MessageNew (uid flags) MessageExpunge)) (subtree (a b) (MailboxName))", " NONE", " SET (inboxes NONE)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		c := parsing(in)
		c.state = authenticated
		req, n, err := c.notifyArguments()
		if err != nil {
			return
		}
		for _, g := range append(req.Groups, NotifyGroup{Events: n.events}) {
			if e := g.Events & messageEvents; e != 0 && e&(EventMessageNew|EventMessageExpunge) != EventMessageNew|EventMessageExpunge {
				t.Fatalf("%q gave %+v", in, g)
			}
		}
		if n.fetch != nil && n.events&EventMessageNew == 0 {
			t.Fatalf("%q fetches what is not told", in)
		}
	})
}
