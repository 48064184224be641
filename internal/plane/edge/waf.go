package edge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/corazawaf/coraza/v3/types"
)

// verdict is what the firewall says about one request.
type verdict struct {
	blocked bool
	score   string // inbound anomaly score
	rules   []matched
}

// matched is one rule that matched, not masked yet.
type matched struct {
	id         int
	message    string
	where      string // as in "ARGS:id"
	key, value string
}

var (
	errBusy     = errors.New("no slot for inspection")
	errParts    = errors.New("too many multipart parts")
	errTextSize = errors.New("body too large to inspect")
)

// inspect runs the rules of phase 1 and 2. body may be nil. It fails with
// errBusy, errParts, errTextSize, errGRPC, errBudget, errGone or, when the engine broke
// down, with any other error; a request that was not judged must not pass.
func (g *engine) inspect(ctx context.Context, s *site, r *http.Request, t *target, from netip.AddrPort, body *spool, now time.Time) (v verdict, err error) {
	large := body != nil && body.size() >= heavyBody
	if body != nil {
		if err := checkBody(r.Header.Get("Content-Type"), body); err != nil {
			return verdict{}, err
		}
	}
	release, err := g.enter(ctx, s.name.tenant, large)
	if err != nil {
		return verdict{}, err
	}
	defer release()
	begun := time.Now()
	defer func() { s.tally.work.Add(uint64(time.Since(begun))) }()
	var texts []argument
	grpc := isGRPC(r)
	if grpc && body != nil {
		if texts, err = grpcTexts(body); err != nil {
			return verdict{}, err
		}
	}

	defer func() {
		if p := recover(); p != nil {
			if e, ok := p.(error); ok && (errors.Is(e, errBudget) || errors.Is(e, errGone)) {
				err = e
			} else {
				err = fmt.Errorf("rule engine panicked: %v", p)
			}
		}
	}()
	tx := g.waf.NewTransaction().(transaction) // compileRules checked the type
	clock := tx.DebugLogger().(*guard)
	defer func() {
		clock.disarm()
		if cerr := tx.Close(); cerr != nil && err == nil {
			err = fmt.Errorf("close transaction: %w", cerr)
		}
	}()
	clock.arm(ctx, g.limits.inspection, large)
	s.overlay(tx, t, now)
	feed(tx, r, t, from)
	if grpc {
		tx.RemoveRuleByID(920420) // "Request content type is not allowed": that of a real gRPC body is
		return run(tx, nil, texts)
	}
	return run(tx, body, nil)
}

// run evaluates both phases.
func run(tx transaction, body *spool, texts []argument) (verdict, error) {
	if it := tx.ProcessRequestHeaders(); it != nil {
		return judge(tx, true), nil
	}
	for _, a := range texts {
		tx.AddPostRequestArgument(a.key, a.value)
	}
	if body != nil {
		it, n, err := tx.ReadRequestBodyFrom(body.reader())
		if err != nil {
			return verdict{}, fmt.Errorf("hand body to engine: %w", err)
		}
		if it != nil || int64(n) != body.size() {
			return verdict{}, fmt.Errorf("engine took %d of %d bytes", n, body.size())
		}
	}
	it, err := tx.ProcessRequestBody()
	if err != nil {
		return verdict{}, fmt.Errorf("judge body: %w", err)
	}
	return judge(tx, it != nil), nil
}

// enter takes a slot. Large bodies also need one of the few heavy slots, taken
// first, so that they queue behind each other and never in front of the rest.
// Tenants that wait get slots in turn.
func (g *engine) enter(ctx context.Context, tenant string, large bool) (release func(), err error) {
	if large {
		if err := g.heavy.enter(ctx, tenant, g.limits.wait); err != nil {
			return nil, err
		}
	}
	if err := g.slots.enter(ctx, tenant, g.limits.wait); err != nil {
		if large {
			g.heavy.leave()
		}
		return nil, err
	}
	return func() {
		g.slots.leave()
		if large {
			g.heavy.leave()
		}
	}, nil
}

