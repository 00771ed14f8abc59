package directory

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/metric"
)

// Limits that are part of the stored format or of the promise of a resolution.
const (
	MaxTargets      = 1000 // mailboxes that one address leads to, targets of one alias
	MaxDepth        = 10   // steps from an address to a mailbox
	MaxAppPasswords = 64   // app passwords of one user
	MaxPassword     = 1024 // octets of a password
	MinPassword     = 8    // characters of a password that is set
	maxText         = 255  // octets of a name
)

// DefaultSeparator parts the local part from the sub-address in domains that do
// not say otherwise; NoSeparator turns sub-addressing off.
const (
	DefaultSeparator = "+"
	NoSeparator      = "none"
)

// Domain is a domain whose mail is delivered here, or relayed when Relay is set.
type Domain struct {
	// Name is in lower-case A-labels.
	Name string
	// CatchAll gets the mail of unknown local parts; zero: they are refused.
	CatchAll postino.Address
	// Separator begins a sub-address: empty for DefaultSeparator, NoSeparator,
	// or one of + - _ = #.
	Separator string
	// Disabled keeps the domain ours but denies its recipients and logins.
	Disabled bool
	// Relay makes it a domain that is delivered elsewhere: a backup MX or the
	// way to an inner server. Its users and aliases here come first. CatchAll
	// and the alias of the whole domain need ListedRecipients.
	Relay bool `json:",omitempty"`
	// Recipients says which addresses of a relay domain are taken.
	Recipients Recipients `json:",omitempty"`
	// Seal adds a set to the ARC chain of mail that came from outside and that
	// aliases of the domain send on (RFC 8617).
	Seal bool `json:",omitempty"`
	// MTASTS is what other servers are told of how to deliver here.
	MTASTS MTASTS `json:",omitzero"`
}

// Recipients is how the recipients of a relay domain are known.
type Recipients uint8

// The ways: all are taken; those on the list; those that the next server takes
// when it is asked, which is the caller's job.
const (
	AnyRecipient Recipients = iota
	ListedRecipients
	CallAhead
)

var recipientsWords = words[Recipients]{"any", "list", "call-ahead"}

// String is the word for people, "list".
func (r Recipients) String() string { return recipientsWords.name(r) }

// ParseRecipients reads what String writes. The error is Invalid.
func ParseRecipients(s string) (Recipients, error) { return recipientsWords.parse("recipients", s) }

// Role is what a user may administer.
type Role uint8

// The roles.
const (
	RoleUser Role = iota
	RoleAdmin
)

// User is an account with its own mailbox.
type User struct {
	// ID is the account, 1 or more, never reused.
	ID uint64
	// Address is the user's own address, as it is shown.
	Address postino.Address
	// Name is the display name and Language a BCP 47 tag; both may be empty.
	Name, Language string
	Role           Role
	// Quota is in octets; 0 stands for the default of the mailbox room.
	Quota int64
	// MaxMessages and MaxMailboxes bound what the account may hold; 0 does not.
	MaxMessages  int64 `json:",omitempty"`
	MaxMailboxes int64 `json:",omitempty"`
	// Disabled users cannot log in; their mail is still delivered.
	Disabled bool
	// Shared accounts belong to nobody: no one logs in as one, its mailboxes are
	// used by those who have rights on them.
	Shared  bool `json:",omitempty"`
	Created time.Time
	// Sends bound what the user submits; zero fields stand for Options.Sends.
	Sends SendLimits `json:",omitzero"`
	// Pass is what a login stands on, in users that Authenticate and SASL return.
	Pass Pass `json:"-"`
}

// SendLimits bound the recipients that one user sends to in any 60 minutes and
// any 24 hours (SS22). Zero is the default, NoSendLimit none.
type SendLimits struct {
	Hour int `json:",omitempty"`
	Day  int `json:",omitempty"`
}

// NoSendLimit lifts a limit.
const NoSendLimit = -1

// NewUser is what AddUser makes a user from.
type NewUser struct {
	Address postino.Address
	// Password may be empty: then only app passwords log in.
	Password       string
	Name, Language string
	Role           Role
	Quota          int64
	Disabled       bool
	// Shared accounts have no password.
	Shared bool
}

// Alias is an address that leads to others.
type Alias struct {
	// Address with an empty Local stands for all addresses of the domain that
	// are neither user nor alias; its targets then have an empty Local too and
	// get the local part that was written.
	Address postino.Address
	// Targets are 1 to MaxTargets addresses, of this directory or elsewhere.
	Targets []postino.Address
	// MembersSend gives every member the right to send as Address. Without it
	// only an alias with one target gives that right (SS22).
	MembersSend bool `json:",omitempty"`
	// Since is when SetAlias last pointed it elsewhere; SetAlias keeps it.
	Since time.Time `json:",omitzero"`
}

