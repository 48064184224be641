// Package api is the REST face: it mounts every kind of the registry on HTTP,
// describes itself in OpenAPI 3.1, and turns errors into problems. It knows
// kinds only through resource.Kind, decides nothing, and reaches records only
// through the gate.
package api

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/bytes"
	"github.com/dun-sec/dun/internal/core/deposit"
	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/identity/signin"
	"github.com/dun-sec/dun/internal/core/identity/sigv4"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
	"github.com/dun-sec/dun/internal/core/traffic"
)

// EventLog is what the API asks of core/events.
type EventLog interface {
	// Flush waits until everything that was added before is searchable.
	Flush(ctx context.Context) error
	Search(ctx context.Context, q events.Query) (found []events.Event, next string, err error)
	// Follow subscribes to what comes, until ctx ends.
	Follow(ctx context.Context, q events.Query) (*events.Follower, error)
}

// Keys says whose access key signed a request.
type Keys interface {
	// Identify reads the body, at most so many bytes, and puts it back; the
	// request is then without the parameters of a signed URL. still tells later
	// whether the key is good yet.
	Identify(r *http.Request, visitor identity.Actor, most int64) (who identity.Actor, still func() error, err error)
}

// Options of the API. Gate, Events, SignIn and Status are needed.
type Options struct {
	Gate   *gate.Gate
	Events EventLog
	Checks *assurance.Registry // nil = none here
	SignIn *signin.Store
	Floods func() map[resource.Ref]traffic.Live // nil = nobody counts here
	// Evidence opens what was kept of an attack's packets, for who may read it;
	// nil = nothing is kept here.
	Evidence func(ctx context.Context, a identity.Actor, tenant, name string) (*bytes.Reader, error)
	Usage    UsageBook                                // nil = nothing is counted here
	Enter    func(token string) (resource.Ref, error) // burns the one-time link and says who may enter
	Join     JoinFunc                                 // nil = no machine can join here
	Secrets  deposit.Maker                            // nil = none are kept here
	Keys     Keys                                     // nil = no access key is taken
	Status   func() any                               // what GET /api/v1/status answers
	Version  string
	NodeID   uint16
	Log      *slog.Logger
	Now      func() time.Time
}

// API is the handler of the console's and the API's door.
type API struct {
	opt      Options
	spec     *spec
	watchers chan struct{} // a place for each watcher
	thrift   thrift
	pace     pace
	life     context.Context
	stop     context.CancelFunc
}

// Stop ends the streams, so that a server that shuts down need not wait for
// watchers who never go.
func (a *API) Stop() { a.stop() }

// MaxBody is how many bytes of a request are read.
const MaxBody = 512 << 10

// New mounts everything.
func New(opt Options) *API {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	a := &API{opt: opt, spec: newSpec(opt.Version), watchers: make(chan struct{}, maxWatchers), pace: pace{by: map[string]*tokens{}}}
	a.life, a.stop = context.WithCancel(context.Background())
	a.spec.schemas(opt.Gate.Registry())
	for _, o := range a.system() {
		a.spec.mount(a, o)
	}
	for _, k := range opt.Gate.Registry().All() {
		for _, o := range a.kind(k) {
			a.spec.mount(a, o)
		}
	}
	return a
}

// call is one request on its way through an operation.
type call struct {
	api   *API
	w     http.ResponseWriter
	r     *http.Request
	actor identity.Actor
	token string       // "" = signed by an access key
	still func() error // whether the caller is still signed in
	lang  text.Lang
	req   string // request id
}

// ServeHTTP implements http.Handler: request id, size, then the operation.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Dun-Request-Id", id.Request(a.opt.Now(), a.opt.NodeID))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	if _, pattern := a.spec.mux.Handler(r); pattern == "" {
		c := &call{api: a, w: w, r: r, lang: text.Accept(r.Header.Get("Accept-Language")), req: h.Get("Dun-Request-Id")}
		c.fail(a.noRoute(r))
		return
	}
	a.spec.mux.ServeHTTP(w, r)
}

// noRoute tells a wrong method from a wrong path.
func (a *API) noRoute(r *http.Request) error {
	for _, m := range []string{http.MethodGet, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodPost} {
		probe := r.Clone(r.Context())
		probe.Method = m
		if _, pattern := a.spec.mux.Handler(probe); pattern != "" && strings.Contains(pattern, " ") {
			return fault.New(fault.Invalid, "%s is not offered here; see /openapi.json", "此处不支持 %s;见 /openapi.json", r.Method)
		}
	}
	return fault.New(fault.NotFound, "there is nothing at this path; see /openapi.json", "此路径不存在;见 /openapi.json")
}

// serve authenticates and runs one operation.
func (a *API) serve(w http.ResponseWriter, r *http.Request, o *operation) {
	r.Body = http.MaxBytesReader(w, r.Body, cmp.Or(o.maxBody, MaxBody))
	c := &call{api: a, w: w, r: r, lang: text.Accept(r.Header.Get("Accept-Language")), req: w.Header().Get("Dun-Request-Id")}
	if err := c.authenticate(o); err != nil {
		c.fail(err)
		return
	}
	if tenant := c.actor.Principal.Tenant; tenant != "" {
		if err := a.pace.take(tenant, a.opt.Gate.Requests(tenant), a.opt.Now()); err != nil {
			c.fail(err)
			return
		}
	}
	if err := c.checkQuery(o); err != nil {
		c.fail(err)
		return
	}
	if err := o.handle(c); err != nil {
		c.fail(err)
	}
}

func (c *call) authenticate(o *operation) error {
	if o.public {
		return nil
	}
	visitor := identity.Actor{Door: "api", Source: identity.Source(c.r.RemoteAddr), Request: c.req}
	if keys := c.api.opt.Keys; keys != nil && sigv4.Signed(c.r) {
		var err error
		c.actor, c.still, err = keys.Identify(c.r, visitor, cmp.Or(o.maxBody, MaxBody))
		return err
	}
	scheme, token, _ := strings.Cut(c.r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return fault.New(fault.Unauthenticated, "sign in first: send the profile's session as Authorization: Bearer …, or sign the request by an access key", "请先登录:以 Authorization: Bearer … 发送配置中的会话,或以访问密钥对请求签名")
	}
	s, err := c.api.opt.Gate.Authenticate(strings.TrimSpace(token))
	if err != nil {
		c.api.opt.Gate.Refused(visitor, "Session", "authenticate")
		return err
	}
	c.token = strings.TrimSpace(token)
	c.actor = s.Actor(visitor)
	c.still = func() error {
		_, err := c.api.opt.Gate.Authenticate(c.token)
		return err
	}
	return nil
}

// checkQuery refuses parameters that nobody would read: a typed filter that
// is ignored shows more than was asked for.
func (c *call) checkQuery(o *operation) error {
	if len(c.r.URL.RawQuery) > 8<<10 {
		return fault.New(fault.Invalid, "the query is too long", "查询过长")
	}
	q := c.r.URL.Query()
	for name, values := range q {
		known := false
		for _, p := range o.query {
			known = known || p.name == name
		}
		if !known {
			return fault.New(fault.Invalid, "unknown query parameter %q", "未知的查询参数 %q", name)
		}
		if len(values) > 1 {
			return fault.New(fault.Invalid, "query parameter %q is given twice", "查询参数 %q 重复", name)
		}
	}
	return nil
}
