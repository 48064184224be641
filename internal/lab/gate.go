package lab

import (
	"context"
	"path/filepath"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds"
)

// Kinds is the registry of the program, with more kinds beside it.
func Kinds(t testing.TB, more ...*resource.Kind) *resource.Registry {
	t.Helper()
	reg, err := resource.NewRegistry(append(kinds.All(), more...)...)
	if err != nil {
		t.Fatal(err)
	}
	return reg
}

// Gate opens an empty gate in this process, on a store of its own; it is
// closed when the test ends.
func Gate(t testing.TB, reg *resource.Registry, more ...func(*gate.Options)) *gate.Gate {
	t.Helper()
	const cell = "testcell"
	skey, vkey, err := audit.GenerateKey(audit.Origin(cell))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	dkey, err := audit.DenialsKey(skey)
	if err != nil {
		t.Fatal(err)
	}
	denials, err := note.NewSigner(dkey)
	if err != nil {
		t.Fatal(err)
	}
	dvkey, err := audit.DenialsVKey(vkey)
	if err != nil {
		t.Fatal(err)
	}
	opt := gate.Options{Path: filepath.Join(t.TempDir(), "records.db"), Cell: cell, Node: "n1", Registry: reg, Signer: signer, VKey: vkey,
		Denials: gate.DenialOptions{Path: filepath.Join(t.TempDir(), "denials.db"), Signer: denials, VKey: dvkey}}
	for _, f := range more {
		f(&opt)
	}
	g, err := gate.Open(context.Background(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}
