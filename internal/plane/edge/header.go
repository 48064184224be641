package edge

import (
	"net/http"
	"strings"
)

// outgoing builds the header towards the origin: without what belongs to one
// hop (RFC 9110 section 7.6.1), without what only we may say, and with who the
// client is. Values are shared with the request, never changed.
func (q *request) outgoing(upgrade bool) http.Header {
	in := q.r.Header
	named := connectionNames(in)
	h := make(http.Header, len(in)+8)
	for name, values := range in {
		if hopHeader(name) || claimsIdentity(name) || named[name] {
			continue
		}
		h[name] = values
	}
	if trailers := in["Te"]; hasToken(trailers, "trailers") {
		h["Te"] = []string{"trailers"} // gRPC wants to know that trailers get through
	}
	if upgrade {
		h["Connection"], h["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = []string{""} // else net/http names itself
	}
	h["X-Forwarded-For"] = []string{q.from.Addr().String()}
	h["X-Forwarded-Proto"] = []string{q.scheme}
	h["X-Forwarded-Host"] = []string{q.r.Host}
	h["Via"] = append(append(make([]string, 0, len(in["Via"])+1), in["Via"]...), q.edge.via)
	h[RequestHeader] = []string{q.id}
	return h
}

// connectionNames are the fields that the sender declared to be of one hop.
func connectionNames(h http.Header) map[string]bool {
	var out map[string]bool
	for _, v := range h["Connection"] {
		for name := range strings.SplitSeq(v, ",") {
			if out == nil {
				out = map[string]bool{}
			}
			out[http.CanonicalHeaderKey(strings.TrimSpace(name))] = true
		}
	}
	return out
}

func hopHeader(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer",
		"Transfer-Encoding", "Upgrade", "Http2-Settings", "Expect", "Content-Length", "Host":
		return true
	}
	return false
}

// claimsIdentity reports names that say who the client is, or that only Dun
// may send. Servers that follow CGI (RFC 3875 section 4.1.18) read X_Real_IP
// as X-Real-IP, so underscores count as hyphens; "Proxy" becomes HTTP_PROXY.
func claimsIdentity(name string) bool {
	underscore := strings.IndexByte(name, '_') >= 0
	if underscore {
		name = http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
		if hopHeader(name) {
			return true
		}
	}
	if ours(name) || strings.HasPrefix(name, "X-Forwarded-") || name == "X-Forwarded" {
		return true
	}
	switch name {
	case "Forwarded", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "Proxy":
		return true
	case "Via":
		return underscore
	}
	return false
}

// ours reports names that only Dun may send to a client or an origin.
func ours(name string) bool { return strings.HasPrefix(name, "Dun-") }

// incoming copies the origin's response header to the client's.
func incoming(dst, src http.Header) {
	named := connectionNames(src)
	for name, values := range src {
		if hopHeader(name) && name != "Content-Length" || named[name] || ours(name) || name == "Alt-Svc" {
			continue // Alt-Svc would lead clients around the edge
		}
		dst[name] = values
	}
}

func hasToken(values []string, token string) bool {
	for _, v := range values {
		for t := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}
