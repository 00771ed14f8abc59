package receive

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/postino-mail/postino/mailauth"
	"github.com/postino-mail/postino/submit"
)

// trial finds out whose a message from a stranger is: SPF and the name of the
// client while the client goes on talking, the signatures while the content
// passes, and what the domain of the author wants once all that is known.
type trial struct {
	inquiry *mailauth.Inquiry
	client  mailauth.Client
	limits  mailauth.Limits

	mailauth.Judgement // valid after verdict, but for what runs in the background

	raw      []byte // the header as it came
	verifier *mailauth.Verifier
	began    bool // the body

	cancel     context.CancelFunc
	background sync.WaitGroup
	mu         sync.Mutex
	panicked   any // what went wrong in the background
}

// judges tells whether the message is judged: it comes from a stranger.
func (t *transaction) judges() bool {
	o, from := &t.s.b.opts, t.s.conn.Remote().Unmap()
	return o.Profile == MX && o.DNS != nil && t.s.user.ID == 0 && from.IsValid() && (o.JudgeAll || !t.letter.Outward && !from.IsLoopback())
}

// begin begins a trial, once there is a recipient: who guesses addresses makes us
// ask nothing.
func (t *transaction) begin() {
	if t.trial != nil || !t.judges() {
		return
	}
	o := &t.s.b.opts
	name, _ := t.s.conn.Hello()
	t.trial = &trial{
		inquiry: mailauth.NewInquiry(o.DNS, o.Limits.Mail),
		client:  mailauth.Client{Remote: t.s.conn.Remote(), Helo: name, MailFrom: t.letter.Envelope.From, Host: o.Hostname, Now: time.Now()},
		limits:  o.Limits.Mail,
	}
	t.trial.start(t.ctx)
}

// start asks what can be asked before the content comes.
func (tr *trial) start(ctx context.Context) {
	ctx, tr.cancel = context.WithCancel(ctx)
	tr.aside(func() { tr.SPF = mailauth.CheckSPF(ctx, tr.inquiry, tr.client) })
	tr.aside(func() { tr.IPRev = mailauth.CheckIPRev(ctx, tr.inquiry, tr.client.Remote) })
}

// aside runs f in the background. A panic there ends this connection only (G4).
func (tr *trial) aside(f func()) {
	tr.background.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				tr.mu.Lock()
				tr.panicked = p
				tr.mu.Unlock()
			}
		}()
		f()
	})
}

// join waits for what runs in the background (G11).
func (tr *trial) join() {
	tr.background.Wait()
	if p := tr.panicked; p != nil {
		tr.panicked = nil
		panic(fmt.Sprintf("while judging a message: %v", p))
	}
}

// header takes the header as it came: signatures are about what was sent, not
// about what is stored.
func (tr *trial) header(h []byte) {
	tr.raw = bytes.Clone(h)
	tr.verifier = mailauth.NewVerifier(tr.raw, mailauth.VerifyOptions{Resolver: tr.inquiry, Now: tr.client.Now, Limits: tr.limits})
}

// body takes a piece of what follows the header; the first one begins with the
// empty line.
func (tr *trial) body(p []byte) {
	if !tr.began {
		tr.began = true
		p = p[bytes.IndexByte(p, '\n')+1:]
	}
	tr.verifier.Write(p)
}

// verdict judges the message when all of it has come.
func (tr *trial) verdict(ctx context.Context) {
	stop := context.AfterFunc(ctx, tr.cancel)
	defer stop()
	tr.join()
	tr.Verdict = tr.verifier.Verify(ctx)
	tr.DMARC = mailauth.CheckDMARC(ctx, tr.inquiry, tr.raw, &tr.SPF, tr.Verdict, mailauth.DMARCOptions{Limits: tr.limits})
	if d := tr.DMARC.Author.Domain; d != "" {
		tr.ADSP = mailauth.CheckADSP(ctx, tr.inquiry, d, tr.Verdict)
	}
}

// results are those of the Authentication-Results.
func (tr *trial) results() []mailauth.AuthResult {
	all := tr.Results()
	for i := range all {
		if all[i].Method == "arc" && all[i].Result != mailauth.None { // RFC 8617 §6
			all[i].Props = append(all[i].Props, mailauth.Prop{Type: "smtp", Name: "remote-ip", Value: tr.client.Remote.String()})
		}
	}
	return all
}

// close ends what still runs; it is called once more than needed, but never less.
func (tr *trial) close() {
	tr.cancel()
	tr.background.Wait()
}

// vouch writes what was found out into the letter: Authentication-Results above
// everything else (RFC 8601 §4), and what is sealed if it goes on.
func (t *transaction) vouch() {
	host := t.s.b.opts.Hostname
	switch {
	case t.trial != nil:
		results := t.trial.results()
		t.letter.Prefix = mailauth.AppendAuthResults(nil, host, results)
		t.letter.Arrival = &submit.Arrival{Results: results, Chain: t.trial.Verdict.ARC}
	case t.s.user.ID != 0:
		// RFC 8601 §2.7.4. Of who sends under another name of his, that one is
		// not told to all the world.
		r := mailauth.AuthResult{Method: "auth", Result: mailauth.Pass}
		if t.s.user.Address == t.letter.Envelope.From {
			r.Props = []mailauth.Prop{{Type: "smtp", Name: "auth", Value: t.s.user.Address.String()}}
		}
		t.letter.Prefix = mailauth.AppendAuthResults(nil, host, []mailauth.AuthResult{r})
	}
}
