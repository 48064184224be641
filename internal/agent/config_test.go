package agent

import (
	"os"
	"path/filepath"
	"strings"
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

func TestFlowsAreTakenFromNamedExportersOnly(t *testing.T) {
	read := func(text string) (Config, error) {
		file := filepath.Join(t.TempDir(), "dun.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := ReadConfig(file)
		if err == nil {
			err = c.Complete(1000, "192.0.2.1")
		}
		return c, err
	}
	c, err := read("{}")
	if err != nil || c.Listen.SFlow != off || c.Listen.NetFlow != off || c.Listen.IPFIX != off || len(c.Doors()) != 5 {
		t.Errorf("they are off by default: %+v %v", c.Listen, err)
	}
	c, err = read(`{listen: {sflow: "0.0.0.0:6343", netflow: ":2055", ipfix: "off"}, detect: {exporters: [{address: 192.0.2.1, sampling: 1000}, {address: "2001:db8::1"}]}}`)
	if err != nil || c.Listen.SFlow != "0.0.0.0:7343" || c.Listen.NetFlow != ":3055" || c.Detect.Exporters[0].Sampling != 1000 {
		t.Fatalf("%+v %v", c.Listen, err)
	}
	if d := c.Doors(); len(d) != 7 || d[5].Network != "udp" || d[5].Name != "sflow" || d[6].Addr != ":3055" {
		t.Errorf("%+v", d)
	}
	for text, want := range map[string]string{
		`listen: {sflow: ":6343"}`:                                                                               "name the devices",
		`detect: {exporters: [{address: 192.0.2.1}]}`:                                                            "nobody listens",
		`{listen: {sflow: ":6343"}, detect: {exporters: [{address: 192.0.2.0/24}]}}`:                             "not the address of one device",
		`{listen: {sflow: ":6343"}, detect: {exporters: [{address: 192.0.2.1}, {address: "::ffff:192.0.2.1"}]}}`: "named once",
		`{listen: {sflow: ":6343", ipfix: ":6343"}, detect: {exporters: [{address: 192.0.2.1}]}}`:                "is the address of",
		`{listen: {sflow: "router"}, detect: {exporters: [{address: 192.0.2.1}]}}`:                               "listen.sflow",
		`{listen: {sflow: ":6343"}, detect: {exporters: [{address: 192.0.2.1, sampling: 2000000}]}}`:             "sampling",
		`{listen: {sflow: ":6343"}, detect: {exporters: [{adress: 192.0.2.1}]}}`:                                 "adress",
	} {
		if _, err := read(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
