package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
)

const (
	orderTime = 10 * time.Minute // for one order at one authority
	maxReply  = 1 << 20          // octets of a reply of an authority
	askEvery  = 6 * time.Hour    // renewal info, when the authority does not say
)

// account is ours with an authority.
type account struct {
	Location string
	Key      string // PEM
}

// client talks to one authority.
func (a *ACME) client(directory string) *acmez.Client {
	transport := &http.Transport{
		DialContext: a.opts.Dial, TLSClientConfig: &tls.Config{RootCAs: a.opts.Roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 30 * time.Second, ResponseHeaderTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10, MaxIdleConns: 4, IdleConnTimeout: 10 * time.Second,
	}
	if transport.DialContext == nil {
		transport.DialContext = (&net.Dialer{Timeout: 30 * time.Second}).DialContext
	}
	return &acmez.Client{
		Client: &acme.Client{
			Directory: directory, UserAgent: "Postino", PollInterval: time.Second, PollTimeout: orderTime, Logger: a.opts.Logger,
			HTTPClient: &http.Client{Transport: limited{transport}, Timeout: time.Minute},
		},
		ChallengeSolvers: a.solvers(),
	}
}

// limited bounds the replies.
type limited struct{ *http.Transport }

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.Transport.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxReply), resp.Body}
	}
	return resp, err
}

// obtain asks the authorities in turn for a certificate with a key.
func (a *ACME) obtain(ctx context.Context, name string, r *record, key string) (*issued, error) {
	if err := a.exists(ctx, name); err != nil {
		return nil, err
	}
	var errs []error
	for _, directory := range a.opts.Directories {
		octx, cancel := context.WithTimeout(ctx, orderTime)
		i, err := a.order(octx, directory, name, r, key)
		cancel()
		if err == nil {
			return i, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", directory, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, postino.E(postino.Transient, "get certificate", name, errors.Join(errs...))
}

var errNoAddress = errors.New("it has no address in DNS yet")

// exists spares the authority the names that have no address yet; it could only
// fail, and it counts failures.
func (a *ACME) exists(ctx context.Context, name string) error {
	if a.opts.DNS == nil || a.opts.DNS01 != nil {
		return nil
	}
	if _, err := dns.LookupIP(ctx, a.opts.DNS, name); postino.Is(err, postino.NotFound) {
		return postino.E(postino.Transient, "get certificate", name, errNoAddress)
	}
	return nil
}

// order gets a certificate from one authority (RFC 8555 §7.4).
func (a *ACME) order(ctx context.Context, directory, name string, r *record, keyPEM string) (*issued, error) {
	client := a.client(directory)
	defer client.HTTPClient.CloseIdleConnections()
	acct, err := a.account(ctx, client)
	if err != nil {
		return nil, err
	}
	key, err := readKey(keyPEM)
	if err != nil {
		return nil, err
	}
	csr, err := acmez.NewCSR(key, []string{name})
	if err != nil {
		return nil, err
	}
	params, err := acmez.OrderParametersFromCSR(acct, csr)
	if err != nil {
		return nil, err
	}
	if r.Current != nil && r.Current.Directory == directory && !r.Current.Renew.IsZero() {
		params.Replaces = r.Current.entry.chain[0] // RFC 9773 §5
	}
	chains, err := client.ObtainCertificate(ctx, params)
	if err != nil {
		return nil, err
	}
	if len(chains) == 0 {
		return nil, errors.New("the authority gave no certificate")
	}
	i := &issued{Chain: string(chains[0].ChainPEM), Key: keyPEM, Directory: directory}
	if err := i.load(); err != nil { // the key fits
		return nil, err
	}
	if leaf := i.entry.chain[0]; !slices.Contains(i.entry.names, name) || !time.Now().Before(leaf.NotAfter) {
		return nil, errors.New("the certificate is not for what was asked for")
	}
	i.Ask = time.Now().Add(askEvery)
	if info := chains[0].RenewalInfo; info != nil {
		i.Renew, i.Ask = wish(*info)
	}
	return i, nil
}

// account is the one that we have with the authority, or a new one (RFC 8555 §7.3).
func (a *ACME) account(ctx context.Context, client *acmez.Client) (acme.Account, error) {
	row := "account/" + client.Directory
	b, err := a.opts.Store.Get(ctx, row)
	if err != nil {
		return acme.Account{}, err
	}
	var kept account
	if err := decodeRow(b, &kept); err != nil {
		return acme.Account{}, err
	}
	if kept.Key == "" {
		if kept, err = a.register(ctx, client); err != nil {
			return acme.Account{}, err
		}
		kept, err = updateRow(ctx, a.opts.Store, row, func(there *account) error {
			if there.Key == "" { // else another node was faster
				*there = kept
			}
			return nil
		})
		if err != nil {
			return acme.Account{}, err
		}
	}
	key, err := readKey(kept.Key)
	return acme.Account{Status: acme.StatusValid, Location: kept.Location, PrivateKey: key}, err
}

func (a *ACME) register(ctx context.Context, client *acmez.Client) (account, error) {
	key, text, err := newKey()
	if err != nil {
		return account{}, err
	}
	acct := acme.Account{TermsOfServiceAgreed: true, PrivateKey: key}
	if a.opts.Email != "" {
		acct.Contact = []string{"mailto:" + a.opts.Email}
	}
	if eab, ok := a.opts.EAB[client.Directory]; ok {
		if err := acct.SetExternalAccountBinding(ctx, client.Client, acme.EAB{KeyID: eab.ID, MACKey: strings.TrimRight(eab.Key, "=")}); err != nil {
			return account{}, err
		}
	}
	acct, err = client.NewAccount(ctx, acct)
	if err != nil {
		return account{}, err
	}
	a.obs.log.Info("account with a certificate authority made", "directory", client.Directory, "account", acct.Location)
	return account{acct.Location, text}, nil
}

// wish is when the authority wants a certificate renewed (RFC 9773 §4.2), zero when
// it has no wish, and when it wants to be asked again, within reason (§4.3).
func wish(info acme.RenewalInfo) (renew, again time.Time) {
	pause := askEvery
	if info.RetryAfter != nil {
		pause = min(max(time.Until(*info.RetryAfter), time.Minute), 24*time.Hour)
	}
	return info.SelectedTime, time.Now().Add(pause)
}

// ask brings the renewal time of a certificate up to date.
func (a *ACME) ask(ctx context.Context, name string, r *record) error {
	c := r.Current
	if c == nil || time.Now().Before(c.Ask) || !slices.Contains(a.opts.Directories, c.Directory) {
		return nil
	}
	client := a.client(c.Directory)
	defer client.HTTPClient.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	info, failed := client.GetRenewalInfo(ctx, c.entry.chain[0])
	renew, again := wish(info)
	now, err := a.change(ctx, name, func(r *record) error {
		if r.Current != nil && r.Current.Chain == c.Chain {
			r.Current.Ask = again
			if !renew.IsZero() { // silence does not take back what was said
				r.Current.Renew = renew
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	*r = *now
	if errors.Is(failed, acme.ErrUnsupported) {
		return nil
	}
	return failed
}
