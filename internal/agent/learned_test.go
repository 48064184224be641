package agent

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/dun-sec/dun/internal/plane/detect"
)

// A disk that takes no more is said in the status, until it takes again.
func TestWhatWasLearnedIsNotKept(t *testing.T) {
	d := &Dir{Path: t.TempDir()}
	m := remember(detect.New(detect.Options{Log: slog.New(slog.DiscardHandler)}), d, slog.New(slog.DiscardHandler))
	if m.keep([]byte("x")) || len(m.lacks()) != 1 { // there is no folder lkg
		t.Error("nowhere to write, and nothing is said")
	}
	if err := os.Mkdir(filepath.Join(d.Path, "lkg"), 0o700); err != nil {
		t.Fatal(err)
	}
	if !m.keep([]byte("x")) || len(m.lacks()) != 0 {
		t.Error("kept, and it is said not to be")
	}
}
