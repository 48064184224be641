package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
	kind "github.com/dun-sec/dun/internal/kinds/edge"
)

// CheckEnv is what the check of the edge works with. All but Secure and Listening are needed.
type CheckEnv struct {
	Gate interface {
		Apply(context.Context, gate.Request) ([]gate.Result, error)
	}
	Events interface {
		Flush(ctx context.Context) error
		Search(ctx context.Context, q events.Query) (found []events.Event, next string, err error)
	}
	Door      netip.AddrPort                   // of the plain listener
	Secure    netip.AddrPort                   // of the TLS listener; invalid = off
	Doors     func() []netip.AddrPort          // where Dun itself listens
	Listening func() ([]netip.AddrPort, error) // nil = what the kernel tells of this machine
}

// Bars of control 8.4-9.
const (
	foundWithin  = 5 * time.Second
	bannedWithin = 5 * time.Second
)

// CanaryTenant holds what checks try, apart from everybody's records.
const CanaryTenant = "dun-canary"

// Checks are the checks of the edge.
func (e *Edge) Checks(env CheckEnv) []assurance.Check {
	if env.Listening == nil {
		env.Listening = listening
	}
	return []assurance.Check{e.front(env, foundWithin, bannedWithin), e.secure(env), e.sealedWay()}
}

func (e *Edge) front(env CheckEnv, found, banned time.Duration) assurance.Check {
	f := &frontCheck{e, env, found, banned, "8.4-9"}
	return assurance.Check{
		Control: "8.4-9", Scope: assurance.Production, Period: time.Hour,
		Title:    text.T("All outside traffic comes in through the edge, which finds malicious requests and bans their sources within five seconds", "外部流量全部经由边缘进入;边缘可发现恶意请求并在五秒内封禁其来源"),
		Cost:     text.T("a site and a ban in the canary tenant, three requests, 4 leaves", "金丝雀租户中的一个站点和一个封禁、三个请求、4 个叶子"),
		Positive: f.positive, Probe: f.probe,
	}
}

type frontCheck struct {
	edge          *Edge
	env           CheckEnv
	found, banned time.Duration // bars
	control       string        // that is tried, for the reason of what is written
}

// positive shows that an open door of somebody else would be seen: the doors
// of Dun itself, taken for foreign, are.
func (f *frontCheck) positive(context.Context) error {
	all, err := f.env.Listening()
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(all, func(a netip.AddrPort) bool { return a.Port() == f.env.Door.Port() }) {
		return fmt.Errorf("the sweep of %d sockets does not see the edge's own door %s", len(all), f.env.Door)
	}
	public := netip.MustParseAddrPort("0.0.0.0:1")
	if len(strays([]netip.AddrPort{public}, nil)) != 1 || len(strays([]netip.AddrPort{public}, []netip.AddrPort{public})) != 0 {
		return errors.New("the sweep cannot tell a foreign door from an own one")
	}
	return nil
}

