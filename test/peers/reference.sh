# reference_up NAME: Postfix and Dovecot with TLS, AUTH and some more users. SMTP
# with STARTTLS is on base+725, with TLS from the start on +765; IMAP on +743, +793.

reference_up() {
	local name=$1 root=$dir/$1-lmtp u
	stop "$name-lmtp"
	mkdir -p "$root"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost \
		-addext 'subjectAltName=DNS:localhost,IP:127.0.0.1' \
		-keyout "$root/key.pem" -out "$root/cert.pem" 2>/dev/null
	dovecot_up "$name-lmtp" 700 'maildir:~/Maildir' 'ssl = yes' \
		"ssl_cert = <$root/cert.pem" "ssl_key = <$root/key.pem" \
		'namespace inbox {
			mailbox Sent {
				special_use = \Sent
				auto = create
			}
			mailbox Trash {
				special_use = \Trash
				auto = create
			}
		}' \
		"service imap-login {
			inet_listener imaps {
				port = $((base + 793))
				ssl = yes
			}
		}" \
		"service auth {
			unix_listener $root/auth {
				mode = 0666
			}
		}"
	postfix_up "$name" $((base + 725)) "lmtp:inet:$host:$((base + 724))" \
		"smtpd_tls_cert_file = $root/cert.pem" "smtpd_tls_key_file = $root/key.pem" \
		'smtpd_tls_security_level = may' 'smtpd_sasl_auth_enable = yes' 'smtpd_sasl_type = dovecot' \
		"smtpd_sasl_path = $root/auth" 'smtpd_tls_auth_only = yes' \
		"$host:$((base + 765)) inet n - n - - smtpd -o smtpd_tls_wrappermode=yes"
	listens $((base + 765))
	listens $((base + 793))
}
