# Cyrus IMAP 3.6. cyrus_up NAME OFFSET; LMTP, IMAP and POP3 are on
# base+OFFSET+24, +43 and +10.

cyrus_up() {
	local name=$1 port=$((base + $2)) root=$dir/$1 u beside=/usr/local/lib/postino-peers/usr/lib/cyrus/bin
	[ -d "$beside" ] || beside=/usr/lib/cyrus/bin
	mkdir -p "$root/config/socket" "$root/config/proc" "$root/spool"

	# Synchronous writes are left at their defaults on purpose.
	cat >"$root/imapd.conf" <<-CONF
		configdirectory: $root/config
		partition-default: $root/spool
		defaultpartition: default
		cyrus_user: cyrus
		admins: admin
		servername: $domain
		virtdomains: userid
		defaultdomain: $domain
		unixhierarchysep: yes
		altnamespace: yes
		allowplaintext: yes
		sasl_pwcheck_method: auxprop
		sasl_auxprop_plugin: sasldb
		sasl_sasldb_path: $root/sasldb2
		sasl_mech_list: PLAIN LOGIN
		duplicatesuppression: 0
		conversations: 0
		imapidlepoll: 60
		idlesocket: $root/config/socket/idle
		lmtpsocket: $root/config/socket/lmtp
		notifysocket: $root/config/socket/notify
		popminpoll: 0
		maxlogins_per_user: 0
	CONF
	cat >"$root/cyrus.conf" <<-CONF
		START {
		  recover cmd="ctl_cyrusdb -C $root/imapd.conf -r"
		  idled cmd="$beside/idled -C $root/imapd.conf"
		}
		SERVICES {
		  imap cmd="$beside/imapd -C $root/imapd.conf -U 200" listen="$host:$((port + 43))" prefork=10
		  pop3 cmd="$beside/pop3d -C $root/imapd.conf -U 200" listen="$host:$((port + 10))" prefork=1
		  lmtp cmd="lmtpd -C $root/imapd.conf -a" listen="$host:$((port + 24))" prefork=10
		}
		EVENTS {
		  checkpoint cmd="ctl_cyrusdb -C $root/imapd.conf -c" period=30
		}
	CONF
	for u in admin $(all_users); do
		echo "$password" | saslpasswd2 -p -c -f "$root/sasldb2" -u "$domain" "$u"
	done
	chown -R cyrus:mail "$root"
	start "$name" /usr/lib/cyrus/bin/master -C "$root/imapd.conf" -M "$root/cyrus.conf" -p "$root/master.pid" -d
	started "$name" "$root/master.pid"
	listens $((port + 24))
	listens $((port + 43))
	all_users | python3 -c '
import imaplib, sys
c = imaplib.IMAP4(sys.argv[1], int(sys.argv[2]))
c.login(sys.argv[3], sys.argv[4])
for name in sys.stdin.read().split():
    ok, why = c.create("user/%s@%s" % (name, sys.argv[5]))
    if ok != "OK" and b"exists" not in why[0]:
        sys.exit("create %s: %s" % (name, why))
c.logout()
' "$host" $((port + 43)) "admin@$domain" "$password" "$domain"
}