// Services is the set of services that an app password opens.
type Services uint8

// The services.
const (
	ServiceSMTP Services = 1 << iota
	ServiceIMAP
	ServicePOP3
	AllServices = ServiceSMTP | ServiceIMAP | ServicePOP3
)

// AppPassword is one random password of a device or program. The secret itself
// is shown once, when it is made.
type AppPassword struct {
	ID       uint64 // unique within the user
	Name     string
	Services Services
	Created  time.Time
	// LastUse is exact to an hour; zero when never used.
	LastUse time.Time
}

// AccountHooks let other rooms keep their part of an account in step: they run
// inside the transaction that creates, changes or removes a user. Every field
// may be nil. A hook may run again when its transaction does.
type AccountHooks struct {
	// Scopes names what the other hooks depend on for an account.
	Scopes func(id uint64) []kv.Scope
	Create func(tx kv.Tx, u User) error
	Change func(tx kv.Tx, before, after User) error
	Remove func(tx kv.Tx, u User) error
}

// AcceptAny makes a directory for development: every domain is local, and
// recipients and logins that do not exist are created on the fly.
type AcceptAny struct {
	// Password is what logins must give; empty accepts any.
	Password string
	// Foreign tells which domains belong to somebody else all the same; nil: none.
	Foreign func(domain string) bool
}

// invents tells whether the users of a domain are made on the fly.
func (o *AcceptAny) invents(domain string) bool {
	return o != nil && (o.Foreign == nil || !o.Foreign(domain))
}

// Argon2 is the cost of a password hash (RFC 9106 §4). Zero fields are 19,456
// KiB, 2 passes, 1 lane (AU1).
type Argon2 struct{ MemoryKiB, Time, Threads int }

// Options are the parameters of a directory; the zero value is fit for use.
type Options struct {
	Logger    *slog.Logger     // nil discards
	Metrics   *metric.Registry // nil counts nothing
	Accounts  AccountHooks
	AcceptAny *AcceptAny // nil outside development
	Argon2    Argon2
	// Hashes run at once and HashQueue wait; more get Transient. Zero means
	// GOMAXPROCS and 64.
	Hashes, HashQueue int
	Failures          FailureLimits
	// Legacy are those of CRAM-MD5 and DIGEST-MD5 that are offered. What is kept
	// for them is as good as the password for whoever reads the store.
	Legacy []string
	// Realm is the host name in challenges of Legacy; with another one the secrets
	// of DIGEST-MD5 are made anew at the next login with the password.
	Realm string
	// NoChannelBinding leaves the -PLUS mechanisms out, for clients that choose
	// them and then cannot do them.
	NoChannelBinding bool
	// Certificates are those that our listeners may have shown to a client that
	// asked for a name, for channel binding; nil: not known.
	Certificates func(serverName string) []*x509.Certificate
	// Tokens checks OAuth tokens of others; nil: none are taken.
	Tokens TokenValidator
	// OwnTokens takes the tokens that Grant makes.
	OwnTokens bool
	// Notify is told what was changed about how somebody gets in (AU9), after the
	// change; nil: nobody is.
	Notify func(ctx context.Context, n Notice)
	// Sends are the limits of users who have none of their own. Zero fields
	// are 500 in an hour and 2,000 in a day.
	Sends SendLimits
	// DKIM gives domains keys that sign; nil: none are made.
	DKIM *DKIM
}

// String names the services as lists show them, "smtp imap".
func (s Services) String() string {
	text := ""
	for i, n := range [...]string{"smtp", "imap", "pop3"} {
		if s&(1<<i) != 0 {
			text += " " + n
		}
	}
	return strings.TrimPrefix(text, " ")
}

// ParseServices reads what String writes; empty is all of them. The error is
// Invalid.
func ParseServices(text string) (s Services, err error) {
	if text == "" {
		return AllServices, nil
	}
	for word := range strings.FieldsSeq(text) {
		i := slices.Index([]string{"smtp", "imap", "pop3"}, word)
		if i < 0 {
			return 0, postino.E(postino.Invalid, "read services", postino.Printable(word), errors.New("it is none of smtp, imap, pop3"))
		}
		s |= 1 << i
	}
	return s, nil
}

// words are the names of an enumeration, by value.
type words[T ~uint8] []string

func (w words[T]) name(v T) string {
	if int(v) < len(w) {
		return w[v]
	}
	return "unknown"
}

// parse makes an unknown word Invalid and says which there are.
func (w words[T]) parse(what, s string) (T, error) {
	if i := slices.Index(w, s); i >= 0 {
		return T(i), nil
	}
	return 0, postino.E(postino.Invalid, "read "+what, postino.Printable(s), fmt.Errorf("it is none of %s", strings.Join(w, ", ")))
}
