package telemetry

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Sample is one figure of a part of the program at this moment. The name is
// dun_<part>_<what>_<unit>, with _total at the end of a counter. A label's
// values come from a closed set: never a tenant, an address or a name, whose
// number somebody else chooses.
type Sample struct {
	Name, Help   string
	Counter      bool   // only ever grows; otherwise it is a gauge
	Label, Value string // "" = none
	Figure       float64
}

// registry is one scraper's view: nothing is registered for the whole process.
func registry(opt DoorOptions) *prometheus.Registry {
	r := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "dun_build_info", Help: "What runs here; the value is always 1.",
		ConstLabels: prometheus.Labels{"version": opt.Version, "go": runtime.Version()},
	})
	build.Set(1)
	r.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), figures(opt.Metrics))
	return r
}

// figures collects samples when somebody asks, so that a part keeps its own
// counters and knows no library.
type figures func() []Sample

// Describe implements prometheus.Collector: what it says comes with what it
// collects.
func (figures) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (f figures) Collect(out chan<- prometheus.Metric) {
	if f == nil {
		return
	}
	for _, s := range f() {
		var labels, values []string
		if s.Label != "" {
			labels, values = []string{s.Label}, []string{s.Value}
		}
		kind := prometheus.GaugeValue
		if s.Counter {
			kind = prometheus.CounterValue
		}
		d := prometheus.NewDesc(s.Name, s.Help, labels, nil)
		m, err := prometheus.NewConstMetric(d, kind, s.Figure, values...)
		if err != nil {
			m = prometheus.NewInvalidMetric(d, err)
		}
		out <- m
	}
}
