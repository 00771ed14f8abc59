package imap

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/postino-mail/postino"
)

// memExtras is what the memory store has of ACL, quotas and annotations.
type memExtras struct {
	acl      map[string]map[string]Rights // by mailbox and identifier
	limits   []QuotaResource
	metadata map[string]map[string][]byte // by mailbox and entry
	objects  bool                         // mailboxes have ids
}

// id is the object id of a mailbox.
func (s *memStore) id(b *memBox) string {
	if !s.objects {
		return ""
	}
	return fmt.Sprintf("F%d", b.valid)
}

func (s *memStore) mailbox(name string) (*memBox, error) {
	if b := s.boxes[name]; b != nil {
		return b, nil
	}
	return nil, notFound(name)
}

func (s *memSession) OpenURL(_ context.Context, u *URL) (*URLData, error) {
	defer s.lock()()
	b, err := s.store.mailbox(u.Mailbox)
	if err != nil {
		return nil, err
	}
	m := b.byUID(u.UID)
	if m == nil || u.UIDValidity != 0 && u.UIDValidity != b.valid {
		return nil, notFound(u.Mailbox)
	}
	// The section as FETCH would print it.
	var o output
	w := FetchWriter{out: &o}
	if err := m.section(&w, &u.Section); err != nil {
		return nil, err
	}
	_, text, ok := bytes.Cut(o.buf, []byte("}\r\n"))
	if !ok {
		return nil, notFound(u.Mailbox)
	}
	return &URLData{Size: int64(len(text)), ReaderAt: bytes.NewReader(text)}, nil
}

// replaced takes away what a REPLACE named.
func (s *memSession) replaced(set *NumSet) error {
	if set == nil {
		return nil
	}
	seqs, err := s.resolve(*set)
	if err == nil && len(seqs) != 1 {
		err = &Error{Code: "NONEXISTENT", Text: "No such message"}
	}
	if err == nil {
		s.box.remove(s.known[seqs[0]-1].uid)
		s.box.notify()
	}
	return err
}

func (m *memMsg) objects(w *FetchWriter, req *FetchRequest) {
	if req.Items&FetchPreview != 0 {
		_, body, _ := bytes.Cut(m.body, []byte("\r\n\r\n"))
		if req.LazyPreview && len(body) > 10 {
			w.Preview(nil)
		} else {
			w.Preview(body)
		}
	}
	if req.Items&FetchSaveDate != 0 {
		w.SaveDate(m.date)
	}
	if req.Items&FetchEmailID != 0 {
		w.EmailID(fmt.Sprintf("M%d", m.uid))
	}
	if req.Items&FetchThreadID != 0 {
		w.ThreadID(strings.Repeat("T", int(m.uid%2)))
	}
}

func (s *memSession) ACL(_ context.Context, name string) ([]ACLEntry, error) {
	defer s.lock()()
	if _, err := s.store.mailbox(name); err != nil {
		return nil, err
	}
	var out []ACLEntry
	for id, r := range s.store.acl[name] {
		out = append(out, ACLEntry{id, r})
	}
	slices.SortFunc(out, func(a, b ACLEntry) int { return cmp.Compare(a.Identifier, b.Identifier) })
	return out, nil
}

func (s *memSession) MyRights(_ context.Context, name string) (Rights, error) {
	defer s.lock()()
	if _, err := s.store.mailbox(name); err != nil {
		return "", err
	}
	return allRights, nil
}

func (s *memSession) ListRights(_ context.Context, name, id string) (*ListRightsData, error) {
	defer s.lock()()
	if _, err := s.store.mailbox(name); err != nil {
		return nil, err
	}
	if id == "owner" {
		return &ListRightsData{Required: allRights}, nil
	}
	return &ListRightsData{Required: "l", Optional: []Rights{"r", "swte", "k", "x"}}, nil
}

func (s *memSession) SetACL(_ context.Context, name, id string, op StoreOp, r Rights) error {
	defer s.lock()()
	if _, err := s.store.mailbox(name); err != nil {
		return err
	}
	if s.store.acl == nil {
		s.store.acl = map[string]map[string]Rights{}
	}
	if s.store.acl[name] == nil {
		s.store.acl[name] = map[string]Rights{}
	}
	has := func(set Rights, c rune) bool { return strings.ContainsRune(string(set), c) }
	old, out := s.store.acl[name][id], ""
	for _, c := range allRights {
		switch {
		case op == StoreReplace && has(r, c), op == StoreAdd && (has(r, c) || has(old, c)), op == StoreRemove && has(old, c) && !has(r, c):
			out += string(c)
		}
	}
	if s.store.acl[name][id] = Rights(out); out == "" {
		delete(s.store.acl[name], id)
	}
	return nil
}

func (s *memSession) QuotaRoots(_ context.Context, name string) ([]string, error) {
	return []string{""}, nil
}

func (s *memSession) Quota(_ context.Context, root string) ([]QuotaResource, error) {
	if root != "" {
		return nil, &Error{Code: "NONEXISTENT", Text: "No such quota root"}
	}
	defer s.lock()()
	return slices.Clone(s.store.limits), nil
}

func (s *memSession) SetQuota(_ context.Context, root string, limits []QuotaResource) error {
	defer s.lock()()
	if root != "" {
		return postino.E(postino.Denied, "set quota", root, nil)
	}
	s.store.limits = slices.Clone(limits)
	return nil
}

func (s *memSession) Metadata(_ context.Context, name string, entries []string, depth int) ([]Annotation, error) {
	defer s.lock()()
	if _, err := s.store.mailbox(name); name != "" && err != nil {
		return nil, err
	}
	var out []Annotation
	for entry, v := range s.store.metadata[name] {
		if slices.ContainsFunc(entries, func(e string) bool {
			below, ok := strings.CutPrefix(entry, e+"/")
			return entry == e || ok && (depth < 0 || strings.Count(below, "/") < depth)
		}) {
			out = append(out, Annotation{entry, v})
		}
	}
	slices.SortFunc(out, func(a, b Annotation) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

func (s *memSession) SetMetadata(_ context.Context, name string, entries []Annotation) error {
	defer s.lock()()
	if _, err := s.store.mailbox(name); name != "" && err != nil {
		return err
	}
	for _, a := range entries {
		if len(a.Value) > 2000 {
			return &Error{Code: "METADATA MAXSIZE 2000", Text: "Value too large"}
		}
	}
	if s.store.metadata == nil {
		s.store.metadata = map[string]map[string][]byte{}
	}
	if s.store.metadata[name] == nil {
		s.store.metadata[name] = map[string][]byte{}
	}
	for _, a := range entries {
		if s.store.metadata[name][a.Name] = a.Value; a.Value == nil {
			delete(s.store.metadata[name], a.Name)
		}
	}
	return nil
}
