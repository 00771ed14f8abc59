# Dovecot 2.3. dovecot_up NAME OFFSET LOCATION [SETTING...]; LMTP, IMAP and POP3
# are on base+OFFSET+24, +43 and +10.

dovecot_up() {
	local name=$1 port=$((base + $2)) location=$3 root=$dir/$1 setting u
	shift 3
	mkdir -p "$root/mail" "$root/state"
	chown mail:mail "$root/mail"
	all_users | while read -r u; do echo "$u@$domain:{PLAIN}$password"; done >"$root/users"
	chown root:dovecot "$root/users"
	chmod 640 "$root/users"

	# Left at its default on purpose: mail_fsync = optimized (durable).
	cat >"$root/dovecot.conf" <<-CONF
		base_dir = $root/run
		state_dir = $root/state
		instance_name = $name
		log_path = $root/log
		protocols = imap pop3 lmtp
		listen = $host
		ssl = no
		disable_plaintext_auth = no
		auth_mechanisms = plain login
		auth_failure_delay = 0
		mail_location = $location
		mail_uid = mail
		mail_gid = mail
		first_valid_uid = 1
		first_valid_gid = 1
		mail_max_userip_connections = 10000
		default_client_limit = 20000
		default_process_limit = 1000
		default_vsz_limit = 1024M
		passdb {
		  driver = passwd-file
		  args = $root/users
		}
		userdb {
		  driver = static
		  args = home=$root/mail/%n
		}
		namespace inbox {
		  inbox = yes
		}
		service imap-login {
		  inet_listener imap {
		    port = $((port + 43))
		  }
		  inet_listener imaps {
		    port = 0
		  }
		  service_count = 0
		  process_min_avail = 2
		}
		service pop3-login {
		  inet_listener pop3 {
		    port = $((port + 10))
		  }
		  inet_listener pop3s {
		    port = 0
		  }
		  service_count = 0
		  process_min_avail = 1
		}
		service imap {
		  service_count = 200
		  process_min_avail = 2
		  process_limit = 6000
		  unix_listener imap-master {
		    user = dovecot
		  }
		}
		service imap-hibernate {
		  unix_listener imap-hibernate {
		    mode = 0660
		    group = mail
		  }
		}
		service lmtp {
		  inet_listener lmtp {
		    address = $host
		    port = $((port + 24))
		  }
		  process_min_avail = 5
		}
		service stats {
		  unix_listener stats-writer {
		    mode = 0666
		  }
		}
	CONF
	for setting; do echo "$setting" >>"$root/dovecot.conf"; done
	start "$name" /usr/sbin/dovecot -c "$root/dovecot.conf"
	started "$name" "$root/run/master.pid"
	listens $((port + 24))
	listens $((port + 43))
}