// strays are the addresses that the outside may reach and that are not ours.
func strays(all, own []netip.AddrPort) []netip.AddrPort {
	var out []netip.AddrPort
	for _, a := range all {
		if !a.Addr().IsLoopback() && !slices.Contains(own, a) && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

func (f *frontCheck) probe(ctx context.Context, e *assurance.Evidence) error {
	all, err := f.env.Listening()
	if err != nil {
		return err
	}
	own := f.env.Doors()
	e.Add("swept", "%d listening TCP sockets of this machine, %d of them Dun's doors", len(all), len(own))
	open := strays(all, own)
	for _, a := range open {
		e.Add("open beside the edge", "%s", a)
	}
	c, err := f.canary(ctx)
	if err != nil {
		return err
	}
	defer c.remove()
	if err := c.attack(ctx, e); err != nil {
		return err
	}
	if err := c.ban(ctx, e); err != nil {
		return err
	}
	if len(open) > 0 {
		return assurance.NotHeld("%d public addresses of this machine listen beside the edge: %s", "本机另有 %d 个公开监听地址不经过边缘:%s", len(open), join(open))
	}
	return nil
}

func join(list []netip.AddrPort) string {
	var out []string
	for _, a := range list[:min(len(list), 8)] {
		out = append(out, a.String())
	}
	return strings.Join(out, ", ")
}

// canary is a site of the canary tenant while a check tries it.
type canary struct {
	*frontCheck
	name string
	made []gate.Result
}

func (c *canary) host() string { return c.name + ".canary.dun.invalid" }

func (f *frontCheck) apply(ctx context.Context, changes ...gate.Change) ([]gate.Result, error) {
	a := identity.Service(gate.Posture)
	a.Door = "posture"
	return f.env.Gate.Apply(ctx, gate.Request{Actor: a, Changes: changes, Reason: "check " + f.control})
}

func putRecord(k, tenant, name string, labels map[string]string, spec any) gate.Change {
	o := &resource.Object{Kind: k, Metadata: resource.Metadata{Tenant: tenant, Name: name, Labels: labels}, Spec: spec}
	return gate.Change{Op: gate.Put, Ref: o.Ref(), Object: o}
}

// canary has an origin that nobody has (RFC 5737): nobody is asked.
func (f *frontCheck) canary(ctx context.Context) (*canary, error) {
	return f.canaryOf(ctx, "c"+id.Random(10), "http://192.0.2.1:9", nil)
}

func (f *frontCheck) canaryOf(ctx context.Context, name, origin string, labels map[string]string) (*canary, error) {
	_, err := f.apply(ctx, putRecord("Tenant", resource.Platform, CanaryTenant, nil, map[string]any{"title": "Canary of the checks"}))
	if err != nil && !fault.Is(err, fault.Conflict) {
		return nil, err
	}
	c := &canary{frontCheck: f, name: name}
	return c, c.add(ctx, putRecord("Site", CanaryTenant, c.name, labels, map[string]any{"hosts": []string{c.host()}, "origins": []any{map[string]any{"url": origin}}}))
}

// add writes a record and waits until the edge has it.
func (c *canary) add(ctx context.Context, change gate.Change) error {
	out, err := c.apply(ctx, change)
	if err != nil {
		return err
	}
	c.made = append(c.made, out...)
	return nil
}

func (c *canary) enforced(ctx context.Context, within time.Duration) error {
	want := c.made[len(c.made)-1].Revision
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return every(ctx, func() (bool, error) {
		rev, synced := c.edge.Enforced()
		return synced && rev >= want, nil
	})
}

// every asks again and again until f is satisfied.
func every(ctx context.Context, f func() (bool, error)) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := f(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// remove takes away what the check has made, also when it was cut short.
func (c *canary) remove() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, r := range slices.Backward(c.made) {
		if _, err := c.apply(ctx, gate.Change{Op: gate.Delete, Ref: r.Ref, Revision: r.Revision}); err != nil {
			c.edge.opts.Log.Error("a canary stays behind", "record", r.Ref.String(), "err", err)
		}
	}
}

// attack sends what the rules know and looks it up as an operator would.
func (c *canary) attack(ctx context.Context, e *assurance.Evidence) error {
	if err := c.enforced(ctx, c.found); err != nil {
		return assurance.NotHeld("a new site is not in force after %s", "新站点在 %s 后仍未生效", c.found)
	}
	start := time.Now()
	status, request, err := c.get(ctx, netip.Addr{}, "/?id=1%27%20OR%201=1--")
	if err != nil {
		return err
	}
	e.Add("attack", "SQL injection: %d, request %s", status, request)
	if status != http.StatusForbidden || request == "" {
		return assurance.NotHeld("an SQL injection got %d", "SQL 注入请求得到 %d", status)
	}
	within, cancel := context.WithTimeout(ctx, c.found)
	defer cancel()
	found, err := c.event(within, request, kindBlock)
	if err != nil {
		return assurance.NotHeld("the refused attack is not found after %s", "被拒绝的攻击在 %s 后仍无法检索", c.found)
	}
	e.Add("found", "after %s, by %d rules", time.Since(start).Round(time.Millisecond), len(found.Rules))
	return nil
}

// ban refuses a source that was let in before, and measures how soon.
func (c *canary) ban(ctx context.Context, e *assurance.Evidence) error {
	source := c.source()
	_, request, err := c.get(ctx, source, "/")
	if err != nil {
		return err
	}
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	_, err = c.event(short, request, kindBan)
	cancel()
	if err == nil {
		return fmt.Errorf("the source %s is banned before it was", source)
	}
	start := time.Now()
	spec := map[string]any{"action": kind.ActionBan, "sources": []string{source.String()}, "sites": []string{c.name}, "expires": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}
	if err := c.add(ctx, putRecord("Ban", CanaryTenant, c.name, nil, spec)); err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, c.banned)
	defer cancel()
	err = every(within, func() (bool, error) {
		status, request, err := c.get(within, source, "/")
		if err != nil || status != http.StatusForbidden {
			return false, err
		}
		short, cancel := context.WithTimeout(within, time.Second)
		defer cancel()
		_, err = c.event(short, request, kindBan)
		return err == nil, nil
	})
	if err != nil {
		return assurance.NotHeld("a banned source is not refused after %s", "被封禁的来源在 %s 后仍未被拒绝", c.banned)
	}
	e.Add("banned", "%s refused %s after the decision", source, time.Since(start).Round(time.Millisecond))
	return nil
}

// source is an address of this machine that nobody else uses as a client.
func (c *canary) source() netip.Addr {
	if a := c.env.Door.Addr(); !a.IsUnspecified() && !a.IsLoopback() {
		return a // on a door that loopback does not reach we come from its own address
	}
	if c.env.Door.Addr().Is6() && !c.env.Door.Addr().IsUnspecified() {
		return netip.IPv6Loopback()
	}
	return netip.AddrFrom4([4]byte{127, 84, 9, 1})
}

// get is fetch for who needs no content.
func (c *canary) get(ctx context.Context, source netip.Addr, path string) (status int, request string, err error) {
	status, request, _, err = c.fetch(ctx, source, path)
	return status, request, err
}

// fetch asks the edge's door as a client from the source; zero = any. answer is
// header and body, up to a MiB.
func (c *canary) fetch(ctx context.Context, source netip.Addr, path string) (status int, request, answer string, err error) {
	to := c.env.Door
	if to.Addr().IsUnspecified() {
		to = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), to.Port())
	}
	var d net.Dialer
	if source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.DialContext(ctx, "tcp", to.String())
	}}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.host()+path, nil)
	if err != nil {
		return 0, "", "", err
	}
	req.Header.Set("User-Agent", "dun-check/"+c.control)
	res, err := (&http.Client{Transport: tr, Timeout: 3 * time.Second}).Do(req)
	if err != nil {
		return 0, "", "", fmt.Errorf("ask the edge's door: %w", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return 0, "", "", fmt.Errorf("ask the edge's door: %w", err)
	}
	return res.StatusCode, res.Header.Get("Dun-Request-Id"), fmt.Sprint(res.Header, string(body)), nil
}

// event waits until the request is found.
func (c *canary) event(ctx context.Context, request, what string) (found events.Event, err error) {
	err = every(ctx, func() (bool, error) {
		if err := c.env.Events.Flush(ctx); err != nil {
			return false, err
		}
		list, _, err := c.env.Events.Search(ctx, events.Query{Tenants: []string{CanaryTenant}, Request: request, Kind: what, Limit: 1})
		if len(list) > 0 {
			found = list[0]
		}
		return len(list) > 0, err
	})
	return found, err
}
