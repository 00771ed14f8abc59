package config

import "time"

// target is what the keys of a table are fields of.
type target struct {
	*Config
	*Listener
}

// key is one key of the file: all that parsing, the example and the
// comparison need to know about it.
type key struct {
	table, name string
	doc         string // explanation in the example
	def         string // default as in the file; "" for none
	// field is a pointer to string, bool, int (a count), int64 (a size),
	// time.Duration or []string.
	field    func(target) any
	min, max int64                        // of counts, octets and nanoseconds
	choices  []string                     // of strings
	item     func(string) (string, error) // reads an entry of a list
	sample   string                       // example of a list
	required bool
}

func (k key) path() string { return k.table + "." + k.name }

// tables are the tables in the order of the example, each with its explanation.
var tables = []struct{ name, doc string }{
	{"server", "Who and where this node is."},
	{"listener", "What is offered where; one [[listener]] for each address.\nKinds: smtp (mail from other servers), submission and submissions (mail from\nusers), imap and imaps, pop3 and pop3s (mail for users), lmtp (mail from other software\nhere), http and https (certificates by ACME, MTA-STS), metrics (Prometheus)."},
	{"tls", "The certificates that listeners show: the one for the name that a client asks for,\nelse the one for the hostname."},
	{"acme", "Certificates from an authority that issues them by itself (ACME), such as Let's\nEncrypt: for the hostname and what domains need. See docs/tls.md."},
	{"auth", "How users log in."},
	{"log", "What is written to standard error."},
	{"smtp", "Limits and rights of SMTP clients."},
	{"queue", "How long mail is tried."},
	{"relay", "How mail goes to other servers; postino route says which way."},
	{"dns", "Who is asked for names."},
	{"mail_auth", "What becomes of mail that is not from whom it says it is."},
	{"dkim", "How mail is signed; postino dkim shows the keys."},
	{"pkcs11", "A token that keeps the private keys of DKIM, for programs built with -tags pkcs11."},
	{"reports", "What other domains are told about their mail, and what is kept of what they tell."},
	{"imap", "Limits for IMAP clients."},
	{"pop3", "Limits for POP3 clients, and what they are told."},
	{"storage", "How data are kept."},
}

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
	tib = 1 << 40
)

