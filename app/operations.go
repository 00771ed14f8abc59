package app

import (
	"context"
	"encoding/json"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/story"
)

// operations is everything that [Admin.Call] can do.
var operations = map[string]func(*Stores, context.Context, json.RawMessage) (any, error){
	"domain.add":          operation((*Stores).addDomain),
	"domain.change":       operation((*Stores).changeDomain),
	"domain.list":         operation((*Stores).listDomains),
	"domain.remove":       operation((*Stores).removeDomain),
	"domain.mta-sts":      operation((*Stores).domainSTS),
	"cert.list":           operation((*Stores).listCertificates),
	"cert.tlsa":           operation((*Stores).tlsaRecords),
	"cert.check":          operation((*Stores).checkCertificates),
	"cert.next-key":       operation((*Stores).nextKey),
	"cert.rotate":         operation((*Stores).rotateKey),
	"recipients.add":      operation((*Stores).addRecipients),
	"recipients.remove":   operation((*Stores).removeRecipients),
	"recipients.list":     operation((*Stores).listRecipients),
	"user.add":            operation((*Stores).addUser),
	"user.list":           operation((*Stores).listUsers),
	"user.remove":         operation((*Stores).removeUser),
	"user.passwd":         operation((*Stores).setPassword),
	"user.change":         operation((*Stores).changeUser),
	"user.limits":         operation((*Stores).sendLimits),
	"user.delegate":       operation((*Stores).delegate),
	"user.quota":          operation((*Stores).quota),
	"app-password.add":    operation((*Stores).addAppPassword),
	"app-password.list":   operation((*Stores).listAppPasswords),
	"app-password.remove": operation((*Stores).removeAppPassword),
	"grant.token":         operation((*Stores).makeToken),
	"grant.list":          operation((*Stores).listGrants),
	"grant.end":           operation((*Stores).endGrant),
	"acl.list":            operation((*Stores).listAccess),
	"acl.set":             operation((*Stores).setAccess),
	"alias.add":           operation((*Stores).addAlias),
	"alias.list":          operation((*Stores).listAliases),
	"alias.remove":        operation((*Stores).removeAlias),
	"route.add":           operation((*Stores).setRoute),
	"route.list":          operation((*Stores).listRoutes),
	"route.show":          operation((*Stores).showRoute),
	"route.remove":        operation((*Stores).removeRoute),
	"route.test":          operation((*Stores).testRoute),
	"trust.add":           operation((*Stores).addTrust),
	"trust.list":          operation((*Stores).listTrust),
	"trust.remove":        operation((*Stores).removeTrust),
	"dkim.list":           operation((*Stores).listDKIM),
	"dkim.check":          operation((*Stores).checkDKIM),
	"dkim.rotate":         operation((*Stores).rotateDKIM),
	"dkim.retire":         operation((*Stores).retireDKIM),
	"dkim.remove":         operation((*Stores).removeDKIM),
	"trace":               operation((*Stores).trace),
	"queue.list":          operation((*Stores).listQueue),
	"queue.summary":       operation((*Stores).summarizeQueue),
	"queue.top":           operation((*Stores).topQueue),
	"queue.hold":          operation(holdQueue),
	"queue.release":       operation(releaseQueue),
	"queue.retry":         operation(retryQueue),
	"queue.reroute":       operation(rerouteQueue),
	"queue.remove":        operation(removeQueue),
	"probe":               operation((*Stores).probe),
	"dns":                 operation((*Stores).explainName),
	"report.dmarc":        operation((*Stores).reportDMARC),
	"report.tls":          operation((*Stores).reportTLS),
	"report.abuse":        operation((*Stores).reportAbuse),
	"report.send":         operation((*Stores).reportSend),
	"report.import":       operation((*Stores).reportImport),
	"import.prepare":      operation((*Stores).importPrepare),
	"import.known":        operation((*Stores).importKnown),
	"export.mailboxes":    operation((*Stores).exportMailboxes),
	"export.list":         operation((*Stores).exportList),

	"check":          operation((*Stores).check),
	"check.zone":     operation((*Stores).checkZone),
	"check.new-zone": operation((*Stores).newZone),
}

// None stands where an operation has no result.
type None struct{}

// Domain is a domain as the command line gives and sees it.
type Domain struct {
	Name      string
	CatchAll  string `json:",omitempty"`
	Separator string `json:",omitempty"`
	Disabled  bool   `json:",omitempty"`
	// Relay is "any", "list" or "call-ahead" for a relay domain: which of its
	// recipients are taken.
	Relay string `json:",omitempty"`
	// Seal adds to the ARC chain of what its aliases send on.
	Seal bool `json:",omitempty"`
}

// User is a user as the command line gives and sees it.
type User struct {
	Address  string
	Name     string `json:",omitempty"`
	Password string `json:",omitempty"` // only to add or change
	Admin    bool   `json:",omitempty"`
	Disabled bool   `json:",omitempty"`
	Shared   bool   `json:",omitempty"`
	// Quota, Used and Messages are octets and a count; 0 is no quota.
	Quota, Used, Messages int64
	Created               time.Time
}

// Alias is an alias as the command line gives and sees it.
type Alias struct {
	Address string
	Targets []string
	// MembersSend lets every member send as Address.
	MembersSend bool `json:",omitempty"`
}

// Named carries the one name that an operation works on.
type Named struct{ Name string }

