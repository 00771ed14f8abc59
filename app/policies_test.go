package app

import (
	"context"
	"maps"
	"testing"

	"github.com/postino-mail/postino/kv/lsm"
	"github.com/postino-mail/postino/vfs"
)

// What is kept of policies is there after a start, and nothing else is among it.
func TestPolicyRows(t *testing.T) {
	files := vfs.Memory()
	open := func() (*lsm.DB, policyRows) {
		db, err := lsm.Open(files, "db", lsm.Options{MemTableBytes: 4 << 20})
		if err != nil {
			t.Fatal(err)
		}
		return db, policyRows{db}
	}
	ctx := context.Background()
	db, p := open()
	for domain, row := range map[string]string{"a.example": "1", "b.example": "2", "c.example": "3"} {
		if err := p.Put(ctx, domain, []byte(row)); err != nil {
			t.Fatal(err)
		}
	}
	s := &Stores{DB: db}
	if _, err := s.secret(ctx, "srs"); err != nil { // a neighbour
		t.Fatal(err)
	}
	if err := p.Delete(ctx, "c.example"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db, p = open()
	defer db.Close()
	got := map[string]string{}
	if err := p.Each(ctx, func(domain string, row []byte) bool { got[domain] = string(row); return true }); err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"a.example": "1", "b.example": "2"}; !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if row, err := p.Get(ctx, "b.example"); string(row) != "2" || err != nil {
		t.Errorf("%q, %v", row, err)
	}
	if row, err := p.Get(ctx, "c.example"); row != nil || err != nil {
		t.Errorf("%q, %v", row, err)
	}
}
