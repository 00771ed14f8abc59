package interop

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// store sends STORE and returns what the server tells about it.
func store(t *testing.T, c *imapclient.Client, set imap.NumSet, op imap.StoreFlagsOp, options *imap.StoreOptions, flags ...imap.Flag) []*imapclient.FetchMessageBuffer {
	t.Helper()
	got, err := c.Store(set, &imap.StoreFlags{Op: op, Flags: flags}, options).Collect()
	if err != nil {
		t.Fatalf("store: %v", err)
	}
	return got
}

// add appends a message and returns what the server tells about it.
func add(t *testing.T, c *imapclient.Client, box, text string, options *imap.AppendOptions) *imap.AppendData {
	t.Helper()
	cmd := c.Append(box, int64(len(text)), options)
	cmd.Write([]byte(text))
	cmd.Close()
	data, err := cmd.Wait()
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return data
}

// mixed is a mail with an attachment, a message in it, and encoded words.
func mixed() string {
	return strings.ReplaceAll(`Date: Sat, 21 Nov 2026 10:00:00 +0100
From: =?utf-8?q?J=C3=BCrgen?= <sender@client.test>
To: a@client.test, "B, quoted" <b@client.test>
Cc: Friends: c@client.test, d@client.test;
Subject: =?utf-8?b?R3LDvMOfZQ==?= from afar
Message-ID: <mixed@client.test>
In-Reply-To: <before@client.test>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="outer"

preamble
--outer
Content-Type: multipart/alternative; boundary=inner

--inner
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

Gr=FC=DFe xylophone
--inner
Content-Type: text/html; charset=utf-8

<b>hello</b>
--inner--
--outer
Content-Type: application/octet-stream; name="=?utf-8?q?d=C3=A4ta=2Ebin?="
Content-Disposition: attachment; filename*=utf-8''d%C3%A4ta.bin
Content-Transfer-Encoding: base64

AAECAwQFBgc=
--outer
Content-Type: message/rfc822

Subject: inside
From: inner@client.test

inner body
--outer--
epilogue
`, "\n", "\r\n")
}

