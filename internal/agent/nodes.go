package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/nodelink"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/rpc"
	"github.com/dun-sec/dun/internal/core/telemetry"
	"github.com/dun-sec/dun/internal/govern/approvals"
	"github.com/dun-sec/dun/internal/govern/nodes"
	kindsystem "github.com/dun-sec/dun/internal/kinds/system"
)

// nodeConnections is how many connections of nodes are taken at once; each node
// needs one or two.
const nodeConnections = 4096

// openHub makes this cell's end of the links to other machines.
func (c *cell) openHub(g *gate.Gate) {
	address := ""
	if a, ok := portOf(c.doors.nodes); ok {
		address = net.JoinHostPort(c.opt.Config.Advertise, strconv.Itoa(int(a)))
	}
	h := nodes.New(nodes.Options{
		Gate: g, Authority: c.keys.CA, Cell: c.dir.Cell, Local: nodeName, Roles: []string{edgeService}, Secrets: c.secrets, Events: c.events, Usage: c.usage,
		Verdicts: c.verdicts, Challenges: c.challenges, Floods: c.desk, Self: c.report, Address: address, Log: c.opt.Log.With("part", "nodes"), Now: c.opt.Now,
	})
	c.mu.Lock()
	c.hub = h
	c.mu.Unlock()
}

// report is how this machine is, in the form in which other nodes tell it.
func (c *cell) report() nodelink.Report {
	s := c.status()
	return nodelink.Report{V: nodelink.Schema, Version: s.Version, Epoch: s.Epoch, Revision: s.Nodes[0].Revision, Roles: s.Roles}
}

func portOf(ln net.Listener) (port uint16, ok bool) {
	a, ok := address(ln)
	return a.Port(), ok
}

func (c *cell) hubNow() *nodes.Hub {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hub
}

// otherNodes is how they are; none while the record store does not open.
func (c *cell) otherNodes() []telemetry.Node {
	h := c.hubNow()
	if h == nil {
		return nil
	}
	return h.Nodes(context.Background())
}

// serveNodes answers other machines of the cell as soon as the store is open.
func (c *cell) serveNodes(ctx context.Context) error {
	g := c.opened(ctx)
	if g == nil {
		return nil
	}
	for c.hubNow() == nil {
		if !pause(ctx, 10*time.Millisecond) {
			return nil
		}
	}
	h := c.hubNow()
	var run sync.WaitGroup
	defer run.Wait()
	run.Go(func() { c.followDrain(ctx, g) })
	run.Go(func() { h.Run(ctx) })
	if c.doors.nodes == nil {
		return nil
	}
	ca, err := x509.ParseCertificate(c.keys.CA.DER())
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	own := &ownCertificate{now: c.opt.Now, make: func() (*tls.Certificate, error) { return c.keys.CA.IssuePrincipal(c.dir.Cell, nodelink.Hub()) }}
	cert, err := own.get(nil)
	if err != nil {
		return err
	}
	srv, err := rpc.NewServer(rpc.ServerOptions{
		Certificate: cert, Renewed: func() (*tls.Certificate, error) { return own.get(nil) }, Roots: roots, Cell: c.dir.Cell, Services: h.Services(), Auth: h.Auth(), Connections: nodeConnections, Now: c.opt.Now, Log: c.opt.Log,
	})
	if err != nil {
		return err
	}
	return srv.Serve(ctx, c.doors.nodes)
}

// followDrain closes and opens the doors of this machine as its record says.
func (c *cell) followDrain(ctx context.Context, g *gate.Gate) {
	feed, err := g.Watch(identity.Service(kindsystem.NodeOwner), []string{"Node"}, func(o *resource.Object) bool { return o.Metadata.Name == nodeName })
	for err == nil {
		var b resource.Batch
		if b, err = feed.Next(ctx); err == nil {
			for _, ch := range b.Changes {
				c.drain.set(ch.Object != nil && kindsystem.NodeStateOf(ch.Object).Drained)
			}
		}
	}
	if ctx.Err() == nil {
		c.opt.Log.Error("whether this node is drained is not followed", "err", err)
	}
}

// nodeSource reconciles the nodes: each enforces what was ordered.
func (c *cell) nodeSource() approvals.Source {
	return approvals.Source{Name: "nodes", Drift: func(ctx context.Context) ([]approvals.Drift, error) {
		h := c.hubNow()
		if h == nil {
			return nil, nil
		}
		behind, err := h.Drift(ctx)
		var out []approvals.Drift
		for _, b := range behind {
			out = append(out, approvals.Drift{Source: "nodes", Setting: "Node platform/" + b.Node, Why: b.Why})
		}
		return out, err
	}}
}
