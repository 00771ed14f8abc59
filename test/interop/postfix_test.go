package interop

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
)

var postfix = sync.OnceValues(startPostfix)

// postfixServices are the lines of master.cf that every Postfix has.
const postfixServices = `pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`

// startPostfix runs Postfix below a root of its own. Mail for its domains goes into
// one Maildir, mail for "many" into the void. Mail for the server under test goes
// there by the way that the detail of the address names.
//
//	old      no extensions
//	plain    no TLS, no CHUNKING
//	tls      STARTTLS
//	auth     STARTTLS and a login
//	implicit TLS from the start
func startPostfix() (*peer, error) {
	p, err := newPeer("postfix", "old", "plain", "tls", "auth", "implicit")
	if err != nil {
		return nil, err
	}
	s, _ := start()
	d, err := dovecot() // knows the passwords
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{"etc", "spool", "data"} {
		if err := os.Mkdir(p.path(dir), 0o755); err != nil {
			return nil, err
		}
	}
	if err := p.account("postfix", "data"); err != nil {
		return nil, err
	}
	_, mxPort, _ := strings.Cut(s.mx, ":")
	_, smtpPort, _ := strings.Cut(s.smtp, ":")
	main := fmt.Sprintf(`compatibility_level = 3.6
queue_directory = %[1]s/spool
data_directory = %[1]s/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = %[1]s/log
maillog_file_prefixes = %[1]s
myhostname = mx.postfix.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
local_recipient_maps =
biff = no
smtpd_peername_lookup = no
smtp_dns_support_level = disabled
smtp_host_lookup = native
in_flow_delay = 0
smtpd_client_connection_count_limit = 0
message_size_limit = 100000000
mailbox_size_limit = 0
virtual_mailbox_limit = 0
transport_maps = regexp:%[1]s/etc/transport
relay_domains = %[3]s many.exim.test
smtpd_recipient_restrictions = check_recipient_access inline:{ { nobody@postfix.test = 550 5.1.1 No such user here } { nobody@ahead.postfix.test = 550 5.1.1 No such user here } { later@postfix.test = 450 4.2.0 Not yet } }
virtual_mailbox_domains = postfix.test plain.postfix.test tls.postfix.test auth.postfix.test implicit.postfix.test many.postfix.test down.postfix.test turn.postfix.test old.postfix.test ahead.postfix.test
virtual_mailbox_maps = static:all/
virtual_mailbox_base = %[1]s/mail
virtual_uid_maps = static:8
virtual_gid_maps = static:8
virtual_minimum_uid = 8
smtpd_tls_cert_file = %[2]s
smtpd_tls_key_file = %[1]s/key.pem
smtpd_tls_security_level = may
smtpd_tls_received_header = yes
smtpd_sasl_authenticated_header = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = %[4]s
smtp_tls_CAfile = %[2]s
smtp_tls_security_level = may
lmtp_tls_CAfile = %[2]s
smtp_sasl_password_maps = inline:{ { 127.0.0.1 = %[5]s:%[6]s } }
smtp_sasl_security_options = noanonymous
smtp_destination_recipient_limit = 1000
smtputf8_enable = yes
`, p.dir, s.ca, s.domain, d.path("auth"), s.user(userAuth), s.password)
	ip := "127.0.0.1"
	way := func(name string) string { return ip + ":" + p.port(name) }
	// service type private unprivileged chroot wakeup maxproc command
	master := way("old") + ` inet n - n - - smtpd -o smtpd_tls_security_level=none -o smtpd_discard_ehlo_keywords=chunking,pipelining,8bitmime,smtputf8,dsn,size,vrfy,etrn
` + way("plain") + ` inet n - n - - smtpd -o smtpd_tls_security_level=none -o smtpd_discard_ehlo_keywords=chunking
` + way("tls") + ` inet n - n - - smtpd
` + way("auth") + ` inet n - n - - smtpd -o smtpd_sasl_auth_enable=yes -o smtpd_tls_auth_only=yes -o smtpd_client_restrictions=permit_sasl_authenticated,reject
` + way("implicit") + ` inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
clear unix - - n - - smtp -o smtp_tls_security_level=none
tls unix - - n - - smtp -o smtp_tls_security_level=encrypt
login unix - - n - - smtp -o smtp_tls_security_level=encrypt -o smtp_sasl_auth_enable=yes
fail unix - n n - - pipe user=nobody argv=/bin/sh -c {exit 67}
` + postfixServices
	domain := strings.ReplaceAll(s.domain, ".", `\.`)
	mx := "[127.0.0.1]:" + mxPort
	transport := strings.NewReplacer("@DOMAIN", "@"+domain, "MX", mx, "SUBMISSION", "[127.0.0.1]:"+smtpPort, "LMTP", s.lmtp, "SOCKET", s.lmtpSocket).Replace(
		`/^[^@]*\+plain@DOMAIN$/ clear:MX
/^[^@]*\+tls@DOMAIN$/ tls:MX
/^[^@]*\+auth@DOMAIN$/ login:SUBMISSION
/^[^@]*\+lmtp@DOMAIN$/ lmtp:inet:LMTP
/^[^@]*\+socket@DOMAIN$/ lmtp:unix:SOCKET
/@DOMAIN$/ smtp:MX
/@many\.exim\.test$/ smtp:MX
/@many\.postfix\.test$/ discard:
/^fail@postfix\.test$/ fail:
`)
	for name, text := range map[string]string{"etc/main.cf": main, "etc/master.cf": master, "etc/transport": transport} {
		if err := p.write(name, text); err != nil {
			return nil, err
		}
	}
	if _, err := exec.LookPath("postfix"); err != nil {
		return nil, fmt.Errorf("%v; run scripts/install-test-deps", err)
	}
	// "postfix start-fg" would leave the daemon behind when it is ended itself.
	if out, err := exec.Command("postfix", "-c", p.path("etc"), "check").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("postfix check: %v\n%s", err, out)
	}
	return p, p.start("/usr/lib/postfix/sbin/master", "-c", p.path("etc"), "-s")
}
