package imapd

import (
	"context"

	"github.com/postino-mail/postino/imap"
)

var errLater = &imap.Error{Code: "CANNOT", Text: "Not supported"}

func (s *session) ACL(ctx context.Context, mailbox string) ([]imap.ACLEntry, error) {
	return nil, errLater
}
func (s *session) MyRights(ctx context.Context, mailbox string) (imap.Rights, error) {
	return "", errLater
}
func (s *session) ListRights(ctx context.Context, mailbox, identifier string) (*imap.ListRightsData, error) {
	return nil, errLater
}
func (s *session) SetACL(ctx context.Context, mailbox, identifier string, op imap.StoreOp, rights imap.Rights) error {
	return errLater
}
func (s *session) QuotaRoots(ctx context.Context, mailbox string) ([]string, error) {
	return nil, errLater
}
func (s *session) Quota(ctx context.Context, root string) ([]imap.QuotaResource, error) {
	return nil, errLater
}
func (s *session) SetQuota(ctx context.Context, root string, limits []imap.QuotaResource) error {
	return errLater
}
func (s *session) Metadata(ctx context.Context, mailbox string, entries []string, depth int) ([]imap.Annotation, error) {
	return nil, errLater
}
func (s *session) SetMetadata(ctx context.Context, mailbox string, entries []imap.Annotation) error {
	return errLater
}
func (s *session) SearchMailbox(ctx context.Context, mailbox string, req imap.SearchRequest) (*imap.SearchData, uint32, error) {
	return nil, 0, errLater
}
func (s *session) Notify(ctx context.Context, req *imap.NotifyRequest) ([]string, error) {
	return nil, errLater
}
func (s *session) Thread(ctx context.Context, req imap.ThreadRequest) ([]imap.ThreadNode, error) {
	return nil, errLater
}
