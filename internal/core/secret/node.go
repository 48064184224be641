package secret

import (
	"context"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"fmt"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
)

// NodeKey is the key to which secrets are sealed for one node (HPKE, RFC 9180:
// X25519, HKDF-SHA256, AES-256-GCM). It is made on the node and stays there.
type NodeKey struct{ private Value }

// NewNodeKey makes a key.
func NewNodeKey() (NodeKey, error) {
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return NodeKey{}, fmt.Errorf("make a node's key: %w", err)
	}
	return NodeKey{New(k.Bytes())}, nil
}

// Public is the half that others seal to: 32 bytes.
func (k NodeKey) Public() ([]byte, error) {
	p, err := ecdh.X25519().NewPrivateKey(k.private.Reveal())
	if err != nil {
		return nil, fmt.Errorf("read a node's key: %w", err)
	}
	return p.PublicKey().Bytes(), nil
}

// SealTo opens one secret of a record and seals it to the public key of a node, for the
// purpose that it was put for. The caller has authorised that the node needs
// it, and knows the key to be that node's. The audit log is told before.
func (s *Store) SealTo(ctx context.Context, a identity.Actor, owner resource.Ref, ref Ref, purpose string, node resource.Ref, public []byte) ([]byte, error) {
	pub, err := ecdh.X25519().NewPublicKey(public)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the key of node %s is no X25519 key", "节点 %s 的密钥不是 X25519 密钥", node.Name).Because(err)
	}
	to, err := hpke.NewDHKEMPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("seal to a node: %w", err)
	}
	v, err := s.open(ctx, a, ref, purpose, ActionSeal, node.String(), &owner)
	if err != nil {
		return nil, err
	}
	defer v.Wipe()
	sealed, err := hpke.Seal(to, hpke.HKDFSHA256(), hpke.AES256GCM(), nodeInfo(node, ref, purpose), v.Reveal())
	if err != nil {
		return nil, fmt.Errorf("seal to a node: %w", err)
	}
	return sealed, nil
}

// OpenSealed opens on the node what SealTo sealed to it: this secret, for this
// purpose, for this node, and nothing else.
func (k NodeKey) OpenSealed(node resource.Ref, ref Ref, purpose string, sealed []byte) (Value, error) {
	p, err := ecdh.X25519().NewPrivateKey(k.private.Reveal())
	if err != nil {
		return Value{}, fmt.Errorf("read a node's key: %w", err)
	}
	from, err := hpke.NewDHKEMPrivateKey(p)
	if err != nil {
		return Value{}, fmt.Errorf("open what was sealed: %w", err)
	}
	b, err := hpke.Open(from, hpke.HKDFSHA256(), hpke.AES256GCM(), nodeInfo(node, ref, purpose), sealed)
	if err != nil {
		return Value{}, fault.New(fault.Invalid, "the secret %s was not sealed to this node for that purpose, or was changed", "机密 %s 并非为该用途封存给本节点,或已被改动", ref).Because(err)
	}
	return New(b), nil
}

func nodeInfo(node resource.Ref, ref Ref, purpose string) []byte {
	return bind("dun/secret/node/v1", node, ref, purpose)
}
