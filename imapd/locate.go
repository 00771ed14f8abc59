package imapd

import "github.com/postino-mail/postino/mailbox"

// locate finds the account and the mailbox that a name means to the user; NotFound.
func (s *session) locate(name string) (*mailbox.Account, mailbox.Info, error) {
	info, err := s.acct.Mailbox(name)
	return s.acct, info, err
}
