package agent

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"sync"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/govern/signups"
)

// links are the one-time links of founders other than the operator: one file
// each, DIR/bootstrap/link-NAME.
type links struct {
	mu sync.Mutex
	of map[string]*link // by name
}

// openLinks takes up those that an earlier process left unburnt.
func (c *cell) openLinks() error {
	c.more.of = map[string]*link{}
	list, err := filepath.Glob(c.dir.File(linkFile + "-*"))
	if err != nil {
		return err
	}
	for _, file := range list {
		name := strings.TrimPrefix(filepath.Base(file), "link-")
		if !resource.ValidName(name) {
			continue
		}
		if _, err := c.linkOf(name); err != nil {
			return err
		}
	}
	return nil
}

func (c *cell) linkOf(name string) (*link, error) {
	c.more.mu.Lock()
	defer c.more.mu.Unlock()
	if l := c.more.of[name]; l != nil {
		return l, nil
	}
	l, err := openLink(c.dir.File(linkFile+"-"+name), resource.Ref{Kind: "User", Tenant: resource.Platform, Name: name}, c.opt.Now)
	if err == nil {
		c.more.of[name] = l
	}
	return l, err
}

// enter burns the link that the token is of; a wrong one is compared with all.
func (c *cell) enter(token string) (resource.Ref, error) {
	who, err := c.link.Burn(token)
	c.more.mu.Lock()
	defer c.more.mu.Unlock()
	for _, l := range c.more.of {
		if w, e := l.Burn(token); err != nil && fault.Is(err, fault.Unauthenticated) {
			who, err = w, e
		}
	}
	if s := c.signUps(); s != nil && fault.Is(err, fault.Unauthenticated) {
		return s.Enter(context.Background(), token)
	}
	return who, err
}

// signUps are those who asked for a tenant; nil where nobody may.
func (c *cell) signUps() *signups.SignUps {
	if g := c.running(); g != nil && c.wishes != nil {
		return signups.New(g, c.wishes)
	}
	return nil
}

// makeFounder makes one more founder and a link for him.
func (c *cell) makeFounder(w http.ResponseWriter, r *http.Request) {
	if !c.adminOnly(w, r) {
		return
	}
	name := r.URL.Query().Get("name")
	link, err := c.founder(r.Context(), name)
	if err != nil {
		c.opt.Log.Error("no founder was made", "err", err)
		writeJSON(w, fault.Of(err).Code.Status(), map[string]string{"error": fault.Of(err).Detail.In(c.opt.Lang)})
		return
	}
	writeJSON(w, 200, map[string]string{"name": name, "link": link, "server": c.doors.endpoints()["console"], "ca": c.dir.File("ca.pem")})
}

func (c *cell) founder(ctx context.Context, name string) (string, error) {
	g, base := c.running(), c.doors.endpoints()["console"]
	switch {
	case !resource.ValidName(name):
		return "", fault.New(fault.Invalid, "a name has small letters, digits and hyphens", "名称由小写字母、数字和连字符组成")
	case g == nil:
		return "", fault.New(fault.Unavailable, "the record store does not open", "记录库无法打开")
	case base == "":
		return "", fault.New(fault.Invalid, "the console's door is off", "控制台端口已关闭")
	}
	if _, err := dayzero.Found(ctx, g, name); err != nil {
		return "", err
	}
	l, err := c.linkOf(name)
	if err != nil {
		return "", err
	}
	return l.Make(base)
}
