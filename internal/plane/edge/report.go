package edge

import (
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/core/resource"
)

// Event kinds and actions of the edge (formats.md, Event and ids).
const (
	kindBlock  = "block"  // the firewall matched
	kindBan    = "ban"    // the source is banned
	kindLimit  = "limit"  // a size, a count, a time or a budget was exceeded, or the message was malformed
	kindOrigin = "origin" // the origin failed
	kindEgress = "egress" // the origin's answer was held back for its class
	kindHealth = "health" // an origin became healthy or unhealthy

	actionBlocked  = "blocked"
	actionDetected = "detected"
	actionAllowed  = "allowed"
)

// reporter turns what happened into events, without the secrets of requests.
type reporter struct {
	opts Options
	mu   sync.Mutex
	seen map[string]*burst // guarded by mu
}

// burst counts alike events that came within a second of the last one sent.
type burst struct {
	sent  time.Time
	count uint64
}

// maxBursts bounds the memory of coalescing; keys are sites, origins and
// classes, none of which a client chooses.
const maxBursts = 4096

func newReporter(o Options) *reporter { return &reporter{opts: o, seen: map[string]*burst{}} }

// coalesce reports whether an event under key is due, and how many it stands
// for; at most one a second is.
func (p *reporter) coalesce(key string, now time.Time) (count uint64, due bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.seen[key]
	if b == nil {
		if len(p.seen) >= maxBursts {
			clear(p.seen)
		}
		b = &burst{}
		p.seen[key] = b
	}
	b.count++
	if d := now.Sub(b.sent); d >= 0 && d < time.Second {
		return 0, false
	}
	count, b.count, b.sent = b.count, 0, now
	return count, true
}

func (p *reporter) add(e events.Event) {
	if p.opts.Events == nil {
		return
	}
	e.V, e.ID, e.Node, e.Part = 1, id.UID(), p.opts.Node, "edge"
	if e.Tenant == "" {
		e.Tenant = resource.Platform
	}
	if e.Rules == nil {
		e.Rules = []events.Rule{}
	}
	p.opts.Events.Add(e)
}

// event is the part that all events of a request share.
func (q *request) event(kind, action string, attributes map[string]string) events.Event {
	a := map[string]string{
		"method": clip(q.r.Method, 32), "host": clip(q.host, 255),
		"path":      q.edge.report.mask(clip(q.target.path, maxPathInEvent)),
		"userAgent": q.edge.report.mask(clip(q.r.UserAgent(), maxMatchInEvent)),
		"protocol":  q.r.Proto,
	}
	maps.Copy(a, attributes)
	e := events.Event{Time: q.now.UTC(), Kind: kind, Action: action, Request: q.id, Attributes: a}
	if q.from.IsValid() {
		e.Source = q.from.Addr().String()
	}
	if q.site != nil {
		e.Tenant, e.Object = q.site.name.tenant, "site/"+q.site.name.name
		a["site"] = q.site.name.name
	}
	return e
}

func (q *request) reportBlock(v verdict, action string, status int) {
	e := q.event(kindBlock, action, map[string]string{
		"status": strconv.Itoa(status), "score": v.score, "paranoia": q.site.paranoia, "threshold": q.site.threshold,
	})
	for _, m := range v.rules {
		e.Rules = append(e.Rules, events.Rule{ID: m.id, Message: clip(m.message, maxMatchInEvent), Where: clip(m.where, maxMatchInEvent), Match: q.edge.report.matchText(m)})
	}
	q.edge.report.add(e)
}

func (q *request) reportLimit(class, action string, status int) {
	q.edge.report.add(q.event(kindLimit, action, map[string]string{"class": class, "status": strconv.Itoa(status)}))
}

// reportBusy is for refusals that a flood causes: at most one a second.
func (q *request) reportBusy(class string) {
	key := class
	if q.site != nil {
		key += " " + q.site.name.String()
	}
	if n, due := q.edge.report.coalesce(key, q.now); due {
		q.edge.report.add(q.event(kindLimit, actionBlocked, map[string]string{"class": class, "status": "503", "count": strconv.FormatUint(n, 10)}))
	}
}

func (q *request) reportOrigin(class, url string, status int) {
	n, due := q.edge.report.coalesce(strings.Join([]string{q.site.name.String(), url, class}, " "), q.now)
	if due {
		q.edge.report.add(q.event(kindOrigin, actionAllowed, map[string]string{
			"class": class, "origin": url, "status": strconv.Itoa(status), "count": strconv.FormatUint(n, 10),
		}))
	}
}

// reportWire is for bytes that never became a request; a flood of them makes
// one event a second.
func (p *reporter) reportWire(request, source string, status int, now time.Time) {
	if n, due := p.coalesce("wire "+strconv.Itoa(status), now); due {
		p.add(events.Event{Time: now.UTC(), Kind: kindLimit, Action: actionBlocked, Request: request, Source: source, Attributes: map[string]string{
			"class": "malformed", "status": strconv.Itoa(status), "count": strconv.FormatUint(n, 10),
		}})
	}
}

// reportConn is for connections that ended before any request.
func (p *reporter) reportConn(class, source string, now time.Time) {
	if n, due := p.coalesce("conn "+class, now); due {
		p.add(events.Event{Time: now.UTC(), Kind: kindLimit, Action: actionBlocked, Source: source, Attributes: map[string]string{
			"class": class, "count": strconv.FormatUint(n, 10),
		}})
	}
}

func (p *reporter) mask(s string) string {
	if p.opts.Mask == nil || s == "" {
		return ""
	}
	return p.opts.Mask(s)
}

// matchText is what a rule matched, without secrets: the value of a parameter
// whose name says that it is one is not kept at all, nor are session cookies
// and credentials; the rest passes Mask together with its name.
func (p *reporter) matchText(m matched) string {
	name, _, _ := strings.Cut(m.where, ":")
	if secretName(m.key) || name == "REQUEST_COOKIES" && secretCookie(m.key) {
		return "***"
	}
	if m.key == "" {
		return clip(p.mask(m.value), maxMatchInEvent)
	}
	masked := p.mask(m.key + "=" + m.value)
	return clip(strings.TrimPrefix(masked, m.key+"="), maxMatchInEvent)
}

func secretName(key string) bool {
	k := strings.ToLower(key)
	for _, s := range []string{"passw", "passwd", "pwd", "passphrase", "secret", "token", "apikey", "api_key", "api-key", "authorization", "credential", "private", "otp", "cvv", "cvc", "cardnumber", "card_number"} {
		if strings.Contains(k, s) {
			return true
		}
	}
	return k == "pass" || strings.HasSuffix(k, ".pass") || k == "pin" || k == "cookie"
}

func secretCookie(key string) bool {
	k := strings.ToLower(key)
	return strings.Contains(k, "sess") || strings.Contains(k, "auth") || strings.Contains(k, "jwt") || strings.HasSuffix(k, "sid") || strings.HasSuffix(k, "id")
}

// clip cuts s to n bytes without splitting a character, and makes it valid UTF-8.
func clip(s string, n int) string {
	if len(s) > n {
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
