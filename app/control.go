package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/vfs"
)

// Admin carries out the operations of the command line. A running server
// answers them on its control socket; without one they are done on the store
// itself. Arguments and results are values that encoding/json knows.
type Admin interface {
	Call(ctx context.Context, op string, args, result any) error
	// Send does an operation that takes octets, of any number; Receive one that
	// gives octets, to fn.
	Send(ctx context.Context, op string, args any, in io.Reader, result any) error
	Receive(ctx context.Context, op string, args any, fn func(io.Reader) error) error
}

// maxControl bounds a request and a reply on the control socket.
const maxControl = 16 << 20

// controlPath is where the server of a data directory listens.
func controlPath(dataDir string) string { return filepath.Join(dataDir, "control.sock") }

// Call does the operation on the open stores.
func (s *Stores) Call(ctx context.Context, op string, args, result any) error {
	in, err := json.Marshal(args)
	if err != nil {
		return postino.E(postino.Internal, op, "", err)
	}
	out, err := s.do(ctx, op, in)
	if err != nil {
		return err
	}
	if result == nil {
		return nil
	}
	b, err := json.Marshal(out)
	if err == nil {
		err = json.Unmarshal(b, result)
	}
	return err
}

// do finds the operation and runs it.
func (s *Stores) do(ctx context.Context, op string, args json.RawMessage) (any, error) {
	f := operations[op]
	if f == nil {
		return nil, postino.E(postino.Invalid, "control", op, errors.New("unknown operation; is the server of another version?"))
	}
	return f(s, ctx, args)
}

// operation gives a typed function the shape of the table.
func operation[In, Out any](f func(*Stores, context.Context, In) (Out, error)) func(*Stores, context.Context, json.RawMessage) (any, error) {
	return func(s *Stores, ctx context.Context, raw json.RawMessage) (any, error) {
		var in In
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		if err := d.Decode(&in); err != nil {
			return nil, postino.E(postino.Invalid, "control", "", err)
		}
		return f(s, ctx, in)
	}
}

// frame is one value of a reply on the control socket: any number of frames with
// progress, then one with a result or a failure.
type frame struct {
	Progress json.RawMessage `json:",omitempty"`
	Result   json.RawMessage `json:",omitempty"`
	Failure  *failure        `json:",omitempty"`
}

// failure is an error on the control socket.
type failure struct {
	Kind postino.Kind
	Text string
}

// progressKey is the context's key for who wants to see progress.
type progressKey struct{}

// WithProgress lets fn see how far an operation has come, as JSON, when the
// operation tells. Calls come one after the other.
func WithProgress(ctx context.Context, fn func(json.RawMessage)) context.Context {
	return context.WithValue(ctx, progressKey{}, fn)
}

// progress tells how far an operation has come.
func progress(ctx context.Context, v any) {
	fn, ok := ctx.Value(progressKey{}).(func(json.RawMessage))
	if !ok {
		return
	}
	if b, err := json.Marshal(v); err == nil {
		fn(b)
	}
}

// ServeHTTP answers POST /OPERATION with frames. The socket's permissions are
// the authorisation: only the server's own user and root can open it. Closing
// the connection stops the operation.
func (s *Stores) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "POST only", http.StatusMethodNotAllowed)
		return
	}
	if strings.HasPrefix(r.URL.Path, streamPath) {
		s.serveStream(w, r)
		return
	}
	enc := json.NewEncoder(w)
	args, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxControl))
	var last frame
	if err == nil {
		ctx := WithProgress(r.Context(), func(b json.RawMessage) {
			if enc.Encode(frame{Progress: b}) == nil {
				_ = http.NewResponseController(w).Flush()
			}
		})
		var out any
		if out, err = s.do(ctx, r.URL.Path[1:], args); err == nil {
			last.Result, err = json.Marshal(out)
		}
	}
	if err != nil {
		last = frame{Failure: &failure{Kind: postino.KindOf(err), Text: err.Error()}}
	}
	if err := enc.Encode(last); err != nil {
		s.log.Warn("control reply not sent", "err", err)
	}
}

// listenControl opens the control socket of a data directory, for which the
// caller holds the store's lock: what is there is left over. Until the socket
// has its mode nobody else can reach it, since the directory is closed.
func listenControl(files vfs.FS, dataDir string) (net.Listener, error) {
	if err := vfs.Chmod(files, dataDir, 0o700); err != nil {
		return nil, err
	}
	path := controlPath(dataDir)
	if err := files.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := vfs.Chmod(files, path, 0o600); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return ln, nil
}

// remote is a running server behind its control socket.
type remote struct{ http http.Client }

// Dial connects to the server that runs on a data directory. It returns
// NotFound when there is none.
func Dial(ctx context.Context, dataDir string) (Admin, error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", controlPath(dataDir))
	}
	c, err := dial(ctx, "", "")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, postino.E(postino.NotFound, "reach the server", dataDir, err)
	}
	if err != nil {
		return nil, postino.E(postino.Denied, "reach the server", dataDir, err)
	}
	c.Close()
	return &remote{http.Client{Transport: &http.Transport{DialContext: dial}}}, nil
}

// Call sends the operation to the server.
func (r *remote) Call(ctx context.Context, op string, args, result any) error {
	in, err := json.Marshal(args)
	if err != nil {
		return postino.E(postino.Internal, op, "", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://postino/"+op, bytes.NewReader(in))
	if err != nil {
		return postino.E(postino.Internal, op, "", err)
	}
	return r.reply(ctx, req, op, result)
}

// reply sends a request and reads the frames of its reply.
func (r *remote) reply(ctx context.Context, req *http.Request, op string, result any) error {
	resp, err := r.http.Do(req)
	if err != nil {
		return postino.E(postino.Transient, op, "", err)
	}
	defer resp.Body.Close()
	seen, _ := ctx.Value(progressKey{}).(func(json.RawMessage))
	for d := json.NewDecoder(resp.Body); ; {
		var f frame
		if err := d.Decode(&f); err != nil {
			return postino.E(postino.Transient, op, "", err)
		}
		switch {
		case f.Failure != nil:
			return &postino.Error{Kind: f.Failure.Kind, Err: errors.New(f.Failure.Text)}
		case f.Progress != nil:
			if seen != nil {
				seen(f.Progress)
			}
		case result == nil:
			return nil
		default:
			return json.Unmarshal(f.Result, result)
		}
	}
}
