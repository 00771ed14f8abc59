package imap

import (
	"context"
	"time"
)

// stayCheck is how long the answer about one user may take.
const stayCheck = 5 * time.Second

// watchUsers makes the server ask whether its users may stay, as long as there are any.
// s.mu is held.
func (s *Server) watchUsers() {
	if s.opts.MayStay != nil && s.staying == nil && !s.closing.Load() {
		s.staying = time.AfterFunc(s.lim.StayTime, s.askUsers)
	}
}

// askUsers ends the sessions of users who may not stay.
func (s *Server) askUsers() {
	s.mu.Lock()
	users := make([]string, 0, len(s.perUser))
	for u := range s.perUser {
		users = append(users, u)
	}
	s.mu.Unlock()
	for _, u := range users {
		ctx, cancel := context.WithTimeout(context.Background(), stayCheck)
		may, err := s.opts.MayStay(ctx, u)
		cancel()
		if err == nil && !may {
			s.expel(u)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.staying = nil; len(s.perUser) > 0 {
		s.watchUsers()
	}
}

// expel ends the sessions of a user when their running commands are done.
func (s *Server) expel(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for c := range s.conns {
		if c.user == user {
			c.expelled.Store(true)
			c.interrupt()
			n++
		}
	}
	s.observe.expelled(user, n)
}
