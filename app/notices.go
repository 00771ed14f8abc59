package app

import (
	"context"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/reports"
	"github.com/postino-mail/postino/story"
)

// notify writes to a user what was changed about how he gets in (AU9). The change
// is done; that the letter could not be written is only logged.
func (s *Stores) notify(ctx context.Context, n directory.Notice) {
	if err := s.sendNotice(ctx, n); err != nil {
		s.log.Warn("user not told of a change", "what", n.Kind, "user", postino.Printable(n.User.Address.String()), "err", err)
	}
}

func (s *Stores) sendNotice(ctx context.Context, n directory.Notice) error {
	l := s.Post.Begin(n.When, postino.Envelope{SMTPUTF8: n.User.Address.NeedsUTF8()})
	defer l.Close()
	if err := l.Rcpt(ctx, postino.Recipient{Address: n.User.Address, Notify: postino.DSNNever}, 0); err != nil {
		return err
	}
	l.Open(n.When)
	letter := reports.Notice{
		Lang: n.User.Language, What: n.Kind.String(), Name: n.Name, Date: n.When, To: n.User.Address,
		From: postino.Address{Local: "postmaster", Domain: n.User.Address.Domain},
		ID:   s.IDs.Next(time.Now()).String() + "@" + n.User.Address.Domain,
	}
	if err := letter.Build(l); err != nil {
		return err
	}
	if _, err := l.Finish(ctx); err != nil {
		return err
	}
	return l.Commit(ctx, l.Accepted([]postino.Address{n.User.Address}).Text(story.Reason, "notice: "+n.Kind.String()))
}
