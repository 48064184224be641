package edge

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/dun-sec/dun/internal/core/resource"
)

// ClassTry asks the edge's own door for an answer of an origin, through a site
// of the canary tenant that gives out data of one class and no higher. It is
// the edge's part of control 1-1.
type ClassTry struct {
	Site   string // name of the site while it is there; also begins its host
	Class  string // that the site gives out
	Origin string // URL of who answers
}

// ClassAnswer is what came of it.
type ClassAnswer struct {
	Status int
	Found  bool // header or body held the needle
	Told   bool // of an answer that was held back: an event tells of it
}

// TryClass makes the site, asks for the path, and takes the site away again.
func (e *Edge) TryClass(ctx context.Context, env CheckEnv, t ClassTry, path, needle string) (ClassAnswer, error) {
	f := &frontCheck{e, env, foundWithin, bannedWithin, "1-1"}
	c, err := f.canaryOf(ctx, t.Site, t.Origin, map[string]string{resource.LabelClass: t.Class})
	if err != nil {
		return ClassAnswer{}, err
	}
	defer c.remove()
	if err := c.enforced(ctx, c.found); err != nil {
		return ClassAnswer{}, fmt.Errorf("the site is not in force after %s: %w", c.found, err)
	}
	status, request, answer, err := c.fetch(ctx, netip.Addr{}, path)
	if err != nil {
		return ClassAnswer{}, err
	}
	out := ClassAnswer{Status: status, Found: strings.Contains(answer, needle)}
	if status != http.StatusForbidden {
		return out, nil
	}
	within, cancel := context.WithTimeout(ctx, c.found)
	defer cancel()
	_, err = c.event(within, request, kindEgress)
	out.Told = err == nil
	return out, nil
}
