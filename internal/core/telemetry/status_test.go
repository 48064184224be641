package telemetry

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden file anew")

// TestStatusKeepsItsForm: scripts read it (formats.md, Status).
func TestStatusKeepsItsForm(t *testing.T) {
	s := Status{
		Ready: true, Version: "1.0.0", Cell: "abcdefgh", Epoch: "zyxwvuts", Revision: 9,
		Endpoints: map[string]string{"console": "https://127.0.0.1:7443", "edgeHTTP": "http://127.0.0.1:8080"},
		Roles:     []Role{{Name: "edge", State: Enforcing, Revision: 9, Mode: "native", Interfaces: []string{}, Missing: []Missing{{Need: "XDP", Why: "no driver", Instead: "nftables"}}}},
		Nodes:     []Node{{Name: "n1", Roles: []string{"edge"}, Revision: 9, LagMs: 0, Seen: time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC), Version: "1.0.0"}},
	}
	got, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile("testdata/status.golden.json", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile("testdata/status.golden.json"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v\n%s", err, got)
	}
}
