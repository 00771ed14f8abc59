package imapd

import (
	"context"

	"github.com/postino-mail/postino/imap"
)

var errLater = &imap.Error{Code: "CANNOT", Text: "Not supported"}

func (s *session) Notify(ctx context.Context, req *imap.NotifyRequest) ([]string, error) {
	return nil, errLater
}