// overlay lays the site's settings over the shared rules. The rule set sets
// these variables in phase 1 only where they are absent (CRS rules 901xxx).
func (s *site) overlay(tx transaction, t *target, now time.Time) {
	vars := tx.Variables().TX()
	vars.Set("blocking_paranoia_level", []string{s.paranoia})
	vars.Set("detection_paranoia_level", []string{s.paranoia})
	vars.Set("inbound_anomaly_score_threshold", []string{s.threshold})
	if s.mode == modeBlock {
		vars.Set("early_blocking", []string{"1"}) // phase 2 costs most; detect wants all findings
	}
	if s.address {
		tx.RemoveRuleByID(920350) // "Host header is a numeric IP address": here it is configured so
	}
	for i := range s.exclusions {
		s.exclusions[i].apply(tx, t, now)
	}
}

func feed(tx transaction, r *http.Request, t *target, from netip.AddrPort) {
	tx.ProcessConnection(from.Addr().String(), int(from.Port()), "", 0)
	tx.ProcessURI(t.uri(), r.Method, r.Proto)
	for name, values := range r.Header {
		for _, v := range values {
			if name == "Expect" && strings.EqualFold(v, "100-continue") {
				continue // answered by us, never forwarded
			}
			tx.AddRequestHeader(name, v)
		}
	}
	tx.AddRequestHeader("Host", r.Host)
	tx.SetServerName(r.Host)
	for _, te := range r.TransferEncoding {
		tx.AddRequestHeader("Transfer-Encoding", te)
	}
	if r.ContentLength > 0 && r.Header.Get("Content-Length") == "" {
		tx.AddRequestHeader("Content-Length", strconv.FormatInt(r.ContentLength, 10))
	}
}

func judge(tx transaction, interrupted bool) verdict {
	v := verdict{blocked: interrupted, score: first(tx.Variables().TX().Get("blocking_inbound_anomaly_score"))}
	if !interrupted {
		return v
	}
	for _, m := range tx.MatchedRules() {
		id := m.Rule().ID()
		if !detects(id) || m.Message() == "" {
			continue
		}
		if len(v.rules) == maxRulesInEvent {
			break
		}
		v.rules = append(v.rules, match(m, id))
	}
	return v
}

func match(m types.MatchedRule, id int) matched {
	out := matched{id: id, message: strings.Clone(m.Message())}
	for _, d := range m.MatchedDatas() {
		name := d.Variable().Name()
		if name == "TX" || name == "UNKNOWN" {
			continue
		}
		out.where, out.key = name, strings.Clone(d.Key())
		if out.key != "" {
			out.where += ":" + out.key
		}
		// Cloned: the event must not hold a whole body alive.
		out.value = strings.Clone(clip(d.Value(), 4*maxMatchInEvent))
		break
	}
	return out
}

func first(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[0]
}

// checkBody bounds what the engine would do without bound: it writes one
// temporary file for each file part, and holds every other body as one string.
func checkBody(contentType string, body *spool) error {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil || !strings.HasPrefix(media, "multipart/") || params["boundary"] == "" {
		if body.size() > maxText {
			return errTextSize
		}
		return nil
	}
	n, err := count(body.reader(), []byte("--"+params["boundary"]), maxParts+1)
	if err != nil {
		return fmt.Errorf("count parts: %w", err)
	}
	if n > maxParts+1 { // the closing delimiter too
		return errParts
	}
	return nil
}

// count counts the occurrences of sep in r, and stops above enough.
func count(r io.Reader, sep []byte, enough int) (int, error) {
	buf := make([]byte, 0, copySize+len(sep))
	n := 0
	for {
		m, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+m]
		for {
			i := bytes.Index(buf, sep)
			if i < 0 {
				break
			}
			if n++; n > enough {
				return n, nil
			}
			buf = append(buf[:0], buf[i+len(sep):]...)
		}
		if keep := len(sep) - 1; len(buf) > keep {
			buf = append(buf[:0], buf[len(buf)-keep:]...)
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}
