package blob

import (
	"bytes"
	"testing"

	"github.com/postino-mail/postino"
)

// FuzzRows decodes any octets as rows and names; what is taken is written back
// as it was.
func FuzzRows(f *testing.F) {
	r := record{size: 70000, sums: make([]byte, 8)}
	f.Add(r.append(nil), tempName(7))
	f.Add([]byte{version, codecPlain, 0, 0, 0, 0}, postino.BlobID{1}.String())
	f.Add([]byte{version, codecPlain, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, "tmp-")
	f.Add([]byte{9, 9}, "..")
	f.Fuzz(func(t *testing.T, value []byte, name string) {
		if r, err := decodeRecord(postino.BlobID{}, value); err == nil {
			again, err := decodeRecord(postino.BlobID{}, r.append(nil))
			if err != nil || again.size != r.size || !bytes.Equal(again.sums, r.sums) {
				t.Errorf("record %+v became %+v, %v", r, again, err)
			}
		} else if k := postino.KindOf(err); k != postino.Corrupt && k != postino.Internal {
			t.Errorf("kind %s", k)
		}
		if body, err := decodeBody(postino.BlobID{}, value); err == nil && len(body) != len(value)-headSize {
			t.Errorf("body of %d in %d", len(body), len(value))
		}
		if stamp, id, ok := stampOf(name); ok && id.IsZero() && name != (postino.BlobID{}).String() {
			if again, _, ok := stampOf(tempName(stamp)); !ok || again != stamp {
				t.Errorf("name %q", name)
			}
		}
		idleSince(value)
	})
}
