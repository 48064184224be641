package detect

import (
	"context"
	"testing"

	"github.com/dun-sec/dun/internal/core/assurance"
)

// TestReplay: what the checks and the bench play is told right, and where the
// detector is broken, the checks say so.
func TestReplay(t *testing.T) {
	for _, c := range Checks(nil) {
		var e assurance.Evidence
		if err := c.Positive(context.Background()); err != nil {
			t.Error(c.Control, err)
		}
		if err := c.Probe(context.Background(), &e); err != nil {
			t.Error(c.Control, err, e)
		}
	}
	low := floors
	for v := range low {
		low[v] /= 20
	}
	r := NewReplay(7)
	if r.d.rules[replayed] = (&rule{limit: low}); r.Benign(30) == 0 {
		t.Error("thresholds far too low raise no alarm of a crowd: the replay would see nothing")
	}
	deaf := NewReplay(8)
	limit := floors
	for v := range limit {
		limit[v] *= 1000
	}
	deaf.d.rules[replayed] = &rule{limit: limit}
	if _, _, right, _ := deaf.Attack(); right {
		t.Error("a detector that hears nothing is taken for a good one")
	}
}
