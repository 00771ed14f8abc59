package app

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/postino-mail/postino"
)

// Operations that take or give more than fits in memory have a path of their own on
// the control socket. The request is the arguments in one line and then the octets;
// the reply is frames as for other operations, or the octets, which end in a way of
// their own: a reply that was cut is not taken for a whole one.
const streamPath = "/stream/"

// senders take octets, receivers give them.
var (
	senders = map[string]func(*Stores, context.Context, json.RawMessage, io.Reader) (any, error){
		"import.put": sender((*Stores).importPut),
	}
	receivers = map[string]func(*Stores, context.Context, json.RawMessage, io.Writer) error{
		"export.bodies": receiver((*Stores).exportBodies),
	}
)

// sender gives a typed function the shape of the table.
func sender[In, Out any](f func(*Stores, context.Context, In, io.Reader) (Out, error)) func(*Stores, context.Context, json.RawMessage, io.Reader) (any, error) {
	return func(s *Stores, ctx context.Context, raw json.RawMessage, in io.Reader) (any, error) {
		var args In
		if err := json.Unmarshal(raw, &args); err != nil {
			return nil, postino.E(postino.Invalid, "control", "", err)
		}
		return f(s, ctx, args, in)
	}
}

// receiver gives a typed function the shape of the table.
func receiver[In any](f func(*Stores, context.Context, In, io.Writer) error) func(*Stores, context.Context, json.RawMessage, io.Writer) error {
	return func(s *Stores, ctx context.Context, raw json.RawMessage, out io.Writer) error {
		var args In
		if err := json.Unmarshal(raw, &args); err != nil {
			return postino.E(postino.Invalid, "control", "", err)
		}
		return f(s, ctx, args, out)
	}
}

func unknownOperation(op string) error {
	return postino.E(postino.Invalid, "control", op, errors.New("unknown operation; is the server of another version?"))
}

// Send does the operation on the open stores.
func (s *Stores) Send(ctx context.Context, op string, args any, in io.Reader, result any) error {
	f := senders[op]
	if f == nil {
		return unknownOperation(op)
	}
	raw, err := json.Marshal(args)
	if err != nil {
		return postino.E(postino.Internal, op, "", err)
	}
	out, err := f(s, ctx, raw, in)
	if err != nil || result == nil {
		return err
	}
	b, err := json.Marshal(out)
	if err == nil {
		err = json.Unmarshal(b, result)
	}
	return err
}

// Receive does the operation on the open stores.
func (s *Stores) Receive(ctx context.Context, op string, args any, fn func(io.Reader) error) error {
	f := receivers[op]
	if f == nil {
		return unknownOperation(op)
	}
	raw, err := json.Marshal(args)
	if err != nil {
		return postino.E(postino.Internal, op, "", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.CloseWithError(f(s, ctx, raw, w))
	}()
	err = fn(r)
	r.CloseWithError(context.Canceled)
	<-done
	return err
}

// serveStream answers POST /stream/OPERATION.
func (s *Stores) serveStream(w http.ResponseWriter, r *http.Request) {
	op := r.URL.Path[len(streamPath):]
	in := bufio.NewReaderSize(r.Body, 64<<10)
	args, err := readLine(in)
	if give := receivers[op]; give != nil && err == nil {
		if err := give(s, r.Context(), args, w); err != nil {
			panic(http.ErrAbortHandler) // the reply must not look whole
		}
		return
	}
	var out any
	if take := senders[op]; err == nil && take == nil {
		err = unknownOperation(op)
	} else if err == nil {
		out, err = take(s, r.Context(), args, in)
		// A client that is still writing would not see the reply.
		_, _ = io.Copy(io.Discard, in)
	}
	var last frame
	if err == nil {
		last.Result, err = json.Marshal(out)
	}
	if err != nil {
		last = frame{Failure: &failure{Kind: postino.KindOf(err), Text: err.Error()}}
	}
	if err := json.NewEncoder(w).Encode(last); err != nil {
		s.log.Warn("control reply not sent", "err", err)
	}
}

// readLine reads the arguments.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		if line = append(line, part...); err == nil {
			return line, nil
		}
		if err != bufio.ErrBufferFull || len(line) > maxControl {
			return nil, postino.E(postino.Invalid, "control", "", errors.New("no arguments"))
		}
	}
}

func (r *remote) stream(ctx context.Context, op string, args any, in io.Reader) (*http.Request, error) {
	line, err := json.Marshal(args)
	if err != nil {
		return nil, postino.E(postino.Internal, op, "", err)
	}
	body := io.Reader(bytes.NewReader(append(line, '\n')))
	if in != nil {
		body = io.MultiReader(body, in)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://postino"+streamPath+op, body)
	if err != nil {
		return nil, postino.E(postino.Internal, op, "", err)
	}
	return req, nil
}

// Send sends the operation and the octets to the server.
func (r *remote) Send(ctx context.Context, op string, args any, in io.Reader, result any) error {
	req, err := r.stream(ctx, op, args, in)
	if err != nil {
		return err
	}
	return r.reply(ctx, req, op, result)
}

// Receive asks the server for octets.
func (r *remote) Receive(ctx context.Context, op string, args any, fn func(io.Reader) error) error {
	req, err := r.stream(ctx, op, args, nil)
	if err != nil {
		return err
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return postino.E(postino.Transient, op, "", err)
	}
	defer resp.Body.Close()
	return fn(resp.Body)
}
