package relay

import (
	"context"
	"sync"
	"time"

	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/tlspolicy"
)

// key says for which mail a connection may be used again: that of a site, sent
// by the same route as it is now, with the same wish for TLS.
type key struct {
	site  string
	route *directory.Route
	wish  tlspolicy.Wish
}

// pool keeps connections that wait for a next message. All methods may be
// called from any goroutine.
type pool struct {
	max     int
	mu      sync.Mutex
	idle    map[key][]*session
	count   int
	closed  bool
	leaving sync.WaitGroup // those that say QUIT
}

func newPool(max int) *pool { return &pool{max: max, idle: map[key][]*session{}} }

// get takes the connection that waited least, nil when none is alive.
func (p *pool) get(k key) *session {
	for {
		s := p.take(k)
		if s == nil || s.Alive() {
			return s
		}
		s.Close()
	}
}

func (p *pool) take(k key) *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[k]
	if len(list) == 0 {
		return nil
	}
	s := list[len(list)-1]
	p.remove(k, len(list)-1)
	s.timer.Stop() // when it is too late, expire does not find the session
	return s
}

// remove takes a session out of its list. The caller holds the lock.
func (p *pool) remove(k key, i int) {
	list := p.idle[k]
	last := len(list) - 1
	copy(list[i:], list[i+1:])
	list[last] = nil
	p.count--
	if p.idle[k] = list[:last]; last == 0 {
		delete(p.idle, k)
	}
}

// put keeps a connection for a while. One for which there is no room says QUIT.
func (p *pool) put(k key, s *session, life time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed: // somebody delivers after all
		s.Close()
		return
	case p.count >= p.max:
		p.quit(s)
		return
	}
	p.idle[k] = append(p.idle[k], s)
	p.count++
	s.timer = time.AfterFunc(life, func() { p.expire(k, s) })
}

// expire ends a connection that waited too long.
func (p *pool) expire(k key, s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, have := range p.idle[k] {
		if have == s {
			p.remove(k, i)
			p.quit(s)
			return
		}
	}
}

// dismiss ends a connection that is of no more use: politely, without making the
// caller wait, where it still can be.
func (p *pool) dismiss(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || !s.Usable() {
		s.Close()
		return
	}
	p.quit(s)
}

// quit says QUIT. The caller holds the lock, so that none begins after close.
func (p *pool) quit(s *session) {
	p.leaving.Go(func() { s.Quit(context.Background()) })
}

// close says QUIT on all connections and waits until that is done, which the
// client bounds by 10 s.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	for k, list := range p.idle {
		for _, s := range list {
			s.timer.Stop()
			p.quit(s)
		}
		delete(p.idle, k)
	}
	p.count = 0
	p.mu.Unlock()
	p.leaving.Wait()
}

// size is how many connections wait.
func (p *pool) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}
