package agent

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/govern/classes"
)

// TestAMarkerInTheLogIsSeenWhileItIsLookedFor: in a message, a value or an
// attribute of the logger, and not what the level keeps out of the log.
func TestAMarkerInTheLogIsSeenWhileItIsLookedFor(t *testing.T) {
	for name, tt := range map[string]struct {
		write func(*slog.Logger)
		leaks bool
	}{
		"nothing":   {func(l *slog.Logger) { l.Info("a line", "name", "x") }, false},
		"a message": {func(l *slog.Logger) { l.Info("see marker-1") }, true},
		"a value":   {func(l *slog.Logger) { l.Warn("a line", "name", "marker-1") }, true},
		"a record":  {func(l *slog.Logger) { l.Error("a line", "o", map[string]any{"labels": []string{"marker-1"}}) }, true},
		"a logger":  {func(l *slog.Logger) { l.With("name", "marker-1").With("part", "x").Info("a line") }, true},
		"a group":   {func(l *slog.Logger) { l.WithGroup("g").With("name", "marker-1").Info("a line") }, true},
		"debug":     {func(l *slog.Logger) { l.Debug("a line", "name", "marker-1") }, false},
	} {
		var out bytes.Buffer
		c := &cell{}
		c.opt.Log = tapped(slog.New(slog.NewJSONHandler(&out, nil)), &c.log)
		d, p := c.logDoor(), classes.Planted{Marker: "marker-1"}
		tt.write(c.opt.Log)
		end := d.Begin(p)
		if look, err := d.Try(t.Context(), p); err != nil || look.Leaked {
			t.Errorf("%s, before it was looked for: %+v %v", name, look, err)
		}
		tt.write(c.opt.Log)
		if look, err := d.Try(t.Context(), p); err != nil || look.Leaked != tt.leaks {
			t.Errorf("%s: %+v %v", name, look, err)
		}
		end()
		end = d.Begin(p)
		lines := out.Len()
		if look, err := d.Twin(t.Context(), p); err != nil || !look.Leaked || out.Len() != lines || strings.Contains(out.String(), "a canary") {
			t.Errorf("%s: the twin: %+v %v, %s", name, look, err, out.String()[lines:])
		}
		end()
	}
}
