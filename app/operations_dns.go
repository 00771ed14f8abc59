package app

import (
	"context"
	"errors"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
)

// NameQuestion asks what a name holds, and why that is believed.
type NameQuestion struct {
	Name string
	Type string // "MX"
}

// NameAnswer is the answer for people.
type NameAnswer struct {
	Name, Type string
	Records    []string      `json:",omitempty"`
	Canonical  string        `json:",omitempty"`
	TTL        time.Duration `json:",omitempty"`
	Security   string        // secure, insecure, bogus, or unknown when nobody answered
	Failure    string        `json:",omitempty"`
	Chain      []string      // of trust, one sentence each
	Mode       string        // how this node judges answers
	Judged     string        `json:",omitempty"` // its judgement, when that is not by own validation
	Warning    string        `json:",omitempty"` // of the name servers
}

func (s *Stores) explainName(ctx context.Context, in NameQuestion) (NameAnswer, error) {
	if s.Names == nil {
		return NameAnswer{}, postino.E(postino.Invalid, "explain", in.Name, errors.New("this node has made-up names only"))
	}
	t, err := dns.ParseType(in.Type)
	if err != nil {
		return NameAnswer{}, err
	}
	if s.Names.Status().Probed.IsZero() { // no server runs on this store, or it has just begun
		s.Names.Probe(ctx)
	}
	x, err := s.Names.Explain(ctx, in.Name, t)
	if err != nil {
		return NameAnswer{}, err
	}
	return NameAnswer{
		Name: x.Name, Type: x.Type, Records: x.Records, Canonical: x.Canonical, TTL: x.TTL, Security: x.Security.String(), Failure: x.Failure,
		Chain: x.Chain, Mode: x.Mode.String(), Judged: x.Judged, Warning: s.Names.Status().Warning,
	}, nil
}