func TestGoIMAP(t *testing.T) {
	s := use(t)
	empty(t, s, userGoIMAP)
	c := open(t, s, userGoIMAP, nil)
	caps, err := c.Capability().Wait()
	if err != nil {
		t.Fatal(err)
	}
	if !s.foreign {
		for _, want := range []imap.Cap{
			imap.CapIMAP4rev1, imap.CapIMAP4rev2, imap.CapIdle, imap.CapNamespace, imap.CapUIDPlus, imap.CapMove, imap.CapUnselect,
			imap.CapEnable, imap.CapID, imap.CapSpecialUse, imap.CapChildren, imap.CapListExtended, imap.CapListStatus, imap.CapESearch,
			imap.CapCondStore, imap.CapBinary,
		} {
			if _, ok := caps[want]; !ok {
				t.Errorf("%s is not announced", want)
			}
		}
	}
	if _, ok := caps[imap.CapIMAP4rev2]; ok {
		// The client writes names in UTF-8 as soon as this is announced; RFC 9051 §6.3.1
		// wants it enabled first where IMAP4rev1 is announced too.
		if _, err := c.Enable(imap.CapIMAP4rev2).Wait(); err != nil {
			t.Error(err)
		}
	}
	date := time.Date(2020, 2, 29, 23, 59, 58, 0, time.FixedZone("", -5*3600))
	first := add(t, c, "INBOX", message("go-1", "a@client.test", oddBody), &imap.AppendOptions{Flags: []imap.Flag{imap.FlagSeen, "$Forwarded"}, Time: date})
	second := add(t, c, "INBOX", mixed(), nil)
	if first.UID == 0 || second.UID <= first.UID || first.UIDValidity == 0 {
		t.Errorf("APPENDUID: %+v, then %+v", first, second)
	}
	box, err := c.Select("INBOX", nil).Wait()
	if err != nil {
		t.Fatal(err)
	}
	if box.NumMessages != 2 || box.UIDNext <= second.UID || box.UIDValidity != first.UIDValidity {
		t.Errorf("SELECT: %+v", box)
	}

	t.Run("fetch", func(t *testing.T) {
		whole := &imap.FetchItemBodySection{Peek: true}
		header := &imap.FetchItemBodySection{Specifier: imap.PartSpecifierHeader, HeaderFields: []string{"Subject"}, Peek: true}
		partial := &imap.FetchItemBodySection{Part: []int{1, 1}, Partial: &imap.SectionPartial{Offset: 3, Size: 4}, Peek: true}
		inside := &imap.FetchItemBodySection{Part: []int{3}, Specifier: imap.PartSpecifierText, Peek: true}
		decoded := &imap.FetchItemBinarySection{Part: []int{2}, Peek: true}
		msgs, err := c.Fetch(imap.UIDSetNum(first.UID, second.UID), &imap.FetchOptions{
			UID: true, Flags: true, InternalDate: true, RFC822Size: true, Envelope: true,
			BodyStructure: &imap.FetchItemBodyStructure{Extended: true},
			BodySection:   []*imap.FetchItemBodySection{whole, header, partial, inside},
		}).Collect()
		if err != nil || len(msgs) != 2 {
			t.Fatalf("%d messages, %v", len(msgs), err)
		}
		one, two := msgs[0], msgs[1]
		if got := one.FindBodySection(whole); string(got) != message("go-1", "a@client.test", oddBody) {
			t.Errorf("first mail: %q", clip(string(got)))
		}
		if !one.InternalDate.Equal(date) || !slices.Contains(one.Flags, imap.FlagSeen) || !slices.Contains(one.Flags, "$Forwarded") {
			t.Errorf("first mail: date %v, flags %v", one.InternalDate, one.Flags)
		}
		if got := two.FindBodySection(whole); string(got) != mixed() || two.RFC822Size != int64(len(mixed())) {
			t.Errorf("second mail: size %d, %q", two.RFC822Size, clip(string(got)))
		}
		if got := string(two.FindBodySection(header)); got != "Subject: =?utf-8?b?R3LDvMOfZQ==?= from afar\r\n\r\n" {
			t.Errorf("header field: %q", got)
		}
		if got := string(two.FindBodySection(partial)); got != "FC=D" {
			t.Errorf("four octets of part 1.1: %q", got)
		}
		if got := string(two.FindBodySection(inside)); got != "inner body" {
			t.Errorf("text of the message in part 3: %q", got)
		}
		e := two.Envelope
		if e.Subject != "Grüße from afar" || e.MessageID != "mixed@client.test" || !slices.Equal(e.InReplyTo, []string{"before@client.test"}) ||
			len(e.From) != 1 || e.From[0].Name != "Jürgen" || len(e.To) != 2 || e.To[1].Name != "B, quoted" || e.To[1].Addr() != "b@client.test" {
			t.Errorf("envelope: %+v", e)
		}
		var types []string
		two.BodyStructure.Walk(func(path []int, part imap.BodyStructure) bool {
			types = append(types, part.MediaType())
			return true
		})
		want := []string{"multipart/mixed", "multipart/alternative", "text/plain", "text/html", "application/octet-stream", "message/rfc822"}
		if !slices.Equal(types, want) {
			t.Errorf("parts: %q, want %q", types, want)
		}
		if _, ok := caps[imap.CapBinary]; ok {
			msgs, err := c.Fetch(imap.UIDSetNum(second.UID), &imap.FetchOptions{UID: true, BinarySection: []*imap.FetchItemBinarySection{decoded}}).Collect()
			if err != nil || len(msgs) != 1 || !bytes.Equal(msgs[0].FindBinarySection(decoded), []byte{0, 1, 2, 3, 4, 5, 6, 7}) {
				t.Errorf("BINARY: %v, %v", msgs, err)
			}
		}
	})

	t.Run("store", func(t *testing.T) {
		uid := imap.UIDSetNum(second.UID)
		got := store(t, c, uid, imap.StoreFlagsAdd, nil, imap.FlagFlagged, "Keyword")
		if len(got) != 1 || !slices.Contains(got[0].Flags, imap.FlagFlagged) || !slices.Contains(got[0].Flags, "Keyword") {
			t.Errorf("+FLAGS: %+v", got)
		}
		got = store(t, c, uid, imap.StoreFlagsDel, nil, imap.FlagFlagged)
		if len(got) != 1 || slices.Contains(got[0].Flags, imap.FlagFlagged) || !slices.Contains(got[0].Flags, "Keyword") {
			t.Errorf("-FLAGS: %+v", got)
		}
		got = store(t, c, uid, imap.StoreFlagsSet, nil, imap.FlagAnswered)
		if len(got) != 1 || !slices.Contains(got[0].Flags, imap.FlagAnswered) || slices.Contains(got[0].Flags, "Keyword") {
			t.Errorf("FLAGS: %+v", got)
		}
	})

	t.Run("search", func(t *testing.T) {
		for _, q := range []struct {
			name string
			c    imap.SearchCriteria
			want []imap.UID
		}{
			{"all", imap.SearchCriteria{}, []imap.UID{first.UID, second.UID}},
			{"subject, decoded", imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: "Subject", Value: "grüße"}}}, []imap.UID{second.UID}},
			{"body, decoded from ISO-8859-1", imap.SearchCriteria{Body: []string{"grüße XYLO"}}, []imap.UID{second.UID}},
			{"text", imap.SearchCriteria{Text: []string{"日本語"}}, []imap.UID{first.UID}},
			{"flag", imap.SearchCriteria{Flag: []imap.Flag{imap.FlagAnswered}}, []imap.UID{second.UID}},
			{"not flag", imap.SearchCriteria{NotFlag: []imap.Flag{imap.FlagAnswered}}, []imap.UID{first.UID}},
			{"keyword", imap.SearchCriteria{Flag: []imap.Flag{"$Forwarded"}}, []imap.UID{first.UID}},
			{"before", imap.SearchCriteria{Before: time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC)}, []imap.UID{first.UID}},
			{"sent since", imap.SearchCriteria{SentSince: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}, nil},
			{"larger", imap.SearchCriteria{Larger: 100_000}, nil},
			{"or", imap.SearchCriteria{Or: [][2]imap.SearchCriteria{{{Flag: []imap.Flag{imap.FlagSeen}}, {Flag: []imap.Flag{imap.FlagAnswered}}}}}, []imap.UID{first.UID, second.UID}},
			{"not", imap.SearchCriteria{Not: []imap.SearchCriteria{{Body: []string{"xylophone"}}}}, []imap.UID{first.UID}},
		} {
			data, err := c.UIDSearch(&q.c, nil).Wait()
			if err != nil {
				t.Errorf("%s: %v", q.name, err)
				continue
			}
			if got := data.AllUIDs(); !slices.Equal(got, q.want) {
				t.Errorf("%s: %v, want %v", q.name, got, q.want)
			}
		}
		data, err := c.UIDSearch(&imap.SearchCriteria{}, &imap.SearchOptions{ReturnMin: true, ReturnMax: true, ReturnCount: true}).Wait()
		if err != nil || data.Count != 2 || data.Min != uint32(first.UID) || data.Max != uint32(second.UID) {
			t.Errorf("ESEARCH: %+v, %v", data, err)
		}
	})

	t.Run("condstore", func(t *testing.T) {
		if _, ok := caps[imap.CapCondStore]; !ok {
			t.Skip("skip: CONDSTORE is not announced")
		}
		box, err := c.Select("INBOX", &imap.SelectOptions{CondStore: true}).Wait()
		if err != nil || box.HighestModSeq == 0 {
			t.Fatalf("SELECT (CONDSTORE): %+v, %v", box, err)
		}
		before := box.HighestModSeq
		got := store(t, c, imap.UIDSetNum(first.UID), imap.StoreFlagsAdd, &imap.StoreOptions{UnchangedSince: before}, imap.FlagFlagged)
		if len(got) != 1 || got[0].ModSeq <= before {
			t.Fatalf("STORE UNCHANGEDSINCE: %+v", got)
		}
		changed, err := c.Fetch(imap.UIDSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{UID: true, Flags: true, ModSeq: true, ChangedSince: before}).Collect()
		if err != nil || len(changed) != 1 || changed[0].UID != first.UID || changed[0].ModSeq != got[0].ModSeq {
			t.Errorf("CHANGEDSINCE: %+v, %v", changed, err)
		}
		// A second change upon the old state is refused: the message is left alone.
		c.Store(imap.UIDSetNum(first.UID), &imap.StoreFlags{Op: imap.StoreFlagsDel, Flags: []imap.Flag{imap.FlagFlagged}}, &imap.StoreOptions{UnchangedSince: before}).Close()
		after, err := c.Fetch(imap.UIDSetNum(first.UID), &imap.FetchOptions{Flags: true, ModSeq: true}).Collect()
		if err != nil || len(after) != 1 || !slices.Contains(after[0].Flags, imap.FlagFlagged) || after[0].ModSeq != got[0].ModSeq {
			t.Errorf("after a conditional STORE that must fail: %+v, %v", after, err)
		}
	})

	t.Run("mailboxes", func(t *testing.T) {
		for _, name := range []string{"Work", "Entwürfe & mehr"} {
			if err := c.Create(name, nil).Wait(); err != nil {
				t.Fatalf("create %s: %v", name, err)
			}
		}
		if err := c.Subscribe("Work").Wait(); err != nil {
			t.Error(err)
		}
		copied, err := c.Copy(imap.UIDSetNum(first.UID, second.UID), "Work").Wait()
		if err != nil || copied.DestUIDs.String() == "" {
			t.Fatalf("copy: %+v, %v", copied, err)
		}
		moved, err := c.Move(imap.UIDSetNum(second.UID), "Entwürfe & mehr").Wait()
		if err != nil || moved.DestUIDs == nil {
			t.Fatalf("move: %+v, %v", moved, err)
		}
		status := &imap.StatusOptions{NumMessages: true, UIDNext: true, UIDValidity: true, NumUnseen: true}
		counts := map[string]uint32{}
		list, err := c.List("", "*", &imap.ListOptions{ReturnStatus: status, ReturnSubscribed: true}).Collect()
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range list {
			if b.Status != nil && b.Status.NumMessages != nil {
				counts[b.Mailbox] = *b.Status.NumMessages
			}
		}
		if counts["INBOX"] != 1 || counts["Work"] != 2 || counts["Entwürfe & mehr"] != 1 {
			t.Errorf("LIST RETURN (STATUS): %v", counts)
		}
		if err := c.Rename("Work", "Arbeit", nil).Wait(); err != nil {
			t.Error(err)
		}
		st, err := c.Status("Arbeit", status).Wait()
		if err != nil || *st.NumMessages != 2 {
			t.Errorf("status of the renamed mailbox: %+v, %v", st, err)
		}
		if _, err := c.Select("No such mailbox", nil).Wait(); err == nil {
			t.Error("a mailbox that does not exist was selected")
		}
		if _, err := c.Namespace().Wait(); err != nil {
			t.Error(err)
		}
		if !s.foreign {
			roles := map[imap.MailboxAttr]bool{}
			special, err := c.List("", "*", &imap.ListOptions{ReturnSpecialUse: true}).Collect()
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range special {
				for _, a := range b.Attrs {
					roles[a] = true
				}
			}
			for _, a := range []imap.MailboxAttr{imap.MailboxAttrSent, imap.MailboxAttrDrafts, imap.MailboxAttrTrash, imap.MailboxAttrJunk} {
				if !roles[a] {
					t.Errorf("no mailbox with the role %s", a)
				}
			}
		}
	})

	t.Run("expunge", func(t *testing.T) {
		if _, err := c.Select("Arbeit", nil).Wait(); err != nil {
			t.Fatal(err)
		}
		all, err := c.Fetch(imap.SeqSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{UID: true}).Collect()
		if err != nil || len(all) != 2 {
			t.Fatalf("%v, %v", all, err)
		}
		store(t, c, imap.SeqSet{{Start: 1, Stop: 0}}, imap.StoreFlagsAdd, nil, imap.FlagDeleted)
		gone, err := c.UIDExpunge(imap.UIDSetNum(all[1].UID)).Collect()
		if err != nil || !slices.Equal(gone, []uint32{2}) {
			t.Errorf("UID EXPUNGE: %v, %v", gone, err)
		}
		gone, err = c.Expunge().Collect()
		if err != nil || !slices.Equal(gone, []uint32{1}) {
			t.Errorf("EXPUNGE: %v, %v", gone, err)
		}
		if err := c.Unselect().Wait(); err != nil {
			t.Error(err)
		}
		if err := c.Delete("Arbeit").Wait(); err != nil {
			t.Error(err)
		}
	})
	if err := c.Logout().Wait(); err != nil {
		t.Error(err)
	}
}

