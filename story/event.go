package story

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"iter"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/postino-mail/postino"
)

// Kind says what happened.
type Kind uint8

// The kinds. The numbers are stored; new ones go to the end.
const (
	Accepted    Kind = iota + 1 // the server took responsibility for a message
	Refused                     // a connection, command, recipient or message was refused
	Judged                      // a check gave its verdict
	Queued                      // the message was queued once more: by a release or a redirection
	Tried                       // a delivery was tried and gave no outcome for any recipient
	Delivered                   // it is in a mailbox, or another server took it
	Deferred                    // a recipient will be tried again
	Failed                      // a recipient will not be tried again
	Held                        // it stays in the queue until an administrator decides
	Released                    // an administrator let it go on
	Quarantined                 // handling it failed too often; it is kept aside
	Bounced                     // a report went to the sender
	Removed                     // an administrator took it off the queue
	Note                        // anything else worth knowing
)

var kindNames = [...]string{"", "accepted", "refused", "judged", "queued", "tried", "delivered", "deferred",
	"failed", "held", "released", "quarantined", "bounced", "removed", "note"}

// String names the kind in lower case.
func (k Kind) String() string {
	if k > 0 && int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "event " + strconv.Itoa(int(k))
}

// Key names a fact.
type Key uint8

// The keys. The numbers are stored; new ones go to the end. Sender, Recipient
// and MessageID are indexed for [Store.Find].
const (
	Sender    Key = iota + 1 // reverse-path; empty for the null sender
	Recipient                // forward-path as the client gave it
	MessageID                // Message-ID with its angle brackets
	Remote                   // address of the client or of the remote server
	Helo                     // name that the client gave itself
	Protocol                 // as in the with clause of Received: ESMTPS
	TLS                      // version and cipher
	User                     // authenticated user
	Size                     // octets
	For                      // recipient that an outcome belongs to
	Where                    // mailbox or server that has it now
	UID                      // UID in that mailbox
	Reply                    // SMTP reply given or received
	Rule                     // what decided: a requirement, a limit, a setting
	Attempt                  // number of the attempt, from 1
	Next                     // when it is tried again, RFC 3339
	Stage                    // SMTP command, or step
	Reason                   // in words
	Count                    // how many
	Listener                 // which of our listeners
	Item                     // id of the queue item
	Signed                   // domain and keys that signed it, or why none did
	Decision                 // what became of a message that was judged
	Override                 // why that is not what a policy wants
	// The rest are details, and stand last in an event: each Method is followed by
	// its Result, by what that is About and by the Reason.
	Method // of authentication, as in Authentication-Results
	Result
	About
	DNS // an answer that a result rests on: name, type, records, security
)

// keyWords are the words before (and for some after) the value of a fact.
var keyWords = [...]struct{ name, before, after string }{
	Sender:    {"sender", "from <", ">"},
	Recipient: {"recipient", "to <", ">"},
	MessageID: {"message-id", "message-id ", ""},
	Remote:    {"remote", "host ", ""},
	Helo:      {"helo", "helo ", ""},
	Protocol:  {"protocol", "by ", ""},
	TLS:       {"tls", "", ""},
	User:      {"user", "user ", ""},
	Size:      {"size", "", " octets"},
	For:       {"for", "for <", ">"},
	Where:     {"where", "in ", ""},
	UID:       {"uid", "uid ", ""},
	Reply:     {"reply", "reply \"", "\""},
	Rule:      {"rule", "rule ", ""},
	Attempt:   {"attempt", "attempt ", ""},
	Next:      {"next", "next try ", ""},
	Stage:     {"stage", "at ", ""},
	Reason:    {"reason", "", ""},
	Count:     {"count", "count ", ""},
	Listener:  {"listener", "listener ", ""},
	Item:      {"item", "queue item ", ""},
	Signed:    {"signed", "signed by ", ""},
	Decision:  {"decision", "", ""},
	Override:  {"override", "override ", ""},
	Method:    {"method", "", ""},
	Result:    {"result", "=", ""},
	About:     {"about", " ", ""},
	DNS:       {"dns", "dns ", ""},
}

// String names the key as JSON does.
func (k Key) String() string {
	if k > 0 && int(k) < len(keyWords) {
		return keyWords[k].name
	}
	return "fact-" + strconv.Itoa(int(k))
}

func (k Key) indexed() bool { return k == Sender || k == Recipient || k == MessageID }

const (
	version  = 1
	maxText  = 1000      // octets of one fact
	maxEvent = 512 << 10 // octets of one event
)

// Event is one thing that happened to a message. It is made by [Store.Event],
// filled by one goroutine, and not changed once it was appended or noted.
type Event struct {
	// Message is the id under which the story is kept.
	Message postino.ID
	// Seq orders the events of a message and carries their time.
	Seq  postino.ID
	Kind Kind

	packed []byte // the stored value: version, kind, then facts
}

func newEvent(message, seq postino.ID, kind Kind) *Event {
	e := &Event{Message: message, Seq: seq, Kind: kind, packed: make([]byte, 0, 448)}
	e.packed = append(e.packed, version, byte(kind))
	return e
}

// Time returns when it happened, to the millisecond.
func (e *Event) Time() time.Time { return e.Seq.Time() }

