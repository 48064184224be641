package identity

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestProfileKeepsItsForm: profiles are kept for ever (formats.md).
func TestProfileKeepsItsForm(t *testing.T) {
	p := &Profile{
		Version: 1, Server: "https://127.0.0.1:7443", CAPEM: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", Tenant: "platform", Lang: "en",
		Session: ProfileSession{Token: "dun_s_example", Expires: time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)},
		Log:     ProfileLog{Origin: "dun.dev/log/abcdefgh", VKey: "dun.dev/log/abcdefgh+01234567+AAAA"},
	}
	name := filepath.Join(t.TempDir(), "operator.yaml")
	if err := p.Write(name); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(name); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st.Mode(), err)
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	golden := "testdata/operator.golden.yaml"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v\n%s", err, got)
	}
	back, err := ReadProfile(golden)
	if err != nil || *back != *p {
		t.Errorf("%+v %v", back, err)
	}
}

func TestProfilesAreReadStrictly(t *testing.T) {
	good, err := os.ReadFile("testdata/operator.golden.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"unknown key":    string(good) + "colour: red\n",
		"newer version":  strings.Replace(string(good), "version: 1", "version: 2", 1),
		"not YAML":       "{",
		"too large":      string(good) + "# " + strings.Repeat("x", maxProfile),
		"another format": "[]\n",
	} {
		file := filepath.Join(t.TempDir(), "p.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadProfile(file); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
