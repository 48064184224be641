// Package accesskeys says whose access key signed a request (AWS Signature
// Version 4, core/identity/sigv4), and holds it to the scope of the key. It owns
// the secrets that are open in memory, the status of the kind AccessKey, and
// that secrets go whose record went. It decides nothing about records: what the
// owner of the key may do is asked of policy afterwards.
package accesskeys

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/clock"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/identity/sigv4"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/secret"
	"github.com/dun-sec/dun/internal/kinds/access"
)

// Gate is what is asked of core/gate.
type Gate interface {
	Holder(kind, value string) *resource.Object
	Subject(resource.Ref) (uid string, ok bool)
	Get(context.Context, identity.Actor, resource.Ref) (*resource.Object, error)
	SetStatus(context.Context, identity.Actor, resource.Ref, any) (*resource.Object, error)
	RefusedAt(a identity.Actor, target resource.Ref, action string)
	LastTime() time.Time
}

// Secrets is what is asked of core/secret.
type Secrets interface {
	OpenOf(ctx context.Context, a identity.Actor, owner resource.Ref, ref secret.Ref, purpose string) (secret.Value, error)
	Owned(ctx context.Context, kind string) ([]secret.Owned, error)
	Delete(ctx context.Context, a identity.Actor, ref secret.Ref) error
}

var _ Gate = (*gate.Gate)(nil)

// Options of Keys; all are needed.
type Options struct {
	Gate    Gate
	Secrets Secrets
	Clock   clock.Clock
	Log     *slog.Logger
}

// Keys is safe for concurrent use.
type Keys struct {
	opt   Options
	me    identity.Actor
	burnt *sigv4.Burnt
	dummy []byte // verifies what no key stands behind
	ring  ring

	mu   sync.Mutex
	uses map[resource.Ref]use // since they were told last; one for each key
}

type use struct {
	at     time.Time
	source string
}

// New is ready at once; Run keeps it in order.
func New(opt Options) *Keys {
	start := opt.Clock.Now()
	if last := opt.Gate.LastTime(); last.After(start) {
		start = last
	}
	k := &Keys{opt: opt, me: identity.Service(access.KeyService), burnt: sigv4.NewBurnt(start), dummy: make([]byte, 64), uses: map[resource.Ref]use{}}
	k.ring.open = map[secret.Ref]opened{}
	rand.Read(k.dummy)
	return k
}

// Identify implements the API's Keys. An unknown key, one that is disabled or
// whose owner is, and a wrong signature have one answer. The body is read after
// the signature is known to be right, and must be what was signed; a write then
// burns its signature, whatever becomes of it.
func (k *Keys) Identify(r *http.Request, visitor identity.Actor, most int64) (identity.Actor, func() error, error) {
	claim, err := sigv4.Parse(r)
	if err != nil {
		k.opt.Gate.RefusedAt(visitor, resource.Ref{Kind: "AccessKey", Tenant: resource.Platform}, "authenticate")
		return visitor, nil, err
	}
	o, err := k.verified(r.Context(), claim)
	if err != nil {
		k.opt.Gate.RefusedAt(visitor, resource.Ref{Kind: "AccessKey", Tenant: resource.Platform}, "authenticate")
		return visitor, nil, err
	}
	ref, spec := o.Ref(), o.Spec.(*access.AccessKeySpec)
	owner := spec.Owner(ref.Tenant)
	who := visitor
	who.Principal, who.Proof, who.MFA = owner, identity.ProofKey, false
	now, write := k.opt.Clock.Now(), sigv4.Writes(r.Method)
	if action, err := k.allowed(r, claim, o, who, now, most); err != nil {
		k.opt.Gate.RefusedAt(who, ref, action)
		return visitor, nil, err
	}
	if write {
		if err := k.burnt.Burn(claim, ref.Tenant, now); err != nil {
			k.opt.Gate.RefusedAt(who, ref, "replay")
			return visitor, nil, err
		}
	}
	if claim.Presigned {
		sigv4.Strip(r)
	}
	k.mu.Lock()
	k.uses[ref] = use{now, visitor.Source}
	k.mu.Unlock()
	return who, func() error { return k.still(claim.KeyID, ref.UID) }, nil
}

// verified finds the key of a claim and proves the signature.
func (k *Keys) verified(ctx context.Context, claim *sigv4.Claim) (*resource.Object, error) {
	o := k.opt.Gate.Holder("AccessKey", claim.KeyID)
	if o == nil {
		claim.Verify(k.dummy)
		return nil, wrong()
	}
	right, err := k.ring.verify(k.opt.Clock, secret.Ref(o.State.(*access.AccessKeyState).Secret), claim, func(ref secret.Ref) (secret.Value, error) {
		return k.opt.Secrets.OpenOf(ctx, k.me, o.Ref(), ref, access.KeyPurpose)
	})
	if err != nil && !fault.Is(err, fault.NotFound) {
		return nil, err
	}
	if err != nil || !right || !k.live(o) {
		return nil, wrong()
	}
	return o, nil
}

// live reports whether key and owner are in force; a service is no record.
func (k *Keys) live(o *resource.Object) bool {
	spec := o.Spec.(*access.AccessKeySpec)
	if spec.Disabled || o.Metadata.Deleting != nil {
		return false
	}
	owner := spec.Owner(o.Metadata.Tenant)
	if owner.Kind != "User" {
		return owner.Tenant != resource.Platform
	}
	_, ok := k.opt.Gate.Subject(owner)
	return ok
}

// allowed holds a proven request to its date, to the scope of the key, and to
// the body that was signed. Who holds the secret may know what is wrong.
func (k *Keys) allowed(r *http.Request, claim *sigv4.Claim, o *resource.Object, who identity.Actor, now time.Time, most int64) (action string, err error) {
	spec, write := o.Spec.(*access.AccessKeySpec), sigv4.Writes(r.Method)
	switch {
	case !now.Before(spec.Until(&o.Metadata)):
		return "expired", fault.New(fault.Unauthenticated, "the access key %s has expired; make another one", "访问密钥 %s 已到期;请另建密钥", o.Metadata.Name)
	case !spec.From(who.Source):
		return "network", fault.New(fault.Forbidden, "the access key %s is not taken from %s", "访问密钥 %s 不接受来自 %s 的请求", o.Metadata.Name, who.Source)
	case write && !spec.Write:
		return "write", fault.New(fault.Forbidden, "the access key %s reads only", "访问密钥 %s 只读", o.Metadata.Name)
	}
	if err := claim.Fresh(now, write); err != nil {
		return "date", err
	}
	return "body", body(r, claim, most)
}

// body reads what was sent and holds it to its hash.
func body(r *http.Request, claim *sigv4.Claim, most int64) error {
	b, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, most))
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(b); subtle.ConstantTimeCompare(sum[:], claim.Payload[:]) != 1 {
		return fault.New(fault.Unauthenticated, "the body is not the one that was signed", "正文与签名时不一致")
	}
	r.Body = io.NopCloser(bytes.NewReader(b))
	return nil
}

// still reports whether the key that proved a stream is good yet.
func (k *Keys) still(id, uid string) error {
	o := k.opt.Gate.Holder("AccessKey", id)
	if o == nil || o.Metadata.UID != uid || !k.live(o) || !k.opt.Clock.Now().Before(o.Spec.(*access.AccessKeySpec).Until(&o.Metadata)) {
		return wrong()
	}
	return nil
}

func wrong() error {
	return fault.New(fault.Unauthenticated, "no access key stands behind this signature", "没有与此签名相符的访问密钥")
}