func (s *Stores) addDomain(ctx context.Context, d Domain) (None, error) {
	name, err := postino.CanonicalDomain(d.Name)
	if err != nil {
		return None{}, err
	}
	dom := directory.Domain{Name: name, Separator: d.Separator, Disabled: d.Disabled, Seal: d.Seal}
	if d.CatchAll != "" {
		if dom.CatchAll, err = postino.ParseAddress(d.CatchAll); err != nil {
			return None{}, err
		}
	}
	if dom.Relay = d.Relay != ""; dom.Relay {
		if dom.Recipients, err = directory.ParseRecipients(d.Relay); err != nil {
			return None{}, err
		}
	}
	return None{}, s.Directory.AddDomain(ctx, dom)
}

func (s *Stores) listDomains(ctx context.Context, _ None) ([]Domain, error) {
	domains, err := s.Directory.Domains(ctx)
	out := make([]Domain, 0, len(domains))
	for _, d := range domains {
		view := Domain{Name: d.Name, CatchAll: d.CatchAll.String(), Separator: d.Separator, Disabled: d.Disabled, Seal: d.Seal}
		if d.Relay {
			view.Relay = d.Recipients.String()
		}
		out = append(out, view)
	}
	return out, err
}

func (s *Stores) removeDomain(ctx context.Context, n Named) (None, error) {
	name, err := postino.CanonicalDomain(n.Name)
	if err != nil {
		return None{}, err
	}
	return None{}, s.Directory.RemoveDomain(ctx, name)
}

func (s *Stores) addUser(ctx context.Context, u User) (None, error) {
	a, err := postino.ParseAddress(u.Address)
	if err != nil {
		return None{}, err
	}
	n := directory.NewUser{Address: a, Name: u.Name, Password: u.Password, Quota: u.Quota, Disabled: u.Disabled, Shared: u.Shared}
	if u.Admin {
		n.Role = directory.RoleAdmin
	}
	_, err = s.Directory.AddUser(ctx, n)
	return None{}, err
}

func (s *Stores) listUsers(ctx context.Context, n Named) ([]User, error) {
	users, err := s.Directory.Users(ctx, n.Name)
	if err != nil {
		return nil, err
	}
	out := make([]User, 0, len(users))
	for _, u := range users {
		usage, err := s.usage(ctx, u.ID)
		if err != nil {
			return nil, err
		}
		out = append(out, User{Address: u.Address.String(), Name: u.Name, Admin: u.Role == directory.RoleAdmin, Disabled: u.Disabled, Shared: u.Shared,
			Quota: usage.Limit.Bytes, Used: usage.Used.Bytes, Messages: usage.Used.Messages, Created: u.Created})
	}
	return out, nil
}

// byAddress runs f on a parsed address.
func byAddress(f func(postino.Address) error, address string) (None, error) {
	a, err := postino.ParseAddress(address)
	if err == nil {
		err = f(a)
	}
	return None{}, err
}

func (s *Stores) removeUser(ctx context.Context, n Named) (None, error) {
	return byAddress(func(a postino.Address) error { return s.Directory.RemoveUser(ctx, a) }, n.Name)
}

func (s *Stores) setPassword(ctx context.Context, u User) (None, error) {
	return byAddress(func(a postino.Address) error { return s.Directory.SetPassword(ctx, a, u.Password) }, u.Address)
}

func (s *Stores) addAlias(ctx context.Context, in Alias) (None, error) {
	a, err := aliasAddress(in.Address)
	if err != nil {
		return None{}, err
	}
	al := directory.Alias{Address: a, MembersSend: in.MembersSend}
	for _, t := range in.Targets {
		target, err := aliasAddress(t)
		if err != nil {
			return None{}, err
		}
		al.Targets = append(al.Targets, target)
	}
	return None{}, s.Directory.SetAlias(ctx, al)
}

// aliasAddress reads an address, or "@domain" for a whole domain.
func aliasAddress(s string) (postino.Address, error) {
	if len(s) > 1 && s[0] == '@' {
		d, err := postino.CanonicalDomain(s[1:])
		return postino.Address{Domain: d}, err
	}
	return postino.ParseAddress(s)
}

func (s *Stores) listAliases(ctx context.Context, n Named) ([]Alias, error) {
	aliases, err := s.Directory.Aliases(ctx, n.Name)
	out := make([]Alias, 0, len(aliases))
	for _, a := range aliases {
		al := Alias{Address: a.Address.String(), MembersSend: a.MembersSend}
		for _, t := range a.Targets {
			al.Targets = append(al.Targets, t.String())
		}
		out = append(out, al)
	}
	return out, err
}

func (s *Stores) removeAlias(ctx context.Context, n Named) (None, error) {
	a, err := aliasAddress(n.Name)
	if err != nil {
		return None{}, err
	}
	return None{}, s.Directory.RemoveAlias(ctx, a)
}

// TraceQuery asks for the stories of a message id, an address or an id.
type TraceQuery struct {
	Text  string
	Limit int
}

// Story is what happened to one message.
type Story struct {
	ID     string
	Events []StoryEvent
}

// StoryEvent is one line of a story; Facts is the event as JSON.
type StoryEvent struct {
	Time time.Time
	Text string
	// Details are further lines, of a judgement.
	Details []string `json:",omitempty"`
	Facts   json.RawMessage
}

func (s *Stores) trace(ctx context.Context, q TraceQuery) ([]Story, error) {
	ids, err := s.Stories.Find(ctx, story.Query{Text: q.Text, Limit: q.Limit})
	if err != nil {
		return nil, err
	}
	out := make([]Story, 0, len(ids))
	for _, id := range ids {
		events, err := s.Stories.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		st := Story{ID: id.String()}
		for _, e := range events {
			facts, err := json.Marshal(e)
			if err != nil {
				return nil, err
			}
			st.Events = append(st.Events, StoryEvent{Time: e.Time(), Text: story.Describe(e), Details: story.Details(e), Facts: facts})
		}
		out = append(out, st)
	}
	return out, nil
}
