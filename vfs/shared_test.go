package vfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// sharedWrite makes a shared file with a content.
func sharedWrite(t *testing.T, fsys FS, name, text string) SharedFile {
	t.Helper()
	f, err := OpenShared(fsys, name, SharedCreate)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.WriteAt([]byte(text), 0); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestShared(t *testing.T) {
	pass := func(Op) error { return nil }
	for name, fsys := range map[string]FS{"os": OS(), "memory": Memory(), "hook": Hook(Memory(), pass)} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "box")
			if err := fsys.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			if _, err := OpenShared(fsys, file, SharedWrite); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("missing file: %v", err)
			}
			if _, err := OpenShared(fsys, filepath.Dir(file), SharedRead); !errors.Is(err, ErrNotRegular) {
				t.Errorf("directory: %v", err)
			}
			a := sharedWrite(t, fsys, file, "0123456789")
			b, err := OpenShared(fsys, file, SharedWrite)
			if err != nil {
				t.Fatal(err)
			}
			if err := a.TryLock(); err != nil {
				t.Fatal(err)
			}
			if err := b.TryLock(); !IsLocked(err) {
				t.Errorf("locked twice: %v", err)
			}
			if err := a.Unlock(); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(b.TryLock(), b.Close(), a.TryLock()); err != nil {
				t.Errorf("the lock did not end with its file: %v", err)
			}
			if err := errors.Join(a.Truncate(4), a.Sync()); err != nil {
				t.Fatal(err)
			}
			if _, err := a.WriteAt([]byte("x"), 4); err != nil {
				t.Fatal(err)
			}
			if got, err := ReadFile(fsys, file); err != nil || string(got) != "0123x" {
				t.Errorf("after truncation: %q, %v", got, err)
			}
		})
	}
}

func TestSharedCrash(t *testing.T) {
	mem := Memory()
	f := sharedWrite(t, mem, "box", "0123456789")
	if err := errors.Join(f.Sync(), SyncDir(mem, "/"), f.Truncate(4)); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadFile(mem.Crash(0, 1), "box"); err != nil || string(got) != "0123456789" {
		t.Errorf("truncation that was not synced: %q, %v", got, err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadFile(mem.Crash(0, 1), "box"); err != nil || string(got) != "0123" {
		t.Errorf("truncation: %q, %v", got, err)
	}
}

func TestSharedRefuses(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "target")
	if err := errors.Join(os.WriteFile(target, nil, 0o600), os.Symlink(target, dir+"/link"), syscall.Mkfifo(dir+"/pipe", 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []SharedMode{SharedRead, SharedWrite, SharedCreate} {
		if _, err := OpenShared(OS(), dir+"/link", mode); !errors.Is(err, syscall.ELOOP) {
			t.Errorf("link: %v", err)
		}
		if _, err := OpenShared(OS(), dir+"/pipe", mode); !errors.Is(err, ErrNotRegular) {
			t.Errorf("pipe: %v", err)
		}
	}
	if err := os.Link(target, dir+"/second"); err != nil {
		t.Fatal(err)
	}
	f, err := OpenShared(OS(), target, SharedRead)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if in, ok := InodeOf(info); !ok || in.Links != 2 || in.UID != uint32(os.Getuid()) {
		t.Errorf("%+v, %v", in, ok)
	}
	if err := Chmod(OS(), target, 0o640); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(target); err != nil || info.Mode() != 0o640 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}
