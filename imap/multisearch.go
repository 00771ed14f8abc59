package imap

import (
	"context"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/imap/internal/wire"
)

// multiSearch is ESEARCH: SEARCH in several mailboxes, always by UIDs (RFC 7377 §2).
func (c *conn) multiSearch() error {
	q := &searchCommand{SearchRequest: SearchRequest{UID: true, Return: ReturnAll}, extended: true}
	return c.searched(q, c.searchMany(q))
}

func (c *conn) searchMany(q *searchCommand) error {
	filters := []MailboxFilter{{Kind: FilterSelected}}
	if b := c.p.Rest(); len(b) > 3 && equalFold(b[:4], " IN ") {
		c.p.Advance(3)
		var err error
		if filters, err = c.sourceOptions(); err != nil {
			return err
		}
	}
	if err := c.searchArguments(q); err != nil {
		return err
	}
	here, elsewhere := false, false
	for _, f := range filters {
		here = here || f.Kind == FilterSelected
		elsewhere = elsewhere || f.Kind != FilterSelected
	}
	switch { // RFC 7377 §2.2
	case (here || q.Return&ReturnUpdate != 0) && c.state != selected:
		return syntax("No mailbox is selected")
	case elsewhere && q.Return&ReturnSave != 0:
		return syntax("SAVE is for the selected mailbox alone")
	case elsewhere && q.dollar:
		return syntax("$ is of the selected mailbox alone")
	case q.Return&ReturnUpdate != 0 && c.extra().contexts.named(c.tag) != nil:
		return syntax("Tag reuse")
	}
	names, err := c.sources(filters)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.lim.CommandTime)
	defer cancel()
	if q.ModSeq {
		c.enableCondStore()
	}
	watched := false
	for _, name := range names {
		data, err := c.searchSource(ctx, q, name)
		if err != nil {
			return tooLong(ctx, err)
		}
		if data != nil && c.state == selected && name == c.mailbox && q.Return&ReturnUpdate != 0 {
			c.watchSearch(q, data)
			watched = true
		}
	}
	if q.Return&ReturnUpdate != 0 && !watched { // they are of the selected mailbox alone
		c.refuseUpdates(c.tag)
	}
	return nil
}

// sourceOptions reads the argument of IN (RFC 7377 §4). There are no scope options.
func (c *conn) sourceOptions() (filters []MailboxFilter, err error) {
	if err := c.p.SP(); err != nil {
		return nil, err
	}
	err = c.parenthesised(func() error {
		f, err := c.mailboxFilter()
		if err == nil && f.Kind == FilterSelectedDelayed {
			err = syntax("Not a source of searches")
		}
		filters = append(filters, f)
		return err
	})
	if err == nil && len(filters) == 0 {
		err = syntax("Expected a mailbox filter")
	}
	return filters, err
}

// searchSource searches one mailbox and prints what it holds. Mailboxes that cannot be
// searched give no answer, those that the user may not read neither: nobody
// learns whether they exist.
func (c *conn) searchSource(ctx context.Context, q *searchCommand, name string) (data *SearchData, err error) {
	var valid uint32
	if c.state == selected && name == c.mailbox {
		st, err := c.sess.Status(ctx, name, StatusUIDValidity)
		if err != nil {
			return nil, err
		}
		valid = st.UIDValidity
		data, err = c.sess.Search(ctx, q.SearchRequest)
		if err = c.limitedIn(err); err != nil {
			return nil, err
		}
		if q.Return&ReturnSave != 0 {
			c.saved = data.save(&q.SearchRequest)
		}
	} else if data, valid, err = c.sess.SearchMailbox(ctx, name, q.SearchRequest); c.limitedIn(err) != nil {
		if postino.Is(err, postino.NotFound) || postino.Is(err, postino.Denied) {
			err = nil
		}
		return nil, err
	}
	if data.count == 0 || q.Return == ReturnSave {
		return data, nil
	}
	c.out.str("* ESEARCH (TAG ")
	c.out.buf = wire.AppendString(c.out.buf, string(c.tag), false)
	c.out.str(" MAILBOX ")
	c.out.mailbox(name)
	c.out.str(" UIDVALIDITY ")
	c.out.num(valid)
	c.out.str(")")
	c.out.esearch(&q.SearchRequest, data)
	return data, c.out.err
}
