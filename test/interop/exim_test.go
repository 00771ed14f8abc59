package interop

import (
	"fmt"
	"os"
	"strings"
	"sync"
)

var exim = sync.OnceValues(startExim)

// eximProgram is where scripts/install-test-deps unpacks it: as a package it
// conflicts with Postfix.
const eximProgram = "/usr/local/lib/postino-peers/usr/sbin/exim4"

// startExim runs Exim with a small configuration that means the same as the one of
// Postfix.
func startExim() (*peer, error) {
	p, err := newPeer("exim", "plain", "tls", "auth", "implicit")
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(eximProgram); err != nil {
		return nil, fmt.Errorf("%v; run scripts/install-test-deps", err)
	}
	s, _ := start()
	p.log = p.path("mainlog")
	if err := os.Mkdir(p.path("spool"), 0o755); err != nil {
		return nil, err
	}
	if err := p.account("Debian-exim", ".", "spool", "key.pem"); err != nil {
		return nil, err
	}
	_, mxPort, _ := strings.Cut(s.mx, ":")
	_, smtpPort, _ := strings.Cut(s.smtp, ":")
	_, lmtpPort, _ := strings.Cut(s.lmtp, ":")
	config := strings.NewReplacer(
		"@EXIM@", eximProgram, "@DIR@", p.dir, "@CA@", s.ca, "@PLAIN@", p.port("plain"), "@TLS@", p.port("tls"), "@AUTH@", p.port("auth"),
		"@IMPLICIT@", p.port("implicit"), "@DOMAIN@", s.domain, "@MX@", mxPort, "@SUBMISSION@", smtpPort, "@LMTP@", lmtpPort, "@SOCKET@", s.lmtpSocket,
		"@USER@", s.user(userAuth), "@PASSWORD@", s.password, "@PEERUSER@", peerUser, "@PEERPASSWORD@", peerPassword,
	).Replace(`primary_hostname = mx.exim.test
exim_path = @EXIM@
spool_directory = @DIR@/spool
log_file_path = @DIR@/%slog
pid_file_path = @DIR@/pid
log_selector = +all -arguments -queue_run
local_interfaces = <; [127.0.0.1]:@PLAIN@ ; [127.0.0.1]:@TLS@ ; [127.0.0.1]:@AUTH@ ; [127.0.0.1]:@IMPLICIT@
deliver_drop_privilege = true
never_users =
keep_environment =
domainlist mine = exim.test : *.exim.test
acl_smtp_rcpt = rcpt
acl_smtp_data = accept
dsn_advertise_hosts = *
smtputf8_advertise_hosts = *
chunking_advertise_hosts = ${if eq{$received_port}{@PLAIN@}{}{*}}
prdr_enable = true
tls_advertise_hosts = ${if eq{$received_port}{@PLAIN@}{}{*}}
tls_on_connect_ports = @IMPLICIT@
tls_certificate = @CA@
tls_privatekey = @DIR@/key.pem
auth_advertise_hosts = ${if eq{$received_port}{@AUTH@}{*}{}}
message_size_limit = 100M
smtp_accept_max = 100
smtp_accept_queue_per_connection = 0
smtp_accept_max_nonmail = 50
remote_max_parallel = 10
rfc1413_query_timeout = 0s
host_lookup =
allow_utf8_domains = true
bounce_return_size_limit = 100K

begin acl
rcpt:
  deny    condition = ${if eq{$received_port}{@AUTH@}}
          !authenticated = *
          message = 5.7.0 Authentication required
  deny    recipients = nobody@exim.test
          message = 5.1.1 No such user here
  defer   recipients = later@exim.test
          message = 4.2.0 Not yet
  accept  control = dkim_disable_verify

begin routers
fail:
  driver = redirect
  domains = exim.test
  local_parts = fail
  allow_fail
  data = :fail: 5.1.1 No such user here
many:
  driver = redirect
  domains = many.exim.test
  data = :blackhole:
mine:
  driver = accept
  domains = +mine
  transport = maildir
plain:
  driver = manualroute
  domains = @DOMAIN@
  local_parts = *+plain
  route_list = * 127.0.0.1 byname
  self = send
  transport = plain
tls:
  driver = manualroute
  domains = @DOMAIN@
  local_parts = *+tls
  route_list = * 127.0.0.1 byname
  self = send
  transport = tls
login:
  driver = manualroute
  domains = @DOMAIN@
  local_parts = *+auth
  route_list = * 127.0.0.1 byname
  self = send
  transport = login
lmtp:
  driver = manualroute
  domains = @DOMAIN@
  local_parts = *+lmtp
  route_list = * 127.0.0.1 byname
  self = send
  transport = lmtp
socket:
  driver = accept
  domains = @DOMAIN@
  local_parts = *+socket
  transport = socket
others:
  driver = manualroute
  domains = @DOMAIN@ : many.postfix.test
  route_list = * 127.0.0.1 byname
  self = send
  transport = smtp

begin transports
maildir:
  driver = appendfile
  directory = @DIR@/mail/all
  maildir_format
  delivery_date_add
  envelope_to_add
  return_path_add
smtp:
  driver = smtp
  port = @MX@
  allow_localhost
  max_rcpt = 1000
  hosts_try_fastopen =
plain:
  driver = smtp
  port = @MX@
  allow_localhost
  hosts_avoid_tls = *
tls:
  driver = smtp
  port = @MX@
  allow_localhost
  hosts_require_tls = *
  tls_verify_certificates = @CA@
  tls_verify_cert_hostnames =
login:
  driver = smtp
  port = @SUBMISSION@
  allow_localhost
  hosts_require_tls = *
  hosts_require_auth = *
lmtp:
  driver = smtp
  protocol = lmtp
  port = @LMTP@
  allow_localhost
socket:
  driver = lmtp
  socket = @SOCKET@

begin retry
* * F,1h,1s

begin authenticators
server:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${if and{{eq{$auth2}{@PEERUSER@}}{eq{$auth3}{@PEERPASSWORD@}}}}
  server_set_id = $auth2
  server_advertise_condition = ${if def:tls_in_cipher}
  client_send = ^@USER@^@PASSWORD@
`)
	if err := p.write("exim.conf", config); err != nil {
		return nil, err
	}
	return p, p.start(eximProgram, "-C", p.path("exim.conf"), "-bdf", "-q2s")
}
