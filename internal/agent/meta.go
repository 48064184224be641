package agent

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dun-sec/dun/internal/agent/supervisor"
	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/db"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/file"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/identity/signin"
	"github.com/dun-sec/dun/internal/core/identity/signup"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/secret"
	"github.com/dun-sec/dun/internal/core/usage"
	"github.com/dun-sec/dun/internal/core/views"
)

const metaFile = "meta.db" // what the cell needs beside its records

// openMeta opens meta.db and the secrets in it. The gate is open: it keeps the
// proof of each use.
func (c *cell) openMeta(ctx context.Context, stop *closers) error {
	key, err := c.dir.rootKey(c.opt.Config.RootKeyFile)
	if err != nil {
		return err
	}
	d, err := db.OpenSQLite(ctx, c.dir.File(metaFile))
	if err != nil {
		return fault.New(fault.Unavailable, "%s does not open: %s", "%s 无法打开:%s", c.dir.File(metaFile), err.Error()).Because(err)
	}
	c.meta = d
	stop.add(d.Close)
	if c.views, err = views.Open(ctx, d); err != nil {
		return err
	}
	if c.usage, err = usage.Open(ctx, d); err != nil {
		return err
	}
	if c.secrets, err = secret.Open(ctx, secret.Options{DB: d, KeyFile: key, Record: c.recordSecret, Now: c.opt.Now}); err != nil {
		return err
	}
	if c.opt.Config.Console.SignUp {
		if c.wishes, err = signup.Open(ctx, d, c.opt.Now); err != nil {
			return err
		}
	}
	c.signin, err = signin.Open(ctx, signin.Options{
		DB: d, Secrets: c.secrets, Find: c.subject, Record: c.recordProof, Cell: c.dir.Cell, Breached: c.opt.Config.Console.BreachedPasswords, Now: c.opt.Now,
	})
	if err != nil {
		return err
	}
	stop.add(c.signin.Close)
	return nil
}

// subject finds who may sign in; nobody while the record store does not open.
func (c *cell) subject(tenant, name string) (uid string, ok bool) {
	g := c.running()
	if g == nil {
		return "", false
	}
	return g.Subject(resource.Ref{Kind: "User", Tenant: tenant, Name: name})
}

// recordProof puts the change of somebody's proofs into the audit log.
func (c *cell) recordProof(ctx context.Context, a identity.Actor, user resource.Ref, action string) error {
	g := c.running()
	if g == nil {
		return fault.New(fault.Unavailable, "the record store does not open", "记录库无法打开")
	}
	return g.Record(ctx, a, gate.Fact{Class: audit.Change, Kind: user.Kind, Action: action, Tenant: user.Tenant, Name: user.Name})
}

// RootKey reads, and on the first start makes, a root key that lies outside the
// data directory, where perhaps root alone may read; nil when it lies inside.
func (c *Config) RootKey() ([]byte, error) {
	if c.RootKeyFile == "" {
		return nil, nil
	}
	name, err := (&Dir{Path: c.Data}).rootKey(c.RootKeyFile)
	if err != nil {
		return nil, err
	}
	if _, err := secret.ReadKey(name); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, dirError(name, err)
	}
	return b, nil
}

// recordSecret puts the use of a secret into the audit log.
func (c *cell) recordSecret(ctx context.Context, a identity.Actor, u secret.Use) error {
	f := gate.Fact{Class: audit.Export, Kind: "Secret", Action: u.Action, Tenant: u.Owner.Tenant, Name: string(u.Ref), Reason: u.Purpose + " of " + u.Owner.String()}
	switch u.Action {
	case secret.ActionPut:
		f.Class = audit.Change
	case secret.ActionDelete:
		f.Class = audit.Erasure
	case secret.ActionSeal:
		f.Reason += " to " + u.Node
	}
	g := c.running()
	if g == nil {
		return fault.New(fault.Unavailable, "the record store does not open", "记录库无法打开")
	}
	return g.Record(ctx, a, f)
}

// rootKey is the file of the root key, which is made on the first start only:
// a key that is missing later was lost, and with another one nothing opens.
func (d *Dir) rootKey(elsewhere string) (string, error) {
	name := elsewhere
	switch {
	case name == "":
		name = d.File("keys/root.key")
	case supervisor.Handed(name):
		return name, nil
	}
	_, err := os.Stat(name)
	if err == nil && elsewhere == "" {
		err = os.Chmod(name, 0o600) // DIR is private: a copy that widened the mode showed nothing
	}
	switch {
	case err == nil: // a process that was killed may not have synced the name
		return name, file.SyncDir(filepath.Dir(name))
	case !errors.Is(err, fs.ErrNotExist):
		return "", dirError(name, err)
	}
	if _, err := os.Stat(d.File(metaFile)); !errors.Is(err, fs.ErrNotExist) {
		return "", fault.New(fault.Invalid, "the root key %s is missing although %s exists; restore it, or name its place as rootKeyFile", "根密钥 %s 缺失而 %s 存在;请恢复,或以 rootKeyFile 指明其位置", name, metaFile)
	}
	k, err := secret.NewKey()
	if err != nil {
		return "", err
	}
	if err := k.Write(name); err != nil {
		return "", fault.New(fault.Invalid, "the root key cannot be written to %s: %s", "根密钥无法写入 %s:%s", name, err.Error()).Because(err)
	}
	return name, nil
}
