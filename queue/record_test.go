package queue

import (
	"encoding/hex"
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
		Size: rapid.Int64Range(0, 1<<40).Draw(t, "size"), Received: when.Draw(t, "received"), State: State(rapid.IntRange(1, 3).Draw(t, "state")),
		Attempts: rapid.IntRange(0, 1000).Draw(t, "attempts"), Panics: rapid.IntRange(0, 3).Draw(t, "panics"),
		Due: when.Draw(t, "due"), Expires: when.Draw(t, "expires"), Reason: rapid.String().Draw(t, "reason"),
		Lease: Lease{Owner: rapid.String().Draw(t, "owner"), Until: when.Draw(t, "until"), Fence: rapid.Uint64().Draw(t, "fence")},
	}
	if p := rapid.String().Draw(t, "prefix"); p != "" {
		it.Prefix = []byte(p)
	}
	copy(it.Blob[:], rapid.SliceOfN(rapid.Byte(), 40, 40).Draw(t, "blob"))
	for range rapid.IntRange(1, 4).Draw(t, "rcpts") {
		r := Rcpt{Recipient: postino.Recipient{Address: addr.Draw(t, "rcpt"), Notify: postino.DSNNotify(rapid.Uint8().Draw(t, "notify")), ORcpt: rapid.String().Draw(t, "orcpt")},
			Account: rapid.Uint64().Draw(t, "account"), User: addr.Draw(t, "user"), Detail: rapid.String().Draw(t, "detail"),
			State: RcptState(rapid.IntRange(0, 2).Draw(t, "rcptstate")), Reply: rapid.String().Draw(t, "reply")}
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

// sample is an item as version 1 stores it: it must stay readable.
const sample = "010200000000000000070161d209000000000000002a056c6f63616c03616e6109612e6578616d706c650102010665" +
	"6e762d3031" +
	"0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728" +
	"8020d209d309d4090301047761697400013c03626f6209622e6578616d706c65050200046c697374056c61746572"

func TestStoredFormat(t *testing.T) {
	b, err := hex.DecodeString(sample)
	if err != nil {
		t.Fatal(err)
	}
	want := &Item{ID: 9, Message: 42, Transport: "local", From: postino.Address{Local: "ana", Domain: "a.example"}, SMTPUTF8: true,
		Body: postino.Body8BitMIME, Ret: postino.DSNReturnFull, EnvID: "env-01", Size: 4096, Received: time.UnixMilli(1234), Expires: time.UnixMilli(1235),
		Due: time.UnixMilli(1236), Attempts: 3, Panics: 1, Reason: "wait", State: StateWaiting, Lease: Lease{Owner: "a", Until: time.UnixMilli(1234), Fence: 7},
		Rcpts: []Rcpt{{Recipient: postino.Recipient{Address: postino.Address{Local: "bob", Domain: "b.example"}, Notify: postino.DSNSuccess},
			User: postino.Address{Local: "bob", Domain: "b.example"}, Account: 5, Detail: "list", Reply: "later"}}}
	for i := range want.Blob {
		want.Blob[i] = byte(i + 1)
	}
	if got := hex.EncodeToString(want.appendRecord(nil)); got != sample {
		t.Errorf("stored as\n%s, want\n%s", got, sample)
	}
	got, err := decodeItem(9, b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	b[0] = 2
	if _, err := decodeItem(9, b); !postino.Is(err, postino.Corrupt) || !strings.Contains(err.Error(), "newer") {
		t.Errorf("newer version: %v", err)
	}
}

func FuzzDecodeItem(f *testing.F) {
	b, _ := hex.DecodeString(sample)
	f.Add(b)
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
