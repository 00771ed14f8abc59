package imap

import (
	"errors"
	"net"
	"sync"
	"time"
)

// linger is how long a session keeps its goroutine between two commands: most
// commands follow each other at once.
const linger = time.Second

// errPark tells that nothing is there to read and the session may be parked.
var errPark = errors.New("nothing to read")

// parker holds sessions that wait for their clients, so that they cost neither a
// goroutine nor a buffer. A parked session runs on when input comes, when it is
// woken (IDLE has something to tell, the server closes) or when its time is up.
//
// Whoever takes a session off the parker runs it; all that decides about it is
// under mu, so that happens once. A reason to run that comes while a session is
// being parked is set before its taking is tried, and looked for after it
// was parked, so none is missed.
type parker struct {
	linger time.Duration

	mu   sync.Mutex
	poll *poller // begun with the first session
	done chan struct{}
	// byFD are the parked sessions by the descriptor of their socket. An event of a
	// descriptor that was closed and used again wakes a session without need,
	// which looks for input and is parked again.
	byFD []*conn
	// first and last are the ends of the list of parked sessions. All wait equally
	// long, so the list is in the order in which their time is up.
	first, last *conn
}

// parking is what the parker keeps in a session.
type parking struct {
	socket     *net.TCPConn // what is waited for; nil when the session cannot be parked
	parked     bool
	fd         int
	until      time.Time
	prev, next *conn
}

// wakeup is why a parked session runs on.
type wakeup uint8

const (
	byInput wakeup = iota // or by the end of the connection
	byNotice
	byTime
)

// park parks a session that has nothing to read until its time is up. With false
// it was not parked: there is a reason to run on, or the system has no room to wait
// for one more socket. With true another goroutine may run it already.
func (p *parker) park(c *conn, until time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.mustRun() || !p.begin() {
		return false
	}
	fd, err := p.poll.arm(c.socket)
	if err != nil {
		return false
	}
	if fd >= len(p.byFD) {
		p.byFD = append(p.byFD, make([]*conn, fd+1-len(p.byFD))...)
	}
	p.byFD[fd] = c
	c.parked, c.fd, c.until, c.prev = true, fd, until, p.last
	if p.last == nil {
		p.first = c
		p.poll.setDeadline(until)
	} else {
		p.last.next = c
	}
	p.last = c
	return true
}

// begin makes sure that sockets are waited for. mu is held.
func (p *parker) begin() bool {
	if p.poll != nil {
		return true
	}
	poll, err := newPoller()
	if err != nil {
		return false
	}
	p.poll, p.done = poll, make(chan struct{})
	go p.run(poll)
	return true
}

// resume runs c on a goroutine if it is parked.
func (p *parker) resume(c *conn, why wakeup) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.take(c, why)
}

// take is resume with mu held.
func (p *parker) take(c *conn, why wakeup) bool {
	if !c.parked {
		return false
	}
	c.parked = false
	p.byFD[c.fd] = nil
	if c.prev == nil {
		p.first = c.next
	} else {
		c.prev.next = c.next
	}
	if c.next == nil {
		p.last = c.prev
	} else {
		c.next.prev = c.prev
	}
	c.prev, c.next = nil, nil
	go c.resumed(why)
	return true
}

// run resumes sessions whose input came or whose time is up, until close.
func (p *parker) run(poll *poller) {
	defer close(p.done)
	for {
		fds, err := poll.wait()
		if err != nil {
			return
		}
		p.mu.Lock()
		for _, fd := range fds {
			if c := p.byFD[fd]; c != nil {
				p.take(c, byInput)
			}
		}
		for now := time.Now(); p.first != nil && !p.first.until.After(now); {
			p.take(p.first, byTime)
		}
		if p.first != nil {
			poll.setDeadline(p.first.until)
		} else {
			poll.setDeadline(time.Time{})
		}
		p.mu.Unlock()
	}
}

// close ends the waiting; no session is parked any more.
func (p *parker) close() {
	p.mu.Lock()
	poll := p.poll
	p.poll = nil
	p.mu.Unlock()
	if poll != nil {
		poll.close()
		<-p.done
	}
}
