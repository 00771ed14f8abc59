package imap

import "github.com/postino-mail/postino/imap/internal/inflate"

// extras is the state of extensions that few connections use. It is nil until the
// first of them is used, so that an idle client costs no more for it.
type extras struct {
	contexts searchContexts
	notified *notified       // NOTIFY was used
	inflate  *inflate.Reader // COMPRESS is active
}

// extra returns the connection's extras, and makes them where there are none.
func (c *conn) extra() *extras {
	if c.extras == nil {
		c.extras = &extras{}
	}
	return c.extras
}
