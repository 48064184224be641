package events

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden file anew")

// TestEventKeepsItsForm: events are kept and shipped for years (formats.md).
func TestEventKeepsItsForm(t *testing.T) {
	var got []byte
	for _, e := range []Event{
		{
			V: 1, ID: "aaaaaaaaaaaaaaaaaaaaaaaaaa", Time: time.Date(2026, 11, 24, 3, 0, 0, 123456000, time.UTC), Node: "n1", Part: "edge", Kind: "block",
			Tenant: "platform", Object: "site/shop", Request: "agrav6p6gyaacvh4b2ja", Source: "203.0.113.7", Action: "blocked",
			Rules:      []Rule{{ID: 942100, Message: "SQL Injection Attack Detected via libinjection", Where: "ARGS:id", Match: "1' OR 1=1--"}},
			Attributes: map[string]string{"method": "GET", "path": "/<b>"},
		},
		{V: 1, ID: "b", Time: time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)},
	} {
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		got = append(append(got, b...), '\n')
	}
	if *update {
		if err := os.WriteFile("testdata/event.golden.ndjson", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile("testdata/event.golden.ndjson"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v\n%s", err, got)
	}
}
