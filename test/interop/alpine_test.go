package interop

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"
)

// TestAlpine deletes, files and reads mail in Alpine, key by key.
func TestAlpine(t *testing.T) {
	s, user := mine(t, "alpine", "script")
	sent := put(t, s, user, "INBOX", "al", 4)
	_, port := split(t, s.imaps)
	there := fmt.Sprintf("{localhost:%s/imap/ssl/user=%s}", port, s.user(user))
	rc := file(t, "pinerc", `user-domain=client.test
inbox-path=`+there+`INBOX
folder-collections="Mail" `+there+`[]
feature-list=disable-password-file-saving,quit-without-confirm,expunge-without-confirm,expunge-without-confirm-everywhere,save-will-not-delete
last-version-used=6.26
`)
	cmd := exec.CommandContext(t.Context(), "timeout", "60", "script", "-qfec", "alpine -p "+rc+" -i", "/dev/null")
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "TERM=vt100", "SSL_CERT_FILE="+s.ca)
	var screen bytes.Buffer
	cmd.Stdout, cmd.Stderr = &screen, &screen
	keys, err := cmd.StdinPipe() // stays open: at its end the program would be told to end
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Typed ahead: the password; delete the first, save the second, read the third; back to
	// the index, quit.
	io.WriteString(keys, s.password+"\r"+"dsArchive\rn>iq")
	began := time.Now()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("alpine: %v after %v\n%s", err, time.Since(began), clip(screen.String()))
	}
	wantBox(t, s, user, "INBOX", map[string]string{"al-1": "", "al-2": "S", "al-3": ""})
	wantBox(t, s, user, "Archive", map[string]string{"al-1": ""})
	if got := mails(t, s, user, "Archive")[letterID("al-1")]; string(got.text) != sent[1] {
		t.Errorf("saved as %q", clip(string(got.text)))
	}
}
