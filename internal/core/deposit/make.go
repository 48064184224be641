package deposit

import (
	"context"
	"crypto/rand"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/secret"
)

const (
	madePrefix = "dun_k_" // makes a leaked secret recognisable to scanners
	madeBytes  = 32
)

// Maker is Secrets that also shows one, once.
type Maker interface {
	Secrets
	Show(ctx context.Context, a identity.Actor, ref secret.Ref) (secret.Value, error)
}

// Make carries out a verb whose secret the cell makes, and shows the secret to
// who asked: 256 random bits. The caller wipes it. When the answer is lost, the
// secret is: a second time it is refused.
func Make(ctx context.Context, g Gate, s Maker, req Request) (gate.Result, secret.Value, error) {
	none := secret.Value{}
	k, err := g.Registry().Kind(req.Ref.Kind)
	if err != nil {
		return gate.Result{}, none, err
	}
	verb, err := k.FindVerb(req.Verb)
	switch {
	case err != nil:
		return gate.Result{}, none, err
	case verb.Secret == nil || !verb.Secret.Made:
		return gate.Result{}, none, fault.New(fault.Invalid, "%q of a %s makes no secret", "%[2]s 的 %[1]q 不生成机密", verb.Name, k.Name)
	case s == nil:
		return gate.Result{}, none, fault.New(fault.Unavailable, "no secrets are kept here", "此处不保存机密")
	}
	o, err := g.MayAct(req.Actor, req.Ref, verb.Name)
	if err != nil {
		return gate.Result{}, none, err
	}
	if req.Revision != 0 && req.Revision != o.Metadata.Revision {
		return gate.Result{}, none, changed()
	}
	raw := make([]byte, madeBytes)
	rand.Read(raw)
	v := secret.New(id.Encoding.AppendEncode([]byte(madePrefix), raw))
	defer v.Wipe()
	clear(raw)
	in, err := judge(verb, o, v)
	if err != nil {
		return gate.Result{}, none, err
	}
	res, err := seal(ctx, g, s, req, k, o, in, v)
	if err != nil {
		return gate.Result{}, none, err
	}
	for ref := range refsOf(res.Object) {
		shown, err := s.Show(ctx, req.Actor, ref)
		return res, shown, err
	}
	return gate.Result{}, none, fault.New(fault.Internal, "the record does not name its secret", "记录未引用其机密")
}