// TestGoIMAPIdle has one session wait while another changes the mailbox.
func TestGoIMAPIdle(t *testing.T) {
	s := use(t)
	empty(t, s, userGoIMAP)
	exists, expunged, flagged := make(chan uint32, 16), make(chan uint32, 16), make(chan []imap.Flag, 16)
	waiting := open(t, s, userGoIMAP, &imapclient.UnilateralDataHandler{
		Mailbox: func(d *imapclient.UnilateralDataMailbox) {
			if d.NumMessages != nil {
				exists <- *d.NumMessages
			}
		},
		Expunge: func(n uint32) { expunged <- n },
		Fetch: func(m *imapclient.FetchMessageData) {
			if b, err := m.Collect(); err == nil {
				flagged <- b.Flags
			}
		},
	})
	if _, err := waiting.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	idle, err := waiting.Idle()
	if err != nil {
		t.Fatal(err)
	}
	other := open(t, s, userGoIMAP, nil)
	data := add(t, other, "INBOX", message("idle-1", "a@client.test", "x\n"), nil)
	if n := within(t, exists, "EXISTS"); n != 1 {
		t.Errorf("EXISTS: %d", n)
	}
	if _, err := other.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	store(t, other, imap.UIDSetNum(data.UID), imap.StoreFlagsAdd, nil, imap.FlagFlagged)
	if flags := within(t, flagged, "FETCH FLAGS"); !slices.Contains(flags, imap.FlagFlagged) {
		t.Errorf("FETCH FLAGS: %v", flags)
	}
	store(t, other, imap.UIDSetNum(data.UID), imap.StoreFlagsAdd, nil, imap.FlagDeleted)
	if err := other.Expunge().Close(); err != nil {
		t.Fatal(err)
	}
	if n := within(t, expunged, "EXPUNGE"); n != 1 {
		t.Errorf("EXPUNGE: %d", n)
	}
	if err := idle.Close(); err != nil {
		t.Error(err)
	}
	if err := idle.Wait(); err != nil {
		t.Error(err)
	}
	if err := waiting.Noop().Wait(); err != nil {
		t.Error(err)
	}
}

