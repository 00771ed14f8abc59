package imapd

import (
	"strconv"
	"strings"

	"github.com/postino-mail/postino/mailbox"
)

// Object ids (RFC 8474 §4, §5) are a letter for what they name, the account and the
// number in it, both in hexadecimal: unique in the server, never used again, and
// short. Letters differ, so an id of one kind is never one of another.
const (
	mailboxPrefix = 'F'
	emailPrefix   = 'M'
	threadPrefix  = 'T'
)

func objectID(prefix byte, a mailbox.AccountID, n uint64) string {
	b := append(make([]byte, 0, 34), prefix)
	b = strconv.AppendUint(b, uint64(a), 16)
	return string(strconv.AppendUint(append(b, '-'), n, 16))
}

func mailboxObjectID(a mailbox.AccountID, id mailbox.MailboxID) string {
	return objectID(mailboxPrefix, a, uint64(id))
}

func emailObjectID(a mailbox.AccountID, id mailbox.EmailID) string {
	return objectID(emailPrefix, a, uint64(id))
}

func threadObjectID(a mailbox.AccountID, id mailbox.ThreadID) string {
	return objectID(threadPrefix, a, uint64(id))
}

// parseObjectID returns the number in an id of the account, false when s is not the
// one way in which an id of that kind and account is written.
func parseObjectID(prefix byte, a mailbox.AccountID, s string) (uint64, bool) {
	_, hex, _ := strings.Cut(s, "-")
	n, err := strconv.ParseUint(hex, 16, 64)
	return n, err == nil && objectID(prefix, a, n) == s
}
