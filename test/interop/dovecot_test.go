package interop

import (
	"fmt"
	"os"
	"strings"
	"sync"
)

var dovecot = sync.OnceValues(startDovecot)

// The user that peers know.
const (
	peerUser     = "box@dovecot.test"
	peerPassword = "peer-secret"
)

// startDovecot runs Dovecot for LMTP, IMAP and the passwords of Postfix. Users are
// box, full (nothing fits), pelé, mover and r0 to r999, who share a mailbox. Mail for users of the server under test is proxied there
// by LMTP.
func startDovecot() (*peer, error) {
	p, err := newPeer("dovecot", "lmtp", "imap")
	if err != nil {
		return nil, err
	}
	s, _ := start()
	p.box = p.path("mail/box/Maildir")
	if err := os.Mkdir(p.path("state"), 0o755); err != nil {
		return nil, err
	}
	if err := p.account("mail", "mail"); err != nil {
		return nil, err
	}
	var users strings.Builder
	fmt.Fprintf(&users, "%s:{PLAIN}%s::::::\n", peerUser, peerPassword)
	fmt.Fprintf(&users, "full@dovecot.test:{PLAIN}%s::::::userdb_quota_rule=*:storage=1k\n", peerPassword)
	fmt.Fprintf(&users, "pelé@dovecot.test:{PLAIN}%s::::::\n", peerPassword)
	fmt.Fprintf(&users, "mover@dovecot.test:{PLAIN}%s::::::\n", peerPassword)
	for i := range 1000 {
		fmt.Fprintf(&users, "r%d@dovecot.test:{PLAIN}x::::::userdb_home=%s/mail/many\n", i, p.dir)
	}
	if err := p.write("users", users.String()); err != nil {
		return nil, err
	}
	host, port, _ := strings.Cut(s.lmtp, ":")
	config := fmt.Sprintf(`base_dir = %[1]s/run
state_dir = %[1]s/state
instance_name = interop
log_path = %[1]s/log
protocols = imap lmtp
listen = 127.0.0.1
ssl = yes
ssl_cert = <%[2]s
ssl_key = <%[1]s/key.pem
ssl_client_ca_file = %[2]s
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
auth_username_chars =
mail_location = maildir:~/Maildir
mail_uid = mail
mail_gid = mail
first_valid_uid = 1
first_valid_gid = 1
mail_fsync = never
mail_plugins = quota
plugin {
  quota = count:User quota
  quota_vsizes = yes
}
lmtp_proxy = yes
default_vsz_limit = 1024M
# Users of the server under test, before those of its own.
passdb {
  driver = static
  args = proxy=y protocol=lmtp host=%[4]s port=%[5]s nopassword=y
  username_filter = *@%[3]s
}
passdb {
  driver = passwd-file
  args = username_format=%%u %[1]s/users
}
userdb {
  driver = passwd-file
  args = username_format=%%u %[1]s/users
  default_fields = home=%[1]s/mail/%%n
}
namespace inbox {
  inbox = yes
}
service imap-login {
  inet_listener imap {
    port = %[6]s
  }
  inet_listener imaps {
    port = 0
  }
}
service lmtp {
  inet_listener lmtp {
    address = 127.0.0.1
    port = %[7]s
  }
  unix_listener %[1]s/lmtp.sock {
    mode = 0666
  }
}
service auth {
  unix_listener %[1]s/auth {
    mode = 0666
  }
}
service stats {
  unix_listener stats-writer {
    mode = 0666
  }
}
`, p.dir, s.ca, s.domain, host, port, p.port("imap"), p.port("lmtp"))
	if err := p.write("dovecot.conf", config); err != nil {
		return nil, err
	}
	return p, p.start("/usr/sbin/dovecot", "-F", "-c", p.path("dovecot.conf"))
}
