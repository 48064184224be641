package kernel

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// As root each feature works or says why; the machine's own interfaces and
// firewall are as they were.
func TestProbeTouchesNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		for _, f := range Probe() {
			if !strings.Contains(f.Err, "root") {
				t.Errorf("%s: %q", f.Name, f.Err)
			}
		}
		return
	}
	look := func() string {
		out, err := exec.Command("sh", "-c", "cat /proc/net/dev | cut -d: -f1; ls -l /proc/self/ns/net | sed 's/.*->//'; ip -d link show lo 2>/dev/null | grep -c xdp; true").CombinedOutput()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	before := look()
	got := Probe()
	if len(got) != len(probes()) {
		t.Fatalf("%d features", len(got))
	}
	for _, f := range got {
		if f.Instead == "" {
			t.Errorf("%s: no next-best way is named", f.Name)
		}
		t.Logf("%s: %q", f.Name, f.Err)
	}
	if after := look(); after != before {
		t.Errorf("the machine changed:\n%s\n%s", before, after)
	}
}

// A kernel that refuses, or a library that panics, is told; the others go on.
func TestWhatFailsIsTold(t *testing.T) {
	for name, p := range map[string]probe{
		"refused": {try: func() error { return errors.New("EPERM") }},
		"panics":  {try: func() error { panic("no kernel") }},
	} {
		if err := attempt(p, nil); err == nil {
			t.Errorf("%s: told nothing", name)
		}
	}
	if m := Missing([]Feature{{Name: "xdp", Err: "EPERM", Instead: "nftables"}, {Name: "tcx"}}); len(m) != 1 || m[0].Need != "xdp" || m[0].Instead != "nftables" {
		t.Errorf("missing: %+v", m)
	}
}
