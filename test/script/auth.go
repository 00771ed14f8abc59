package script

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/mailauth"
	"github.com/postino-mail/postino/message"
)

// client says from which address mail comes from now on, and which name its host
// gives itself: ADDRESS [NAME].
func (w *world) client(_ *testscript.TestScript, args []string) error {
	a, err := netip.ParseAddr(args[0])
	if err != nil {
		return err
	}
	w.fake.from, w.fake.helo = a, "client.example"
	if len(args) > 1 {
		w.fake.helo = args[1]
	}
	return nil
}

// signKey is the key of a domain, whose record it publishes.
func (i *internet) signKey(domain string) (mailauth.SignKey, error) {
	seed := sha256.Sum256([]byte(domain))
	key := ed25519.NewKeyFromSeed(seed[:])
	record := "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
	err := i.names.AddZone("s._domainkey."+domain, `@ TXT "`+record+"\"\n", dns.Insecure)
	return mailauth.SignKey{Domain: domain, Selector: "s", Key: key}, err
}

// rewrite puts before a file what add makes of its header and body.
func rewrite(ts *testscript.TestScript, name string, add func(header, body []byte) ([]byte, error)) error {
	text, err := crlfFile(ts, name)
	if err != nil {
		return err
	}
	end := message.HeaderEnd(text)
	fields, err := add(text[:end], text[end:])
	if err != nil {
		return err
	}
	all := append(fields, text...)
	return os.WriteFile(ts.MkAbs(name), bytes.ReplaceAll(all, []byte("\r\n"), []byte("\n")), 0o600)
}

// sign signs a file with DKIM: DOMAIN FILE.
func (w *world) sign(ts *testscript.TestScript, args []string) error {
	key, err := w.fake.signKey(args[0])
	if err != nil {
		return err
	}
	return rewrite(ts, args[1], func(header, body []byte) ([]byte, error) {
		s, err := mailauth.NewSigner(header, mailauth.SignOptions{Keys: []mailauth.SignKey{key}, Time: time.Now()})
		if err != nil {
			return nil, err
		}
		s.Write(body)
		return s.Sign()
	})
}

// seal puts an ARC set before a file: DOMAIN FILE RESULTS, where RESULTS is what
// its Authentication-Results say behind the name.
func (w *world) seal(ts *testscript.TestScript, args []string) error {
	if len(args) != 3 {
		return errors.New("usage: seal DOMAIN FILE RESULTS")
	}
	key, err := w.fake.signKey(args[0])
	if err != nil {
		return err
	}
	results, err := mailauth.ParseAuthResults([]byte(args[0]+"; "+args[2]), 0)
	if err != nil {
		return err
	}
	return rewrite(ts, args[1], func(header, body []byte) ([]byte, error) {
		v := mailauth.NewVerifier(header, mailauth.VerifyOptions{Resolver: w.fake.names, Now: time.Now()})
		v.Write(body)
		chain := v.Verify(context.Background()).ARC
		s, err := mailauth.NewSealer(header, mailauth.SealOptions{AuthServID: args[0], Time: time.Now()})
		if err != nil {
			return nil, err
		}
		s.Write(body)
		return s.Seal(key, results.Results, chain)
	})
}

// forge sends a message once for each line of a file of forged fields, and looks
// whether anything is left of them which a reader takes for ours: FROM TO FILE.
// In the lines \r, \n and \xNN are escapes.
func (w *world) forge(ts *testscript.TestScript, args []string) error {
	list, err := os.ReadFile(ts.MkAbs(args[2]))
	if err != nil {
		return err
	}
	n := 0
	for line := range strings.Lines(string(list)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		n++
		body := "Date: Sat, 1 Jan 2000 00:00:00 +0000\r\n" + unescape(line) + "\r\nFrom: <" + args[0] + ">\r\nSubject: forged\r\n\r\ntext\r\n"
		if err := w.transact("smtp", "", args[0], args[1:2], []byte(body)); err != nil {
			return fmt.Errorf("line %q: %w", line, err)
		}
	}
	fmt.Fprintf(ts.Stdout(), "%d sent\n", n)
	return nil
}
