package nodes

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"slices"
	"strconv"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/nodelink"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/system"
)

// maxNodes bounds the cell; ids of requests have room for 65 535.
const maxNodes = 10_000

// Join lets a machine become a node by its token, which is used up in the same
// transaction. A wrong name, a wrong secret, an ended and a used token get one
// answer.
func (h *Hub) Join(ctx context.Context, by identity.Actor, in nodelink.JoinRequest) (*nodelink.JoinReply, error) {
	if h.opt.Address == "" {
		return nil, fault.New(fault.Unavailable, "no node can join: listen.nodes is off", "无法加入节点:listen.nodes 已关闭")
	}
	if in.V != nodelink.Schema {
		return nil, fault.New(fault.Invalid, "the machine speaks schema %d; this release takes %d", "该机器使用模式 %d;此版本接受 %d", in.V, nodelink.Schema)
	}
	key, err := publicKey(in.Public)
	if err != nil {
		return nil, err
	}
	h.joining.Lock()
	defer h.joining.Unlock()
	sum := sha256.Sum256(in.Public)
	fingerprint := hex.EncodeToString(sum[:])
	token, again, err := h.token(ctx, by, in, fingerprint)
	if err != nil {
		return nil, err
	}
	if again != nil {
		return h.welcome(again, system.NodeStateOf(again).Number, key)
	}
	node, number, err := h.place(ctx, token)
	if err != nil {
		return nil, err
	}
	by.Principal = h.me.Principal
	_, err = h.opt.Gate.Apply(ctx, gate.Request{Actor: by, Reason: "joined by token " + token.Metadata.Name, Changes: []gate.Change{
		{Op: gate.Act, Ref: token.Ref(), Verb: "use", Input: system.UseInput{Node: node.Metadata.Name, From: by.Source}, Revision: token.Metadata.Revision},
		{Op: gate.Act, Ref: node.Ref(), Verb: "join", Input: system.JoinInput{Key: fingerprint, Number: number}, Revision: node.Metadata.Revision},
	}})
	if err != nil {
		return nil, err
	}
	return h.welcome(node, number, key)
}

// welcome is what the machine needs to be the node.
func (h *Hub) welcome(node *resource.Object, number int, key *ecdsa.PublicKey) (*nodelink.JoinReply, error) {
	cert, err := h.opt.Authority.IssuePrincipalFor(h.opt.Cell, nodelink.NodeRef(node.Metadata.Name), key)
	if err != nil {
		return nil, err
	}
	return &nodelink.JoinReply{
		V: nodelink.Schema, Cell: h.opt.Cell, Node: node.Metadata.Name, Number: number, Roles: node.Spec.(*system.NodeSpec).Roles,
		Certificate: cert, CA: h.opt.Authority.DER(), Address: h.opt.Address,
	}, nil
}

// publicKey reads the key of a machine: P-256, in its one form.
func publicKey(der []byte) (*ecdsa.PublicKey, error) {
	any, err := x509.ParsePKIXPublicKey(der)
	key, ok := any.(*ecdsa.PublicKey)
	if err != nil || !ok || key.Curve != elliptic.P256() {
		return nil, fault.New(fault.Invalid, "the key is no P-256 key", "密钥不是 P-256 密钥").Because(err)
	}
	return key, nil
}

// token finds the token and verifies its secret. A machine that was cut off
// before it had its answer may ask again with the same key: again is its node.
func (h *Hub) token(ctx context.Context, by identity.Actor, in nodelink.JoinRequest, fingerprint string) (token, again *resource.Object, err error) {
	ref := resource.Ref{Kind: "Token", Tenant: resource.Platform, Name: in.Token}
	verifier := nodelink.Verifier("") // of nothing, so that a name that is not there costs the same
	var o *resource.Object
	if resource.ValidName(in.Token) {
		if o, err = h.opt.Gate.Get(ctx, h.me, ref); err != nil && !fault.Is(err, fault.NotFound) {
			return nil, nil, err
		}
	}
	if o != nil {
		verifier = o.Spec.(*system.TokenSpec).Verifier
	}
	good := nodelink.Verify(in.Secret, verifier)
	if o != nil && good && system.TokenStateOf(o).Used != nil && h.opt.Now().Before(o.Spec.(*system.TokenSpec).Expires) {
		if n, err := h.record(ctx, system.TokenStateOf(o).Node); err == nil && system.NodeStateOf(n).Key == fingerprint {
			return o, n, nil
		}
	}
	if o == nil || !good || system.TokenStateOf(o).Used != nil || !h.opt.Now().Before(o.Spec.(*system.TokenSpec).Expires) {
		h.opt.Gate.RefusedAt(by, resource.Ref{Kind: "Token", Tenant: resource.Platform}, "token.use")
		return nil, nil, fault.New(fault.Unauthenticated, "the token is not good: it is not known, was used, or has ended; make a new one with dun token create", "令牌无效:不存在、已使用或已过期;请用 dun token create 重新生成")
	}
	return o, nil, nil
}

// place finds the record that the machine takes: the one that the token names,
// or a new one under the next free name. A record that is made here is worth
// nothing until its key is in it.
func (h *Hub) place(ctx context.Context, token *resource.Object) (node *resource.Object, n int, err error) {
	all, err := h.all(ctx)
	if err != nil {
		return nil, 0, err
	}
	if len(all) >= maxNodes {
		return nil, 0, fault.New(fault.Exhausted, "the cell has %d nodes, and no room for more", "集群已有 %d 个节点,无法再增加", len(all))
	}
	want := token.Spec.(*system.TokenSpec)
	n = number(all)
	name := want.Node
	if name == "" {
		name = "n" + strconv.Itoa(n)
		for slices.ContainsFunc(all, func(o *resource.Object) bool { return o.Metadata.Name == name && system.NodeStateOf(o).Key != "" }) {
			name += "x"
		}
	}
	if i := slices.IndexFunc(all, func(o *resource.Object) bool { return o.Metadata.Name == name }); i >= 0 {
		s := all[i].Spec.(*system.NodeSpec)
		switch {
		case name == h.opt.Local:
			return nil, 0, fault.New(fault.Conflict, "the node %s is the one that answers here", "节点 %s 即本节点", name)
		case !slices.Equal(s.Roles, want.Roles) || !slices.Equal(s.Tenants, want.Tenants):
			return nil, 0, fault.New(fault.Conflict, "the node %s has other roles or tenants than the token; change one of them first", "节点 %s 的角色或租户与令牌不同;请先修改其一", name)
		}
		if old := system.NodeStateOf(all[i]).Number; old > 1 {
			n = old
		}
		return all[i], n, nil
	}
	o := &resource.Object{Kind: "Node", Version: 1, Metadata: resource.Metadata{Tenant: resource.Platform, Name: name}, Spec: &system.NodeSpec{Roles: want.Roles, Tenants: want.Tenants}}
	res, err := h.opt.Gate.Apply(ctx, gate.Request{Actor: h.me, Reason: "a place for token " + token.Metadata.Name, Changes: []gate.Change{{Op: gate.Put, Ref: o.Ref(), Object: o}}})
	if err != nil {
		return nil, 0, err
	}
	return res[0].Object, n, nil
}
