package imap

import "strings"

// quotaRootName reads a space and the name of a quota root.
func (c *conn) quotaRootName() (string, error) {
	if err := c.p.SP(); err != nil {
		return "", err
	}
	return c.p.AString()
}

// getQuota is GETQUOTA (RFC 9208 §4.1.1).
func (c *conn) getQuota() error {
	root, err := c.quotaRootName()
	if err == nil {
		err = c.end()
	}
	if err != nil {
		return err
	}
	return c.printQuota(root)
}

// getQuotaRoot is GETQUOTAROOT (RFC 9208 §4.1.2).
func (c *conn) getQuotaRoot() error {
	name, err := c.oneMailbox()
	if err != nil {
		return err
	}
	roots, err := c.sess.QuotaRoots(c.ctx, name)
	if err != nil {
		return err
	}
	c.out.str("* QUOTAROOT ")
	c.out.mailbox(name)
	for _, root := range roots {
		c.out.str(" ")
		c.out.astring(root)
	}
	c.out.str("\r\n")
	for _, root := range roots {
		if err := c.printQuota(root); err != nil {
			return err
		}
	}
	return nil
}

// setQuota is SETQUOTA (RFC 9208 §4.1.3).
func (c *conn) setQuota() error {
	root, err := c.quotaRootName()
	if err == nil {
		err = c.p.SP()
	}
	if err != nil {
		return err
	}
	var limits []QuotaResource
	err = c.parenthesised(func() error {
		name, err := c.p.Atom()
		if err != nil {
			return err
		}
		r := QuotaResource{Name: strings.ToUpper(string(name))}
		if err := c.p.SP(); err != nil {
			return err
		}
		n, err := c.p.Number(1<<63 - 1)
		r.Limit = int64(n)
		limits = append(limits, r)
		return err
	})
	if err == nil {
		err = c.end()
	}
	if err != nil {
		return err
	}
	if err := c.sess.SetQuota(c.ctx, root, limits); err != nil {
		return err
	}
	return c.printQuota(root)
}

// printQuota prints the QUOTA response of a root: the resources that are limited
// (RFC 9208 §4.2.1).
func (c *conn) printQuota(root string) error {
	resources, err := c.sess.Quota(c.ctx, root)
	if err != nil {
		return err
	}
	c.out.str("* QUOTA ")
	c.out.astring(root)
	sep := " ("
	for _, r := range resources {
		c.out.str(sep)
		c.out.str(r.Name)
		c.out.str(" ")
		c.out.num64(r.Usage)
		c.out.str(" ")
		c.out.num64(r.Limit)
		sep = " "
	}
	if sep == " (" {
		c.out.str(sep)
	}
	c.out.str(")\r\n")
	c.out.flushFull()
	return nil
}
