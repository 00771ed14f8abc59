package tlspolicy

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/postino-mail/postino"
)

// Cache keeps policies of MTA-STS on stable storage, so that nobody who blocks
// name servers and web servers, or makes us start again, takes them away. The rows
// are opaque; domains are in lower-case A-labels.
type Cache interface {
	// Get returns nil when there is no row.
	Get(ctx context.Context, domain string) ([]byte, error)
	Put(ctx context.Context, domain string, row []byte) error
	Delete(ctx context.Context, domain string) error
	// Each calls fn for every row until it is false.
	Each(ctx context.Context, fn func(domain string, row []byte) bool) error
}

// entry is a policy of a domain as it was fetched.
type entry struct {
	domain  string
	id      string
	fetched time.Time // when it was the policy for certain
	used    time.Time // about when mail went by it, to a day
	policy  *STSPolicy
}

// valid tells whether the policy holds at a time.
func (e *entry) valid(now time.Time) bool { return now.Before(e.fetched.Add(e.policy.MaxAge)) }

// entryVersion begins every row: version, seconds of fetched and used, length of the
// id, id, and the lines of the policy.
const entryVersion = 1

// row encodes an entry.
func (e *entry) row() []byte {
	b := []byte{entryVersion}
	b = binary.AppendVarint(b, e.fetched.Unix())
	b = binary.AppendVarint(b, e.used.Unix())
	b = binary.AppendUvarint(b, uint64(len(e.id)))
	b = append(b, e.id...)
	return append(b, strings.Join(e.policy.Lines, "\n")...)
}

// parseRow decodes an entry. The error is Corrupt.
func parseRow(domain string, row []byte) (*entry, error) {
	corrupt := func(err error) error { return postino.E(postino.Corrupt, "read MTA-STS policy of", domain, err) }
	if len(row) == 0 || row[0] != entryVersion {
		return nil, corrupt(errors.New("written by a newer version, or damaged"))
	}
	e, rest := &entry{domain: domain}, row[1:]
	for _, t := range []*time.Time{&e.fetched, &e.used} {
		seconds, n := binary.Varint(rest)
		if n <= 0 {
			return nil, corrupt(nil)
		}
		*t, rest = time.Unix(seconds, 0), rest[n:]
	}
	length, n := binary.Uvarint(rest)
	if n <= 0 || length > uint64(len(rest)-n) {
		return nil, corrupt(nil)
	}
	e.id, rest = string(rest[n:n+int(length)]), rest[n+int(length):]
	p, err := ParseSTSPolicy(rest)
	if err != nil {
		return nil, corrupt(err)
	}
	e.policy = p
	return e, nil
}
