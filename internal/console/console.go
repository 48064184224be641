// Package console is the web face: pages for people, signed in by a session
// cookie. It owns pages, cookies, the sign-in by the one-time link, and the
// streams that keep a page live. It knows kinds only through resource.Kind,
// decides nothing, changes no record, and reads records only through the gate
// and events only through the event log. It never shows what the actor may not
// read, and never puts text from outside into a page unescaped.
package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"

	"github.com/dun-sec/dun/internal/core/assurance"
	kept "github.com/dun-sec/dun/internal/core/bytes"
	"github.com/dun-sec/dun/internal/core/deposit"
	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/identity/signin"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/telemetry"
	"github.com/dun-sec/dun/internal/core/trace"
	"github.com/dun-sec/dun/internal/core/traffic"
)

// EventLog is what the console asks of core/events.
type EventLog interface {
	// Flush waits until everything that was added before is searchable.
	Flush(ctx context.Context) error
	Search(ctx context.Context, q events.Query) (found []events.Event, next string, err error)
	Follow(ctx context.Context, q events.Query) (*events.Follower, error)
}

// Options of a console. Gate, Events, Status, Enter and SignIn are needed.
type Options struct {
	Gate   *gate.Gate
	Events EventLog
	Status func() telemetry.Status
	Enter  func(token string) (resource.Ref, error) // burns the one-time link and says who may enter
	SignIn *signin.Store
	Names  []string // DNS names under which passkeys are offered

	// Upstream asks attached providers; nil = none can be attached.
	Upstream Upstream
	NodeID   uint16
	Log      *slog.Logger
	Now      func() time.Time

	// What a page leaves out when it is nil.
	Checks  *assurance.Registry
	Views   Views
	Usage   UsageBook
	Traffic func() (requests, blocked uint64) // since the start
	// Floods is what goes to protected addresses now, Trace the last seconds of it.
	Floods func() map[resource.Ref]traffic.Live
	Trace  func(address resource.Ref, seconds int) (trace.Series, bool)
	// Evidence opens what was kept of an attack's packets, for who may read it.
	Evidence func(ctx context.Context, a identity.Actor, tenant, name string) (*kept.Reader, error)
	// TestOrigin asks an origin on behalf of the tenant.
	TestOrigin func(ctx context.Context, tenant string, o Origin) (OriginAnswer, error)
	// UploadCertificate keeps a certificate with its key, both in PEM.
	UploadCertificate func(ctx context.Context, actor identity.Actor, tenant, name, chainPEM, keyPEM string) error
	SignUps           SignUps // nil = nobody signs up here
	// MakeSecret carries out a verb whose secret the cell makes, and gives it, this
	// once.
	MakeSecret func(ctx context.Context, req deposit.Request) (*resource.Object, string, error)
}

// Console is the handler of the pages.
type Console struct {
	opt     Options
	assets  map[string]asset
	handler http.Handler
	paths   []string
	knocks  knocks
	streams places
	pulses  pulses
	beat    beat
	seal    *sealer
	traffic requestRates
	life    context.Context
	stop    context.CancelFunc
}

// New makes a console.
func New(opt Options) (*Console, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	files, err := loadAssets()
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	c := &Console{opt: opt, assets: files, beat: standardBeat(), seal: newSealer()}
	c.life, c.stop = context.WithCancel(context.Background())
	mux := &routes{ServeMux: http.NewServeMux()}
	mux.HandleFunc("GET /assets/{hash}/{name}", c.asset)
	mux.HandleFunc("GET /enter", c.open(c.showEnter))
	mux.HandleFunc("POST /enter", c.open(c.enter))
	mux.HandleFunc("GET /sign-up", c.open(c.signUp))
	mux.HandleFunc("POST /sign-up", c.open(c.signUp))
	mux.HandleFunc("POST /sign-in", c.open(c.signIn))
	mux.HandleFunc("POST /sign-in/code", c.open(c.code))
	mux.HandleFunc("GET /sign-in/via/{tenant}/{name}", c.open(c.via))
	mux.HandleFunc("GET /sign-in/done", c.open(c.answered))
	mux.HandleFunc("POST /sign-in/passkey/ask", c.open(c.askPasskey))
	mux.HandleFunc("POST /sign-in/passkey", c.open(c.passkey))
	mux.HandleFunc("GET /setup", c.open(c.enrolling(c.setup)))
	mux.HandleFunc("POST /setup", c.open(c.enrolling(c.setup)))
	mux.HandleFunc("POST /setup/passkey/ask", c.open(c.enrolling(c.askNewPasskey)))
	mux.HandleFunc("POST /setup/passkey", c.open(c.enrolling(c.addPasskey)))
	mux.HandleFunc("POST /language", c.open(c.language))
	mux.HandleFunc("POST /leave", c.open(c.leave))
	mux.HandleFunc("GET /{$}", c.closed(c.home))
	mux.HandleFunc("GET /live", c.closed(c.live))
	mux.HandleFunc("GET /blocks/{request}", c.closed(c.block))
	c.pages(mux)
	mux.HandleFunc("/", c.open(func(*visit) error { return nothingHere() }))
	// SameSite=Strict keeps the cookie from foreign pages; this refuses what
	// they send all the same, also to the pages that need no cookie.
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(c.open(func(*visit) error {
		return fault.New(fault.Forbidden, "this form was sent from another site", "此表单来自其他网站")
	}))
	c.handler, c.paths = cross.Handler(mux), mux.paths
	return c, nil
}

