package lsm

import (
	"time"

	"github.com/postino-mail/postino/metric"
)

// meters are the instruments of a store.
type meters struct {
	commits, groups, bytes, corrupt, full *metric.Counter
	waited                                *metric.Histogram
}

func newMeters(r *metric.Registry) meters {
	return meters{
		commits: r.Counter("postino_kv_commits_total", "Transactions made durable."),
		groups:  r.Counter("postino_kv_syncs_total", "Groups of transactions that shared one sync."),
		bytes:   r.Counter("postino_kv_written_bytes_total", "Octets of keys and values made durable."),
		corrupt: r.Counter("postino_kv_corrupt_total", "Blocks that did not verify."),
		full:    r.Counter("postino_kv_full_total", "Transactions refused for want of free space."),
		waited: r.Histogram("postino_kv_sync_seconds", "Time from applying a group to its sync.",
			[]float64{.0001, .0003, .001, .003, .01, .03, .1, .3, 1}),
	}
}

// durable notes a group that is on stable storage.
func (m *meters) durable(g *group) {
	m.groups.Inc()
	m.commits.Add(float64(len(g.txs)))
	m.bytes.Add(float64(g.size))
	m.waited.Observe(time.Since(g.applied).Seconds())
}

// warn logs at most once a second: Pebble tries failed work again at once.
func (db *DB) warn(text string, err error) {
	now := time.Now().Unix()
	if last := db.warned.Load(); last != now && db.warned.CompareAndSwap(last, now) {
		db.log.Warn(text, "err", err)
	}
}
