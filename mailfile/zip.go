package mailfile

import (
	"archive/zip"
	"bufio"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/vfs"
)

// OpenZip reads a zip archive as a tree of files. A file that unpacks to far more
// than mail does ends with an error.
func OpenZip(r io.ReaderAt, size int64) (fs.FS, error) {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, postino.E(postino.Invalid, "read zip archive", "", err)
	}
	return zipFS{z}, nil
}

type zipFS struct{ z *zip.Reader }

// Open implements fs.FS.
func (z zipFS) Open(name string) (fs.File, error) {
	f, err := z.z.Open(name)
	if err != nil {
		return nil, err
	}
	if dir, ok := f.(fs.ReadDirFile); ok {
		return dir, nil
	}
	packed := int64(1)
	if info, err := f.Stat(); err == nil {
		if h, ok := info.Sys().(*zip.FileHeader); ok {
			packed += int64(min(h.CompressedSize64, 1<<62))
		}
	}
	return &zipFile{f, &bounded{r: f, in: func() int64 { return packed }}}, nil
}

type zipFile struct {
	fs.File
	b *bounded
}

// Read implements io.Reader.
func (f *zipFile) Read(p []byte) (int, error) { return f.b.Read(p) }

// ZipWriter writes a zip archive with a file for each message, as [EMLWriter] names
// them. The archive has its name once it is whole; one that was not finished is begun
// anew.
type ZipWriter struct {
	Files vfs.FS
	Path  string // of the archive

	f      vfs.File
	w      *bufio.Writer
	z      *zip.Writer
	folder *Folder
	lost   []string
}

var _ Writer = (*ZipWriter)(nil)

// Begin implements [Writer].
func (w *ZipWriter) Begin(f *Folder) error {
	w.folder, w.lost = f, nil
	if w.z == nil {
		var err error
		if w.f, err = w.Files.Create(w.Path+".part", vfs.Category); err != nil {
			return fail("write zip archive", w.Path, err)
		}
		w.w = bufio.NewWriterSize(w.f, chunk)
		w.z = zip.NewWriter(w.w)
	}
	_, err := w.z.Create(strings.Join(filePath(f.Name), "/") + "/")
	if err != nil {
		return fail("write zip archive", f.Name, err)
	}
	return nil
}

// Has implements [Writer].
func (w *ZipWriter) Has(*Entry) bool { return false }

// Put implements [Writer].
func (w *ZipWriter) Put(e *Entry, r io.Reader) error {
	for _, f := range e.Flags {
		if f[0] != '\\' && !strings.EqualFold(f, maildirFlags['P']) && !slices.Contains(w.lost, "keyword "+f) {
			w.lost = append(w.lost, "keyword "+f)
		}
	}
	name := strings.Join(filePath(w.folder.Name), "/") + "/" + EMLName(e.UID, e.Date, e.Flags)
	out, err := w.z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: e.Date.UTC()})
	if err == nil {
		_, err = io.Copy(out, r)
	}
	if err != nil {
		return fail("write message", w.folder.Name, err)
	}
	return nil
}

// End implements [Writer].
func (w *ZipWriter) End() ([]string, error) { return w.lost, nil }

// Close implements [Writer].
func (w *ZipWriter) Close([]Folder) error {
	if w.z == nil {
		return postino.E(postino.NotFound, "write zip archive", w.Path, errors.New("there is no mailbox to write"))
	}
	err := errors.Join(w.z.Close(), w.w.Flush(), w.f.Sync(), w.f.Close())
	if err == nil {
		err = w.Files.Rename(w.Path+".part", w.Path)
	}
	if err != nil {
		return fail("write zip archive", w.Path, err)
	}
	return nil
}
