package agent

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"github.com/dun-sec/dun/internal/core/telemetry"
	"github.com/dun-sec/dun/internal/govern/classes"
)

// logTap stands before the log of the process and reads along while control 1-1
// is tried: the log leaves the machine, and no content of a record is in it.
type logTap struct {
	slog.Handler
	with  []slog.Attr // of WithAttrs, as the line has them
	watch *logWatch
}

// logWatch is what all taps of a process look for.
type logWatch struct {
	mu     sync.Mutex
	marker string // "" = nobody looks
	lines  int
	found  string // message of the first line that has it
}

// tapped is a logger with a tap.
func tapped(log *slog.Logger, w *logWatch) *slog.Logger {
	return slog.New(&logTap{Handler: log.Handler(), watch: w})
}

// twinLine marks a line that is read and not written.
type twinLine struct{}

// Enabled implements slog.Handler.
func (t *logTap) Enabled(ctx context.Context, l slog.Level) bool {
	return ctx.Value(twinLine{}) != nil || t.Handler.Enabled(ctx, l)
}

// Handle implements slog.Handler.
func (t *logTap) Handle(ctx context.Context, r slog.Record) error {
	t.watch.read(r, t.with)
	if ctx.Value(twinLine{}) != nil {
		return nil
	}
	return t.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (t *logTap) WithAttrs(a []slog.Attr) slog.Handler {
	return &logTap{t.Handler.WithAttrs(a), append(t.with[:len(t.with):len(t.with)], a...), t.watch}
}

// WithGroup implements slog.Handler.
func (t *logTap) WithGroup(name string) slog.Handler {
	return &logTap{t.Handler.WithGroup(name), t.with, t.watch}
}

// read looks through a line as it is written.
func (w *logWatch) read(r slog.Record, with []slog.Attr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.marker == "" {
		return
	}
	w.lines++
	if w.found != "" {
		return
	}
	var b bytes.Buffer
	line := r.Clone()
	line.AddAttrs(with...)
	if err := slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug}).Handle(context.Background(), line); err != nil || bytes.Contains(b.Bytes(), []byte(w.marker)) {
		w.found = r.Message
	}
}

func (w *logWatch) look(marker string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.marker, w.lines, w.found = marker, 0, ""
}

func (w *logWatch) seen() (lines int, found string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lines, w.found
}

// logDoor is the log of the process as a door of control 1-1.
func (c *cell) logDoor() classes.Door {
	look := func(context.Context, classes.Planted) (classes.Look, error) {
		lines, found := c.log.seen()
		if found != "" {
			return classes.Look{Leaked: true, Saw: "the marker in a line: " + found}, nil
		}
		return classes.Look{Saw: fmt.Sprintf("%d lines while it was tried, none with the marker", lines)}, nil
	}
	return classes.Door{
		Name: "log of the process", Try: look,
		Begin: func(p classes.Planted) func() {
			c.log.look(p.Marker)
			return func() { c.log.look("") }
		},
		Twin: func(ctx context.Context, p classes.Planted) (classes.Look, error) {
			c.opt.Log.With("part", "posture").DebugContext(context.WithValue(ctx, twinLine{}, true), "a canary", "name", p.Marker)
			return look(ctx, p)
		},
	}
}

// metricsDoor is the telemetry door: it has numbers, and names no record.
func (c *cell) metricsDoor() classes.Door {
	door := telemetry.Door(telemetry.DoorOptions{Status: c.status, Metrics: c.metrics(), Version: c.opt.Version, Log: c.opt.Log.With("part", "telemetry")})
	look := func(needles func(classes.Planted) []string) func(context.Context, classes.Planted) (classes.Look, error) {
		return func(ctx context.Context, p classes.Planted) (classes.Look, error) {
			out, bytes := classes.Look{}, 0
			for _, path := range []string{"/metrics", "/readyz", "/livez"} {
				page, err := askInside(ctx, door, path)
				if err != nil {
					return out, err
				}
				bytes += len(page)
				for _, n := range needles(p) {
					out.Leaked = out.Leaked || strings.Contains(page, n)
				}
			}
			out.Saw = fmt.Sprintf("%d bytes, without marker and name", bytes)
			return out, nil
		}
	}
	return classes.Door{
		Name: "metrics", Try: look(func(p classes.Planted) []string { return []string{p.Marker, p.Ref.Name} }),
		Twin: look(func(classes.Planted) []string { return []string{"dun_gate_denials_total"} }), // no record is ever there: that it is read is shown
	}
}

// askInside asks a handler of this process.
func askInside(ctx context.Context, h http.Handler, path string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, path, nil)
	if err != nil {
		return "", err
	}
	r.RemoteAddr = "127.0.0.1:1"
	w := &kept{header: http.Header{}}
	h.ServeHTTP(w, r)
	if w.status != 0 && w.status != http.StatusOK && w.status != http.StatusServiceUnavailable {
		return "", fmt.Errorf("%s answers %d", path, w.status)
	}
	return w.body.String(), nil
}

// kept keeps an answer.
type kept struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (k *kept) Header() http.Header { return k.header }

// WriteHeader implements http.ResponseWriter.
func (k *kept) WriteHeader(status int) { k.status = status }

// Write implements http.ResponseWriter.
func (k *kept) Write(b []byte) (int, error) { return k.body.Write(b) }
