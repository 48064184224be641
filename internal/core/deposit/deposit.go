// Package deposit is the one way in which a person puts a secret of a record:
// it asks the gate whether he may, lets the kind judge the content, seals it and
// carries out the verb that keeps the reference. It owns the order of these
// steps and no storage; what was put is never handed back, and never part of an
// error.
package deposit

import (
	"bytes"
	"context"
	"errors"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/secret"
)

// Gate is what a deposit needs of the gate.
type Gate interface {
	Registry() *resource.Registry
	Get(ctx context.Context, a identity.Actor, ref resource.Ref) (*resource.Object, error)
	MayAct(a identity.Actor, ref resource.Ref, verb string) (*resource.Object, error)
	Apply(ctx context.Context, req gate.Request) ([]gate.Result, error)
}

// Secrets is what a deposit needs of core/secret.
type Secrets interface {
	Put(ctx context.Context, a identity.Actor, owner resource.Ref, purpose string, v secret.Value) (secret.Ref, error)
	Delete(ctx context.Context, a identity.Actor, ref secret.Ref) error
}

// Request puts one secret. Revision 0 means the record as it is now.
type Request struct {
	Actor    identity.Actor
	Ref      resource.Ref
	Verb     string // of the kind, made with resource.OnSecret
	Revision uint64
	Reason   string
}

// Purpose is what a secret of a verb is sealed for, as in "certificate-key".
func Purpose(k *resource.Kind, verb string) string { return k.Short + "-" + verb }

// Put seals the content and hands its reference to the verb. It takes the
// content over and wipes it. The secret that it replaces is forgotten.
func Put(ctx context.Context, g Gate, s Secrets, req Request, content []byte) (gate.Result, error) {
	v := secret.New(content)
	defer v.Wipe()
	k, verb, err := secretVerb(g, s, req)
	if err != nil {
		return gate.Result{}, err
	}
	o, err := g.MayAct(req.Actor, req.Ref, verb.Name)
	if err != nil {
		return gate.Result{}, err
	}
	if req.Revision != 0 && req.Revision != o.Metadata.Revision {
		return gate.Result{}, changed()
	}
	in, err := judge(verb, o, v)
	if err != nil {
		return gate.Result{}, err
	}
	return seal(ctx, g, s, req, k, o, in, v)
}

// PutWith puts a record and its secret together: the secret is judged against
// the record as it is to be, and where it does not fit nothing is stored. Should
// the second step fail all the same, the record has no key for its new content
// yet and goes on with the pair before.
func PutWith(ctx context.Context, g Gate, s Secrets, req Request, o *resource.Object, content []byte) (gate.Result, error) {
	v := secret.New(content)
	defer v.Wipe()
	k, verb, err := secretVerb(g, s, req)
	if err != nil {
		return gate.Result{}, err
	}
	next := *o
	next.Metadata = resource.Metadata{Tenant: req.Ref.Tenant, Name: req.Ref.Name}
	if err := k.Validate(&next); err != nil {
		return gate.Result{}, err
	}
	if _, err := judge(verb, &next, v); err != nil {
		return gate.Result{}, err
	}
	switch old, err := g.Get(ctx, req.Actor, req.Ref); {
	case err == nil:
		if _, err := g.MayAct(req.Actor, req.Ref, verb.Name); err != nil {
			return gate.Result{}, err
		}
		next.Metadata.Labels, next.Metadata.Annotations, next.Metadata.Revision = old.Metadata.Labels, old.Metadata.Annotations, old.Metadata.Revision
	case !fault.Is(err, fault.NotFound):
		return gate.Result{}, err
	}
	out, err := g.Apply(ctx, gate.Request{Actor: req.Actor, Reason: req.Reason, Changes: []gate.Change{{
		Op: gate.Put, Ref: req.Ref, Object: &next, Revision: next.Metadata.Revision,
	}}})
	if err != nil {
		return gate.Result{}, err
	}
	req.Revision = out[0].Revision
	return Put(ctx, g, s, req, bytes.Clone(v.Reveal()))
}

// secretVerb finds the verb of a request.
func secretVerb(g Gate, s Secrets, req Request) (*resource.Kind, *resource.Verb, error) {
	k, err := g.Registry().Kind(req.Ref.Kind)
	if err != nil {
		return nil, nil, err
	}
	verb, err := k.FindVerb(req.Verb)
	if err != nil {
		return nil, nil, err
	}
	if verb.Secret == nil || verb.Secret.Made {
		return nil, nil, fault.New(fault.Invalid, "%q of a %s takes no secret", "%[2]s 的 %[1]q 不接受机密", verb.Name, k.Name)
	}
	if s == nil {
		return nil, nil, fault.New(fault.Unavailable, "no secrets are kept here", "此处不保存机密")
	}
	return k, verb, nil
}

func changed() error {
	return fault.New(fault.Conflict, "the record was changed meanwhile; read it again", "记录已被更改;请重新读取")
}

// judge lets the kind look at the content.
func judge(verb *resource.Verb, o *resource.Object, v secret.Value) (resource.Sealed, error) {
	if n := len(v.Reveal()); n == 0 || n > verb.Secret.Max {
		return resource.Sealed{}, fault.New(fault.Invalid, "the secret has %d bytes; want 1 to %d", "机密有 %d 字节;应为 1 到 %d", n, verb.Secret.Max)
	}
	var r resource.Report
	in := resource.Sealed{}
	if verb.Secret.Check != nil {
		in.Fingerprint = verb.Secret.Check(o, v.Reveal(), &r)
	}
	return in, fault.Fields(r.Fields)
}

func seal(ctx context.Context, g Gate, s Secrets, req Request, k *resource.Kind, o *resource.Object, in resource.Sealed, v secret.Value) (gate.Result, error) {
	old := refsOf(o)
	ref, err := s.Put(ctx, req.Actor, o.Ref(), Purpose(k, req.Verb), v)
	if err != nil {
		return gate.Result{}, err
	}
	in.Ref = string(ref)
	out, err := g.Apply(ctx, gate.Request{Actor: req.Actor, Reason: req.Reason, Changes: []gate.Change{{
		Op: gate.Act, Ref: o.Ref(), Verb: req.Verb, Input: in, Revision: o.Metadata.Revision,
	}}})
	if _, waits := errors.AsType[*gate.Waiting](err); waits {
		return gate.Result{}, err // the request that waits names the secret
	}
	if err != nil {
		// A secret that no record names is found by its owner and forgotten later.
		_ = s.Delete(ctx, req.Actor, ref)
		return gate.Result{}, err
	}
	now := refsOf(out[0].Object)
	for gone := range old {
		if !now[gone] {
			_ = s.Delete(ctx, req.Actor, gone) // likewise
		}
	}
	return out[0], nil
}
