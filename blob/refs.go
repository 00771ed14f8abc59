package blob

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// Ref names who holds a body, in 1 to 32 octets: 'q' and a queue id, 'm', an
// account and an email id. A holder's references change only under its scope.
type Ref []byte

// maxRef is the length of the longest Ref.
const maxRef = 32

func appendRef(dst []byte, id postino.BlobID, ref Ref) ([]byte, error) {
	if len(ref) == 0 || len(ref) > maxRef {
		return nil, postino.E(postino.Internal, "reference body", id.String(), fmt.Errorf("reference of %d octets", len(ref)))
	}
	return append(appendKey(dst, refRow, id), ref...), nil
}

func (s *Store) setRef(tx kv.Tx, id postino.BlobID, ref Ref) error {
	var buf [rowSize + maxRef]byte
	key, err := appendRef(buf[:0], id, ref)
	if err != nil {
		return err
	}
	return tx.Set(key, []byte{version})
}

// referenced tells whether anything holds the body.
func referenced(r kv.Reader, id postino.BlobID) (found bool, err error) {
	var key [rowSize]byte
	rng := kv.Prefix(appendKey(key[:0], refRow, id))
	rng.Limit = 1
	err = r.Scan(rng, func(_, _ []byte) bool { found = true; return false })
	return found, err
}

// Link adds a reference to a body that has one already; without one it fails
// as NotFound, since such a body may be about to be removed. To hand a body
// over, Link the new holder first and Unlink the old one after it.
func (s *Store) Link(tx kv.Tx, id postino.BlobID, ref Ref) error {
	found, err := referenced(tx, id)
	if err != nil {
		return err
	}
	if !found {
		return postino.E(postino.NotFound, "link body", id.String(), nil)
	}
	return s.setRef(tx, id, ref)
}

// Share is Link for a transaction that knows of a reference which stays until
// it commits, like that of the queue item that it serves: it does not look.
func (s *Store) Share(tx kv.Tx, id postino.BlobID, ref Ref) error { return s.setRef(tx, id, ref) }

// Handover is Unlink for a transaction that gave the body another reference: it
// does not look either.
func (s *Store) Handover(tx kv.Tx, id postino.BlobID, from Ref) error {
	var buf [rowSize + maxRef]byte
	key, err := appendRef(buf[:0], id, from)
	if err != nil {
		return err
	}
	return tx.Delete(key)
}

// Unlink removes a reference, if it is there. A body that lost its last one is
// removed by a sweep after the grace time.
func (s *Store) Unlink(tx kv.Tx, id postino.BlobID, ref Ref) error {
	if err := s.Handover(tx, id, ref); err != nil {
		return err
	}
	found, err := referenced(tx, id)
	if err != nil || found {
		return err
	}
	return setIdle(tx, id)
}

// setIdle notes that a body has no reference since now. The sweep looks again,
// so it does no harm that a transaction beside this one links the body.
func setIdle(tx kv.Tx, id postino.BlobID) error {
	var key [rowSize]byte
	value := binary.BigEndian.AppendUint64([]byte{version}, uint64(time.Now().UnixMilli()))
	return tx.Set(appendKey(key[:0], idleRow, id), value)
}
