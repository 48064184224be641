package agent

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/telemetry"
	"github.com/dun-sec/dun/internal/plane/edge"
)

// serveTelemetry serves the telemetry door from now on, so that a supervisor
// sees a program that starts; the returned function ends it.
func serveTelemetry(ctx context.Context, ln net.Listener, opt Options, status func() telemetry.Status, metrics func() []telemetry.Sample) (stop func() error) {
	if ln == nil {
		return func() error { return nil }
	}
	ctx, cancel := context.WithCancel(ctx)
	log := opt.Log.With("part", "telemetry")
	srv := &http.Server{
		Handler:           telemetry.Door(telemetry.DoorOptions{Status: status, Metrics: metrics, Version: opt.Version, Log: log}),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	var run sync.WaitGroup
	run.Go(func() {
		if err := serveUntil(ctx, srv, func() error { return srv.Serve(ln) }); err != nil {
			log.Error("the telemetry door is closed", "err", err)
		}
	})
	return func() error {
		cancel()
		run.Wait()
		return nil
	}
}

// statusFromStart is status for who asks before everything is there.
func (c *cell) statusFromStart() telemetry.Status {
	if c.up.Load() {
		return c.status()
	}
	return telemetry.Status{Version: c.opt.Version, Roles: []telemetry.Role{{Name: "control", State: telemetry.Starting}, {Name: "edge", State: telemetry.Starting}}}
}

// metrics reads what the parts count.
func (c *cell) metrics() func() []telemetry.Sample {
	var mu sync.Mutex
	var allowed uint64 // highest said: the counters behind it are not read at one instant
	return func() []telemetry.Sample {
		if !c.up.Load() {
			return nil
		}
		s := c.edge.Stats().Total
		var g gate.Stats
		if open := c.running(); open != nil {
			g = open.Stats()
		}
		mu.Lock()
		if s.Requests > s.Blocked {
			allowed = max(allowed, s.Requests-s.Blocked)
		}
		passed := allowed
		mu.Unlock()
		return append(append(edgeSamples(passed, s, c.status().Ready, c.events), c.flowSamples()...),
			counter("dun_gate_commits_total", "Transactions that reached the disk.", g.Groups),
			counter("dun_gate_changes_total", "Changes of records in them.", g.Changes),
			counter("dun_gate_denials_total", "Refusals.", g.Denied),
			gauge("dun_gate_queue_length", "Writes that wait for the writer.", int64(g.Queue)),
			gauge("dun_gate_log_leaves", "Leaves of the audit log.", g.LogSize),
			gauge("dun_gate_records_bytes", "What the records take, as stored.", g.Memory),
			gauge("dun_gate_records_limit_bytes", "What they may take.", g.MemoryLimit),
			gauge("dun_gate_watchers", "Feeds that wait for a change.", g.Watchers),
		)
	}
}

func counter(name, help string, n uint64) telemetry.Sample {
	return telemetry.Sample{Name: name, Help: help, Counter: true, Figure: float64(n)}
}

func gauge(name, help string, n int64) telemetry.Sample {
	return telemetry.Sample{Name: name, Help: help, Figure: float64(n)}
}

// edgeSamples is what every node with an edge counts.
func edgeSamples(passed uint64, s edge.SiteStats, isReady bool, log *events.Log) []telemetry.Sample {
	byAction := func(action string, n uint64) telemetry.Sample {
		m := counter("dun_edge_requests_total", "Requests to sites by what became of them.", n)
		m.Label, m.Value = "action", action
		return m
	}
	ready := int64(0)
	if isReady {
		ready = 1
	}
	return []telemetry.Sample{
		gauge("dun_ready", "1 when every started role enforces.", ready),
		byAction("allowed", passed),
		byAction("blocked", s.Blocked),
		counter("dun_edge_detections_total", "Findings in mode detect that mode block would have refused.", s.Detected),
		counter("dun_edge_origin_errors_total", "Requests that no origin answered: 502, 503 or 504.", s.OriginErrors),
		counter("dun_edge_retries_total", "Requests that were sent to an origin once more.", s.Retries),
		counter("dun_events_written_total", "Events put on disk.", log.Written()),
		counter("dun_events_dropped_total", "Events lost for want of room.", log.Dropped()),
	}
}