// within waits for what the idle session must be told.
func within[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("no %s within 20 s", what)
		panic("unreachable")
	}
}

// wantParts checks the media types of the only mail's parts below the top, and
// the decoded content of the last one.
func wantParts(t *testing.T, s *server, user int, types []string, last []byte) {
	t.Helper()
	c := open(t, s, user, nil)
	defer c.Logout()
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	decoded := &imap.FetchItemBinarySection{Part: []int{len(types)}, Peek: true}
	msgs, err := c.Fetch(imap.SeqSetNum(1), &imap.FetchOptions{
		BodyStructure: &imap.FetchItemBodyStructure{}, BinarySection: []*imap.FetchItemBinarySection{decoded},
	}).Collect()
	if err != nil || len(msgs) != 1 {
		t.Fatalf("%d messages, %v", len(msgs), err)
	}
	var got []string
	msgs[0].BodyStructure.Walk(func(path []int, part imap.BodyStructure) bool {
		if _, ok := part.(*imap.BodyStructureSinglePart); ok {
			got = append(got, part.MediaType())
		}
		return true
	})
	if !slices.Equal(got, types) {
		t.Errorf("parts: %q, want %q", got, types)
	}
	if b := msgs[0].FindBinarySection(decoded); !bytes.Equal(b, last) {
		t.Errorf("the last part has %d octets, want %d", len(b), len(last))
	}
}
