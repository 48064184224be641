package accesskeys

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/deposit"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/identity/sigv4"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
	"github.com/dun-sec/dun/internal/kinds/access"
	"github.com/dun-sec/dun/internal/kinds/system"
)

// canary is the tenant of checks, and the service in it that has no right.
const (
	canary        = "dun-canary"
	canaryService = "canary"
)

// CheckEnv is what the check of control 4.1-2 needs. Send reaches the API as a
// program does.
type CheckEnv struct {
	Gate    *gate.Gate
	Secrets deposit.Maker
	Send    func(*http.Request) (*http.Response, error)
}

// Check tries control 4.1-2 at the door of the API: by keys of its own, in a
// tenant of its own, which it takes away again.
func Check(env CheckEnv) assurance.Check {
	p := &probe{env: env, me: identity.Service(gate.Posture)}
	p.me.Door = "posture"
	return assurance.Check{
		Control: "4.1-2", Scope: assurance.Production, Period: time.Hour,
		Title: text.T("A program proves itself by id and key: the signature covers method, path, headers, body and time, and a write acts once", "程序以标识和密钥证明身份:签名覆盖方法、路径、头部、正文和时间,每次更改只生效一次"),
		Cost:  text.F("two access keys in the tenant %s, about 20 requests and 40 leaves", "租户 %s 中的两个访问密钥、约 20 个请求和 40 个叶子", canary),
		Positive: func(ctx context.Context) error {
			defer p.clean(ctx)
			k, err := p.make(ctx, "check-a")
			if err != nil {
				return err
			}
			if took, err := p.taken(k.signed(ctx, http.MethodGet, "", time.Now())); err != nil || !took {
				return errors.Join(err, fmt.Errorf("a good signature is not taken: that others are refused would prove nothing"))
			}
			return nil
		},
		Probe: func(ctx context.Context, e *assurance.Evidence) error {
			defer p.clean(ctx)
			return p.run(ctx, e)
		},
	}
}

var errNotNow = errors.New("it cannot be tried now")

// startsWithin is how long after its start a cell may take no signed write.
const startsWithin = sigv4.Ahead + 5*time.Second

// ready waits until the door takes writes at all.
func (p *probe) ready(ctx context.Context, k held) error {
	ctx, cancel := context.WithTimeout(ctx, startsWithin)
	defer cancel()
	again := time.NewTicker(250 * time.Millisecond)
	defer again.Stop()
	for {
		_, err := p.taken(k.signed(ctx, http.MethodDelete, "", time.Now()))
		if !errors.Is(err, errNotNow) {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return err
		}
	}
}

type probe struct {
	env CheckEnv
	me  identity.Actor
}

type held struct{ name, id, secret string }

// signed is a request by the key; what it asks for is not there.
func (k held) signed(ctx context.Context, method, body string, at time.Time) *http.Request {
	path := fmt.Sprintf("https://%s.invalid/api/v1/%[1]s/sites/none?revision=%d", canary, time.Now().UnixNano()%1e15) // two of one second differ
	r, err := http.NewRequestWithContext(ctx, method, path, bytes.NewReader([]byte(body)))
	if err == nil && method == http.MethodGet {
		r.URL.RawQuery = ""
	}
	if err == nil {
		err = sigv4.Sign(r, k.id, []byte(k.secret), []byte(body), at)
	}
	if err != nil {
		return nil
	}
	return r
}

// taken sends a request and says whether the door took who signed it.
func (p *probe) taken(r *http.Request) (bool, error) {
	if r == nil {
		return false, errors.New("a request could not be signed")
	}
	res, err := p.env.Send(r)
	if err != nil {
		return false, fmt.Errorf("reach the API: %w", err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)); err != nil {
		return false, fmt.Errorf("read the answer: %w", err)
	}
	if res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests {
		return false, fmt.Errorf("the API says %s: %w", res.Status, errNotNow)
	}
	return res.StatusCode != http.StatusUnauthorized, nil
}

func keyRef(name string) resource.Ref {
	return resource.Ref{Kind: "AccessKey", Tenant: canary, Name: name}
}

// record makes the record of a key.
func (p *probe) record(ctx context.Context, name string) error {
	tenant := resource.Ref{Kind: "Tenant", Tenant: resource.Platform, Name: canary}
	for ref, spec := range map[resource.Ref]any{tenant: &system.TenantSpec{Title: "Canary"}} {
		if _, err := p.env.Gate.Get(ctx, p.me, ref); fault.Is(err, fault.NotFound) {
			if err := p.put(ctx, ref, spec); err != nil {
				return err
			}
		}
	}
	return p.put(ctx, keyRef(name), &access.AccessKeySpec{Service: canaryService, Write: true})
}

func (p *probe) put(ctx context.Context, ref resource.Ref, spec any) error {
	o := &resource.Object{Kind: ref.Kind, Version: 1, Metadata: resource.Metadata{Tenant: ref.Tenant, Name: ref.Name}, Spec: spec}
	_, err := p.env.Gate.Apply(ctx, gate.Request{Actor: p.me, Reason: "check of control 4.1-2", Changes: []gate.Change{{Op: gate.Put, Ref: ref, Object: o}}})
	return err
}

func (p *probe) make(ctx context.Context, name string) (held, error) {
	p.remove(ctx, name) // of a check that was cut
	if err := p.record(ctx, name); err != nil {
		return held{}, err
	}
	res, v, err := deposit.Make(ctx, p.env.Gate, p.env.Secrets, deposit.Request{Actor: p.me, Ref: keyRef(name), Verb: "issue"})
	if err != nil {
		return held{}, err
	}
	defer v.Wipe()
	return held{name, res.Object.State.(*access.AccessKeyState).KeyID, string(v.Reveal())}, nil
}

func (p *probe) remove(ctx context.Context, name string) {
	if o, err := p.env.Gate.Get(ctx, p.me, keyRef(name)); err == nil {
		// What stays is taken away by the next check.
		_, _ = p.env.Gate.Apply(ctx, gate.Request{Actor: p.me, Changes: []gate.Change{{Op: gate.Delete, Ref: keyRef(name), Revision: o.Metadata.Revision}}})
	}
}

func (p *probe) clean(ctx context.Context) {
	for _, name := range []string{"check-a", "check-b", "check-c"} {
		p.remove(context.WithoutCancel(ctx), name)
	}
}
