package app

import (
	"context"
	"time"

	"github.com/postino-mail/postino/directory"
)

// Trust is somebody whose mail is taken although a domain's policy is against it.
type Trust struct {
	Kind  string // forwarder, list or sealer
	Name  string // a network, an address or a domain
	Added time.Time
}

func (in Trust) entry() (directory.Trust, error) {
	kind, err := directory.ParseTrustKind(in.Kind)
	return directory.Trust{Kind: kind, Name: in.Name, Added: time.Now().UTC().Truncate(time.Second)}, err
}

func (s *Stores) addTrust(ctx context.Context, in Trust) (None, error) {
	t, err := in.entry()
	if err != nil {
		return None{}, err
	}
	return None{}, s.Directory.AddTrust(ctx, t)
}

func (s *Stores) removeTrust(ctx context.Context, in Trust) (None, error) {
	t, err := in.entry()
	if err != nil {
		return None{}, err
	}
	return None{}, s.Directory.RemoveTrust(ctx, t)
}

func (s *Stores) listTrust(ctx context.Context, _ None) ([]Trust, error) {
	list, err := s.Directory.Trusts(ctx)
	out := make([]Trust, len(list))
	for i, t := range list {
		out[i] = Trust{t.Kind.String(), t.Name, t.Added}
	}
	return out, err
}
