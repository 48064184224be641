package agent

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/text"
)

// formsOverTLS is control 4.1-1: who asks the console in clear gets the way to
// HTTPS and nothing else, and HTTPS is TLS 1.2 or newer.
func formsOverTLS(door netip.AddrPort) assurance.Check {
	return assurance.Check{
		Control: "4.1-1", Scope: assurance.Production, Period: time.Hour,
		Title:    text.T("Forms and credentials travel over HTTPS only: in clear the console gives the way to HTTPS and nothing else", "表单和凭据只经 HTTPS 传输:明文访问控制台只会得到指向 HTTPS 的跳转"),
		Cost:     text.T("two requests in clear and two handshakes", "两个明文请求和两次握手"),
		Positive: seesForms, Probe: func(ctx context.Context, e *assurance.Evidence) error { return probeForms(ctx, door, e) },
	}
}

// seesForms shows that an answer with a form, a cookie or another way is seen.
func seesForms(context.Context) error {
	good := "HTTP/1.1 308 Permanent Redirect\r\nLocation: https://a/\r\nContent-Length: 0\r\n\r\n"
	if wrong := judgeClear([]byte(good)); wrong != "" {
		return fmt.Errorf("a good answer is taken for a bad one: %s", wrong)
	}
	for _, bad := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<form>", strings.Replace(good, "https:", "http:", 1), strings.Replace(good, "\r\n\r\n", "\r\nSet-Cookie: a=b\r\n\r\n", 1), "nonsense",
	} {
		if judgeClear([]byte(bad)) == "" {
			return fmt.Errorf("a bad answer is not seen: %q", bad)
		}
	}
	return nil
}

// judgeClear says what is wrong with an answer in clear; "" = nothing.
func judgeClear(b []byte) string {
	if len(b) == 0 {
		return "" // no answer is no form
	}
	r, err := http.ReadResponse(bufio.NewReader(strings.NewReader(string(b))), nil)
	if err != nil {
		return "the answer is not HTTP"
	}
	defer r.Body.Close()
	body, err := io.ReadAll(io.LimitReader(r.Body, 1))
	switch {
	case r.StatusCode != http.StatusPermanentRedirect || !strings.HasPrefix(r.Header.Get("Location"), "https://"):
		return "the answer is " + r.Status
	case len(body) > 0 || err != nil:
		return "the answer carries something"
	case len(r.Cookies()) > 0:
		return "the answer sets a cookie"
	}
	return ""
}

func probeForms(ctx context.Context, door netip.AddrPort, e *assurance.Evidence) error {
	if !door.IsValid() {
		return errors.New("the console has no door: listen.console is off")
	}
	var d net.Dialer
	for _, ask := range []string{"GET /enter?t=secret", "POST /enter"} {
		c, err := d.DialContext(ctx, "tcp", door.String())
		if err != nil {
			return fmt.Errorf("reach the console: %w", err)
		}
		err = c.SetDeadline(time.Now().Add(5 * time.Second))
		if err == nil {
			_, err = fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", ask, door)
		}
		var b []byte
		if err == nil {
			b, err = io.ReadAll(io.LimitReader(c, 64<<10)) // a reset after the answer is how such a door closes
		}
		c.Close()
		if len(b) == 0 && err != nil {
			return fmt.Errorf("ask in clear: %w", err)
		}
		first, _, _ := strings.Cut(string(b), "\r\n")
		e.Add("in clear", "%s: %s", ask, first)
		wrong := judgeClear(b)
		if strings.Contains(string(b), "secret") {
			wrong = "the answer repeats what may be a secret"
		}
		if wrong != "" {
			return assurance.NotHeld("in clear: %s", "明文访问:%s", wrong)
		}
	}
	for _, v := range []struct {
		version uint16
		want    bool
	}{{tls.VersionTLS11, false}, {tls.VersionTLS12, true}} {
		c, err := (&tls.Dialer{NetDialer: &d, Config: &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: v.version, InsecureSkipVerify: true}}).DialContext(ctx, "tcp", door.String())
		if err == nil {
			c.Close()
		}
		e.Add("handshake", "%s accepted: %v", tls.VersionName(v.version), err == nil)
		if (err == nil) != v.want {
			return assurance.NotHeld("%s is accepted: %v", "%s 被接受:%v", tls.VersionName(v.version), err == nil)
		}
	}
	return nil
}
