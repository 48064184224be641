package edge

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

// RequestHeader carries the request id on every response and to the origin.
const RequestHeader = "Dun-Request-Id"

// request is one request on its way through the edge; its goroutine owns it.
type request struct {
	edge   *Edge
	w      http.ResponseWriter
	r      *http.Request
	rc     *http.ResponseController
	id     string
	now    time.Time
	from   netip.AddrPort // the client; port 0 when a trusted proxy named him without one
	scheme string         // of the client: http or https
	host   string         // normalised
	target target
	site   *site
	wrote  bool          // the response has begun; no page can follow
	trust  bool          // an allow list names the client: rates do not hold
	hint   time.Duration // after which a refused client may come again; 0 = unknown
	moved  *atomic.Int64 // nil, or bytes of a call in both directions
}

// serveHTTP is the whole way of a request: identity, sanity, site, allow and
// ban, limits, firewall, origin. Each step may end it.
func (e *Edge) serveHTTP(w http.ResponseWriter, r *http.Request) {
	q := &request{edge: e, w: w, r: r, rc: http.NewResponseController(w), now: e.opts.Now()}
	if wire := wireOf(r.Context()); wire != nil {
		wire.serving.Store(true)
		q.rc.SetWriteDeadline(time.Now().Add(keepAlive)) // else that of the request before would hold for "100 Continue"
	}
	q.id = id.Request(q.now, e.opts.NodeID)
	w.Header().Set(RequestHeader, q.id)
	defer q.recoverPanic()
	if n := e.flights.Add(1); n > e.bounds.requests {
		e.flights.Add(-1)
		q.reportBusy("requests")
		q.refuse(http.StatusServiceUnavailable)
		return
	}
	defer e.flights.Add(-1)
	snap := e.snap.Load()
	if snap == nil {
		q.refuse(http.StatusServiceUnavailable)
		return
	}
	if !q.sane() || q.provesNothing() || !q.findSite(snap) || q.accounted() || q.challenge() || !q.admitted(snap) {
		return
	}
	done, ok := q.withinRates()
	defer done()
	if !ok || !q.withinLimits() || q.redirected() {
		return
	}
	body, ok := q.judged()
	if body != nil {
		defer body.close()
	}
	if ok {
		q.proxy(body)
	}
}

// recoverPanic fails closed: a defect of ours refuses this request and lets
// the others live.
func (q *request) recoverPanic() {
	p := recover()
	if p == nil {
		return
	}
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(http.ErrAbortHandler)
	}
	q.edge.opts.Log.Error("request handler panicked", "req", q.id, "err", p)
	if q.wrote {
		panic(http.ErrAbortHandler)
	}
	q.refuse(http.StatusInternalServerError)
}

// refuse answers with our page and gives the connection up where unread bytes
// of the request may follow.
func (q *request) refuse(status int) {
	if q.r.ProtoMajor == 1 && q.r.Body != nil && q.r.Body != http.NoBody {
		q.w.Header().Set("Connection", "close")
	}
	if status == http.StatusMethodNotAllowed {
		q.w.Header().Set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS") // RFC 9110 section 15.5.6
	}
	if q.hint > 0 {
		q.w.Header().Set("Retry-After", strconv.Itoa(int((q.hint+time.Second-1)/time.Second)))
	}
	if status == http.StatusUnsupportedMediaType {
		q.w.Header().Set("Accept-Encoding", codings)
	}
	q.rc.SetWriteDeadline(time.Now().Add(keepAlive))
	q.edge.pages.write(q.w, q.r, q.id, status)
}

// abandon ends a request without an answer: the client is gone, or the
// response broke off and must not look complete.
func (q *request) abandon() { panic(http.ErrAbortHandler) }

