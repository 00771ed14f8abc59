package message

import "testing"

// TestReleaseTwice: an indexer that was given back, by Finish or Release, is
// not given back again, since two messages would share it.
func TestReleaseTwice(t *testing.T) {
	for name, end := range map[string]func(*Indexer){
		"finish":  func(x *Indexer) { x.Finish() },
		"release": (*Indexer).Release,
	} {
		x := NewIndexer(Limits{})
		if _, err := x.Write([]byte("Subject: x\r\n\r\nx\r\n")); err != nil {
			t.Fatal(err)
		}
		end(x)
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: released again without a word", name)
				}
			}()
			x.Release()
		}()
	}
}
