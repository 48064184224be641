package lab

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/dun-sec/dun/internal/core/db"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/identity/signin"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/secret"
)

// Password is one that may be set.
const Password = "tangerine-oboe-42-plinth"

// Secrets is a store of secrets without an audit log.
func Secrets(t testing.TB) *secret.Store {
	t.Helper()
	s, _ := secrets(t)
	return s
}

func secrets(t testing.TB) (*secret.Store, *db.SQLite) {
	t.Helper()
	dir := t.TempDir()
	d, err := db.OpenSQLite(context.Background(), filepath.Join(dir, "meta.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	k, err := secret.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Write(filepath.Join(dir, "root.key")); err != nil {
		t.Fatal(err)
	}
	s, err := secret.Open(context.Background(), secret.Options{DB: d, KeyFile: filepath.Join(dir, "root.key"),
		Record: func(context.Context, identity.Actor, secret.Use) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	return s, d
}

// SignIn is a store of proofs for the users of a gate, without an audit log.
func SignIn(t testing.TB, g *gate.Gate) *signin.Store {
	t.Helper()
	secrets, d := secrets(t)
	s, err := signin.Open(context.Background(), signin.Options{DB: d, Secrets: secrets, Cell: "testcell",
		Find: func(tenant, name string) (string, bool) {
			return g.Subject(resource.Ref{Kind: "User", Tenant: tenant, Name: name})
		},
		Record: func(context.Context, identity.Actor, resource.Ref, string) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// Code is what an authenticator app shows at a time, for a key as a page shows
// it.
func Code(t testing.TB, key string, at time.Time) string {
	t.Helper()
	c, err := totp.GenerateCode(strings.ReplaceAll(key, " ", ""), at)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// step is how long a code of an authenticator app stands (RFC 6238).
const step = 30 * time.Second

// LastCode is the code of the step before, which is taken too; this step's is
// left for what comes next. Near the end of a step it waits for the next one:
// it would be two steps old before it is sent.
func LastCode(t testing.TB, key string) string {
	t.Helper()
	if left := step - time.Duration(time.Now().UnixNano())%step; left < step/3 {
		<-time.After(left)
	}
	return Code(t, key, time.Now().Add(-step))
}
