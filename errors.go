package postino

import "errors"

// Kind is the class of an error: what the caller can do about it. Each protocol
// has one table from Kind to its reply codes.
type Kind uint8

// The kinds. Internal is the zero value, so an error that nobody classed is
// never mistaken for the client's fault.
const (
	Internal  Kind = iota // a defect or an unforeseen state
	Invalid               // the request makes no sense, now or later
	NotFound              // the object does not exist, or the caller may not know of it
	Denied                // the caller may not do this
	Full                  // quota, limit or disk: fits later or elsewhere
	Conflict              // the state changed or the name is taken
	Transient             // try again later
	Corrupt               // stored octets do not verify
)

// What errors of the kind Full may have as their cause; others ran into a limit that is
// neither. Protocols tell users that their quota is used up only when it is.
var (
	ErrQuota   = errors.New("over quota")            // the user's
	ErrNoSpace = errors.New("not enough free space") // the server's: disk or memory
)

var kindNames = [...]string{"internal error", "invalid", "not found", "denied", "full", "conflict", "temporary failure", "corrupt data"}

// String names the kind in lower case English for logs.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown kind"
}

// Error is an operation that failed on an object, with the class of failure
// and its cause.
type Error struct {
	Kind   Kind
	Op     string // what was tried, "deliver", "open blob"
	Object string // what it was tried on; may be empty
	Err    error  // the cause; may be nil
}

// E makes an [*Error]. The kind of a cause is kept when kind is Internal, so
// that layers can add their operation without knowing the class.
func E(kind Kind, op, object string, err error) *Error {
	if kind == Internal && err != nil {
		kind = KindOf(err)
	}
	return &Error{Kind: kind, Op: op, Object: object, Err: err}
}

// Error reads as a sentence: operation, object, class, cause. Without an
// operation it reads like its cause.
func (e *Error) Error() string {
	if e.Op == "" && e.Err != nil {
		return e.Err.Error()
	}
	s := e.Op
	if e.Object != "" {
		s += " " + e.Object
	}
	if e.Err != nil {
		return s + ": " + e.Err.Error()
	}
	return s + ": " + e.Kind.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the class of the outermost [*Error] in err's chain, Internal
// when there is none.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

// Is tells whether err is of the kind; a nil error is of none.
func Is(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }
