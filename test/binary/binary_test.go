// Package binary looks at the program as it is shipped.
package binary

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// limit is the bar of the main job for the stripped static program, in bytes.
const limit = 60_000_000

func TestTheProgramIsStaticAndSmall(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "dun")
	cmd := exec.Command("go", "build", "-ldflags", "-s -w", "-o", bin, "github.com/dun-sec/dun/cmd/dun")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	st, err := os.Stat(bin)
	if err != nil {
		t.Fatal(err)
	}
	if st.Size() >= limit {
		t.Errorf("the program has %d bytes; the bar is %d", st.Size(), limit)
	}
	t.Logf("%d bytes", st.Size())
	f, err := elf.Open(bin)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if libs, err := f.ImportedLibraries(); err == nil && len(libs) > 0 {
		t.Errorf("the program needs %v: it is not static", libs)
	}
	for _, s := range f.Progs {
		if s.Type == elf.PT_INTERP {
			t.Error("the program asks for a dynamic loader: it is not static")
		}
	}
}
