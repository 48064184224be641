package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/telemetry"
)

const (
	enforceWait = 5 * time.Second // of dun apply (design section 5)
	pollEvery   = 25 * time.Millisecond
)

func (c *client) status(ctx context.Context) (telemetry.Status, []byte, error) {
	var s telemetry.Status
	r, err := c.do(ctx, request{method: http.MethodGet, path: "/api/v1/status"})
	if err != nil {
		return s, nil, err
	}
	if err := json.Unmarshal(r.body, &s); err != nil {
		return s, nil, fmt.Errorf("read the status: %w", err)
	}
	return s, r.body, nil
}

// waitEnforced waits until every node with one of the roles enforces rev; a
// kind that no role watches is in force as soon as it is stored.
func (a *app) waitEnforced(ctx context.Context, c *client, rev uint64, roles []string) error {
	if len(roles) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, enforceWait)
	defer cancel()
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	done, all := 0, 0
	for {
		s, _, err := c.status(ctx)
		switch {
		case err == nil:
			if done, all = countEnforced(s, rev, roles); all > 0 && done == all {
				a.say("enforced %d/%d", "已生效 %d/%d", done, all)
				return nil
			}
			if all == 0 && s.Ready {
				a.say("stored; no node runs %s, so nothing enforces it yet", "已保存;没有节点运行 %s,目前无处生效", strings.Join(roles, ","))
				return nil
			}
		case fault.Is(err, fault.Forbidden):
			return nil // who may not see the status cannot wait for it
		}
		select {
		case <-ctx.Done():
			return fault.New(fault.Unavailable, "the change is stored, but only %d of %d nodes enforce it after %s; see dun status", "更改已保存,但 %[3]s 后只有 %[1]d/%[2]d 个节点生效;见 dun status", done, all, enforceWait)
		case <-t.C:
		}
	}
}

func countEnforced(s telemetry.Status, rev uint64, roles []string) (done, all int) {
	for _, n := range s.Nodes {
		if !slices.ContainsFunc(n.Roles, func(r string) bool { return slices.Contains(roles, r) }) {
			continue
		}
		all++
		if n.Revision >= rev {
			done++
		}
	}
	return done, all
}
