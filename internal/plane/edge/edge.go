// Package edge is the front gate: a reverse proxy with a web application
// firewall in front of every Site (white paper 8.4, 8.5). It owns the public
// listeners, the compiled rule set (Coraza with the unmodified OWASP Core Rule
// Set), the certificates of the sites and the connections to their origins.
//
// It follows the records Site, Certificate, Exclusion, Ban, Tenant and DataClass, compiles them into
// one immutable snapshot and swaps it atomically; a request uses one snapshot
// from its first to its last byte. It never asks the control plane during a
// request, never dials but through Options.Dial, never trusts a header that
// says who the client is unless a trusted proxy sent it, and never lets a request pass that it could not
// judge: before the first snapshot, on an error of the firewall and when a
// budget is used up it refuses.
//
// Bodies are judged, and forwarded, without their content coding.
// Only what clients send is judged; the rule set's response phases are not run.
// Trailers of requests are dropped, since they come after the judgement.
package edge

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/verdicts"
)

// Issuer signs certificates with the cell's own authority.
type Issuer interface {
	// Certificate returns a certificate for the host: a DNS name, a wildcard
	// "*.name" or an IP address. It is asked only for configured hosts and for
	// "dun.invalid".
	Certificate(ctx context.Context, host string) (*tls.Certificate, error)
}

// Challenges answers ACME authorities for a tenant's hosts.
type Challenges interface {
	HTTP(tenant, host, path string) (answer string, ok bool)
	TLS(tenant, host string) *tls.Certificate // nil = none is asked for
}

// Recorder takes events; Add never blocks.
type Recorder interface{ Add(events.Event) }

// DialFunc opens a connection to an origin.
type DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// Options wires the edge. The zero value refuses everything: it has no issuer
// (no TLS) and no dialer (every origin is unreachable).
type Options struct {
	Node       string                       // name of this node in events
	NodeID     uint16                       // part of request ids (formats.md, Event and ids)
	Issuer     Issuer                       // nil = Serve refuses an HTTPS listener
	Keys       KeyOpener                    // nil = Certificates are not served
	Challenges Challenges                   // of ACME authorities; nil = none are answered
	Dial       func(tenant string) DialFunc // the only dialer; nil = every origin is unreachable
	Events     Recorder                     // nil = events are dropped
	Mask       func(string) string          // hides secrets in "name=value" text; nil = matched text is left out of events
	Verdicts   *verdicts.Set                // automatic bans; nil = none are made
	TempDir    string                       // large request bodies, in a folder edge-bodies that New empties; "" = a fresh folder of the system's
	Log        *slog.Logger                 // nil = silent
	Now        func() time.Time             // nil = time.Now
	ConsoleURL string                       // where operators look a request id up; "" = not shown on pages

	// TrustedProxies are believed what they say about the client in
	// X-Forwarded-For and X-Forwarded-Proto; nobody else is.
	TrustedProxies []netip.Prefix
	// ProxyProtocol lists the networks whose connections must begin with a
	// PROXY header of version 1 or 2, before TLS; all others must not.
	ProxyProtocol []netip.Prefix

	bounds bounds   // zero = defaults; tests narrow them
	rules  *ruleSet // nil = compile; tests share one
}

// Edge is the front gate of one node.
type Edge struct {
	opts   Options
	bounds bounds
	via    string // our own Via pseudonym, random for each process (RFC 9110 section 7.6.3)
	engine *engine
	pages  *pages
	report *reporter
	certs  *certificates
	pairs  *pairs
	pool   *originPool
	checks *healthChecks
	spools *spoolBudget
	limits *limiter
	hands  *turns                 // handshakes at once
	served atomic.Pointer[string] // port of the HTTPS door, for redirects

	trusted   networks // Options.TrustedProxies
	introduce networks // Options.ProxyProtocol

	snap    atomic.Pointer[snapshot] // nil until the first synced batch
	reached atomic.Uint64            // revision that is enforced
	flights atomic.Int64             // requests in progress
	tally   tally
	buffers sync.Pool // *[]byte of copySize
}

// New compiles the shared rule set, which takes about half a second, and
// clears TempDir of what a crash left. It fails when the rules do not compile,
// when the engine's seams that per-site settings need have moved, or when
// TempDir cannot be written.
func New(ctx context.Context, opts Options) (*Edge, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Dial == nil {
		opts.Dial = func(string) DialFunc {
			return func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no dialer") }
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("start edge: %w", err)
	}
	dir, err := spoolDir(opts.TempDir)
	if err != nil {
		return nil, fmt.Errorf("start edge: %w", err)
	}
	b := opts.bounds.withDefaults()
	rules := opts.rules
	if rules == nil {
		if rules, err = compileRules(dir); err != nil {
			return nil, fmt.Errorf("compile rule set: %w", err)
		}
	}
	trusted, err := newNetworks(opts.TrustedProxies)
	if err != nil {
		return nil, fmt.Errorf("read trusted proxies: %w", err)
	}
	introduce, err := newNetworks(opts.ProxyProtocol)
	if err != nil {
		return nil, fmt.Errorf("read PROXY protocol networks: %w", err)
	}
	token := make([]byte, 8)
	rand.Read(token)
	e := &Edge{
		opts: opts, bounds: b, engine: newEngine(rules, b), trusted: trusted, introduce: introduce,
		via:    "1.1 dun-" + hex.EncodeToString(token),
		pages:  newPages(opts.ConsoleURL),
		report: newReporter(opts),
		spools: &spoolBudget{dir: dir, memory: b.spoolMemory, disk: b.spoolDisk},
	}
	e.certs = newCertificates(e)
	e.pairs = &pairs{edge: e}
	e.pool = newOriginPool(opts.Dial, b)
	e.hands = newTurns(e.bounds.slots)
	e.limits = newLimiter()
	e.checks = newHealthChecks(e)
	e.buffers.New = func() any { p := make([]byte, copySize); return &p }
	return e, nil
}

// Enforced is the revision that requests are judged by now; synced is false
// until the first whole state was compiled, and then every request gets 503.
func (e *Edge) Enforced() (revision uint64, synced bool) {
	return e.reached.Load(), e.snap.Load() != nil
}

// Handler serves requests as Serve does, without listeners. The checks on the
// raw bytes of HTTP/1 need Serve.
func (e *Edge) Handler() http.Handler { return http.HandlerFunc(e.serveHTTP) }
