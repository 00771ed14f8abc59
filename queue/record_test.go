package queue

import (
	"bytes"
	"encoding/hex"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/postino-mail/postino"
)

func drawItem(t *rapid.T) *Item {
	addr := rapid.Custom(func(t *rapid.T) postino.Address {
		return postino.Address{Local: rapid.StringN(0, 10, 64).Draw(t, "local"), Domain: rapid.StringN(0, 10, 64).Draw(t, "domain")}
	})
	when := rapid.Custom(func(t *rapid.T) time.Time {
		if ms := rapid.Int64Range(0, 1<<48).Draw(t, "ms"); ms != 0 {
			return time.UnixMilli(ms)
		}
		return time.Time{}
	})
	it := &Item{
		ID: 5, Message: postino.ID(rapid.Uint64().Draw(t, "message")), Transport: rapid.String().Draw(t, "transport"),
		From: addr.Draw(t, "from"), SMTPUTF8: rapid.Bool().Draw(t, "utf8"), Body: postino.Body(rapid.IntRange(0, 3).Draw(t, "body")),
		EnvID: rapid.String().Draw(t, "envid"), Ret: postino.DSNReturn(rapid.IntRange(0, 2).Draw(t, "ret")),
		Size: rapid.Int64Range(0, 1<<40).Draw(t, "size"), Received: when.Draw(t, "received"), State: State(rapid.IntRange(1, 4).Draw(t, "state")),
		Attempts: rapid.IntRange(0, 1000).Draw(t, "attempts"), Panics: rapid.IntRange(0, 3).Draw(t, "panics"),
		Due: when.Draw(t, "due"), Expires: when.Draw(t, "expires"), Reason: rapid.String().Draw(t, "reason"),
		Lease: Lease{Owner: rapid.String().Draw(t, "owner"), Until: when.Draw(t, "until"), Fence: rapid.Uint64().Draw(t, "fence")},
	}
	it.Dest, it.User, it.Next = rapid.String().Draw(t, "dest"), rapid.Uint64().Draw(t, "submitter"), when.Draw(t, "next")
	it.Terms = postino.Terms{RequireTLS: rapid.Bool().Draw(t, "tls"), TLSOptional: rapid.Bool().Draw(t, "optional"), HoldUntil: when.Draw(t, "hold"),
		DeliverBy: when.Draw(t, "by"), DeliverByReturn: rapid.Bool().Draw(t, "return"), DeliverByTrace: rapid.Bool().Draw(t, "trace"), Priority: rapid.Int8Range(-9, 9).Draw(t, "priority")}
	it.Junk = rapid.Bool().Draw(t, "junk")
	it.ReportTries, it.ReportAt = rapid.IntRange(0, 9).Draw(t, "tries"), when.Draw(t, "reportat")
	if p := rapid.String().Draw(t, "prefix"); p != "" {
		it.Prefix = []byte(p)
	}
	copy(it.Blob[:], rapid.SliceOfN(rapid.Byte(), 40, 40).Draw(t, "blob"))
	for range rapid.IntRange(1, 4).Draw(t, "rcpts") {
		r := Rcpt{Recipient: postino.Recipient{Address: addr.Draw(t, "rcpt"), Notify: postino.DSNNotify(rapid.Uint8().Draw(t, "notify")), ORcpt: rapid.String().Draw(t, "orcpt")},
			Account: rapid.Uint64().Draw(t, "account"), User: addr.Draw(t, "user"), Detail: rapid.String().Draw(t, "detail"),
			State: RcptState(rapid.IntRange(0, 2).Draw(t, "rcptstate")), Reply: rapid.String().Draw(t, "reply")}
		r.Owed, r.Told, r.Remote = Reports(rapid.Uint8().Draw(t, "owed")), Reports(rapid.Uint8().Draw(t, "told")), rapid.String().Draw(t, "remote")
		r.Last, r.Expired, r.ValidSince = when.Draw(t, "last"), rapid.Bool().Draw(t, "expired"), when.Draw(t, "since")
		if rapid.Bool().Draw(t, "same") {
			r.User = r.Address
		}
		it.Rcpts = append(it.Rcpts, r)
	}
	return it
}

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		it := drawItem(t)
		b := it.appendRecord(nil)
		got, err := decodeItem(5, b)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, it) {
			t.Fatalf("got  %+v\nwant %+v", got, it)
		}
		for cut := range len(b) {
			if _, err := decodeItem(5, b[:cut]); !postino.Is(err, postino.Corrupt) {
				t.Fatalf("%d of %d octets: %v", cut, len(b), err)
			}
		}
	})
}

