package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postino-mail/postino/mailfile"
	"github.com/postino-mail/postino/vfs"
)

// submitPath is the socket at which the sendmail command finds the server of a
// data directory, spoolPath where it leaves its messages when there is none.
func submitPath(dataDir string) string { return filepath.Join(dataDir, "submit.sock") }
func spoolPath(dataDir string) string  { return filepath.Join(dataDir, "spool") }

// isSocket tells whether an address is "unix:/path".
func isSocket(address string) bool { return strings.HasPrefix(address, "unix:") }

// open opens the listener of an address. Who may connect to a socket is the
// business of the directory that it is in.
func (n *Node) open(l Listener) (net.Listener, error) {
	path, ok := strings.CutPrefix(l.Address, "unix:")
	if !ok {
		return n.opts.Listen("tcp", l.Address)
	}
	files := n.opts.Stores.Files
	if err := files.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := vfs.Chmod(files, path, 0o666); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return &socket{ln}, nil
}

// socket names its clients by their user, as far as the system tells.
type socket struct{ net.Listener }

func (s *socket) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &localConn{c, peer(c)}, nil
}

type localConn struct {
	net.Conn
	from localUser
}

func (c *localConn) RemoteAddr() net.Addr { return c.from }

// localUser is who is at the other end of a socket: "uid 1000 (ana)".
type localUser string

func (u localUser) Network() string { return "unix" }
func (u localUser) String() string  { return string(u) }

// peer asks the kernel who connected.
func peer(c net.Conn) localUser {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return ""
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return ""
	}
	var who localUser
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			who = localUser(fmt.Sprintf("uid %d", cred.Uid))
			if u, err := user.LookupId(strconv.Itoa(int(cred.Uid))); err == nil {
				who += localUser(" (" + u.Username + ")")
			}
		}
	})
	return who
}

// collectEvery is the pause between two looks into the spool.
const collectEvery = 5 * time.Second

// collect takes what the sendmail command left while no server answered it.
func (n *Node) collect(ctx context.Context) error {
	o := &n.opts
	spool := &mailfile.Spool{
		FS: o.Stores.Files, Dir: spoolPath(o.Stores.DataDir), Logger: o.Logger,
		Limits: mailfile.SpoolLimits{MessageBytes: o.SMTP.MessageBytes, Recipients: o.SMTP.Recipients},
	}
	look := time.NewTicker(collectEvery)
	defer look.Stop()
	for prepared := false; ; {
		var err error
		if !prepared {
			err = spool.Prepare()
			prepared = err == nil
		}
		if prepared {
			_, err = spool.Collect(ctx, n.Post.Drop)
		}
		if prepared && err == nil {
			err = n.Post.Dropped(ctx)
		}
		if err != nil && ctx.Err() == nil {
			o.Logger.Warn("spool", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
	}
}
