package check

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/mailauth"
)

// inquiryFor is the DNS work of one judgement of mailauth, on top of ours.
func (r *run) inquiryFor() *mailauth.Inquiry { return mailauth.NewInquiry(r, mailauth.Limits{}) }

// spf reads the SPF record as receivers do (RFC 7208, MA3).
func (r *run) spf(ctx context.Context) []Finding {
	const name = "spf.record"
	lint := mailauth.LintSPF(ctx, r.inquiryFor(), r.dom.Name)
	switch {
	case absent(lint.Err) && r.ours:
		return []Finding{finding(Fix, name, "", "%s has no SPF record: many take its mail for forged", r.dom.Name).publish(r.wanted(r.dom.Name, "TXT")...)}
	case absent(lint.Err):
		return []Finding{finding(Advice, name, "", "%s has no SPF record", r.dom.Name)}
	case lint.Err != nil:
		return []Finding{unsure(name, "", "how receivers read the SPF record", lint.Err)}
	}
	if f, bad := r.problems(finding(Fix, name, "", "receivers cannot use the SPF record"), lint.Problems); bad {
		if lint.Record == "" { // several: one that has all of them
			f = f.publish(r.wanted(r.dom.Name, "TXT")...)
		}
		return []Finding{f}
	}
	list := []Finding{finding(OK, name, "", "the SPF record is right").detail("%s (%d of 10 lookups)", lint.Record, lint.Lookups)}
	if f, some := advise(finding(Advice, name, "", "the SPF record could be better"), lint.Problems); some {
		list[0] = f
	}
	return append(list, r.spfEnd(lint.Record))
}

// problems makes the finding for what receivers refuse; it is false without any.
func (r *run) problems(f Finding, all []mailauth.Problem) (Finding, bool) {
	var texts []string
	for _, p := range all {
		if p.Error {
			texts = append(texts, said(p))
		}
	}
	return f.detail("%s", strings.Join(texts, "; ")), len(texts) > 0
}

// advise makes the finding for what receivers do not mind.
func advise(f Finding, all []mailauth.Problem) (Finding, bool) {
	var texts []string
	for _, p := range all {
		if !p.Error && !strings.HasPrefix(p.Text, wholeWorld) {
			texts = append(texts, said(p))
		}
	}
	return f.detail("%s", strings.Join(texts, "; ")), len(texts) > 0
}

// wholeWorld begins what mailauth says of a term that permits everybody.
const wholeWorld = "this lets the whole world"

func said(p mailauth.Problem) string {
	if p.Tag == "" {
		return p.Text
	}
	return p.Tag + ": " + p.Text
}

// spfEnd tells what the record says of those that it does not list.
func (r *run) spfEnd(text string) Finding {
	const name = "spf.all"
	record, problems := mailauth.ParseSPF(text)
	if record == nil {
		return unsure(name, "", "how the SPF record ends", errReply)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Text, wholeWorld) {
			return finding(Fix, name, "", "the SPF record lets the whole world send for %s", r.dom.Name).detail("%s", p.Tag).publish(r.wanted(r.dom.Name, "TXT")...)
		}
	}
	for _, t := range record.Terms {
		if t.Name != "all" {
			continue
		}
		if t.Qualifier == '?' {
			return finding(Advice, name, "", "the SPF record says nothing of other senders (?all): end it with ~all or -all")
		}
		return finding(OK, name, "", "the SPF record refuses other senders (%s)", t.Text)
	}
	if record.Redirect != "" {
		return finding(OK, name, "", "the SPF record ends with that of %s", record.Redirect)
	}
	return finding(Advice, name, "", "the SPF record says nothing of other senders: end it with ~all or -all")
}

// spfPermits asks as a receiver does whether the record permits what we send.
func (r *run) spfPermits(ctx context.Context) []Finding {
	if !r.ours {
		return nil
	}
	const name = "spf.permits"
	addrs, sure := r.ownAddrs()
	if len(addrs) == 0 {
		return []Finding{unsure(name, "", "whether the SPF record permits this server", errNoAddress)}
	}
	texts, err := r.texts(ctx, r.dom.Name, "v=spf1")
	if err != nil {
		return []Finding{unsure(name, "", "whether the SPF record permits this server", err)}
	}
	if len(texts) == 0 {
		return nil // spf has told
	}
	var refused []netip.Addr
	reason := ""
	for _, a := range addrs {
		id := r.sends(ctx, a)
		switch id.Result {
		case mailauth.Pass:
		case mailauth.TempError:
			return []Finding{unsure(name, "", "whether the SPF record permits "+a.String(), errors.New(id.Reason))}
		default:
			refused, reason = append(refused, a), id.Reason
		}
	}
	if len(refused) > 0 {
		return []Finding{finding(Fix, name, "", "the SPF record does not permit %s, from which mail leaves", addresses(refused)).detail("%s", reason).publish(r.wanted(r.dom.Name, "TXT")...)}
	}
	f := finding(OK, name, "", "the SPF record permits %s", addresses(addrs))
	if !sure {
		f.Detail = "the addresses are those of " + r.node.Host + ": this machine does not know its own"
	}
	return []Finding{f}
}

// sends judges mail of the domain from an address of ours.
func (r *run) sends(ctx context.Context, a netip.Addr) mailauth.SPFIdentity {
	return mailauth.CheckSPF(ctx, r.inquiryFor(), mailauth.Client{
		Remote: a, Helo: r.node.Host, MailFrom: postino.Address{Local: "postmaster", Domain: r.dom.Name}, Host: r.node.Host, Now: r.now,
	}).MailFrom
}

// permitted tells whether the SPF record permits all that we send.
func (r *run) permitted(ctx context.Context, addrs []netip.Addr) (bool, error) {
	for _, a := range addrs {
		switch id := r.sends(ctx, a); id.Result {
		case mailauth.Pass:
		case mailauth.TempError:
			return false, postino.E(postino.Transient, "judge SPF", r.dom.Name, errors.New(id.Reason))
		default:
			return false, nil
		}
	}
	return len(addrs) > 0, nil
}

// hostSPF checks the record of our own name, which receivers look at for what has
// no sender (RFC 7208 §2.4).
func (r *run) hostSPF(ctx context.Context) []Finding {
	const name = "host.spf"
	addrs, _ := r.ownAddrs()
	if len(addrs) == 0 {
		return []Finding{unsure(name, "", "whether "+r.node.Host+" permits its own reports (SPF)", errNoAddress)}
	}
	want := Record{Name: r.node.Host, Type: "TXT", TTL: ttl, Value: hostSPF}
	for _, a := range addrs {
		id := mailauth.CheckSPF(ctx, r.inquiryFor(), mailauth.Client{Remote: a, Helo: r.node.Host, Host: r.node.Host, Now: r.now}).Helo
		switch id.Result {
		case mailauth.Pass:
		case mailauth.None:
			return []Finding{finding(Advice, name, "", "%s has no SPF record, which receivers look for when a message has no sender", r.node.Host).publish(want)}
		case mailauth.TempError:
			return []Finding{unsure(name, "", "whether "+r.node.Host+" permits its own reports (SPF)", errors.New(id.Reason))}
		default:
			want.Replaces = id.Record
			return []Finding{finding(Fix, name, "", "the SPF record of %s does not permit %s, its own address", r.node.Host, a).detail("%s", id.Reason).publish(want)}
		}
	}
	return []Finding{finding(OK, name, "", "the SPF record of %s permits %s", r.node.Host, addresses(addrs))}
}
