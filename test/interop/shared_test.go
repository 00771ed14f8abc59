package interop

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// share makes an account with mail that a guest may see, and returns the guest's name
// of its INBOX.
func share(t *testing.T, s *server, owner, guest int, rights string) string {
	t.Helper()
	s.postino(t, "", "acl", "set", s.user(owner), "INBOX", s.user(guest), rights)
	return "Other Users/" + s.user(owner) + "/INBOX"
}

// TestSharedGoIMAP gives, uses and takes away rights over IMAP.
func TestSharedGoIMAP(t *testing.T) {
	s, owner := mine(t)
	guest := s.fresh(t)
	put(t, s, owner, "INBOX", "shared", 3)
	there := "Other Users/" + s.user(owner) + "/INBOX"
	g, o := open(t, s, guest, nil), open(t, s, owner, nil)

	namespaces, err := g.Namespace().Wait()
	if err != nil || len(namespaces.Other) != 1 || namespaces.Other[0].Prefix != "Other Users/" || len(namespaces.Shared) != 1 || namespaces.Shared[0].Prefix != "Shared/" {
		t.Errorf("NAMESPACE: %+v, %v", namespaces, err)
	}
	if _, err := g.Select(there, nil).Wait(); err == nil || !strings.Contains(err.Error(), "NONEXISTENT") {
		t.Errorf("before it is shared: %v", err)
	}
	who, err := imap.NewRightsIdentifierUsername(s.user(guest))
	if err != nil {
		t.Fatal(err)
	}
	if err := o.SetACL("INBOX", who, imap.RightModificationReplace, imap.RightSet("lrs")).Wait(); err != nil {
		t.Fatal(err)
	}
	acl, err := o.GetACL("INBOX").Wait()
	if err != nil || string(acl.Rights[who]) != "lrs" {
		t.Errorf("GETACL: %+v, %v", acl, err)
	}
	mine, err := g.MyRights(there).Wait()
	if err != nil || string(mine.Rights) != "lrs" {
		t.Errorf("MYRIGHTS: %+v, %v", mine, err)
	}
	names := listed(t, g, "*")
	if !slices.Contains(names, there) {
		t.Errorf("LIST: %q, want %q in it", names, there)
	}
	if box, err := g.Select(there, nil).Wait(); err != nil || box.NumMessages != 3 {
		t.Fatalf("SELECT: %+v, %v", box, err)
	}
	store(t, g, imap.SeqSetNum(1), imap.StoreFlagsAdd, nil, imap.FlagSeen)
	if err := g.Store(imap.SeqSetNum(1), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagFlagged}}, nil).Close(); err == nil {
		t.Error("a reader flags mail")
	}
	wantBox(t, s, guest, there, map[string]string{"shared-0": "S", "shared-1": "", "shared-2": ""})
	wantBox(t, s, owner, "INBOX", map[string]string{"shared-0": "", "shared-1": "", "shared-2": ""})

	if err := o.SetACL("INBOX", who, imap.RightModificationAdd, imap.RightSet("wite")).Wait(); err != nil {
		t.Fatal(err)
	}
	store(t, g, imap.SeqSetNum(2), imap.StoreFlagsAdd, nil, imap.FlagFlagged)
	if _, err := g.Move(imap.SeqSetNum(3), "INBOX").Wait(); err != nil {
		t.Errorf("MOVE to the guest's own: %v", err)
	}
	wantBox(t, s, owner, "INBOX", map[string]string{"shared-0": "", "shared-1": "F"})
	wantBox(t, s, guest, "INBOX", map[string]string{"shared-2": ""})

	// What is taken away is gone at once.
	if err := o.SetACL("INBOX", who, imap.RightModificationReplace, nil).Wait(); err != nil {
		t.Fatal(err)
	}
	if names := listed(t, g, "*"); slices.Contains(names, there) {
		t.Errorf("LIST after the rights were taken: %q", names)
	}
	if _, err := g.Fetch(imap.SeqSetNum(1), &imap.FetchOptions{Flags: true, Envelope: true}).Collect(); err == nil {
		t.Error("mail is read without rights")
	}
}

