package power

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/lab/powercut"
)

// TestASealedSegmentSurvives: events may be lost by a cut, but not those of a
// segment that was sealed, as an orderly stop does.
func TestASealedSegmentSurvives(t *testing.T) {
	server := powercut.Build(t)
	for seed := range uint64(20) {
		disk := t.TempDir()
		if err := os.Mkdir(filepath.Join(disk, "events"), 0o700); err != nil {
			t.Fatal(err)
		}
		m := powercut.Start(t, server, disk, powercut.Options{})
		if found := seal(t, filepath.Join(m.Dir(), "events"), true); found != 1 {
			t.Fatalf("%d events before the cut", found)
		}
		m.Cut(seed)
		if found := seal(t, filepath.Join(disk, "events"), false); found != 1 {
			t.Fatalf("seed %d: %d events after the cut, one was sealed", seed, found)
		}
	}
}

// seal opens a log, adds an event if it is told to, closes it and counts.
func seal(t *testing.T, dir string, add bool) int {
	t.Helper()
	l, err := events.Open(events.Options{Dir: dir, Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	if add {
		l.Add(events.Event{Part: "edge", Kind: "block", Tenant: "platform"})
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	found, _, err := l.Search(context.Background(), events.Query{Tenants: []string{"platform"}})
	if err != nil {
		t.Fatal(err)
	}
	return len(found)
}
