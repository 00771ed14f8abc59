# Postfix 3.7. postfix_up NAME PORT TRANSPORT [SETTING...]: mail for bench.test goes to
# TRANSPORT, mail for relay.test by SMTP to the load generator's sink.

postfix_up() {
	local name=$1 port=$2 transport=$3 root=$dir/$1 etc=$dir/$1/etc u setting
	shift 3
	mkdir -p "$etc" "$root/spool" "$root/data"
	chown postfix "$root/data"
	all_users | while read -r u; do echo "$u@$domain x"; done >"$etc/users"
	printf '%s\n' "relay.test smtp:[$host]:$sink" >"$etc/transport"

	cat >"$etc/main.cf" <<-CONF
		compatibility_level = 3.6
		queue_directory = $root/spool
		data_directory = $root/data
		command_directory = /usr/sbin
		daemon_directory = /usr/lib/postfix/sbin
		mail_owner = postfix
		setgid_group = postdrop
		maillog_file = $root/mail.log
		maillog_file_prefixes = $root
		myhostname = mx.bench.test
		mydestination =
		inet_interfaces = $host
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
		default_process_limit = 250
		smtpd_client_connection_count_limit = 0
		transport_maps = texthash:$etc/transport
		relay_domains = relay.test
		virtual_mailbox_domains = $domain
		virtual_mailbox_maps = texthash:$etc/users
		virtual_transport = $transport
		default_destination_concurrency_limit = 20
		lmtp_destination_recipient_limit = 1
		smtp_destination_recipient_limit = 1
	CONF
	# service type private unprivileged chroot wakeup maxproc command
	cat >"$etc/master.cf" <<-CONF
		$host:$port inet n - n - - smtpd
		pickup unix n - n 60 1 pickup
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
	CONF
	for setting; do
		case $setting in
		"$host:"*) echo "$setting" >>"$etc/master.cf" ;;
		*) echo "$setting" >>"$etc/main.cf" ;;
		esac
	done
	start "$name" /usr/sbin/postfix -c "$etc" start
	started "$name" "$root/spool/pid/master.pid"
	listens "$port"
}
