package edge

import (
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/kinds/edge"
)

// siteHeaders are the response headers that a site adds, made ready.
type siteHeaders struct {
	fixed   [][2]string
	hsts    string
	cookies *edge.Cookies
}

const defaultHSTS = 180 * 24 * time.Hour

func compileHeaders(h *edge.Headers) *siteHeaders {
	if h == nil {
		return nil
	}
	out := &siteHeaders{cookies: h.Cookies}
	add := func(name, value string) {
		if value != "" && !strings.ContainsAny(value, "\r\n\x00") { // the kind refuses it, too
			out.fixed = append(out.fixed, [2]string{name, value})
		}
	}
	if h.NoSniff {
		add("X-Content-Type-Options", "nosniff")
	}
	add("Referrer-Policy", h.ReferrerPolicy)
	add("X-Frame-Options", h.FrameOptions)
	if c := h.CSP; c != nil {
		name := "Content-Security-Policy"
		if c.Report {
			name += "-Report-Only"
		}
		add(name, strings.Join(c.Directives, "; "))
	}
	if s := h.HSTS; s != nil {
		out.hsts = "max-age=" + strconv.Itoa(int(or(time.Duration(s.MaxAge), defaultHSTS).Seconds()))
		if s.Subdomains {
			out.hsts += "; includeSubDomains"
		}
		if s.Preload {
			out.hsts += "; preload"
		}
	}
	return out
}

// apply sets them; what the origin said of the same name is replaced.
func (s *siteHeaders) apply(h http.Header, secure bool, host string) {
	if s == nil {
		return
	}
	for _, f := range s.fixed {
		h[f[0]] = []string{f[1]}
	}
	if s.hsts != "" && secure && !plainHost(host) {
		h["Strict-Transport-Security"] = []string{s.hsts}
	}
	if s.cookies == nil {
		return
	}
	if list := h["Set-Cookie"]; len(list) > 0 {
		out := make([]string, len(list)) // the origin's slice may be shared
		for i, c := range list {
			out[i] = s.cookie(c, secure)
		}
		h["Set-Cookie"] = out
	}
}

// plainHost reports names for which HSTS means nothing or locks a developer
// out (RFC 6797 section 8.1.1).
func plainHost(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	_, err := netip.ParseAddr(host)
	return err == nil
}

// cookie adds the flags that a Set-Cookie lacks.
func (s *siteHeaders) cookie(c string, secure bool) string {
	has := map[string]bool{}
	for i, part := range strings.Split(c, ";") {
		if i > 0 {
			name, _, _ := strings.Cut(part, "=")
			has[strings.ToLower(strings.TrimSpace(name))] = true
		}
	}
	if s.cookies.Secure && secure && !has["secure"] {
		c += "; Secure"
	}
	if s.cookies.HTTPOnly && !has["httponly"] {
		c += "; HttpOnly"
	}
	if s.cookies.SameSite != "" && !has["samesite"] {
		c += "; SameSite=" + s.cookies.SameSite
	}
	return c
}
