package dns

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// maxServers is how many name servers of a file are used, as resolv.conf(5) has it.
const maxServers = 3

// ParseResolvConf reads the text of /etc/resolv.conf into options: nameserver
// lines and the options timeout, attempts and trust-ad. Mail asks for absolute
// names only, so search lists are passed over, like everything unknown.
func ParseResolvConf(text string) Options {
	var o Options
	trusted := false
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(fields[1]); err == nil && len(o.Servers) < maxServers {
				o.Servers = append(o.Servers, Server{Addr: netip.AddrPortFrom(a, 53)})
			}
		case "options":
			for _, opt := range fields[1:] {
				name, value, _ := strings.Cut(opt, ":")
				n, err := strconv.Atoi(value)
				switch {
				case name == "trust-ad":
					trusted = true
				case err != nil || n <= 0:
				case name == "timeout":
					o.Timeout = time.Duration(min(n, 30)) * time.Second
				case name == "attempts":
					o.Attempts = min(n, 5)
				}
			}
		}
	}
	for i := range o.Servers {
		o.Servers[i].Trusted = trusted
	}
	return o
}
