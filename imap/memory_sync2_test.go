package imap

import (
	"context"
	"time"
)

// trouble is a session whose commands take long or fail.
type trouble struct {
	*memSession
	steps [][2]int // told by Search and, within and after responses, by Fetch
	pause func()   // before each step
	err   error    // of what changes or reads messages, together with the data
}

func (s *trouble) tell(ctx context.Context) {
	for _, p := range s.steps {
		if s.pause != nil {
			s.pause()
		}
		Progress(ctx, p[0], p[1])
	}
}

func (s *trouble) Search(ctx context.Context, req SearchRequest) (*SearchData, error) {
	s.tell(ctx)
	d, err := s.memSession.Search(ctx, req)
	if s.err != nil {
		err = s.err
	}
	return d, err
}

func (s *trouble) Fetch(ctx context.Context, w *FetchWriter, req FetchRequest) error {
	w.Begin(1, 1)
	s.tell(ctx)
	w.UID(1)
	s.tell(ctx)
	if err := w.End(); err != nil {
		return err
	}
	s.tell(ctx)
	return s.err
}

func (s *trouble) Store(ctx context.Context, w *UpdateWriter, req StoreRequest) (*StoreData, error) {
	d, err := s.memSession.Store(ctx, w, req)
	if s.err != nil {
		err = s.err
	}
	return d, err
}

func (s *trouble) Copy(ctx context.Context, set NumSet, to string) (*CopyData, error) {
	d, err := s.memSession.Copy(ctx, set, to)
	if s.err != nil {
		err = s.err
	}
	return d, err
}

func (s *trouble) Move(ctx context.Context, set NumSet, to string) (*CopyData, error) {
	d, err := s.memSession.Move(ctx, set, to)
	if s.err != nil {
		err = s.err
	}
	return d, err
}

func (s *trouble) Expunge(ctx context.Context, uids *NumSet) (*ExpungeData, error) {
	d, err := s.memSession.Expunge(ctx, uids)
	if s.err != nil {
		err = s.err
	}
	return d, err
}

// troubled makes every session of a server like t.
func troubled(store *memStore, t *trouble) func(*Options) {
	return func(o *Options) {
		o.Limits.ProgressTime = time.Nanosecond
		o.NewSession = func(context.Context, *ConnInfo) (Session, error) {
			s := *t
			s.memSession = &memSession{store: store}
			return &s, nil
		}
	}
}
