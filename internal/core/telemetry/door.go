package telemetry

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	scrapesAtOnce = 4
	scrapeTime    = 10 * time.Second
)

// DoorOptions of a Door. Status is needed.
type DoorOptions struct {
	Status  func() Status   // may be asked at any time, also while the program starts
	Metrics func() []Sample // likewise; nil = none beside those of the program itself
	Version string
	Log     *slog.Logger
}

// Door answers what a supervisor and a scraper ask: /livez (the process
// serves), /readyz (503 and what is missing while it is not ready) and
// /metrics. It changes nothing, tells no secret, and knows no user: it is
// meant for loopback and for a network of the operator's own.
func Door(opt DoorOptions) http.Handler {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if _, err := w.Write([]byte("ok\n")); err != nil {
			return // the client left
		}
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { writeReady(w, opt.Status()) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry(opt), promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(opt.Log.Handler(), slog.LevelError), MaxRequestsInFlight: scrapesAtOnce, Timeout: scrapeTime,
	}))
	return mux
}

// Readiness is the reply of /readyz.
type Readiness struct {
	Ready   bool      `json:"ready"`
	Missing []Missing `json:"missing"` // why it is not, and what a role that works has to do without
}

func writeReady(w http.ResponseWriter, s Status) {
	out := Readiness{Ready: s.Ready, Missing: []Missing{}}
	for _, r := range s.Roles {
		if r.State != Enforcing && r.State != Off {
			out.Missing = append(out.Missing, Missing{Need: r.Name, Why: r.State})
		}
		out.Missing = append(out.Missing, r.Missing...)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !s.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	if err := json.NewEncoder(w).Encode(out); err != nil {
		return // the client left
	}
}
