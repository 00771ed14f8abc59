package smtp

import (
	"context"
	"errors"

	"github.com/postino-mail/postino/sasl"
)

// authCommand is how long AUTH with an initial response may be (RFC 4954 §4).
const authCommand = 512

// Auth authenticates (RFC 4954 §4). When the server refuses, the error is a
// [*ClientError] with its reply and the connection stays usable. A mechanism
// that gives the password away is refused in clear before anything is sent,
// unless AuthInsecure. A server that says yes and has not proved itself, where
// the mechanism wants that, ends the connection.
func (c *Client) Auth(ctx context.Context, m sasl.Client) error {
	switch {
	case !c.offers.auth:
		return &ClientError{Stage: StageCheck, Err: ErrNotOffered}
	case m.Secret() && c.tls == nil && !c.opts.AuthInsecure:
		return &ClientError{Stage: StageCheck, Err: errors.New("no password goes over a connection in clear")}
	}
	initial, err := m.Start()
	if err != nil || !isName(m.Mechanism()) {
		return &ClientError{Stage: StageCheck, Err: errors.Join(errors.New("mechanism cannot start"), err)}
	}
	if err := c.enter(ctx); err != nil {
		return err
	}
	defer c.leave()
	return c.exchange(m, initial)
}

// exchange is the dialogue of AUTH.
func (c *Client) exchange(m sasl.Client, initial []byte) error {
	line := append([]byte("AUTH "), m.Mechanism()...)
	held := initial // to be the answer to an empty challenge
	if coded := appendResponse(append(line, ' '), initial); initial != nil && len(coded)+2 <= authCommand {
		line, held = coded, nil
	}
	octets := 0
	for range sasl.MaxSteps {
		r, err := c.ask(StageAuth, string(line), c.opts.Timeouts.Auth)
		switch {
		case err != nil:
			return err
		case r.Success():
			if err := m.Done(); err != nil {
				return c.fail(StageAuth, nil, err)
			}
			c.authed = true
			return nil
		case r.Code != 334 && r.Code/100 == 3:
			return c.odd(StageAuth, r)
		case r.Code != 334:
			return &ClientError{Stage: StageAuth, Reply: &r}
		}
		challenge, err := sasl.Decode(nil, []byte(r.Text))
		if octets += len(challenge); err == nil && octets > sasl.MaxExchange {
			err = ErrMalformed
		}
		var response []byte
		if err == nil && held != nil && len(challenge) == 0 {
			response, held = held, nil
		} else if err == nil {
			response, err = m.Next(challenge)
		}
		if err != nil {
			return c.cancel(err)
		}
		line = sasl.AppendEncode(line[:0], response)
	}
	return c.cancel(ErrMalformed)
}

// cancel ends the exchange as RFC 4954 §4 wants it.
func (c *Client) cancel(cause error) error {
	r, err := c.ask(StageAuth, "*", c.opts.Timeouts.Auth)
	switch {
	case err != nil:
		return err
	case !r.Permanent() && !r.Temporary():
		return c.odd(StageAuth, r)
	}
	return &ClientError{Stage: StageAuth, Err: cause}
}

// appendResponse appends an initial response; "=" is the empty one.
func appendResponse(b, response []byte) []byte {
	if len(response) == 0 {
		return append(b, '=')
	}
	return sasl.AppendEncode(b, response)
}
