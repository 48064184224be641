package nodes

import (
	"context"
	"errors"
	"net/http"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/nodelink"
	"github.com/dun-sec/dun/internal/core/rpc"
	"github.com/dun-sec/dun/internal/kinds/system"
)

// admitted believes the certificate, and asks the records whether the node is
// one still: a certificate lives for weeks, a removed node not for a moment.
type admitted struct {
	hub          *Hub
	certificates rpc.Certificates
}

// Authenticate implements rpc.Authenticator.
func (a *admitted) Authenticate(r *http.Request) (rpc.Peer, error) {
	p, err := a.certificates.Authenticate(r)
	if err != nil {
		return p, err
	}
	if p.Principal.Kind != "Node" {
		return rpc.Peer{}, fault.New(fault.Forbidden, "this service is for nodes", "该服务仅供节点使用")
	}
	return p, a.hub.admit(r.Context(), r, p)
}

// admit refuses a node that was removed, disabled or replaced.
func (h *Hub) admit(ctx context.Context, r *http.Request, p rpc.Peer) error {
	o, err := h.record(ctx, p.Principal.Name)
	switch {
	case fault.Is(err, fault.NotFound):
	case err != nil:
		return err
	case o.Spec.(*system.NodeSpec).Disabled:
		err = errors.New("disabled")
	case system.NodeStateOf(o).Key != identity.Fingerprint(r.TLS.PeerCertificates[0]):
		err = errors.New("another machine has its name")
	default:
		return nil
	}
	h.opt.Gate.RefusedAt(actor(r, p), nodelink.NodeRef(p.Principal.Name), "node.connect")
	return fault.New(fault.NotFound, "the node %s is no part of the cell any more", "节点 %s 已不属于该集群", p.Principal.Name).Because(err)
}
