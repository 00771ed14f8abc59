package mailbox

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/postino-mail/postino"
)

var keepSample = flag.Bool("keep", false, "write testdata/format.txt anew")

// sampleChange returns changes of all kinds.
func sampleChanges() []*Change {
	rows := []Row{
		{UID: 7, Email: 90, Thread: 3, Flags: Mask{1 | 1<<40, 0, 5}, ModSeq: 12, Date: -5, Saved: 1_700_000_000, Size: 4711},
		{UID: 8, Email: 2, Thread: 2, ModSeq: 12, Date: 1_600_000_000, Saved: 1_700_000_000, Size: 1},
	}
	return []*Change{
		{Kind: Appended, Mailbox: 5, Messages: rows},
		{Kind: FlagsChanged, Mailbox: 5, UIDs: Ranges{{1, 3}, {9, 9}, {4_000_000_000, 4_294_967_294}}, Added: Mask{2}, Removed: everyFlag},
		{Kind: Expunged, Mailbox: 5, UIDs: Ranges{{2, 2}}},
		{Kind: MailboxCreated, Mailbox: 6, Names: []string{"a/b"}},
		{Kind: MailboxRenamed, Boxes: []MailboxID{6, 7}, Names: []string{"c", "c/d"}},
		{Kind: MailboxDeleted, Mailbox: 6},
		{Kind: MailboxUpdated, Mailbox: 6},
		{Kind: SubscriptionAdded, Names: []string{"x"}},
		{Kind: SubscriptionEnded, Names: []string{"x"}},
		{Kind: ACLChanged, Mailbox: 6},
		{Kind: MetadataChanged, Mailbox: 6, Viewer: 7, Names: []string{"/private/comment"}},
		{Kind: SeenChanged, Mailbox: 6, Viewer: 7, UIDs: Ranges{{1, 3}, {9, 9}}, Added: Mask{1}},
		{Kind: ViewerSubscribed, Mailbox: 6, Viewer: 7},
		{Kind: ViewerUnsubscribed, Mailbox: 6, Viewer: 7},
	}
}

func sampleChunk() *chunk {
	e := &edit{}
	e.add([]Row{
		{UID: 513, Email: 9, Thread: 9, Flags: Mask{3}, ModSeq: 4, Date: 1_700_000_000, Saved: 1_700_000_001, Size: 300},
		{UID: 515, Email: 1 << 40, Thread: 8, Flags: Mask{0, 0, 0, 1 << 63}, ModSeq: 1 << 33, Date: -1, Saved: 1_700_000_001, Size: maxSize},
	})
	return e.table().chunks[0]
}

// formats are the stored values: a sample's octets, and a way to read octets
// and write them again.
func formats() map[string]struct {
	sample []byte
	again  func([]byte) ([]byte, error)
} {
	type format = struct {
		sample []byte
		again  func([]byte) ([]byte, error)
	}
	h := head{modseq: 9, folded: 7, floor: 3, claim: 8, nextEmail: 5, nextMailbox: 7, lastValidity: 1_700_000_000, boxes: 6, subs: 6,
		quota: Quota{1 << 40, 5, 100}, used: Quota{300, 2, 0}, tail: 10, log: 20, dead: 1, notes: 4}
	list := acl{{Subject{Domain: "example.org"}, false, RightLookup | RightRead}, {Subject{Account: 7}, false, AllRights}, {Subject{Account: 7}, true, RightAdmin}}
	own := private{box: 3, viewer: 7, subscribed: true, seen: 4, highest: 90, marks: []mark{{1, 3, true, 90}, {5, 5, false, 80}, {9, 4_294_967_294, true, 7}}}
	box := boxRow{id: 3, name: "Entw\u00fcrfe", use: UseDrafts, created: 1_700_000_000, keywords: []string{"$Junk", "x"},
		status: Status{UIDValidity: 9, UIDNext: 8, Messages: 7, Unseen: 6, Deleted: 5, Size: 4, HighestModSeq: 3}}
	email := emailRow{blob: postino.BlobID{1, 2, 3}, size: 77, received: 1_700_000_000, thread: 4, prefix: []byte("A: b\r\n"), envelope: []byte("(NIL)"), bodyStructure: []byte("(\"text\")")}
	sum := Summary{MessageID: "a@b", InReplyTo: []string{"c@d"}, References: []string{"e@f", "c@d"}, BaseSubject: "s", Reply: true, Sent: 1_700_000_000, Zone: -3600,
		Subject: "RE: S", From: "F", To: "T", Cc: "C", Bcc: "B", Cut: true,
		FromMailbox: "f", ToMailbox: "t", CcMailbox: "c", FromDisplay: "F", ToDisplay: "t@x"}
	sum1 := sum // format 1 ended with the references
	sum1.bare = true
	msg := Message{Blob: email.blob, Size: 5, Index: []byte{1}, Envelope: []byte{2}, BodyStructure: []byte{3}, Summary: sum}
	all := map[string]format{
		"acl": {list.append(nil), func(b []byte) ([]byte, error) { l, err := decodeACL(b); return l.append(nil), err }},
		"private": {own.append(nil), func(b []byte) ([]byte, error) {
			p, err := decodePrivate(3, 7, b)
			if err != nil {
				return nil, err
			}
			return p.append(nil), nil
		}},
		"note": {appendNote(nil, []byte("x")), func(b []byte) ([]byte, error) { v, err := decodeNote(b); return appendNote(nil, v), err }},
		"head": {h.append(nil), func(b []byte) ([]byte, error) { h, err := decodeHead(b); return h.append(nil), err }},
		"box": {box.append(nil), func(b []byte) ([]byte, error) {
			m, err := decodeBox(3, b)
			if err != nil {
				return nil, err
			}
			return m.append(nil), nil
		}},
		"chunk": {sampleChunk().append(nil, 1<<33), func(b []byte) ([]byte, error) {
			c, err := decodeChunk(1, b)
			if err != nil {
				return nil, err
			}
			return c.append(nil, c.stamp), nil
		}},
		"email":    {email.append(nil), func(b []byte) ([]byte, error) { e, err := decodeEmail(b); return e.append(nil), err }},
		"summary":  {sum.append(nil), againSummary},
		"summary1": {sum1.append(nil), againSummary},
		"thread":   {threadEntry{5, 1_700_000_000}.append(nil), func(b []byte) ([]byte, error) { t, err := decodeThread(b); return t.append(nil), err }},
		"uidls": {appendUIDLs(nil, []UID{513, 514}, map[UID]string{513: "a", 514: "~!"}), func(b []byte) ([]byte, error) {
			ids, err := decodeUIDLs(b)
			return appendUIDLs(nil, slices.Sorted(maps.Keys(ids)), ids), err
		}},
		"message": {msg.AppendBinary(nil), func(b []byte) ([]byte, error) {
			m, err := DecodeMessage(b)
			if err != nil {
				return nil, err
			}
			return m.AppendBinary(nil), nil
		}},
	}
	for i, c := range sampleChanges() {
		c.At = 1_700_000_000
		all[fmt.Sprintf("change%d", i)] = format{c.append(nil), func(b []byte) ([]byte, error) {
			c, err := decodeChange(12, b)
			if err != nil {
				return nil, err
			}
			return c.append(nil), nil
		}}
	}
	return all
}

