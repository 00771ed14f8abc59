package imap

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/postino-mail/postino"
)

// broken is a session of which all that commands ask fails.
type broken struct {
	Session
	err error
}

func (b broken) Login(ctx context.Context, user, password string) error {
	if user == "eve" {
		return b.err
	}
	return b.Session.Login(ctx, user, password)
}
func (b broken) Select(ctx context.Context, r SelectRequest) (*SelectData, error) {
	if r.Mailbox == "INBOX" {
		return b.Session.Select(ctx, r)
	}
	return nil, b.err
}
func (b broken) Namespaces(context.Context) (*Namespaces, error) { return nil, b.err }
func (b broken) Mailboxes(context.Context) ([]Mailbox, error)    { return nil, b.err }
func (b broken) Status(context.Context, string, StatusItem) (*StatusData, error) {
	return nil, b.err
}
func (b broken) Create(context.Context, CreateRequest) (*CreateData, error)    { return nil, b.err }
func (b broken) Delete(context.Context, string) error                          { return b.err }
func (b broken) Rename(context.Context, string, string) error                  { return b.err }
func (b broken) Subscribe(context.Context, string) error                       { return b.err }
func (b broken) Append(context.Context, AppendRequest) (Appender, error)       { return nil, b.err }
func (b broken) ACL(context.Context, string) ([]ACLEntry, error)               { return nil, b.err }
func (b broken) SetACL(context.Context, string, string, StoreOp, Rights) error { return b.err }
func (b broken) Quota(context.Context, string) ([]QuotaResource, error)        { return nil, b.err }
func (b broken) Metadata(context.Context, string, []string, int) ([]Annotation, error) {
	return nil, b.err
}
func (b broken) SetMetadata(context.Context, string, []Annotation) error     { return b.err }
func (b broken) Notify(context.Context, *NotifyRequest) (*NotifyData, error) { return nil, b.err }
func (b broken) Fetch(context.Context, *FetchWriter, FetchRequest) error     { return b.err }
func (b broken) Copy(context.Context, NumSet, string) (*CopyData, error)     { return nil, b.err }
func (b broken) Move(context.Context, NumSet, string) (*CopyData, error)     { return nil, b.err }
func (b broken) Expunge(context.Context, *NumSet) (*ExpungeData, error)      { return nil, b.err }
func (b broken) Search(context.Context, SearchRequest) (*SearchData, error)  { return nil, b.err }
func (b broken) Thread(context.Context, ThreadRequest) ([]ThreadNode, error) { return nil, b.err }
func (b broken) SearchMailbox(context.Context, string, SearchRequest) (*SearchData, uint32, error) {
	return nil, 0, b.err
}
func (b broken) Store(context.Context, *UpdateWriter, StoreRequest) (*StoreData, error) {
	return nil, b.err
}

// TestKinds: the response code of every class of error in every family of commands
// (RFC 5530 §3, RFC 9051 §7.1).
func TestKinds(t *testing.T) {
	usual := map[string]string{
		"internal": "SERVERBUG", "invalid": "CANNOT", "not found": "NONEXISTENT", "denied": "NOPERM", "limit": "LIMIT", "quota": "OVERQUOTA",
		"disk": "UNAVAILABLE", "conflict": "INUSE", "transient": "UNAVAILABLE", "corrupt": "CORRUPTION", "unclassed": "SERVERBUG",
	}
	errs := map[string]error{"unclassed": context.Canceled}
	for name, kind := range map[string]postino.Kind{
		"internal": postino.Internal, "invalid": postino.Invalid, "not found": postino.NotFound, "denied": postino.Denied, "limit": postino.Full,
		"conflict": postino.Conflict, "transient": postino.Transient, "corrupt": postino.Corrupt,
	} {
		errs[name] = postino.E(kind, "hidden", "hidden", nil)
	}
	errs["quota"] = fmt.Errorf("hidden: %w", postino.E(postino.Full, "hidden", "", postino.ErrQuota))
	errs["disk"] = postino.E(postino.Full, "hidden", "", fmt.Errorf("hidden: %w", postino.ErrNoSpace))
	families := []struct {
		commands string // by |
		differs  map[string]string
	}{
		{commands: "LOGIN eve secret", differs: map[string]string{
			"denied": "AUTHENTICATIONFAILED", "not found": "AUTHENTICATIONFAILED", "invalid": "AUTHENTICATIONFAILED"}},
		{commands: "CREATE x|RENAME x y", differs: map[string]string{"conflict": "ALREADYEXISTS"}},
		{commands: "COPY 1 x|MOVE 1 x|UID COPY 1 x|APPEND x {1}", differs: map[string]string{"not found": "TRYCREATE"}},
		{commands: "SELECT x|EXAMINE x|STATUS x (MESSAGES)|DELETE x|SUBSCRIBE x|LIST \"\" *|NAMESPACE"},
		{commands: "FETCH 1 UID|STORE 1 FLAGS ()|EXPUNGE|UID EXPUNGE 1|SEARCH ALL|SORT (SIZE) UTF-8 ALL|THREAD REFS UTF-8 ALL|CLOSE",
			differs: nil},
		{commands: "GETACL x|SETACL x bob lr|GETQUOTA x|GETMETADATA x /private/a|SETMETADATA x (/private/a NIL)|NOTIFY SET (personal NONE)"},
	}
	for what, err := range errs {
		store := newMemStore()
		_, connect := start(t, store, func(o *Options) {
			open := o.NewSession
			o.NewSession = func(ctx context.Context, c *ConnInfo) (Session, error) {
				s, e := open(ctx, c)
				return broken{s, err}, e
			}
		})
		for _, f := range families {
			want := usual[what]
			if d := f.differs[what]; d != "" {
				want = d
			}
			for command := range strings.SplitSeq(f.commands, "|") {
				c := connect()
				c.line()
				if command != "LOGIN eve secret" {
					c.do("LOGIN ann secret")
					selectInbox(c)
				}
				if command == "CLOSE" && what == "denied" { // RFC 4314 §4
					continue
				}
				lines := c.do(command)
				last := lines[len(lines)-1]
				if !strings.HasPrefix(last, "x NO ["+want+"] ") || strings.Contains(last, "hidden") {
					t.Errorf("%s: %s: got %q, want %s", what, command, last, want)
				}
				c.nc.Close()
			}
		}
	}
}
