package mailbox

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"

	"github.com/postino-mail/postino/kv"
)

// A message belongs to the thread of the messages that it refers to: References
// and In-Reply-To, nearest first, then any message that referred to it (RFC 5256
// §3, REFERENCES). A reply that names no message we know joins the thread of the
// newest message with its base subject, if that came within subjectWindow.
// Otherwise it begins a thread.
//
// The thread of an email is stable (RFC 8474 §5.2), so two threads are never
// merged: a message that refers to both joins the one of its nearest reference,
// and the message-ids it names are remembered under that thread when they are
// new.
//
// Each message-id and each base subject is kept as 16 octets of its SHA-256.

// maxRefs is the number of message-ids of one message that threading looks at.
const maxRefs = 20

// subjectWindow is how long a base subject alone joins replies, in seconds.
const subjectWindow = 30 * 24 * 3600

// threadEntry is the value under keyThread.
type threadEntry struct {
	thread ThreadID
	at     int64 // when a message last named it, Unix seconds
}

func (t threadEntry) append(dst []byte) []byte {
	dst = append(dst, threadVersion)
	dst = binary.AppendUvarint(dst, uint64(t.thread))
	return binary.AppendVarint(dst, t.at)
}

func decodeThread(b []byte) (t threadEntry, err error) {
	d := decoder{b: b}
	if err := d.version(threadVersion, "thread row"); err != nil {
		return t, err
	}
	t = threadEntry{ThreadID(d.uvarint()), d.varint()}
	return t, d.end("thread row")
}

// threadKey returns the key of a message-id (kind 'm') or base subject ('s').
func threadKey(dst []byte, id AccountID, kind byte, text string) []byte {
	var scratch [512]byte
	sum := sha256.Sum256(append(append(scratch[:0], kind), text...))
	return append(accountKey(dst, id, keyThread), sum[:16]...)
}

func readThread(r kv.Reader, key []byte) (threadEntry, bool, error) {
	v, ok, err := r.Get(key)
	if !ok || err != nil {
		return threadEntry{}, false, err
	}
	t, err := decodeThread(v)
	return t, err == nil, err
}

// references returns the message-ids that s names, nearest first, without
// repetition, at most maxRefs.
func (s *Summary) references() []string {
	refs := make([]string, 0, 8)
	add := func(id string) {
		if id == "" || id == s.MessageID || len(refs) == maxRefs {
			return
		}
		for _, r := range refs {
			if r == id {
				return
			}
		}
		refs = append(refs, id)
	}
	for i := len(s.References) - 1; i >= 0; i-- {
		add(s.References[i])
	}
	for _, id := range s.InReplyTo {
		add(id)
	}
	return refs
}

// thread finds the thread of a new email and remembers what it names.
func (w *writer) thread(email EmailID, s *Summary) (ThreadID, error) {
	now := w.now.Unix()
	names := s.references()
	if s.MessageID != "" {
		names = append(names, s.MessageID)
	}
	var thread ThreadID
	known := make([]bool, len(names))
	keys := make([]byte, 0, 512)
	for i, name := range names {
		at := len(keys)
		keys = threadKey(keys, w.id, 'm', name)
		t, ok, err := readThread(w.tx, keys[at:])
		if err != nil {
			return 0, err
		}
		if known[i] = ok; ok && thread == 0 {
			thread = t.thread
		}
	}
	var subject []byte
	if s.BaseSubject != "" {
		subject = threadKey(nil, w.id, 's', strings.ToLower(s.BaseSubject))
		if thread == 0 && (s.Reply || len(s.InReplyTo) > 0) {
			t, ok, err := readThread(w.tx, subject)
			if err != nil {
				return 0, err
			}
			if ok && now-t.at <= subjectWindow {
				thread = t.thread
			}
		}
	}
	if thread == 0 {
		thread = ThreadID(email)
	}
	w.buf = threadEntry{thread, now}.append(w.buf[:0])
	const size = 1 + 8 + 1 + 16
	for i := range names {
		if !known[i] {
			if err := w.tx.Set(keys[i*size:(i+1)*size], w.buf); err != nil {
				return 0, err
			}
		}
	}
	if subject != nil {
		return thread, w.tx.Set(subject, w.buf)
	}
	return thread, nil
}
