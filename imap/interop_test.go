package imap

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// TestForeignClient runs a client that others wrote against the server, in clear, then
// with IMAP4rev2 enabled.
func TestForeignClient(t *testing.T) {
	for _, rev2 := range []bool{false, true} {
		store := newMemStore("Archive/2026", "日本語")
		_, connect := start(t, store, nil)
		told := make(chan uint32, 10)
		c := imapclient.New(connect().nc, &imapclient.Options{UnilateralDataHandler: &imapclient.UnilateralDataHandler{
			Mailbox: func(d *imapclient.UnilateralDataMailbox) {
				if d.NumMessages != nil {
					told <- *d.NumMessages
				}
			},
		}})
		ok := func(what string, err error) {
			t.Helper()
			if err != nil {
				t.Fatalf("rev2 %v: %s: %v", rev2, what, err)
			}
		}
		ok("login", c.Login("ann", "secret").Wait())
		if rev2 {
			_, err := c.Enable(goimap.CapIMAP4rev2).Wait()
			ok("enable", err)
		}
		list, err := c.List("", "*", &goimap.ListOptions{ReturnStatus: &goimap.StatusOptions{NumMessages: true}}).Collect()
		ok("list", err)
		var names []string
		for _, l := range list {
			names = append(names, l.Mailbox)
		}
		if want := []string{"INBOX", "Archive/2026", "日本語"}; !slices.Equal(names, want) {
			t.Errorf("rev2 %v: list %q, want %q", rev2, names, want)
		}
		ok("create", c.Create("Caffè", nil).Wait())
		app := c.Append("INBOX", int64(len(mail1)), &goimap.AppendOptions{Flags: []goimap.Flag{goimap.FlagSeen}, Time: time.Unix(1.7e9, 0)})
		io.WriteString(app, mail1)
		ok("append", app.Close())
		appended, err := app.Wait()
		ok("append", err)
		if appended.UID != 1 || appended.UIDValidity != 101 {
			t.Errorf("append: %+v", appended)
		}
		sel, err := c.Select("INBOX", nil).Wait()
		ok("select", err)
		if sel.NumMessages != 1 || sel.UIDNext != 2 || sel.UIDValidity != 101 {
			t.Errorf("select: %+v", sel)
		}
		section := &goimap.FetchItemBodySection{Specifier: goimap.PartSpecifierHeader, HeaderFields: []string{"Subject"}}
		msgs, err := c.Fetch(goimap.UIDSetNum(1), &goimap.FetchOptions{UID: true, Flags: true, InternalDate: true, RFC822Size: true,
			BodySection: []*goimap.FetchItemBodySection{section, {Peek: true}}, BinarySection: []*goimap.FetchItemBinarySection{{Part: []int{1}}}}).Collect()
		ok("fetch", err)
		if len(msgs) != 1 || msgs[0].RFC822Size != int64(len(mail1)) || !msgs[0].InternalDate.Equal(time.Unix(1.7e9, 0)) ||
			string(msgs[0].FindBodySection(section)) != "Subject: one\r\n\r\n" || string(msgs[0].FindBodySection(&goimap.FetchItemBodySection{})) != mail1 {
			t.Errorf("fetch: %+v", msgs)
		}
		found, err := c.UIDSearch(&goimap.SearchCriteria{Body: []string{"first"}, Not: []goimap.SearchCriteria{{Flag: []goimap.Flag{goimap.FlagDeleted}}}},
			&goimap.SearchOptions{ReturnAll: true, ReturnCount: true}).Wait()
		ok("search", err)
		if found.Count != 1 || !slices.Equal(found.AllUIDs(), []goimap.UID{1}) {
			t.Errorf("search: %+v", found)
		}
		idle, err := c.Idle()
		ok("idle", err)
		store.put("INBOX", mail1, 0)
		for n := range told {
			if n == 2 {
				break
			}
		}
		ok("idle", idle.Close())
		ok("idle", idle.Wait())
		moved, err := c.Move(goimap.UIDSetNum(1), "Caffè").Wait()
		ok("move", err)
		if s := moved.DestUIDs.String(); s != "1" {
			t.Errorf("move: %+v", moved)
		}
		stored, err := c.Store(goimap.SeqSetNum(1), &goimap.StoreFlags{Op: goimap.StoreFlagsAdd, Flags: []goimap.Flag{goimap.FlagDeleted, "$Work"}}, nil).Collect()
		ok("store", err)
		if len(stored) != 1 || !slices.Contains(stored[0].Flags, goimap.Flag("$Work")) {
			t.Errorf("store: %+v", stored)
		}
		gone, err := c.Expunge().Collect()
		ok("expunge", err)
		if !slices.Equal(gone, []uint32{1}) {
			t.Errorf("expunge: %v", gone)
		}
		_, err = c.Select("nowhere", nil).Wait()
		if err == nil || !strings.Contains(err.Error(), "No such mailbox") {
			t.Errorf("select nowhere: %v", err)
		}
		ok("logout", c.Logout().Wait())
	}
}
