package edge

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

var errPassed = errors.New("the connection was passed through")

// passing is a site's pass-through made ready.
type passing struct {
	introduce bool // with a PROXY header
	most      int64
}

func compilePassing(p *edge.PassThrough) *passing {
	if p == nil {
		return nil
	}
	return &passing{p.ProxyProtocol, int64(or(p.Connections, edge.DefaultConnections))}
}

// passThrough serves a connection whose server name belongs to a pass-through
// site, and ends with errPassed; others it gives back as they came. Where no
// site passes anything through it costs one load.
func (e *Edge) passThrough(ctx context.Context, c net.Conn) (net.Conn, error) {
	if snap := e.snap.Load(); snap == nil || !snap.passes {
		return c, nil
	}
	sni, found, read := peekHello(ctx, c)
	c = &replayed{Conn: c, first: read}
	if !found {
		return c, nil
	}
	snap := e.snap.Load()
	name := serverName(sni, c.LocalAddr())
	t := snap.lookup(name)
	if t == nil || t.pass == nil {
		return c, nil
	}
	now := e.opts.Now()
	q := &request{
		edge: e, id: id.Request(now, e.opts.NodeID), now: now, from: addrPort(c.RemoteAddr()), host: name, site: t, scheme: "tls",
		r: &http.Request{Method: http.MethodConnect, Proto: "TLS", Header: http.Header{}},
	}
	defer c.Close()
	q.pass(ctx, snap, c)
	return nil, errPassed
}

// TLS alerts (RFC 8446 section 6.2) with which a connection is refused.
const (
	alertDenied   = 49 // access_denied
	alertInternal = 80 // internal_error
)

func refuseTLS(c net.Conn, alert byte) {
	c.SetWriteDeadline(time.Now().Add(time.Second))
	c.Write([]byte{21, 3, 3, 0, 2, 2, alert})
}

// pass carries one connection: bans, verdicts, limits and counters hold as they
// do for a request.
func (q *request) pass(ctx context.Context, snap *snapshot, c net.Conn) {
	t := q.site
	t.tally.requests.Add(1)
	class, done := q.connectable(snap)
	defer done()
	if class != "" {
		t.tally.blocked.Add(1)
		q.reportConnection(class)
		refuseTLS(c, alertDenied)
		return
	}
	out, a := q.reach(ctx, c)
	if out == nil {
		refuseTLS(c, alertInternal)
		return
	}
	defer a.leave()
	defer out.Close()
	x := &exchange{client: c, origin: out, in: &t.tally.in, out: &t.tally.out, idle: t.idle}
	x.run(ctx, q.stillWelcome)
}

// connectable says by which class a connection is refused; "" = by none. done
// must be called when it ends.
func (q *request) connectable(snap *snapshot) (class string, done func()) {
	t := q.site
	done = func() {}
	allowed, barred := q.edge.barred(snap, t, q.from.Addr(), q.now)
	switch {
	case t.broken:
		return "site", done
	case barred:
		return "ban", done
	}
	if t.tally.connections.Add(1) > t.pass.most {
		return "connections", func() { t.tally.connections.Add(-1) }
	}
	done = func() { t.tally.connections.Add(-1) }
	if t.rate == nil || allowed {
		return "", done
	}
	k := clientKey{t.name, t.rate.at, client64(q.from.Addr())}
	ok, wait := q.edge.limits.take(k, t.rate, q.now.UnixNano())
	switch {
	case !ok && wait == 0:
		return "concurrency", done
	case !ok:
		return "rate", done
	case t.rate.atOnce > 0:
		return "", func() { q.edge.limits.done(k); t.tally.connections.Add(-1) }
	}
	return "", done
}

// reportConnection tells of a refused connection: each one of a ban, for all
// else at most one a second of a site and class, with the number that it
// stands for.
func (q *request) reportConnection(class string) {
	count := uint64(1)
	if class != "ban" {
		var due bool
		if count, due = q.edge.report.coalesce("passed "+class+" "+q.site.name.String(), q.now); !due {
			return
		}
	}
	kind := kindLimit
	if class == "ban" {
		kind, class = kindBan, "connection"
	}
	q.edge.report.add(q.event(kind, actionBlocked, map[string]string{"class": class, "count": strconv.FormatUint(count, 10)}))
}

// stillWelcome is asked while a connection lasts: what is banned, moved or
// deleted since ends it.
func (q *request) stillWelcome() bool {
	snap := q.edge.snap.Load()
	t := snap.lookup(q.host)
	if t == nil || t.pass == nil || t.name != q.site.name || t.broken {
		return false
	}
	_, barred := q.edge.barred(snap, t, q.from.Addr(), q.edge.opts.Now())
	return !barred
}

// reach connects to an origin, and to others when that fails.
func (q *request) reach(ctx context.Context, c net.Conn) (net.Conn, *attempt) {
	s := q.site
	s.tally.purse.earn(s.spread.budget)
	a := q.attempt(nil)
	var tried []*upstream
	for a != nil {
		out, err := q.connect(ctx, a, c)
		if err == nil {
			a.judge(&http.Response{}, nil)
			return out, a
		}
		if ctx.Err() != nil {
			a.leave()
			return nil, nil
		}
		err = &dialError{err}
		a.judge(nil, err)
		a.leave()
		tried = append(tried, a.upstream)
		class, _ := classify(err)
		q.originMissed(class, a.label)
		if !q.repeatable(nil, err, nil, len(tried)) || len(tried) > 1 && !s.tally.purse.spend() {
			return nil, nil
		}
		if a = q.attempt(tried); a != nil {
			s.tally.retries.Add(1)
		}
	}
	if len(tried) == 0 {
		q.originMissed("breaker", "")
	}
	return nil, nil
}

func (q *request) originMissed(class, label string) {
	q.site.tally.originErrors.Add(1)
	q.reportOrigin(class, label, 0)
}

func (q *request) connect(ctx context.Context, a *attempt, c net.Conn) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	to := a.url.Host
	if a.url.Port() == "" {
		to = net.JoinHostPort(a.url.Hostname(), "443")
	}
	out, err := q.edge.opts.Dial(q.site.name.tenant)(ctx, "tcp", to)
	if err != nil || !q.site.pass.introduce {
		return out, err
	}
	out.SetWriteDeadline(time.Now().Add(dialTimeout))
	if _, err := out.Write(proxyHeader(q.from, addrPort(c.LocalAddr()))); err != nil {
		out.Close()
		return nil, err
	}
	out.SetWriteDeadline(time.Time{})
	return out, nil
}

func addrPort(a net.Addr) netip.AddrPort {
	p, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(p.Addr().Unmap().WithZone(""), p.Port())
}

// proxyHeader is a PROXY header of version 2 (proxy-protocol.txt section 2.2);
// a mixed pair is told as IPv6.
func proxyHeader(from, to netip.AddrPort) []byte {
	b := append([]byte(proxyV2), proxyV2Proxy)
	if from.Addr().Is4() && to.Addr().Is4() {
		b = binary.BigEndian.AppendUint16(append(b, proxyV2TCP4), proxyAddrLen4)
		b = append(append(b, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
	} else {
		b = binary.BigEndian.AppendUint16(append(b, proxyV2TCP6), proxyAddrLen6)
		f, t := from.Addr().As16(), to.Addr().As16()
		b = append(append(b, f[:]...), t[:]...)
	}
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, from.Port()), to.Port())
}
