package directory

import (
	"context"
	"time"
)

// NoticeKind says what was changed about how somebody gets in.
type NoticeKind uint8

// The kinds.
const (
	PasswordChanged NoticeKind = iota + 1
	AppPasswordAdded
	AppPasswordRemoved
	TokenMade
)

var noticeKinds = words[NoticeKind]{"", "password", "app-password", "app-password-removed", "token"}

// String is a word for logs, "password".
func (k NoticeKind) String() string { return noticeKinds.name(k) }

// Notice is a change that the user has to hear of, in case it was not his (AU9).
type Notice struct {
	Kind NoticeKind
	User User
	// Name is that of the app password or the token.
	Name string
	When time.Time
}

// notify logs a change and passes it on.
func (d *Directory) notify(ctx context.Context, k NoticeKind, u User, name string) {
	d.obs.changed(k, u, name)
	if d.opts.Notify != nil {
		d.opts.Notify(ctx, Notice{Kind: k, User: u, Name: name, When: time.Now()})
	}
}
