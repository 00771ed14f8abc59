package imapd

import (
	"context"

	"github.com/postino-mail/postino/imap"
)

var errLater = &imap.Error{Code: "CANNOT", Text: "Not supported"}

func (s *session) SearchMailbox(ctx context.Context, mailbox string, req imap.SearchRequest) (*imap.SearchData, uint32, error) {
	return nil, 0, errLater
}
func (s *session) Notify(ctx context.Context, req *imap.NotifyRequest) ([]string, error) {
	return nil, errLater
}
func (s *session) Thread(ctx context.Context, req imap.ThreadRequest) ([]imap.ThreadNode, error) {
	return nil, errLater
}
