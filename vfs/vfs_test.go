package vfs

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestModes is ST4: what is made is for the owner alone, and links are refused.
func TestModes(t *testing.T) {
	root := t.TempDir()
	fsys, dir := OS(), filepath.Join(root, "a", "b")
	if err := MkdirAll(fsys, dir); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "f")
	if err := WriteFile(fsys, name, []byte("one")); err != nil {
		t.Fatal(err)
	}
	lock, err := fsys.Lock(filepath.Join(dir, "LOCK"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	f, err := fsys.OpenReadWrite(filepath.Join(dir, "rw"), Category)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	for path, want := range map[string]fs.FileMode{
		filepath.Join(root, "a"): 0o700, dir: 0o700, name: 0o600,
		filepath.Join(dir, "LOCK"): 0o600, filepath.Join(dir, "rw"): 0o600,
	} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(name, link); err != nil {
		t.Fatal(err)
	}
	if _, err := fsys.Open(link); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("open of a link: %v", err)
	}
	if _, err := fsys.OpenReadWrite(link, Category); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("open of a link for writing: %v", err)
	}
	// Create puts a new file in the place of the link, and leaves its target.
	if err := WriteFile(fsys, link, []byte("two")); err != nil {
		t.Fatal(err)
	}
	if b, err := ReadFile(fsys, name); err != nil || string(b) != "one" {
		t.Errorf("target is %q, %v", b, err)
	}
}

func TestUsage(t *testing.T) {
	u, err := GetUsage(OS(), t.TempDir())
	if err != nil || u.Total == 0 || u.Free > u.Total {
		t.Errorf("real: %+v, %v", u, err)
	}
	mem := Memory()
	if _, err := GetUsage(mem, "/"); !errors.Is(err, ErrUnsupported) {
		t.Errorf("memory: %v", err)
	}
	mem.SetUsage(Usage{Free: 3, Total: 10})
	faults := NewFaults(mem)
	if u, err := GetUsage(Hook(faults, func(Op) error { return nil }), "/"); err != nil || u != (Usage{Free: 3, Total: 10}) {
		t.Errorf("memory: %+v, %v", u, err)
	}
	faults.SetUsage(Usage{Free: 1, Total: 2, FreeInodes: 3, TotalInodes: 4})
	if u, err := GetUsage(OnFull(faults, func() {}), "/"); err != nil || u.FreeInodes != 3 {
		t.Errorf("faults: %+v, %v", u, err)
	}
}

func TestCrash(t *testing.T) {
	mem := Memory()
	if err := errors.Join(MkdirAll(mem, "d/e"), WriteFile(mem, "d/e/synced", []byte("kept"))); err != nil {
		t.Fatal(err)
	}
	f, err := mem.Create("d/e/unsynced", Category)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("lost")); err != nil {
		t.Fatal(err)
	}
	for percent, want := range map[int]bool{0: false, 100: true} {
		after := mem.Crash(percent, 1)
		if b, err := ReadFile(after, "d/e/synced"); err != nil || string(b) != "kept" {
			t.Errorf("%d %%: synced file is %q, %v", percent, b, err)
		}
		if _, err := after.Stat("d/e/unsynced"); (err == nil) != want {
			t.Errorf("%d %%: unsynced file: %v", percent, err)
		}
	}
}

func TestFaults(t *testing.T) {
	faults := NewFaults(Memory())
	mine := errors.New("mine")
	faults.FailNth(2, mine)
	if err := WriteFile(faults, "a", []byte("x")); !errors.Is(err, mine) {
		t.Errorf("second write operation: %v", err)
	}
	if err := WriteFile(faults, "a", []byte("x")); err != nil {
		t.Errorf("later ones: %v", err)
	}
	faults.FailSync(".log")
	if err := WriteFile(faults, "b.log", nil); !errors.Is(err, syscall.EIO) {
		t.Errorf("sync: %v", err)
	}
	if err := WriteFile(faults, "b", nil); err != nil {
		t.Errorf("sync of another: %v", err)
	}
	faults.FailIf(nil, nil)
	faults.SetRoom(10)
	f, err := faults.Create("c", Category)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i, want := range []int{7, 3, 0} {
		n, err := f.Write([]byte("1234567"))
		if n != want || (err != nil) != (i > 0) || err != nil && !IsFull(err) {
			t.Errorf("write %d: %d, %v", i, n, err)
		}
	}
	faults.SetRoom(-1)
	if _, err := f.Write([]byte("!")); err != nil {
		t.Error(err)
	}
	if b, err := ReadFile(faults, "c"); err != nil || !bytes.Equal(b, []byte("1234567123!")) {
		t.Errorf("file is %q, %v", b, err)
	}
}

// TestHook counts what writes, and only that.
func TestHook(t *testing.T) {
	var kinds []OpKind
	h := Hook(Memory(), func(op Op) error {
		if op.Writes() {
			kinds = append(kinds, op.Kind)
			if op.N != int64(len(kinds)) {
				t.Errorf("operation %d has number %d", len(kinds), op.N)
			}
		} else if op.N != 0 {
			t.Errorf("a read has number %d", op.N)
		}
		return nil
	})
	if err := errors.Join(MkdirAll(h, "d"), WriteFile(h, "d/a", []byte("x")), h.Rename("d/a", "d/b"), h.Link("d/b", "d/c"), h.Remove("d/b")); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(h, "d/c"); err != nil {
		t.Fatal(err)
	}
	want := []OpKind{OpMkdir, OpSyncDir, OpCreate, OpWrite, OpSync, OpSyncDir, OpRename, OpLink, OpRemove}
	if len(kinds) != len(want) || h.Writes() != int64(len(want)) {
		t.Fatalf("kinds %v, want %v", kinds, want)
	}
	for i := range want {
		if kinds[i] != want[i] {
			t.Errorf("kinds %v, want %v", kinds, want)
			break
		}
	}
}

func TestAllocate(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ballast")
	const size = 3<<20 + 5
	if err := Allocate(OS(), name, size); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Sys().(*syscall.Stat_t).Blocks * 512; got < size {
		t.Errorf("takes up %d octets", got)
	}
	mem := NewFaults(Memory())
	f, err := mem.Create("f", Category)
	if err != nil {
		t.Fatal(err)
	}
	if err := fill(f, size); err != nil {
		t.Fatal(err)
	}
	if info, err := f.Stat(); err != nil || info.Size() != size {
		t.Errorf("filled %d, %v", info.Size(), err)
	}
}