// sample reads an item as a version stores it: it must stay readable.
func sample(t testing.TB, name string) []byte {
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestStoredFormat(t *testing.T) {
	want := &Item{ID: 9, Message: 42, Transport: "local", From: postino.Address{Local: "ana", Domain: "a.example"}, SMTPUTF8: true,
		Body: postino.Body8BitMIME, Ret: postino.DSNReturnFull, EnvID: "env-01", Size: 4096, Received: time.UnixMilli(1234), Expires: time.UnixMilli(1235),
		Due: time.UnixMilli(1236), Next: time.UnixMilli(1236), Attempts: 3, Panics: 1, Reason: "wait", State: StateWaiting, Lease: Lease{Owner: "a", Until: time.UnixMilli(1234), Fence: 7},
		Rcpts: []Rcpt{{Recipient: postino.Recipient{Address: postino.Address{Local: "bob", Domain: "b.example"}, Notify: postino.DSNSuccess},
			User: postino.Address{Local: "bob", Domain: "b.example"}, Account: 5, Detail: "list", Reply: "later"}}}
	for i := range want.Blob {
		want.Blob[i] = byte(i + 1)
	}
	got, err := decodeItem(9, sample(t, "item-v1.hex"))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("version 1: got %+v, %v", got, err)
	}
	want.Dest, want.User, want.Next, want.State = "b.example", 77, time.UnixMilli(1300), StateParked
	want.Terms = postino.Terms{RequireTLS: true, TLSOptional: true, HoldUntil: time.UnixMilli(1001), DeliverBy: time.UnixMilli(1002),
		DeliverByReturn: true, DeliverByTrace: true, Priority: -4}
	want.ReportTries, want.ReportAt = 2, time.UnixMilli(1400)
	r := &want.Rcpts[0]
	r.Owed, r.Told, r.Remote, r.Last, r.Expired = OwedFailed, OwedDelayed|toldLate, "mx.b.example", time.UnixMilli(1500), true
	r.ValidSince = time.UnixMilli(1600)
	got, err = decodeItem(9, sample(t, "item-v2.hex"))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("version 2: got %+v, %v", got, err)
	}
	want.Junk = true
	b := sample(t, "item-v3.hex")
	if stored := want.appendRecord(nil); !bytes.Equal(stored, b) {
		t.Errorf("stored as\n%x, want\n%x", stored, b)
	}
	got, err = decodeItem(9, b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("version 3: got %+v, %v", got, err)
	}
	b[0] = version + 1
	if _, err := decodeItem(9, b); !postino.Is(err, postino.Corrupt) || !strings.Contains(err.Error(), "newer") {
		t.Errorf("newer version: %v", err)
	}
}

func FuzzDecodeItem(f *testing.F) {
	b := sample(f, "item-v1.hex")
	f.Add(b)
	f.Add(sample(f, "item-v2.hex"))
	f.Add(sample(f, "item-v3.hex"))
	f.Add(b[:20])
	f.Fuzz(func(t *testing.T, b []byte) {
		it, err := decodeItem(1, b)
		if err != nil {
			if !postino.Is(err, postino.Corrupt) {
				t.Fatalf("kind of %v", err)
			}
			return
		}
		again, err := decodeItem(1, it.appendRecord(nil))
		if err != nil || !reflect.DeepEqual(again, it) {
			t.Fatalf("%+v became %+v, %v", it, again, err)
		}
	})
}
