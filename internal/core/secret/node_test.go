package secret_test

import (
	"bytes"
	"testing"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/secret"
)

func TestSealedToANode(t *testing.T) {
	b := newBench(t)
	ref, other := b.put("p", canary), b.put("p", "x")
	n1, n2 := resource.Ref{Kind: "Node", Tenant: "platform", Name: "n1"}, resource.Ref{Kind: "Node", Tenant: "platform", Name: "n2"}
	k1, err := secret.NewNodeKey()
	if err != nil {
		t.Fatal(err)
	}
	k2, err := secret.NewNodeKey()
	if err != nil {
		t.Fatal(err)
	}
	pub, err := k1.Public()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := b.SealTo(t.Context(), actor, shop, ref, "p", n1, pub)
	if err != nil {
		t.Fatal(err)
	}
	twice, err := b.SealTo(t.Context(), actor, shop, ref, "p", n1, pub)
	if err != nil || bytes.Equal(sealed, twice) || bytes.Contains(sealed, []byte(canary)) {
		t.Errorf("sealed %q and %q (%v)", sealed, twice, err)
	}
	if v, err := k1.OpenSealed(n1, ref, "p", sealed); err != nil || string(v.Reveal()) != canary {
		t.Errorf("the node does not open it: %v", err)
	}
	if u := b.uses[len(b.uses)-1]; u.Action != secret.ActionSeal || u.Node != n1.String() {
		t.Errorf("told %+v", u)
	}
	for what, open := range map[string]func() (secret.Value, error){
		"another key":     func() (secret.Value, error) { return k2.OpenSealed(n1, ref, "p", sealed) },
		"another node":    func() (secret.Value, error) { return k1.OpenSealed(n2, ref, "p", sealed) },
		"another ref":     func() (secret.Value, error) { return k1.OpenSealed(n1, other, "p", sealed) },
		"another purpose": func() (secret.Value, error) { return k1.OpenSealed(n1, ref, "q", sealed) },
		"one bit": func() (secret.Value, error) {
			x := bytes.Clone(sealed)
			x[40] ^= 1
			return k1.OpenSealed(n1, ref, "p", x)
		},
		"cut":     func() (secret.Value, error) { return k1.OpenSealed(n1, ref, "p", sealed[:20]) },
		"nothing": func() (secret.Value, error) { return k1.OpenSealed(n1, ref, "p", nil) },
	} {
		if v, err := open(); !fault.Is(err, fault.Invalid) || v.Reveal() != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, bad := range [][]byte{nil, pub[:31], make([]byte, 32)} {
		if _, err := b.SealTo(t.Context(), actor, shop, ref, "p", n1, bad); err == nil {
			t.Errorf("sealed to the key %x", bad)
		}
	}
	if _, err := b.SealTo(t.Context(), actor, shop, ref, "q", n1, pub); !fault.Is(err, fault.NotFound) {
		t.Errorf("for another purpose: %v", err)
	}
}
