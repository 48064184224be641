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
	"regexp"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/text"
)

// loginOverTLS is control 8.5-2: who signs in does so over HTTPS, and every
// cookie that the console gives stays there. It stands beside 4.1-1, since the
// door is the same.
func loginOverTLS(door netip.AddrPort) assurance.Check {
	return assurance.Check{
		Control: "8.5-2", Scope: assurance.Production, Period: time.Hour,
		Title:    text.T("Signing in is HTTPS by default: no password is taken in clear, the form leads nowhere else, and every cookie is Secure, HttpOnly and SameSite", "登录默认使用 HTTPS:明文不接受密码,表单不指向他处,所有 Cookie 均为 Secure、HttpOnly 和 SameSite"),
		Cost:     text.T("one request in clear and three over TLS", "一个明文请求和三个 TLS 请求"),
		Positive: seesLogin, Probe: func(ctx context.Context, e *assurance.Evidence) error { return probeLogin(ctx, door, e) },
	}
}

const goodCookie = "__Host-a=b; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=Strict"

// seesLogin shows that a cookie without its guards, and a form that leads
// elsewhere, are seen.
func seesLogin(context.Context) error {
	judge := func(line string) string {
		c, err := http.ParseSetCookie(line)
		if err != nil {
			return err.Error()
		}
		return judgeCookie(c)
	}
	if wrong := judge(goodCookie); wrong != "" {
		return fmt.Errorf("a good cookie is taken for a bad one: %s", wrong)
	}
	for _, bad := range []string{
		strings.Replace(goodCookie, "; Secure", "", 1), strings.Replace(goodCookie, "; HttpOnly", "", 1), strings.Replace(goodCookie, "; SameSite=Strict", "", 1),
		strings.Replace(goodCookie, "Strict", "None", 1), strings.Replace(goodCookie, "__Host-", "", 1), goodCookie + "; Domain=example.com",
	} {
		if judge(bad) == "" {
			return fmt.Errorf("a bad cookie is not seen: %s", bad)
		}
	}
	for _, bad := range []string{`<form method="post" action="http://a/sign-in"><input name="password">`, `<form method="get" action="/sign-in"><input name="password">`, `<form action="//evil.example/"><input name="password">`, `<p>`} {
		if judgeForms(bad) == "" {
			return fmt.Errorf("a bad form is not seen: %s", bad)
		}
	}
	return nil
}

// judgeCookie says what is wrong with a cookie that the console gives; "" =
// nothing.
func judgeCookie(c *http.Cookie) string {
	switch {
	case !c.Secure:
		return c.Name + " is not Secure"
	case !c.HttpOnly:
		return c.Name + " is not HttpOnly"
	case c.SameSite != http.SameSiteStrictMode && c.SameSite != http.SameSiteLaxMode:
		return c.Name + " is not SameSite"
	case !strings.HasPrefix(c.Name, "__Host-") || c.Domain != "" || c.Path != "/":
		return c.Name + " is not bound to this host (__Host-)"
	}
	return ""
}

var (
	formTag    = regexp.MustCompile(`(?i)<form\b[^>]*>`)
	formAction = regexp.MustCompile(`(?i)\baction="([^"]*)"`)
	formPost   = regexp.MustCompile(`(?i)\bmethod="post"`)
)

// judgeForms says what is wrong with the page where people sign in: each form
// sends to this door alone, and not in an address.
func judgeForms(page string) string {
	if !strings.Contains(page, `name="password"`) {
		return "the page asks for no password"
	}
	for _, tag := range formTag.FindAllString(page, -1) {
		to := formAction.FindStringSubmatch(tag)
		switch {
		case to == nil || !strings.HasPrefix(to[1], "/") || strings.HasPrefix(to[1], "//"):
			return "a form leads elsewhere"
		case !formPost.MatchString(tag):
			return "a form puts what was typed into an address"
		}
	}
	return ""
}

func probeLogin(ctx context.Context, door netip.AddrPort, e *assurance.Evidence) error {
	if !door.IsValid() {
		return errors.New("the console has no door: listen.console is off")
	}
	const typed = "name=dun-check&password=dun-check-canary"
	clear, err := ask(ctx, new(net.Dialer).DialContext, door, "POST", "/sign-in", typed)
	if err != nil {
		return fmt.Errorf("ask in clear: %w", err)
	}
	first, _, _ := strings.Cut(string(clear), "\r\n")
	e.Add("in clear", "POST /sign-in: %s", first)
	if wrong := judgeClear(clear); wrong != "" {
		return assurance.NotHeld("in clear: %s", "明文访问:%s", wrong)
	}
	secure := &tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}} // the door is judged, not its name
	cookies := 0
	for _, r := range []struct{ method, path, body string }{{"GET", "/", ""}, {"POST", "/language", "lang=en"}, {"POST", "/leave", ""}} {
		b, err := ask(ctx, secure.DialContext, door, r.method, r.path, r.body)
		if err != nil {
			return fmt.Errorf("ask over TLS: %w", err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(string(b))), nil)
		if err != nil {
			return fmt.Errorf("ask over TLS: %w", err)
		}
		page, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return fmt.Errorf("ask over TLS: %w", err)
		}
		for _, c := range resp.Cookies() {
			cookies++
			e.Add("cookie", "%s of %s %s: Secure=%v HttpOnly=%v SameSite=%v", c.Name, r.method, r.path, c.Secure, c.HttpOnly, c.SameSite == http.SameSiteStrictMode || c.SameSite == http.SameSiteLaxMode)
			if wrong := judgeCookie(c); wrong != "" {
				return assurance.NotHeld("a cookie: %s", "Cookie:%s", wrong)
			}
		}
		if r.path == "/" {
			e.Add("sign-in page", "%s, %d forms", resp.Status, len(formTag.FindAll(page, -1)))
			if wrong := judgeForms(string(page)); wrong != "" {
				return assurance.NotHeld("the sign-in page: %s", "登录页面:%s", wrong)
			}
		}
	}
	if cookies < 2 {
		return errors.New("the console gave no cookie that could be judged")
	}
	return nil
}

// ask sends one request of HTTP/1.1 and returns the bytes of the answer.
func ask(ctx context.Context, dial func(ctx context.Context, network, addr string) (net.Conn, error), door netip.AddrPort, method, path, body string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := dial(ctx, "tcp", door.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", method, path, door, len(body), body); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(c, 256<<10))
	if len(b) == 0 && err != nil {
		return nil, err
	}
	return b, nil // a reset after the answer is how a door in clear closes
}