// routes keeps in mind what is served.
type routes struct {
	*http.ServeMux
	paths []string
}

// HandleFunc shadows that of the mux.
func (r *routes) HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request)) {
	r.paths = append(r.paths, pattern)
	r.ServeMux.HandleFunc(pattern, h)
}

// Paths lists method and path of everything that is served, for tests.
func (c *Console) Paths() []string { return slices.Sorted(slices.Values(c.paths)) }

// Stop ends the streams, so that a server that shuts down need not wait for
// readers who never go.
func (c *Console) Stop() { c.stop() }

// contentPolicy lets pages load what this server itself serves, and nothing that
// stands inline. Trusted types keep text out of the page's sinks but for the
// one policy of assets/guard.js.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; " +
	"base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types dun"

// ServeHTTP implements http.Handler: request id and headers, then the page.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Dun-Request-Id", id.Request(c.opt.Now(), c.opt.NodeID))
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if r.TLS != nil && named(r.Host) {
		h.Set("Strict-Transport-Security", "max-age=15552000") // half a year
	}
	r.Body = http.MaxBytesReader(w, r.Body, bodyOf(r.URL.Path))
	c.handler.ServeHTTP(w, r)
}

// Bounds of the body of a form, in bytes: of one that holds a record, and of
// any other. Percent-encoding makes three bytes of one.
const (
	maxForm   = 8 << 10
	maxRecord = 4 * resource.MaxInput
)

func bodyOf(path string) int64 {
	for _, p := range []string{"/records/", "/new/", "/bulk/", "/certificates/", "/setup/passkey", "/account/passkey"} {
		if strings.HasPrefix(path, p) {
			return maxRecord
		}
	}
	return maxForm
}

func nothingHere() error {
	return fault.New(fault.NotFound, "there is nothing here, or nothing that you may see", "此处没有内容,或您无权查看")
}

// open serves a page to everybody.
func (c *Console) open(h func(*visit) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { c.public(w, r, h) }
}

func (c *Console) public(w http.ResponseWriter, r *http.Request, h func(*visit) error) {
	v := c.visit(w, r)
	if err := h(v); err != nil {
		v.fail(err)
	}
}

// closed serves a page to whoever is signed in; others learn how to get in.
func (c *Console) closed(h func(*visit) error) http.HandlerFunc {
	return c.open(func(v *visit) error {
		if v.enrolling && v.r.Method == http.MethodGet {
			http.Redirect(v.w, v.r, "/setup", http.StatusSeeOther)
			return nil
		}
		if !v.signedIn {
			// A browser asks for no password by this; it only names the way.
			v.w.Header().Set("WWW-Authenticate", "Cookie")
			return v.render(http.StatusUnauthorized, outside(v, signInForm{back: v.here()}))
		}
		return h(v)
	})
}

// fail shows an error. What is internal goes to the operator's log under the
// request id, and nowhere else.
func (v *visit) fail(err error) {
	if w, ok := errors.AsType[*gate.Waiting](err); ok {
		http.Redirect(v.w, v.r, "/records/changerequests/"+w.Request.Tenant+"/"+w.Request.Name, http.StatusSeeOther)
		return
	}
	e := fault.Of(err)
	if e.Code == fault.Internal || e.Code == fault.Unavailable {
		v.c.opt.Log.Error("a page failed", "req", v.actor.Request, "err", err)
	}
	v.retryAfter(e)
	if e.Code == fault.Unauthenticated {
		v.w.Header().Set("WWW-Authenticate", "Cookie")
	}
	if err := v.render(e.Code.Status(), failed(v, e)); err != nil {
		v.c.opt.Log.Error("an error page failed", "req", v.actor.Request, "err", err)
	}
}

func (v *visit) retryAfter(e *fault.Error) {
	if e.RetryAfter > 0 {
		v.w.Header().Set("Retry-After", strconv.Itoa(max(1, int(e.RetryAfter.Seconds()))))
	}
}

// render writes a page that is whole: what fails half-way becomes an error
// page instead.
func (v *visit) render(status int, page templ.Component) error {
	var b bytes.Buffer
	if err := page.Render(v.r.Context(), &b); err != nil {
		return fmt.Errorf("render: %w", err)
	}
	return v.send(status, b.Bytes())
}

// named reports a host for which HSTS means something: for an address it means
// nothing, and for localhost it locks other programs of the machine out (RFC
// 6797 section 8.1.1).
func named(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err != nil && host != "" && host != "localhost" && !strings.HasSuffix(host, ".localhost")
}
