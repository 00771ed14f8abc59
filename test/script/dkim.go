package script

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/postino-mail/postino/app"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/mailauth"
	"github.com/postino-mail/postino/message"
)

// oneRSA is the RSA key of all domains: making one takes as long as a scenario.
var oneRSA = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// publish puts the DKIM records of a domain into the DNS: DOMAIN [now]; "now" makes
// the node look at once.
func (w *world) publish(_ *testscript.TestScript, args []string) error {
	var keys []app.DKIMKey
	in := app.DKIMDomain{Domain: args[0]}
	if err := w.call("dkim.list", in, &keys); err != nil {
		return err
	}
	zone := ""
	for _, k := range keys {
		zone += k.Zone + "\n"
	}
	if err := w.fake.setZone("_domainkey."+args[0], zone, dns.Insecure); err != nil || len(args) < 2 {
		return err
	}
	return w.call("dkim.check", in, nil)
}

// verify judges the last message that a peer took and prints a line for each
// signature, and one for the ARC chain.
func (w *world) verify(ts *testscript.TestScript, args []string) error {
	p, err := w.fake.byName(args[0])
	if err != nil {
		return err
	}
	mails, _ := p.heard()
	if len(mails) == 0 {
		return errors.New("it took none")
	}
	msg := mails[len(mails)-1].body
	end := message.HeaderEnd(msg)
	v := mailauth.NewVerifier(msg[:end], mailauth.VerifyOptions{Resolver: w.fake.names, Now: time.Now()})
	if _, err := v.Write(msg[end:]); err != nil {
		return err
	}
	verdict := v.Verify(context.Background())
	for _, s := range verdict.DKIM {
		fmt.Fprintf(ts.Stdout(), "%s %s %s %s\n", s.Domain, s.Algorithm, s.Result, s.Reason)
	}
	fmt.Fprintf(ts.Stdout(), "%d DKIM, arc %s of %d %s\n", len(verdict.DKIM), verdict.ARC.Result, len(verdict.ARC.Sets), verdict.ARC.Reason)
	return nil
}
