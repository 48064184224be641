package gate

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
)

// ProveBundle is Prove as the bundle that an auditor verifies (formats.md,
// Log), and what verifying it here against this cell's key gave.
func (g *Gate) ProveBundle(ctx context.Context, a identity.Actor, ref resource.Ref, revision uint64) (Proof, []byte, audit.Report, error) {
	p, err := g.Prove(ctx, a, ref, revision)
	if err != nil {
		return p, nil, audit.Report{}, err
	}
	log := g.Log()
	var b bytes.Buffer
	w, err := audit.NewBundleWriter(&b, audit.Manifest{Origin: log.Origin, VKey: log.VKey, Size: p.Size, Leaves: []uint64{p.Entry.Seq}}, p.Checkpoint)
	if err != nil {
		return p, nil, audit.Report{}, fmt.Errorf("begin the bundle: %w", err)
	}
	if err := w.Add(p.Entry); err != nil {
		return p, nil, audit.Report{}, fmt.Errorf("add leaf %d: %w", p.Entry.Seq, err)
	}
	if err := w.Close(); err != nil {
		return p, nil, audit.Report{}, fmt.Errorf("end the bundle: %w", err)
	}
	r, err := audit.VerifyBundle(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }, log.VKey)
	return p, b.Bytes(), r, err
}

// ExportProof is ProveBundle for a bundle that leaves the cell, which is a leaf
// of its own, made before anything leaves.
func (g *Gate) ExportProof(ctx context.Context, a identity.Actor, ref resource.Ref, revision uint64) ([]byte, error) {
	if _, err := g.Prove(ctx, a, ref, revision); err != nil {
		return nil, err
	}
	if err := g.Record(ctx, a, Fact{Class: audit.Export, Kind: ref.Kind, Action: "export", Tenant: ref.Tenant, Name: ref.Name}); err != nil {
		return nil, err
	}
	_, b, _, err := g.ProveBundle(ctx, a, ref, revision)
	return b, err
}
