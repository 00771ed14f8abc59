package app

import (
	"context"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/directory"
)

// AppPassword is an app password as the command line gives and sees it.
type AppPassword struct {
	Address string
	ID      uint64 `json:",omitempty"`
	Name    string
	// Services is "smtp imap pop3" or a part of it; empty: all.
	Services string    `json:",omitempty"`
	Created  time.Time `json:",omitzero"`
	LastUse  time.Time `json:",omitzero"`
	// Secret is carried back once, when it is made.
	Secret string `json:",omitempty"`
}

// Grant is a session or a token as the command line gives and sees it.
type Grant struct {
	Address  string
	ID       uint64 `json:",omitempty"`
	Kind     string `json:",omitempty"` // "session" or "token"
	Name     string `json:",omitempty"`
	Services string `json:",omitempty"`
	Remote   string `json:",omitempty"`
	// Life is asked for with a token; 0 is the most.
	Life    time.Duration `json:",omitempty"`
	Created time.Time     `json:",omitzero"`
	Used    time.Time     `json:",omitzero"`
	Expires time.Time     `json:",omitzero"`
	// Secret is carried back once, when it is made.
	Secret string `json:",omitempty"`
}

func (s *Stores) addAppPassword(ctx context.Context, p AppPassword) (AppPassword, error) {
	a, err := postino.ParseAddress(p.Address)
	if err != nil {
		return p, err
	}
	services, err := directory.ParseServices(p.Services)
	if err != nil {
		return p, err
	}
	var made directory.AppPassword
	p.Secret, made, err = s.Directory.AddAppPassword(ctx, a, p.Name, services)
	p.ID, p.Services = made.ID, made.Services.String()
	return p, err
}

func (s *Stores) listAppPasswords(ctx context.Context, n Named) (out []AppPassword, err error) {
	_, err = byAddress(func(a postino.Address) error {
		list, err := s.Directory.AppPasswords(ctx, a)
		for _, p := range list {
			out = append(out, AppPassword{Address: n.Name, ID: p.ID, Name: p.Name, Services: p.Services.String(), Created: p.Created, LastUse: p.LastUse})
		}
		return err
	}, n.Name)
	return out, err
}

func (s *Stores) removeAppPassword(ctx context.Context, p AppPassword) (None, error) {
	return byAddress(func(a postino.Address) error { return s.Directory.RemoveAppPassword(ctx, a, p.ID) }, p.Address)
}

// makeToken grants a token on the administrator's word.
func (s *Stores) makeToken(ctx context.Context, g Grant) (Grant, error) {
	a, err := postino.ParseAddress(g.Address)
	if err != nil {
		return g, err
	}
	services, err := directory.ParseServices(g.Services)
	if err != nil {
		return g, err
	}
	u, err := s.Directory.User(ctx, a)
	if err != nil {
		return g, err
	}
	secret, made, err := s.Directory.Grant(ctx, directory.Vouched(u), directory.NewGrant{
		Kind: directory.AccessToken, Name: g.Name, Services: services, Life: g.Life,
	}, time.Now())
	if err != nil {
		return g, err
	}
	out := grantView(g.Address, &made)
	out.Secret = secret
	return out, nil
}

func grantView(address string, g *directory.Grant) Grant {
	return Grant{Address: address, ID: g.ID, Kind: g.Kind.String(), Name: g.Name, Services: g.Services.String(), Remote: g.Remote,
		Created: g.Created, Used: g.Used, Expires: g.Expires}
}

func (s *Stores) listGrants(ctx context.Context, n Named) (out []Grant, err error) {
	_, err = byAddress(func(a postino.Address) error {
		list, err := s.Directory.Grants(ctx, a, time.Now())
		for i := range list {
			out = append(out, grantView(n.Name, &list[i]))
		}
		return err
	}, n.Name)
	return out, err
}

// endGrant ends one grant, or all with id 0.
func (s *Stores) endGrant(ctx context.Context, g Grant) (ended int, err error) {
	_, err = byAddress(func(a postino.Address) (err error) {
		ended, err = s.Directory.Revoke(ctx, a, g.ID)
		return err
	}, g.Address)
	return ended, err
}

// UserChange is what is to be changed of a user; nil leaves it.
type UserChange struct {
	Address  string
	Name     *string `json:",omitempty"`
	Language *string `json:",omitempty"`
	Admin    *bool   `json:",omitempty"`
	Disabled *bool   `json:",omitempty"`
}

func (s *Stores) changeUser(ctx context.Context, c UserChange) (None, error) {
	return byAddress(func(a postino.Address) error {
		_, err := s.Directory.UpdateUser(ctx, a, func(u *directory.User) {
			if c.Name != nil {
				u.Name = *c.Name
			}
			if c.Language != nil {
				u.Language = *c.Language
			}
			if c.Disabled != nil {
				u.Disabled = *c.Disabled
			}
			if c.Admin != nil {
				if u.Role = directory.RoleUser; *c.Admin {
					u.Role = directory.RoleAdmin
				}
			}
		})
		return err
	}, c.Address)
}
