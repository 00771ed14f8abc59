package relay

import (
	"context"
	"errors"
	"io"
	"path"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/mailfile"
	"github.com/postino-mail/postino/queue"
)

// depositBatch is how many recipients share a commit: what a crash may deliver
// to files twice.
const depositBatch = 50

// deposit serves the recipients of a way that ends on this machine.
func (a *attempt) deposit(ctx context.Context, w *way) error {
	done := make([]queue.Outcome, 0, min(len(w.rcpts), depositBatch))
	for _, i := range w.rcpts {
		var o queue.Outcome
		switch w.route.Action {
		case directory.Discard:
			o = queue.Outcome{Result: queue.Delivered, Where: "nowhere: route " + w.route.Name + " discards"}
		case directory.Hold:
			o = queue.Outcome{Result: queue.Held, Reply: "route " + w.route.Name + " holds mail for " + w.domain}
		default:
			o = a.file(ctx, w, &a.it.Rcpts[i])
		}
		if err := a.stop.Err(); err != nil && o.Result == queue.Deferred { // cut off: nothing is known of this one
			return errors.Join(a.commit(ctx, done), err)
		}
		o.Rcpt = i
		if done = append(done, o); len(done) == depositBatch {
			if err := a.commit(ctx, done); err != nil {
				return err
			}
			done = done[:0]
		}
	}
	return a.commit(ctx, done)
}

// file puts the message into a Maildir or an mbox file.
func (a *attempt) file(ctx context.Context, w *way, rcpt *queue.Rcpt) queue.Outcome {
	if a.r.opts.Files == nil {
		return ours(451, "4.3.5", "route %s: files are not delivered to here", w.route.Name).outcome(0)
	}
	name, ok := expand(w.route.Path, rcpt.Address)
	if !ok {
		return ours(550, "5.1.1", "the address %s names no mailbox of route %s", postino.Printable(rcpt.Address.String()), w.route.Name).outcome(0)
	}
	err := a.open(ctx)
	if err == nil {
		r := io.MultiReader(strings.NewReader(a.trace(rcpt)), io.NewSectionReader(a.body, 0, a.body.Size()))
		if w.route.Action == directory.Maildir {
			err = mailfile.Maildir{FS: a.r.opts.Files, Dir: name, Host: a.r.opts.Hostname}.Deliver(ctx, r, mailfile.Info{})
		} else {
			err = mailfile.Mbox{FS: a.r.opts.Files, Host: a.r.opts.Hostname}.Append(ctx, name, a.it.From, time.Now(), r)
		}
	}
	switch {
	case err == nil:
		return queue.Outcome{Result: queue.Delivered, Where: name}
	case postino.Is(err, postino.Full):
		return ours(452, "4.2.2", "%s: %v", name, err).outcome(0)
	}
	return ours(451, "4.2.0", "%s: %v", name, err).outcome(0)
}

// trace is what final delivery puts before a message: the reverse-path (RFC 5321
// §4.4) and the address (RFC 9228 §4).
func (a *attempt) trace(rcpt *queue.Rcpt) string {
	b := append(make([]byte, 0, 256), "Return-Path: <"...)
	b = append(a.it.From.Append(b), ">\r\nDelivered-To: "...)
	b = append(rcpt.Address.Append(b), "\r\n"...)
	return string(append(b, a.it.Prefix...))
}

// expand puts local part (%u) and domain (%d) of an address into the template of
// a path; %% is a percent sign. An address that could lead out of the directory
// that the template names, or to a hidden file, has no path (G7).
func expand(template string, a postino.Address) (string, bool) {
	var b strings.Builder
	for {
		before, after, more := strings.Cut(template, "%")
		b.WriteString(before)
		if !more {
			break
		}
		word := ""
		switch {
		case strings.HasPrefix(after, "u"):
			word = strings.ToLower(a.Local)
		case strings.HasPrefix(after, "d"):
			word = a.Domain
		case strings.HasPrefix(after, "%"):
			b.WriteByte('%')
			template = after[1:]
			continue
		default:
			return "", false
		}
		if word == "" || word[0] == '.' || strings.ContainsAny(word, "/\\\x00") || postino.Printable(word) != word {
			return "", false
		}
		b.WriteString(word)
		template = after[1:]
	}
	name := b.String()
	return name, path.IsAbs(name) && path.Clean(name) == name
}
