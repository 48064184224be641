package lab

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/bytes"
	"github.com/dun-sec/dun/internal/core/db"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/secret"
)

// Bytes opens an empty store of bytes whose keys are told of in the gate's log.
func Bytes(t testing.TB, g *gate.Gate, now func() time.Time) *bytes.Store {
	t.Helper()
	dir := t.TempDir()
	k, err := secret.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "root.key")
	if err := k.Write(root); err != nil {
		t.Fatal(err)
	}
	d, err := db.OpenSQLite(context.Background(), filepath.Join(dir, "meta.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	keys, err := secret.Open(context.Background(), secret.Options{DB: d, KeyFile: root, Record: func(ctx context.Context, a identity.Actor, u secret.Use) error {
		return g.Record(ctx, a, gate.Fact{Class: audit.Export, Kind: "Secret", Action: u.Action, Tenant: u.Owner.Tenant, Name: string(u.Ref)})
	}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := bytes.Open(context.Background(), bytes.Options{DB: d, Dir: filepath.Join(dir, "bytes"), Keys: keys, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}
