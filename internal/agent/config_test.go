package agent

import (
	"os"
	"path/filepath"
	"testing"
)

// The telemetry door shows figures without asking who looks: only its own key
// may take it off loopback.
func TestTelemetryIsExposedByItsOwnKeyOnly(t *testing.T) {
	for text, want := range map[string]string{
		"{}":                                 "127.0.0.1:8090",
		`listen: {telemetry: ""}`:            off,
		`listen: {telemetry: "off"}`:         off,
		`listen: {telemetry: "0.0.0.0:99"}`:  "0.0.0.0:1099",
		`listen: {telemetry: "127.0.0.1:0"}`: "127.0.0.1:0",
	} {
		file := filepath.Join(t.TempDir(), "dun.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := ReadConfig(file)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if err := c.Complete(1000, "192.0.2.1"); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got := *c.Listen.Telemetry; got != want {
			t.Errorf("%s: the door is %s, want %s", text, got, want)
		}
		if c.Listen.EdgeHTTP != "192.0.2.1:9080" {
			t.Errorf("--listen does not expose the edge: %s", c.Listen.EdgeHTTP)
		}
	}
}