// Text adds a fact; an empty one is left out. Text over 1,000 octets is cut at
// a character; a fact that would make the event longer than 512 KiB is dropped.
func (e *Event) Text(k Key, s string) *Event {
	if s == "" {
		return e
	}
	return add(e, k, s)
}

// Address adds an address; the null sender is the empty fact.
func (e *Event) Address(k Key, a postino.Address) *Event {
	var b [postino.MaxPath + 2*postino.MaxLocal]byte
	return add(e, k, a.Append(b[:0]))
}

// Int adds a number.
func (e *Event) Int(k Key, n int64) *Event {
	var b [20]byte
	return add(e, k, strconv.AppendInt(b[:0], n, 10))
}

// When adds a moment, to the second, in UTC.
func (e *Event) When(k Key, t time.Time) *Event {
	var b [40]byte
	return add(e, k, t.UTC().AppendFormat(b[:0], time.RFC3339))
}

func add[T string | []byte](e *Event, k Key, s T) *Event {
	n := len(s)
	if n > maxText {
		n = maxText
		for n > maxText-utf8.UTFMax && !utf8.RuneStart(s[n]) {
			n--
		}
	}
	if len(e.packed)+n+4 > maxEvent {
		return e
	}
	e.packed = append(e.packed, byte(k))
	e.packed = binary.AppendUvarint(e.packed, uint64(n))
	e.packed = append(e.packed, s[:n]...)
	return e
}

// Facts walks the facts in the order in which they were added. The values are
// as they were given: escape them before they reach a log or a terminal.
func (e *Event) Facts() iter.Seq2[Key, string] {
	return func(yield func(Key, string) bool) {
		for p := e.packed[2:]; len(p) > 0; {
			k, v, rest, ok := cut(p)
			if !ok || !yield(k, string(v)) {
				return
			}
			p = rest
		}
	}
}

// First returns the first fact with the key, or "".
func (e *Event) First(k Key) string {
	for key, v := range e.Facts() {
		if key == k {
			return v
		}
	}
	return ""
}

// cut takes the first fact off p.
func cut(p []byte) (k Key, v, rest []byte, ok bool) {
	n, w := binary.Uvarint(p[1:])
	if w <= 0 || n > uint64(len(p)-1-w) {
		return 0, nil, nil, false
	}
	body := p[1+w:]
	return Key(p[0]), body[:n], body[n:], true
}

// errStored are the ways in which a stored event can be unreadable.
var (
	errTruncated = errors.New("truncated event")
	errVersion   = errors.New("event written by a newer version")
)

// decode reads a stored value. It copies v.
func decode(message, seq postino.ID, v []byte) (*Event, error) {
	if len(v) < 2 {
		return nil, postino.E(postino.Corrupt, "read story", message.String(), errTruncated)
	}
	if v[0] != version {
		return nil, postino.E(postino.Corrupt, "read story", message.String(), errVersion)
	}
	for p := v[2:]; len(p) > 0; {
		_, _, rest, ok := cut(p)
		if !ok {
			return nil, postino.E(postino.Corrupt, "read story", message.String(), errTruncated)
		}
		p = rest
	}
	return &Event{Message: message, Seq: seq, Kind: Kind(v[1]), packed: append([]byte(nil), v...)}, nil
}

// MarshalJSON writes {"message", "time", "kind", "facts": [[key, value], …]}.
func (e *Event) MarshalJSON() ([]byte, error) {
	facts := [][2]string{}
	for k, v := range e.Facts() {
		facts = append(facts, [2]string{k.String(), v})
	}
	return json.Marshal(struct {
		Message string      `json:"message"`
		Time    time.Time   `json:"time"`
		Kind    string      `json:"kind"`
		Facts   [][2]string `json:"facts"`
	}{e.Message.String(), e.Time().UTC(), e.Kind.String(), facts})
}

// detail tells that a key begins a line of the details.
func (k Key) detail() bool { return k == Method || k == DNS }

// Describe words an event in one line without its time and its details, fit for
// a terminal: what came from outside is escaped (G6).
func Describe(e *Event) string {
	b := append(make([]byte, 0, 256), e.Kind.String()...)
	sep := ": "
	for k, v := range e.Facts() {
		if k.detail() {
			break
		}
		b = append(b, sep...)
		sep = ", "
		if k > 0 && int(k) < len(keyWords) {
			w := keyWords[k]
			b = append(b, w.before...)
			b = append(b, postino.Printable(v)...)
			b = append(b, w.after...)
			continue
		}
		b = append(append(append(b, k.String()...), ' '), postino.Printable(v)...)
	}
	return string(b)
}

// Details are the lines below the one of Describe: a method of authentication
// with its result and why it is so, or an answer of the DNS.
func Details(e *Event) (lines []string) {
	for k, v := range e.Facts() {
		switch {
		case k.detail():
			lines = append(lines, keyWords[k].before)
		case len(lines) == 0:
			continue
		case k == Reason:
			lines[len(lines)-1] += ": "
		case k == Result || k == About:
			lines[len(lines)-1] += keyWords[k].before
		default:
			lines[len(lines)-1] += ", "
		}
		lines[len(lines)-1] += postino.Printable(v)
	}
	return lines
}
