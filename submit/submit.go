package submit

import (
	"context"
	"log/slog"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/mailauth"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/message"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/reports"
	"github.com/postino-mail/postino/story"
)

// Limits bounds one message. A zero field means its default.
type Limits struct {
	// Targets is how many mailboxes and addresses one message goes to: 10,000.
	Targets int
	// Message are the limits of the indexer (SS9, PA1).
	Message message.Limits
}

// Options says what a [Post] works with. What has no word about nil is needed.
type Options struct {
	// Hostname names this server in what it writes itself.
	Hostname string

	DB        kv.DB
	Blobs     *blob.Store
	Directory *directory.Directory
	Mailboxes *mailbox.Store
	Queue     *queue.Queue
	Stories   *story.Store
	IDs       *postino.IDs
	// SRS rewrites the reverse-path of forwarded mail; nil leaves it.
	SRS *mailauth.SRS
	// Dest names the site that serves an address: relay.Dest. The route is nil
	// for mail that goes out by MX.
	Dest func(r *directory.Route, a postino.Address) string
	// Verify asks the primary server of a relay domain whether it knows an
	// address; its error is the answer. nil believes that it does.
	Verify func(ctx context.Context, a postino.Address) error
	// Language of reports to senders of whom nothing is known; "" is English.
	Language string

	Limits Limits
	Logger *slog.Logger
}

// Post is where mail enters the queue. Its methods may be called from any
// goroutine.
type Post struct {
	opts  Options
	storm *reports.Limiter
}

// New returns a Post.
func New(opts Options) *Post {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Limits.Targets <= 0 {
		opts.Limits.Targets = 10_000
	}
	p := &Post{opts: opts}
	p.storm = reports.NewLimiter(reports.LimiterOptions{Local: p.isOurs})
	return p
}

// isOurs tells whether reports to a domain stay here.
func (p *Post) isOurs(domain string) bool {
	_, err := p.opts.Directory.Domain(context.Background(), domain)
	return err == nil
}
