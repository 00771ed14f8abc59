package mailbox

import (
	"testing"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// Junk goes into the mailbox with that use, whatever its name, or else into the
// one with the name; when there is none it is made and subscribed.
func TestDeliverJunk(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.account()
	defer a.Close()
	deliver := func(n int) (got []Delivered) {
		t.Helper()
		m := w.stage(letter(n))
		var b *Batch
		w.update(func(tx kv.Tx) error {
			got = got[:0]
			b = w.Batch(tx)
			for range 2 { // the second finds what the first has made
				d, err := b.Deliver(acct, Delivery{Message: m, Mailbox: inbox, Junk: true, Date: began})
				if err != nil {
					return err
				}
				got = append(got, d)
			}
			return b.Flush()
		})
		b.Committed()
		return got
	}
	junk := ok[MailboxID](t)(w.lookup(`\Junk`))
	got := deliver(1)
	equal(t, "mailbox", got[0].Mailbox, junk)
	equal(t, "name", got[1].Name, "Junk")

	if err := a.Rename(ctx, junk, "Spam"); err != nil {
		t.Fatal(err)
	}
	equal(t, "renamed", deliver(2)[0].Name, "Spam")

	if err := a.Delete(ctx, junk); err != nil {
		t.Fatal(err)
	}
	if err := a.Unsubscribe(ctx, "Junk"); err != nil && !postino.Is(err, postino.NotFound) {
		t.Fatal(err)
	}
	got = deliver(3)
	equal(t, "made", got[0].Name, "Junk")
	equal(t, "the same", got[1].Mailbox, got[0].Mailbox)
	equal(t, "a new one", got[0].Mailbox != junk, true)
	info := ok[Info](t)(a.Mailbox("Junk"))
	equal(t, "use", info.SpecialUse, UseJunk)
	equal(t, "subscribed", info.Subscribed, true)
	equal(t, "messages", info.Messages, 2)

	if err := a.SetSpecialUse(ctx, got[0].Mailbox, UseNone); err != nil {
		t.Fatal(err)
	}
	equal(t, "by name", deliver(4)[1].Mailbox, got[0].Mailbox)
	equal(t, "INBOX", ok[Info](t)(a.Mailbox("INBOX")).Messages, 0)
}
