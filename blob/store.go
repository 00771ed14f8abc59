package blob

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/vfs"
)

// blockSize is the piece of a file that has a checksum of its own.
const blockSize = 64 << 10

// Options sets a store; zero fields have the documented default.
type Options struct {
	// Inline is the size in octets up to which a body is kept in the kv;
	// default and most 64 KiB.
	Inline int
	// MemoryBudget bounds the sum of the bodies in memory while they are
	// received; default 256 MiB.
	MemoryBudget int64
	// Grace is how long a body without reference and a file without record
	// stay; default 1 h. It must exceed the life of any transaction.
	Grace time.Duration
	// Admit is asked before n octets are written to files; its error, of kind
	// Full, refuses the body. Nil admits all.
	Admit func(n int64) error
	// IDs makes the stamps; default is a generator of the store's own.
	IDs *postino.IDs
	// Logger takes what operators should know; default none.
	Logger *slog.Logger
}

// Store keeps bodies in a kv and in files below one directory. Its methods may
// be called from any goroutine.
type Store struct {
	db     kv.DB
	fs     vfs.FS
	dir    string
	opts   Options
	memory budget

	mu sync.Mutex
	// staged are the files that a Writer of this process still has in hand.
	staged map[string]struct{}
}

// New returns the store of bodies whose rows are in db and whose files are
// below dir, which it makes.
func New(db kv.DB, fsys vfs.FS, dir string, opts Options) (*Store, error) {
	if opts.Inline <= 0 || opts.Inline > blockSize {
		opts.Inline = blockSize
	}
	if opts.MemoryBudget <= 0 {
		opts.MemoryBudget = 256 << 20
	}
	if opts.Grace <= 0 {
		opts.Grace = time.Hour
	}
	if opts.Admit == nil {
		opts.Admit = func(int64) error { return nil }
	}
	if opts.IDs == nil {
		opts.IDs = &postino.IDs{}
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if err := vfs.MkdirAll(fsys, dir); err != nil {
		return nil, postino.E(postino.Internal, "open blob store", dir, err)
	}
	s := &Store{db: db, fs: fsys, dir: dir, opts: opts, staged: map[string]struct{}{}}
	s.memory.left.Store(opts.MemoryBudget)
	return s, nil
}

// The kinds of rows.
const (
	bodyRow = 'd'
	fileRow = 'f'
	refRow  = 'r'
	idleRow = 'u'
)

// rowSize is the length of a key without reference.
const rowSize = 2 + len(postino.BlobID{})

func appendKey(dst []byte, row byte, id postino.BlobID) []byte {
	return append(append(dst, 'b', row), id[:]...)
}

// idOf returns the id in a key.
func idOf(key []byte) (id postino.BlobID) {
	copy(id[:], key[2:])
	return id
}

// version is the first octet of every value, codecPlain the second of a body
// and of a file: octets as they are. Other codecs are compressions to come.
const (
	version    = 1
	codecPlain = 0
)

// headSize is what stands before a body in its row: version, codec, CRC-32C.
const headSize = 2 + 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func corrupt(op string, id postino.BlobID, why string) error {
	return postino.E(postino.Corrupt, op, id.String(), errors.New(why))
}

// checkHead refuses what this code cannot read.
func checkHead(op string, id postino.BlobID, value []byte) error {
	switch {
	case len(value) < 2 || value[0] == 0:
		return corrupt(op, id, "no version")
	case value[0] > version || value[1] != codecPlain:
		return postino.E(postino.Internal, op, id.String(),
			fmt.Errorf("written by a newer program (version %d, codec %d)", value[0], value[1]))
	}
	return nil
}

// decodeBody returns the body in the value of its row, verified.
func decodeBody(id postino.BlobID, value []byte) ([]byte, error) {
	if err := checkHead("read body", id, value); err != nil {
		return nil, err
	}
	if len(value) < headSize {
		return nil, corrupt("read body", id, "no checksum")
	}
	body := value[headSize:]
	if binary.BigEndian.Uint32(value[2:]) != crc32.Checksum(body, castagnoli) {
		return nil, corrupt("read body", id, "checksum does not match")
	}
	return body, nil
}

// record is what is known of a file: its size and the CRC-32C of its blocks.
type record struct {
	size int64
	sums []byte // four octets for each block
}

func (r *record) append(dst []byte) []byte {
	dst = append(dst, version, codecPlain)
	dst = binary.AppendUvarint(dst, uint64(r.size))
	return append(dst, r.sums...)
}

func decodeRecord(id postino.BlobID, value []byte) (record, error) {
	if err := checkHead("read file record", id, value); err != nil {
		return record{}, err
	}
	size, n := binary.Uvarint(value[2:])
	if n <= 0 || size > 1<<62 {
		return record{}, corrupt("read file record", id, "no size")
	}
	r := record{size: int64(size), sums: value[2+n:]}
	if int64(len(r.sums)) != 4*((r.size+blockSize-1)/blockSize) {
		return record{}, corrupt("read file record", id, "wrong number of checksums")
	}
	return r, nil
}

// shard is the directory of a stamp: one for about 70 minutes, 1,024 of which
// are in one for about 50 days.
func (s *Store) shard(stamp postino.ID) string {
	ms := uint64(stamp) >> 20
	return s.fs.PathJoin(s.dir, fmt.Sprintf("%03x", ms>>32), fmt.Sprintf("%03x", ms>>22&0x3ff))
}

// path is the file of a body.
func (s *Store) path(id postino.BlobID) string {
	return s.fs.PathJoin(s.shard(id.Stamp()), id.String())
}

// tempName is the name of a file that has no digest yet.
func tempName(stamp postino.ID) string { return "tmp-" + fmt.Sprintf("%016x", uint64(stamp)) }

// stampOf reads the stamp out of a file name; ok tells that the name is ours.
func stampOf(name string) (stamp postino.ID, id postino.BlobID, ok bool) {
	if hexa, found := strings.CutPrefix(name, "tmp-"); found {
		n, err := strconv.ParseUint(hexa, 16, 64)
		return postino.ID(n), id, err == nil && len(hexa) == 16
	}
	if len(name) != 2*len(id) {
		return 0, id, false
	}
	if _, err := hex.Decode(id[:], []byte(name)); err != nil {
		return 0, id, false
	}
	return id.Stamp(), id, true
}

// hold notes that a Writer has the file name in hand; drop forgets it.
func (s *Store) hold(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.staged[name] = struct{}{}
}

func (s *Store) drop(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.staged, name)
}

func (s *Store) held(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.staged[name]
	return ok
}