func againSummary(b []byte) ([]byte, error) {
	s, err := decodeSummary(b)
	return s.append(nil), err
}

// TestStoredFormat reads samples that were kept when the formats were made, so
// that a change that old stores could not bear is noticed.
func TestStoredFormat(t *testing.T) {
	const file = "testdata/format.txt"
	if *keepSample {
		var out bytes.Buffer
		for _, name := range slices.Sorted(maps.Keys(formats())) {
			fmt.Fprintf(&out, "%s %x\n", name, formats()[name].sample)
		}
		if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(kept)), "\n")
	equal(t, "samples", len(lines), len(formats()))
	for _, line := range lines {
		name, text, _ := strings.Cut(line, " ")
		old, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		f := formats()[name]
		if !bytes.Equal(old, f.sample) {
			t.Errorf("%s is written as %x, the sample is %x", name, f.sample, old)
		}
		again, err := f.again(old)
		if err != nil || !bytes.Equal(again, old) {
			t.Errorf("%s: read and written again %x, %v", name, again, err)
		}
		newer := append([]byte{99}, old[1:]...)
		if _, err := f.again(newer); !postino.Is(err, postino.Invalid) {
			t.Errorf("%s of a newer format: %v", name, err)
		}
		for n := range old {
			if _, err := f.again(old[:n]); err == nil {
				t.Errorf("%s cut to %d octets is read", name, n)
			}
		}
	}
}

// TestOlderFormats reads what earlier versions wrote.
func TestOlderFormats(t *testing.T) {
	old := []byte{1, 9, 7, 3, 8, 5, 7, 0x80, 0xe2, 0xcf, 0xaa, 6, 6, 6, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 5, 0xac, 2, 2, 10, 20, 1}
	got, err := decodeHead(old)
	want := head{modseq: 9, folded: 7, floor: 3, claim: 8, nextEmail: 5, nextMailbox: 7, lastValidity: 1_700_000_000, boxes: 6, subs: 6,
		quota: Quota{1 << 40, 5, 0}, used: Quota{300, 2, 0}, tail: 10, log: 20, dead: 1}
	if err != nil || got != want {
		t.Fatalf("read %+v, %v", got, err)
	}
}

func TestChangesKeepTheirValues(t *testing.T) {
	for _, c := range sampleChanges() {
		c.ModSeq, c.At = 12, 1_700_000_000
		got, err := decodeChange(12, c.append(nil))
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%+v read as %+v, %v", c, got, err)
		}
	}
}

// FuzzDecoders reads anything as any stored value: no panic, no memory beyond
// what the octets can fill, and what is read is written the same again after
// one more round.
func FuzzDecoders(f *testing.F) {
	for name, v := range formats() {
		f.Add(name, v.sample)
	}
	all := formats()
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		v, ok := all[name]
		if !ok || len(b) > 1<<16 {
			return
		}
		once, err := v.again(b)
		if err != nil {
			return
		}
		twice, err := v.again(once)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%s %x: %x, then %x, %v", name, b, once, twice, err)
		}
		if strings.HasPrefix(name, "summary") {
			if _, err := decodeFolded(once); err != nil {
				t.Fatalf("summary %x: %v", once, err)
			}
			if _, err := decodeSortRow(once); err != nil {
				t.Fatalf("summary %x: %v", once, err)
			}
		}
	})
}
