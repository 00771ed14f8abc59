package script

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/smtp"
	"github.com/postino-mail/postino/test/memnet"
)

// TestPeerAndClient sends one message to peers that misbehave in one way, in a
// bubble: what the client says of it, and whether the peer has it.
func TestPeerAndClient(t *testing.T) {
	for rules, want := range map[string]struct {
		stage smtp.Stage // where the connection ended, "" when it did not
		final int        // code for the recipient, 0 undecided
		took  int
		after time.Duration // at the least
	}{
		"":                          {final: 250, took: 1},
		"offer":                     {final: 250, took: 1},
		"offer CHUNKING PIPELINING": {final: 250, took: 1},
		"ehlo 502 what":             {final: 250, took: 1},
		"rcpt * wait 1m":            {final: 250, took: 1, after: time.Minute},
		"rcpt * greylist 5m":        {final: 451},
		"mail * 451 4.3.0 later":    {final: 451},
		"rcpt * 550 5.1.1 nobody":   {final: 550},
		"data 554 5.7.1 no":         {final: 554},
		"dot 452 4.3.1 full":        {final: 452},
		"greet 554 5.3.2 no":        {stage: smtp.StageGreeting},
		"greet close":               {stage: smtp.StageGreeting},
		"greet hang":                {stage: smtp.StageGreeting, after: 5 * time.Minute},
		"ehlo reset":                {stage: smtp.StageHello},
		"mail * close":              {stage: smtp.StageMail},
		"data hang":                 {stage: smtp.StageData, after: 2 * time.Minute},
		"dot close":                 {stage: smtp.StageDot},
		"dot lost":                  {stage: smtp.StageDot, took: 1},
		"dot hang":                  {stage: smtp.StageDot, after: 10 * time.Minute},
	} {
		t.Run(rules, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := memnet.New()
				p := &peer{name: "mx.example.net", address: "203.0.113.1:25", net: n, open: map[net.Conn]bool{}}
				parsed, err := parseRules(rules)
				if err != nil {
					t.Fatal(err)
				}
				p.set(parsed)
				if err := p.listen(); err != nil {
					t.Fatal(err)
				}
				begin := time.Now()
				res, err := sendOne(t, n, p.address)
				var failed *smtp.ClientError
				if errors.As(err, &failed) != (want.stage != "") || failed != nil && failed.Stage != want.stage {
					t.Errorf("error %v, want one at %q", err, want.stage)
				}
				if res != nil && res.Final(0).Code != want.final {
					t.Errorf("final reply %v, want %d", res.Final(0), want.final)
				}
				if d := time.Since(begin); d < want.after || d > want.after+time.Minute {
					t.Errorf("took %v, want %v", d, want.after)
				}
				if err := p.refuse(); err != nil {
					t.Error(err)
				}
				synctest.Wait()
				if mails, _ := p.heard(); len(mails) != want.took {
					t.Errorf("the peer took %d", len(mails))
				}
				if n.Open() != 0 {
					t.Errorf("%d connections are open", n.Open())
				}
			})
		})
	}
}

func sendOne(t *testing.T, n *memnet.Network, address string) (*smtp.Result, error) {
	t.Helper()
	nc, err := n.Dial(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	c, err := smtp.NewClient(t.Context(), nc, smtp.ClientOptions{Name: "mx.example.org"})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	from, err := postino.ParseAddress("a@example.org")
	if err != nil {
		t.Fatal(err)
	}
	to, err := postino.ParseAddress("b@example.net")
	if err != nil {
		t.Fatal(err)
	}
	const text = "Subject: x\r\n\r\n.\r\n"
	return c.Send(t.Context(), &smtp.Mail{
		Envelope: &postino.Envelope{From: from, Rcpts: []postino.Recipient{{Address: to}}}, Size: int64(len(text)),
		Content: func(w io.Writer) error { _, err := io.WriteString(w, text); return err },
	})
}
