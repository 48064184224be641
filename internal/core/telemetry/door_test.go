package telemetry

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

func ask(t *testing.T, h http.Handler, path string) (status int, body string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestReadySaysWhatIsMissing(t *testing.T) {
	now := Status{Roles: []Role{{Name: "control", State: Enforcing}, {Name: "edge", State: Starting}, {Name: "scrub", State: Off}}}
	h := Door(DoorOptions{Status: func() Status { return now }})
	if status, _ := ask(t, h, "/livez"); status != 200 {
		t.Errorf("livez answers %d while the program starts", status)
	}
	status, body := ask(t, h, "/readyz")
	var got Readiness
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if status != 503 || got.Ready || len(got.Missing) != 1 || got.Missing[0] != (Missing{Need: "edge", Why: Starting}) {
		t.Errorf("readyz: %d %+v", status, got)
	}
	now = Status{Ready: true, Roles: []Role{{Name: "control", State: Degraded, Missing: []Missing{{Need: "memory", Why: "full", Instead: "refused"}}}}}
	if status, body := ask(t, h, "/readyz"); status != 200 || !strings.Contains(body, `"need":"memory"`) {
		t.Errorf("readyz of a cell with an alarm: %d %s", status, body)
	}
	for _, path := range []string{"/", "/debug/pprof/", "/livez/x"} {
		if status, _ := ask(t, h, path); status != 404 {
			t.Errorf("%s answers %d", path, status)
		}
	}
}

func TestMetricsAreReadAtEachScrape(t *testing.T) {
	n := 0.0
	h := Door(DoorOptions{Version: "1.2.3", Status: func() Status { return Status{} }, Metrics: func() []Sample {
		n++
		return []Sample{
			{Name: "dun_a_things_total", Help: "Things.", Counter: true, Label: "action", Value: "x", Figure: n},
			{Name: "dun_a_things_total", Help: "Things.", Counter: true, Label: "action", Value: "y", Figure: 7},
			{Name: "dun_a_length", Help: "Length.", Figure: -1},
		}
	}})
	ask(t, h, "/metrics")
	status, body := ask(t, h, "/metrics")
	parser := expfmt.NewTextParser(model.UTF8Validation)
	got, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if status != 200 || err != nil {
		t.Fatalf("%d %v", status, err)
	}
	things := got["dun_a_things_total"].GetMetric()
	if len(things) != 2 || things[0].GetCounter().GetValue() != 2 || got["dun_a_length"].GetMetric()[0].GetGauge().GetValue() != -1 {
		t.Errorf("%s", body)
	}
	if got["dun_build_info"] == nil || got["go_goroutines"] == nil || !strings.Contains(body, `version="1.2.3"`) {
		t.Errorf("the program does not say what it is: %s", body)
	}
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

// Two parts that give one figure twice are a fault of ours: the scraper must
// not get one of them at random.
func TestAFigureGivenTwiceIsAnError(t *testing.T) {
	h := Door(DoorOptions{Status: func() Status { return Status{} }, Metrics: func() []Sample {
		return []Sample{{Name: "dun_a", Help: "A."}, {Name: "dun_a", Help: "A."}}
	}})
	if status, _ := ask(t, h, "/metrics"); status != 500 {
		t.Errorf("answers %d", status)
	}
}
