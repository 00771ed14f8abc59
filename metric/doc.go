// Package metric is the small door through which all packages count: counters,
// gauges and histograms in the text format of Prometheus.
//
// Flow: app makes one [Registry] and hands it to every package in its Options;
// a package asks it for its instruments once, in its observe.go, and uses them
// on hot paths; httpd serves [Registry.Handler] on the internal listener.
//
// Invariants: there is no global registry. A nil *Registry is valid and gives
// instruments that do nothing, so tests and small programs need none. Asking
// twice for a name gives the same instrument.
//
// Limits: label values come from small closed sets, never from outside data.
package metric
