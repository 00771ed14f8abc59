package imap

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"
)

// canPark tells that this system can wait for many sockets on one goroutine.
const canPark = true

// poller waits for many sockets with one epoll instance, which in turn the runtime
// waits for: no thread blocks in it.
type poller struct {
	file   *os.File
	raw    syscall.RawConn
	fd     int
	events [128]syscall.EpollEvent
	ready  []int
}

func newPoller() (*poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	// A descriptor that does not block is one that the runtime can wait for.
	err = syscall.SetNonblock(fd, true)
	p := &poller{file: os.NewFile(uintptr(fd), "epoll"), fd: fd}
	if err == nil {
		err = p.file.SetReadDeadline(time.Time{})
	}
	if err == nil {
		p.raw, err = p.file.SyscallConn()
	}
	if err != nil {
		p.file.Close()
		return nil, err
	}
	return p, nil
}

// arm makes wait return the descriptor of s once, when input or the end of the
// connection is there or comes.
func (p *poller) arm(s *net.TCPConn) (fd int, err error) {
	raw, err := s.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = raw.Control(func(u uintptr) { // the socket stays open meanwhile
		fd = int(u)
		ev := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP | syscall.EPOLLONESHOT, Fd: int32(fd)}
		failed = syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_MOD, fd, &ev)
		if failed == syscall.ENOENT {
			failed = syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_ADD, fd, &ev)
		}
	})
	return fd, errors.Join(err, failed)
}

// setDeadline makes wait return no later than t; the zero time is never.
func (p *poller) setDeadline(t time.Time) { _ = p.file.SetReadDeadline(t) }

// wait returns descriptors that are ready, none when the deadline is over. The
// slice is valid until the next call.
func (p *poller) wait() ([]int, error) {
	var n int
	var failed error
	err := p.raw.Read(func(uintptr) bool {
		for {
			if n, failed = syscall.EpollWait(p.fd, p.events[:], 0); failed != syscall.EINTR {
				return n > 0 || failed != nil
			}
		}
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, nil
	}
	if err = errors.Join(err, failed); err != nil {
		return nil, err
	}
	p.ready = p.ready[:0]
	for i := range p.events[:n] {
		p.ready = append(p.ready, int(p.events[i].Fd))
	}
	return p.ready, nil
}

func (p *poller) close() { p.file.Close() }
