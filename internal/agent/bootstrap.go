package agent

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/dayzero"
)

const profileFile = "bootstrap/operator.yaml"

// bootstrap leaves the operator's profile and the link to the console where
// there is no profile. The link comes first: a start that is cut between the
// two makes both anew.
func (c *cell) bootstrap(ctx context.Context) (err error) {
	if c.link, err = openLink(c.dir.File(linkFile), dayzero.Operator, c.opt.Now); err != nil {
		return err
	}
	if err := c.openLinks(); err != nil {
		return err
	}
	p, err := identity.ReadProfile(c.dir.File(profileFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := c.makeLink(); err != nil {
			return err
		}
		_, err = c.writeProfile(ctx, identity.Service(gate.Dayzero))
		return err
	case err != nil:
		c.say("  the profile %s cannot be read; make a new one with: dun admin recover --data %s", "  配置 %s 无法读取;请重新生成:dun admin recover --data %s", c.dir.File(profileFile), c.dir.Path)
		return nil
	}
	if _, err := c.running().Authenticate(p.Session.Token); err == nil {
		return c.moveProfile(p)
	}
	c.say("  the session in %s has ended; make a new one with: dun admin recover --data %s", "  %s 中的会话已失效;请重新生成:dun admin recover --data %s", c.dir.File(profileFile), c.dir.Path)
	return nil
}

// moveProfile follows doors that were moved since the profile was written.
func (c *cell) moveProfile(p *identity.Profile) error {
	now := c.doors.endpoints()["console"]
	if now == "" || now == p.Server {
		return nil
	}
	p.Server = now
	return p.Write(c.dir.File(profileFile))
}

// writeProfile opens a session for the operator and writes the profile.
func (c *cell) writeProfile(ctx context.Context, by identity.Actor) (*identity.Profile, error) {
	g := c.running()
	if g == nil {
		return nil, fault.New(fault.Unavailable, "the record store does not open", "记录库无法打开")
	}
	by.Proof = identity.ProofMachine
	token, expires, err := g.OpenSession(ctx, by, dayzero.Operator, "")
	if err != nil {
		return nil, err
	}
	log := g.Log()
	p := &identity.Profile{
		Version: 1, Server: c.doors.endpoints()["console"], CAPEM: string(c.keys.CAPEM), Tenant: resource.Platform, Lang: string(c.opt.Lang),
		Session: identity.ProfileSession{Token: token, Expires: expires}, Log: identity.ProfileLog{Origin: log.Origin, VKey: log.VKey},
	}
	if err := os.MkdirAll(c.dir.File("bootstrap"), 0o700); err != nil {
		return nil, dirError(c.dir.File("bootstrap"), err)
	}
	return p, p.Write(c.dir.File(profileFile))
}

// makeLink makes a new link to the console; "" where its door is off.
func (c *cell) makeLink() (string, error) {
	base := c.doors.endpoints()["console"]
	if base == "" {
		return "", nil
	}
	return c.link.Make(base)
}
