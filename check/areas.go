package check

import "context"

type checks = []func(*run, context.Context) []Finding

// nodeChecks are the checks of this server, in the order of a report.
func nodeChecks() []area {
	return []area{
		{"Host", checks{(*run).hostName, (*run).reverse, (*run).clock, (*run).resolver}},
		{"Certificates", checks{(*run).certificates, (*run).hostCAA}},
		{"Relay", checks{(*run).openRelay}},
		{"Blocklists", checks{(*run).blocklists}},
	}
}

// domainChecks are the checks of a domain.
func domainChecks() []area {
	return []area{
		{"MX", checks{(*run).mx, (*run).mxHosts}},
		{"DKIM", checks{(*run).dkim, (*run).adsp}},
		{"DNSSEC", checks{(*run).dnssec}},
		{"CAA", checks{(*run).policyCAA}},
		{"Programs", checks{(*run).services}},
		{"Addresses", checks{(*run).mailboxes}},
	}
}
