package audit

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The golden files fix formats that are kept for ever: a difference is a new
// version of the format, never an update of the file.
func TestGoldenFiles(t *testing.T) {
	leaf, err := testLeaf(1).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var commitments strings.Builder
	for i, c := range testLeaf(1).Commitments {
		fmt.Fprintf(&commitments, "%s %x\n", Field(i), c)
	}
	signer, vkey := testKey(t, testOrigin, 1)
	checkpoint := newTestLog(t, 5).checkpoint(t, signer)
	for name, got := range map[string][]byte{
		"leaf.hex":    []byte(hex.EncodeToString(leaf) + "\n"),
		"commitments": []byte(commitments.String()),
		"vkey":        []byte(vkey + "\n"),
		"checkpoint":  checkpoint,
		"bundle.tar":  smallBundle(t),
	} {
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs from its golden file", name)
		}
	}
}