// keys are all keys there are.
var keys = []key{
	{table: "server", name: "hostname", required: true,
		doc:   "Full name of this host, as its MX record and the PTR of its address have it.",
		field: func(t target) any { return &t.Server.Hostname }},
	{table: "server", name: "data_dir", required: true,
		doc:   "Directory for all data; relative paths begin where this file is.",
		field: func(t target) any { return &t.Server.DataDir }},

	{table: "listener", name: "kind", required: true, doc: "smtp, submission, submissions, imap, imaps, pop3, pop3s, lmtp, http, https or metrics.",
		choices: kinds(), field: func(t target) any { return (*string)(&t.Listener.Kind) }},
	{table: "listener", name: "address", doc: "IP address and port; without an address all of the host. Each kind has a usual\none. lmtp and metrics may be offered on loopback only; lmtp also at a path,\n\"unix:/run/postino/lmtp.sock\".",
		field: func(t target) any { return &t.Listener.Address }},
	{table: "listener", name: "tls", def: "true",
		doc:   "Offers STARTTLS. Without it submission, imap and pop3 are for loopback addresses only.",
		field: func(t target) any { return &t.Listener.TLS }},
	{table: "listener", name: "client_ca",
		doc:   "File with authorities, PEM: who shows a certificate of theirs for the address of a\nuser may log in as that user without a password (SASL EXTERNAL).",
		field: func(t target) any { return &t.Listener.ClientCA }},

	{table: "tls", name: "cert", item: text, sample: `["/etc/postino/cert.pem"]`,
		doc:   "Files with certificates and their chains, PEM; read again on reload.",
		field: func(t target) any { return &t.Config.TLS.Cert }},
	{table: "tls", name: "key", item: text, sample: `["/etc/postino/key.pem"]`, doc: "Files with their private keys, PEM, in the same order.",
		field: func(t target) any { return &t.Config.TLS.Key }},
	{table: "tls", name: "self_signed", def: "false", doc: "Use a certificate of our own making: other servers accept it, users' programs\ncomplain.",
		field: func(t target) any { return &t.Config.TLS.SelfSigned }},

	{table: "acme", name: "agree_terms", def: "false", doc: "Agree to the terms of the authority, and get certificates from it.",
		field: func(t target) any { return &t.ACME.AgreeTerms }},
	{table: "acme", name: "email", doc: "Where the authority may write to.",
		field: func(t target) any { return &t.ACME.Email }},
	{table: "acme", name: "directory", def: "https://acme-v02.api.letsencrypt.org/directory", doc: "The authority.",
		field: func(t target) any { return &t.ACME.Directory }},
	{table: "acme", name: "fallback", doc: "Another authority, for when the first one fails.",
		field: func(t target) any { return &t.ACME.Fallback }},
	{table: "acme", name: "eab", doc: "Id and key by which the authority knows you already, when it wants that (external\naccount binding).",
		field: func(t target) any { return &t.ACME.EAB }},
	{table: "acme", name: "fallback_eab", doc: "The same for the other authority.",
		field: func(t target) any { return &t.ACME.FallbackEAB }},
	{table: "acme", name: "ca_root", doc: "File with who vouches for the authority's own web server, PEM; without it the\nsystem knows. For authorities of your own.",
		field: func(t target) any { return &t.ACME.CARoot }},
	{table: "acme", name: "names", item: hostname, sample: `["imap.example.org"]`,
		doc:   "More names to get certificates for. The hostname and the names of domains with\nMTA-STS are known.",
		field: func(t target) any { return &t.ACME.Names }},
	{table: "acme", name: "challenges", item: challenge, sample: `["http-01", "tls-alpn-01", "dns-01"]`,
		doc:   "How to prove that names are ours; without this all ways that can work: http-01 by a\nlistener http, tls-alpn-01 by a listener https, dns-01 by dns_server.",
		field: func(t target) any { return &t.ACME.Challenges }},
	{table: "acme", name: "dns_server", doc: "Name server that takes changes of the zone (RFC 2136).",
		field: func(t target) any { return &t.ACME.DNSServer }},
	{table: "acme", name: "dns_key", doc: "The key that lets us change it (TSIG), as nsupdate -y wants it.",
		field: func(t target) any { return &t.ACME.DNSKey }},
	{table: "acme", name: "dns_wait", def: "30s", doc: "How long the other servers of the zone take to learn of a change.",
		min: 0, max: int64(5 * time.Minute), field: func(t target) any { return &t.ACME.DNSWait }},

	{table: "auth", name: "legacy", item: legacy, sample: `["cram-md5", "digest-md5"]`,
		doc:   "Elder mechanisms that are offered too. For them the server keeps what is as good\nas the password for whoever reads its disk. Made when a password is set or used.",
		field: func(t target) any { return &t.Auth.Legacy }},

	{table: "auth", name: "channel_binding", def: "true",
		doc:   "Offers SCRAM bound to the TLS connection (-PLUS), which nobody in the middle can\npass on. A few programs choose it and cannot do it: see docs/authentication.md.",
		field: func(t target) any { return &t.Auth.ChannelBinding }},

	{table: "auth", name: "tokens", def: "false",
		doc:   "Offers OAUTHBEARER and XOAUTH2 for the tokens that postino user token makes.",
		field: func(t target) any { return &t.Auth.Tokens }},

	{table: "log", name: "level", def: "info", doc: "debug, info, warn or error.",
		choices: []string{"debug", "info", "warn", "error"}, field: func(t target) any { return &t.Log.Level }},
	{table: "log", name: "format", def: "text", doc: "text or json.",
		choices: []string{"text", "json"}, field: func(t target) any { return &t.Log.Format }},

	{table: "smtp", name: "max_size", def: "50 MiB", doc: "Largest message, also for IMAP's APPEND.", // SS10
		min: 64 * kib, max: 2 * gib, field: func(t target) any { return &t.SMTP.MaxSize }},
	{table: "smtp", name: "max_recipients", def: "1000", doc: "Recipients of one message.", // SS11, RFC 5321 §4.5.3.1.8
		min: 100, max: 100_000, field: func(t target) any { return &t.SMTP.MaxRecipients }},
	{table: "smtp", name: "max_transactions", def: "1000", doc: "Messages in one connection.", // SS15
		min: 1, max: 1_000_000, field: func(t target) any { return &t.SMTP.MaxTransactions }},
	{table: "smtp", name: "max_line", def: "64 KiB", doc: "Longest line of a message.", // SS8, RFC 5321 §4.5.3.1.6
		min: 1000, max: mib, field: func(t target) any { return &t.SMTP.MaxLine }},
	{table: "smtp", name: "max_errors", def: "20", doc: "Errors after which a connection ends.", // SS15
		min: 5, max: 1000, field: func(t target) any { return &t.SMTP.MaxErrors }},
	{table: "smtp", name: "command_timeout", def: "5m", doc: "How long a client may think before the next command.", // SS12
		min: int64(30 * time.Second), max: int64(time.Hour), field: func(t target) any { return &t.SMTP.CommandTimeout }},
	{table: "smtp", name: "data_timeout", def: "3m", doc: "How long a client may pause within a message.", // SS12
		min: int64(30 * time.Second), max: int64(time.Hour), field: func(t target) any { return &t.SMTP.DataTimeout }},
	{table: "smtp", name: "session_time", def: "1h", doc: "Longest connection without a login.", // SS15
		min: int64(5 * time.Minute), max: int64(24 * time.Hour), field: func(t target) any { return &t.SMTP.SessionTime }},
	{table: "smtp", name: "min_rate", def: "500 B", doc: "Slowest transfer of a message, for each second.", // SS13
		min: 1, max: mib, field: func(t target) any { return &t.SMTP.MinRate }},
	{table: "smtp", name: "connections", def: "2000", doc: "Connections at once to each listener; a fifth is kept for users who log in.", // SS14
		min: 10, max: 100_000, field: func(t target) any { return &t.SMTP.Connections }},
	{table: "smtp", name: "connections_per_ipv4", def: "20", doc: "… from one IPv4 address,", // SS14
		min: 1, max: 100_000, field: func(t target) any { return &t.SMTP.PerIPv4 }},
	{table: "smtp", name: "connections_per_ipv4_24", def: "60", doc: "… from one IPv4 /24,", // SS14
		min: 1, max: 100_000, field: func(t target) any { return &t.SMTP.PerIPv4Net }},
	{table: "smtp", name: "connections_per_ipv6_64", def: "20", doc: "… from one IPv6 /64,", // SS14
		min: 1, max: 100_000, field: func(t target) any { return &t.SMTP.PerIPv6 }},
	{table: "smtp", name: "connections_per_ipv6_48", def: "100", doc: "… from one IPv6 /48.", // SS14
		min: 1, max: 100_000, field: func(t target) any { return &t.SMTP.PerIPv6Net }},
	{table: "smtp", name: "new_per_minute", def: "60", doc: "New connections from one IPv4 address or IPv6 /64 in a minute.", // SS14
		min: 1, max: 100_000, field: func(t target) any { return &t.SMTP.NewPerMinute }},

	{table: "smtp", name: "trusted", item: network, sample: `["192.0.2.0/24"]`,
		doc:   "Networks whose clients are not limited in number.",
		field: func(t target) any { return &t.SMTP.Trusted }},
	{table: "smtp", name: "relay_from", item: network, sample: `["192.0.2.25"]`, // SS18
		doc:   "Networks whose clients may send to other servers without a login. Give this to\nmachines that you run, never to networks of users.",
		field: func(t target) any { return &t.SMTP.RelayFrom }},
	{table: "smtp", name: "proxies", item: network, sample: `["192.0.2.80"]`, // SS23
		doc:   "Load balancers that begin every connection with the PROXY protocol.",
		field: func(t target) any { return &t.SMTP.Proxies }},
	{table: "smtp", name: "xclient", item: network, sample: `["127.0.0.1"]`, // SS23
		doc:   "Peers that may say in whose name they speak (XCLIENT, XFORWARD).",
		field: func(t target) any { return &t.SMTP.XClient }},
	{table: "smtp", name: "no_soliciting", item: solicitation, sample: `["org.example:ADV"]`,
		doc:   "Classes of solicitations that are refused (RFC 3865).",
		field: func(t target) any { return &t.SMTP.NoSoliciting }},
	{table: "smtp", name: "future_release", def: "720h", doc: "How far ahead users may schedule a message; 0s: not at all.",
		min: 0, max: int64(365 * 24 * time.Hour), field: func(t target) any { return &t.SMTP.FutureRelease }},

	{table: "queue", name: "first_retry", def: "5m", doc: "Pause after the first attempt; each further one is twice as long,", // QU7
		min: int64(time.Minute), max: int64(4 * time.Hour), field: func(t target) any { return &t.Queue.First }},
	{table: "queue", name: "max_retry", def: "4h", doc: "… up to this one.", // QU7
		min: int64(5 * time.Minute), max: int64(24 * time.Hour), field: func(t target) any { return &t.Queue.Max }},
	{table: "queue", name: "life", def: "120h", doc: "Mail that could not be delivered for so long comes back to its sender.", // QU7, RFC 5321 §4.5.4.1
		min: int64(time.Hour), max: int64(30 * 24 * time.Hour), field: func(t target) any { return &t.Queue.Life }},
	{table: "queue", name: "bounce_life", def: "24h", doc: "The same for reports, which come back to nobody.", // QU7
		min: int64(time.Hour), max: int64(30 * 24 * time.Hour), field: func(t target) any { return &t.Queue.BounceLife }},
	{table: "queue", name: "delay_notice", def: "4h", doc: "After so long the sender is told that his mail is still waiting.", // QU7
		min: int64(10 * time.Minute), max: int64(30 * 24 * time.Hour), field: func(t target) any { return &t.Queue.Notice }},

	{table: "relay", name: "connections", def: "200", doc: "Connections to other servers at once.",
		min: 2, max: 10_000, field: func(t target) any { return &t.Relay.Connections }},
	{table: "relay", name: "connections_per_domain", def: "10", doc: "… to one destination.", // SC8
		min: 1, max: 1000, field: func(t target) any { return &t.Relay.PerDomain }},
	{table: "relay", name: "allow_private", item: network, sample: `["10.0.0.0/8"]`, // SC7
		doc:   "Private networks that MX records may lead to. Routes with --private need none.",
		field: func(t target) any { return &t.Relay.AllowPrivate }},

	{table: "dns", name: "servers", item: server, sample: `["127.0.0.1", "tls://9.9.9.9#dns.quad9.net"]`,
		doc:   "Recursive name servers, in this order; tls:// ones have to prove the name after #.\nWithout them those of /etc/resolv.conf. \"recursive\", alone, asks the servers of each zone.",
		field: func(t target) any { return &t.DNS.Servers }},
	{table: "dns", name: "trusted", def: "false", doc: "The servers validate DNSSEC and nobody can tamper with their answers on the way.\nServers on this host are always trusted.",
		field: func(t target) any { return &t.DNS.Trusted }},
	{table: "dns", name: "dnssec", def: "auto", choices: []string{"auto", "on", "off"},
		doc:   "auto: as much as the servers allow; on: answers that cannot be proven are not believed;\noff: no DNSSEC, and so no DANE.",
		field: func(t target) any { return &t.DNS.DNSSEC }},
	{table: "dns", name: "negative_anchors", item: domain, sample: `["broken.example"]`,
		doc:   "Zones that count as not signed while their signatures are broken (RFC 7646).",
		field: func(t target) any { return &t.DNS.NegativeAnchors }},

	{table: "mail_auth", name: "dmarc", def: "enforce",
		doc:     "What a domain wants done with mail that is not its own. enforce: refuse it or put it\ninto Junk, as it says. quarantine: put into Junk what should be refused. record:\nonly write down what was found. See docs/authentication-of-mail.md.",
		choices: []string{"enforce", "quarantine", "record"}, field: func(t target) any { return &t.MailAuth.DMARC }},

	{table: "dkim", name: "rotate", def: "4320h", doc: "How long a key signs before new ones are made, whose records are to be published\nthen (180 days); 0s: for ever.",
		min: 0, max: int64(10 * 365 * 24 * time.Hour), field: func(t target) any { return &t.DKIM.Rotate }},
	{table: "dkim", name: "dns_server", doc: "Name server that takes changes of the zones (RFC 2136): records of keys are published\nand removed there; without it you do that.",
		field: func(t target) any { return &t.DKIM.DNSServer }},
	{table: "dkim", name: "dns_key", doc: "The key that lets us change them (TSIG), as nsupdate -y wants it.",
		field: func(t target) any { return &t.DKIM.DNSKey }},

	{table: "pkcs11", name: "module", doc: "File with the library of the token.",
		field: func(t target) any { return &t.PKCS11.Module }},
	{table: "pkcs11", name: "token", doc: "Label of the token.",
		field: func(t target) any { return &t.PKCS11.Token }},
	{table: "pkcs11", name: "pin_file", doc: "File whose first line is the user's PIN.",
		field: func(t target) any { return &t.PKCS11.PINFile }},

	{table: "reports", name: "dmarc", def: "true",
		doc:   "Sends a report a day to each domain that asks for it in its DMARC record.",
		field: func(t target) any { return &t.Reports.DMARC }},
	{table: "reports", name: "tls", def: "true",
		doc:   "Sends a report a day on TLS to each domain that asks for it (TLS-RPT).",
		field: func(t target) any { return &t.Reports.TLS }},
	{table: "reports", name: "failures", def: "false",
		doc:   "Also tells domains at once of single messages that fail, with part of their header:\nthink of the privacy of your users.",
		field: func(t target) any { return &t.Reports.Failures }},
	{table: "reports", name: "from", doc: "Author of the reports; the postmaster of the domain that this host is in.",
		field: func(t target) any { return &t.Reports.From }},
	{table: "reports", name: "organization", doc: "Name of the organization in reports; the domain.",
		field: func(t target) any { return &t.Reports.Organization }},
	{table: "reports", name: "contact", doc: "More about how to reach you, such as a URL.",
		field: func(t target) any { return &t.Reports.Contact }},
	{table: "reports", name: "keep", def: "400", doc: "Days that reports of others are kept.",
		min: 1, max: 3650, field: func(t target) any { return &t.Reports.Keep }},
	{table: "reports", name: "max_size", def: "256 MiB", doc: "Room for reports of others.",
		min: mib, max: tib, field: func(t target) any { return &t.Reports.MaxSize }},

	{table: "imap", name: "connections", def: "10000", doc: "Connections at once to each listener.", // IM6
		min: 10, max: 1_000_000, field: func(t target) any { return &t.IMAP.Connections }},
	{table: "imap", name: "connections_per_address", def: "100", doc: "… from one IPv4 address or IPv6 /64.", // IM6
		min: 1, max: 1_000_000, field: func(t target) any { return &t.IMAP.PerAddress }},
	{table: "imap", name: "sessions_per_user", def: "30", doc: "Sessions of one user at once.", // IM6
		min: 1, max: 10_000, field: func(t target) any { return &t.IMAP.PerUser }},
	{table: "imap", name: "login_time", def: "2m", doc: "How long a client may take to log in.", // IM1
		min: int64(10 * time.Second), max: int64(10 * time.Minute), field: func(t target) any { return &t.IMAP.LoginTime }},
	{table: "imap", name: "idle_time", def: "30m", doc: "How long a client may be silent.", // IM5, RFC 9051 §5.4
		min: int64(30 * time.Minute), max: int64(24 * time.Hour), field: func(t target) any { return &t.IMAP.IdleTime }},

	{table: "pop3", name: "connections", def: "10000", doc: "Connections at once to each listener.", // IM6
		min: 10, max: 1_000_000, field: func(t target) any { return &t.POP3.Connections }},
	{table: "pop3", name: "connections_per_address", def: "100", doc: "… from one IPv4 address or IPv6 /64.", // IM6
		min: 1, max: 1_000_000, field: func(t target) any { return &t.POP3.PerAddress }},
	{table: "pop3", name: "sessions_per_user", def: "5", doc: "Logins of one user under way at once; one of them gets the mailbox.", // IM6
		min: 1, max: 10_000, field: func(t target) any { return &t.POP3.PerUser }},
	{table: "pop3", name: "login_time", def: "2m", doc: "How long a client may take to log in.", // IM1
		min: int64(10 * time.Second), max: int64(10 * time.Minute), field: func(t target) any { return &t.POP3.LoginTime }},
	{table: "pop3", name: "idle_time", def: "10m", doc: "How long a client may be silent.", // IM12, RFC 1939 §3
		min: int64(10 * time.Minute), max: int64(24 * time.Hour), field: func(t target) any { return &t.POP3.IdleTime }},
	{table: "pop3", name: "login_delay", def: "0s", doc: "Least time between two logins of a user; 0s: none.", // RFC 2449 §6.5
		min: 0, max: int64(24 * time.Hour), field: func(t target) any { return &t.POP3.LoginDelay }},
	{table: "pop3", name: "expire", def: "0", doc: "Days after which something on this host may remove mail that users leave here,\nas their programs are told; 0: never. Postino itself removes nothing.", // RFC 2449 §6.7
		min: 0, max: 36_500, field: func(t target) any { return &t.POP3.Expire }},

	{table: "storage", name: "cache", def: "128 MiB", doc: "Memory for what was read lately.",
		min: 8 * mib, max: 256 * gib, field: func(t target) any { return &t.Storage.Cache }},
	{table: "storage", name: "memory", def: "256 MiB", doc: "Memory for messages while they are received.", // SS16
		min: 16 * mib, max: 64 * gib, field: func(t target) any { return &t.Storage.Memory }},
	{table: "storage", name: "inline", def: "64 KiB", doc: "Messages up to this size are kept in the database, larger ones in files.",
		min: kib, max: 64 * kib, field: func(t target) any { return &t.Storage.Inline }},
	{table: "storage", name: "min_free", def: "0 B", doc: "New mail is deferred while the disk has less room; 0: the larger of 1 GiB and a\ntwentieth of the disk.", // QU5
		min: 0, max: 100 * tib, field: func(t target) any { return &t.Storage.MinFree }},
	{table: "storage", name: "critical_free", def: "0 B", doc: "Below this the ballast is given up; 0: 512 MiB.", // QU5
		min: 0, max: 100 * tib, field: func(t target) any { return &t.Storage.CriticalFree }},
	{table: "storage", name: "ballast", def: "0 B", doc: "A file that is removed to make room when the disk is full; 0: 256 MiB.", // QU5
		min: 0, max: 100 * gib, field: func(t target) any { return &t.Storage.Ballast }},
}

// usual are the addresses of the kinds that say none; it is in the order of
// the example.
var usual = []struct {
	kind    Kind
	address string
}{
	{SMTP25, ":25"}, {Submission, ":587"}, {Submissions, ":465"}, {IMAP143, ":143"}, {IMAPS, ":993"}, {POP110, ":110"}, {POP3S, ":995"}, {LMTP, "127.0.0.1:2424"}, {HTTP, ":80"}, {HTTPS, ":443"}, {Metrics, "127.0.0.1:9464"},
}

func kinds() (names []string) {
	for _, u := range usual {
		names = append(names, string(u.kind))
	}
	return names
}

// keysOf returns the keys of a table.
func keysOf(table string) (of []key) {
	for _, k := range keys {
		if k.table == table {
			of = append(of, k)
		}
	}
	return of
}
