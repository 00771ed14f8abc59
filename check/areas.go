package check

import "context"

type checks = []func(*run, context.Context) []Finding

// nodeChecks are the checks of this server, in the order of a report.
func nodeChecks() []area {
	return []area{
		{"Host", checks{(*run).hostName, (*run).reverse, (*run).reached, (*run).hostSPF, (*run).clock, (*run).resolver}},
		{"Certificates", checks{(*run).certificates, (*run).hostCAA}},
		{"DANE", checks{(*run).daneHost}},
		{"Relay", checks{(*run).openRelay}},
		{"Blocklists", checks{(*run).blocklists}},
	}
}

// domainChecks are the checks of a domain.
func domainChecks() []area {
	return []area{
		{"MX", checks{(*run).mx, (*run).mxHosts}},
		{"SPF", checks{(*run).spf, (*run).spfPermits}},
		{"DKIM", checks{(*run).dkim, (*run).adsp}},
		{"DMARC", checks{(*run).dmarc}},
		{"MTA-STS", checks{(*run).sts}},
		{"TLS reports", checks{(*run).tlsReports}},
		{"DANE", checks{(*run).dane}},
		{"DNSSEC", checks{(*run).dnssec}},
		{"CAA", checks{(*run).policyCAA}},
		{"Programs", checks{(*run).services}},
		{"Addresses", checks{(*run).mailboxes}},
	}
}
