package receive

import (
	"testing"
	"time"
)

// A domain is searched for once in a while, whoever asks how often.
func TestTurnPause(t *testing.T) {
	var turns turns
	now := time.Now()
	if !turns.mayScan("a.example", now) || turns.mayScan("a.example", now.Add(turnPause-1)) || !turns.mayScan("b.example", now) || !turns.mayScan("a.example", now.Add(turnPause)) {
		t.Error("the pause between two searches is not kept")
	}
}
