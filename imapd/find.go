package imapd

import "github.com/postino-mail/postino/mailbox"

// find finds the account and the mailbox that a name means to the user; NotFound.
func (s *session) find(name string) (*mailbox.Account, mailbox.Info, error) {
	info, err := s.acct.Mailbox(name)
	return s.acct, info, err
}
