package edge

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"

	"github.com/dun-sec/dun/internal/core/challenges"
)

// errChallenged ends a connection whose handshake was the answer.
var errChallenged = errors.New("a challenge was answered")

// challenged answers the handshakes of an ACME authority (RFC 8737) for hosts
// of the tenant that ordered, and leaves all others alone.
func (e *Edge) challenged(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != challenges.Protocol || e.opts.Challenges == nil {
		return nil, nil
	}
	host, _ := normalHost(hello.ServerName)
	snap := e.snap.Load()
	if snap == nil {
		return nil, nil
	}
	t := snap.lookup(host)
	if t == nil {
		return nil, nil
	}
	cert := e.opts.Challenges.TLS(t.name.tenant, host)
	if cert == nil {
		return nil, nil
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*cert}, NextProtos: []string{challenges.Protocol}}, nil
}

// challenge answers what an ACME authority asks the clear door (RFC 8555 section
// 8.3). It comes before bans and rates: the answer is small and ours, and an
// authority asks from where it likes. A path that no order waits for goes its
// way, since it may be the origin's.
func (q *request) challenge() bool {
	if q.edge.opts.Challenges == nil || q.r.TLS != nil || q.r.Method != http.MethodGet {
		return false
	}
	answer, ok := q.edge.opts.Challenges.HTTP(q.site.name.tenant, q.host, q.r.URL.Path)
	if !ok {
		return false
	}
	h := q.w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	q.w.WriteHeader(http.StatusOK)
	_, _ = io.WriteString(q.w, answer) // who left does not hear it
	return true
}