func listed(t *testing.T, c *imapclient.Client, pattern string) []string {
	t.Helper()
	boxes, err := c.List("", pattern, nil).Collect()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, b := range boxes {
		names = append(names, b.Mailbox)
	}
	return names
}

// TestSharedCurl reads and writes a shared account's mail with curl.
func TestSharedCurl(t *testing.T) {
	s, guest := mine(t, "curl")
	team := fmt.Sprintf("team%d@%s", guest, s.domain)
	s.postino(t, "", "user", "add", "--shared", team)
	s.postino(t, "", "acl", "set", team, "INBOX", s.user(guest), "write")
	url := "imaps://" + s.imaps + "/Shared%2F" + strings.Replace(team, "@", "%40", 1) + "%2FINBOX"
	sent := message("team-0", team, oddBody)
	s.curl(t, guest, url, "-T", file(t, "mail", sent))
	if got := s.curl(t, guest, url+";MAILINDEX=1"); got != sent {
		t.Errorf("got %q, want %q", clip(got), clip(sent))
	}
	if got := s.curl(t, guest, "imaps://"+s.imaps, "-X", `LIST "" "Shared/*"`); !strings.Contains(got, "Shared/"+team+"/INBOX") {
		t.Errorf("LIST: %q", got)
	}
	if out, err := try(t, "", "curl", s.curlArgs(guest, []string{"-v", "imaps://" + s.imaps, "-X", `GETACL "Shared/` + team + `/INBOX"`})...); err == nil || !strings.Contains(out, "[NOPERM]") {
		t.Errorf("a guest without the right a is shown the list of rights: %v\n%s", err, out)
	}
	// Mail to the address arrives there, and a stranger sees nothing.
	door{addr: s.mx}.post(t, letter{from: "sender@client.test", rcpts: []string{team}, data: message("team-1", team, "text\n")})
	await(t, s, guest, "Shared/"+team+"/INBOX", 2)
	if out, err := try(t, "", "curl", s.curlArgs(s.fresh(t), []string{url + ";MAILINDEX=1"})...); err == nil {
		t.Errorf("a stranger reads\n%s", out)
	}
}

// TestSharedMutt has Mutt open a shared mailbox and file mail from it.
func TestSharedMutt(t *testing.T) {
	s, owner := mine(t, "mutt", "script")
	guest := s.fresh(t)
	sent := put(t, s, owner, "INBOX", "sm", 2)
	there := share(t, s, owner, guest, "read")
	m := newMutt(t, s, guest, "mutt")
	// Without the first setting Mutt takes the dots of the address for slashes.
	m.rc = file(t, "muttrc", "source "+m.rc+"\nset imap_delim_chars=\"/\"\nset spoolfile=\"="+there+"\"\n")
	got := filepath.Join(t.TempDir(), "got")
	log := m.do(t, "<jump>2<enter><pipe-message>cat > "+got+"<enter><copy-message>=Kept<enter>")
	if got := idsOf(t, got); !slices.Equal(got, []string{"sm-1"}) {
		t.Errorf("Mutt shows %q\n%s", got, lastLines(log, 30))
	}
	if kept := mails(t, s, guest, "Kept")[letterID("sm-1")]; string(kept.text) != sent[1] {
		t.Errorf("the copy is %q", clip(string(kept.text)))
	}
	wantBox(t, s, owner, "INBOX", map[string]string{"sm-0": "", "sm-1": ""})
}

// TestSharedPython gives rights and uses them with imaplib.
func TestSharedPython(t *testing.T) {
	s, owner := mine(t, "python3")
	guest := s.fresh(t)
	put(t, s, owner, "INBOX", "sp", 3)
	out := run(t, "", "python3", "testdata/shared.py", s.imaps, s.ca, s.user(owner), s.user(guest), s.password)
	if !strings.HasSuffix(strings.TrimSpace(out), "all done") {
		t.Errorf("the script ended early:\n%s", out)
	}
}