// sane refuses what servers read differently or what no client needs. The
// framing of HTTP/1 was checked before on the bytes (wireScan).
func (q *request) sane() bool {
	r := q.r
	var err error
	if q.from, q.scheme, err = q.edge.client(r); err != nil {
		q.refuse(http.StatusBadRequest)
		return false
	}
	switch r.Method {
	case http.MethodTrace, http.MethodConnect, "TRACK":
		q.refuse(http.StatusMethodNotAllowed)
		return false
	}
	t, err := parseTarget(r.RequestURI)
	if err != nil || r.Host == "" || len(r.Header["Content-Type"]) > 1 || len(r.Header["Content-Length"]) > 1 || otherHost(r) {
		q.refuse(http.StatusBadRequest)
		return false
	}
	q.target = t
	for _, v := range r.Header["Via"] {
		if strings.Contains(v, q.edge.via) {
			q.refuse(http.StatusLoopDetected)
			return false
		}
	}
	return true
}

// otherHost reports a Host field beside HTTP/2's :authority that says something
// else (RFC 9113 section 8.3.1); net/http leaves it among the fields.
func otherHost(r *http.Request) bool {
	for _, h := range r.Header["Host"] {
		if h != r.Host {
			return true
		}
	}
	return false
}

// findSite sets the site of the Host header; over TLS the server name must
// lead to the same one (RFC 9110 section 7.4).
func (q *request) findSite(snap *snapshot) bool {
	host, ok := normalHost(q.r.Host)
	if !ok {
		q.refuse(http.StatusBadRequest)
		return false
	}
	s := snap.lookup(host)
	if s != nil && q.r.TLS != nil && snap.lookup(serverName(q.r.TLS.ServerName, localAddr(q.r))) != s {
		s = nil
	}
	if s != nil && s.pass != nil {
		s = nil // its certificate is the origin's: nothing of it is served in clear or by ours
	}
	if s == nil {
		q.refuse(http.StatusMisdirectedRequest)
		return false
	}
	q.host, q.site = host, s
	s.tally.requests.Add(1)
	if s.broken {
		q.refuse(http.StatusServiceUnavailable)
		return false
	}
	return true
}

// provesNothing refuses the address at which a host is proven: what an edge
// answers there, ours or another one's, must not prove whose the host is.
func (q *request) provesNothing() bool {
	if !strings.HasPrefix(q.target.path, edge.ProofPath) {
		return false
	}
	q.refuse(http.StatusMisdirectedRequest)
	return true
}

func localAddr(r *http.Request) net.Addr {
	a, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return a
}

// barred says who is refused whatever he asks for, and who is on an allow list.
func (e *Edge) barred(snap *snapshot, s *site, from netip.Addr, now time.Time) (allowed, barred bool) {
	allowed, barred = snap.bans.decide(s.name, from, now)
	if !allowed && !barred && s.strikes {
		barred = e.judgedBefore(s.name.tenant, from)
	}
	return allowed, barred
}

func (q *request) admitted(snap *snapshot) bool {
	allowed, barred := q.edge.barred(snap, q.site, q.from.Addr(), q.now)
	q.trust = allowed
	if !barred {
		return true
	}
	q.site.tally.blocked.Add(1)
	q.edge.report.add(q.event(kindBan, actionBlocked, map[string]string{"status": "403"}))
	q.refuse(http.StatusForbidden)
	return false
}

func (q *request) withinLimits() bool {
	size, fields := len(q.r.Method)+len(q.r.RequestURI)+len(q.r.Host)+len("  HTTP/1.1\r\nHost: \r\n\r\n"), 1
	for name, values := range q.r.Header {
		fields += len(values)
		for _, v := range values {
			size += len(name) + len(v) + len(": \r\n")
		}
	}
	switch {
	case size > q.site.header:
		q.limit("header", http.StatusRequestHeaderFieldsTooLarge)
	case fields > maxHeaderFields:
		q.limit("headerFields", http.StatusRequestHeaderFieldsTooLarge)
	case q.r.ContentLength > q.site.body:
		q.limit("body", http.StatusRequestEntityTooLarge)
	default:
		return true
	}
	return false
}

// limit refuses a request that is over a limit.
func (q *request) limit(class string, status int) {
	q.site.tally.blocked.Add(1)
	q.reportLimit(class, actionBlocked, status)
	q.refuse(status)
}
