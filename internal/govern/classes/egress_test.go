package classes_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/govern/classes"
	"github.com/dun-sec/dun/internal/govern/dayzero"
)

// TestUsersDataLeaveByNoDoor: and of another class they leave by each, so that
// the check sees what it says.
func TestUsersDataLeaveByNoDoor(t *testing.T) {
	g := open(t, "ann")
	log, err := events.Open(events.Options{Dir: filepath.Join(t.TempDir(), "events")})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	env := classes.EgressEnv{Gate: g, Events: log, Founder: dayzero.Operator}
	c := classes.Egress(env)
	if err := c.Positive(t.Context()); err != nil {
		t.Errorf("its positive control: %v", err)
	}
	var e assurance.Evidence
	if err := c.Probe(t.Context(), &e); err != nil {
		t.Error(err)
	}
	t.Log(e)
	env.Class = "production-system"
	err = classes.Egress(env).Probe(t.Context(), &e)
	for _, door := range []string{"record", "list", "watch", "history", "proof", "audit log", "export", "events"} {
		if err == nil || !strings.Contains(err.Error(), door) {
			t.Errorf("the check does not see what comes by %s: %v", door, err)
		}
	}
}
