package agent

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/assurance"
)

// loginDoor is a console as somebody may have weakened it.
func loginDoor(t *testing.T, change func(net.Listener) net.Listener, page, cookie string, secure bool) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" && cookie != "" {
			w.Header().Set("Set-Cookie", cookie)
		}
		fmt.Fprint(w, page)
	}))
	s.Listener = change(s.Listener)
	if secure {
		s.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

func TestAWeakSignInTurnsTheCheckRed(t *testing.T) {
	const page = `<form class="card" method="post" action="/sign-in"><input name="password" type="password"></form>`
	without := func(s string) string { return strings.Replace(goodCookie, s, "", 1) }
	for what, tt := range map[string]struct {
		change       func(net.Listener) net.Listener
		page, cookie string
		secure       bool
		words        string
	}{
		"as it is":              {guarded, page, goodCookie, true, ""},
		"in clear":              {bare, page, goodCookie, false, "in clear: the answer is 200"},
		"not Secure":            {guarded, page, without("; Secure"), true, "not Secure"},
		"not HttpOnly":          {guarded, page, without("; HttpOnly"), true, "not HttpOnly"},
		"not SameSite":          {guarded, page, without("; SameSite=Strict"), true, "not SameSite"},
		"of every host":         {guarded, page, goodCookie + "; Domain=example.com", true, "not bound to this host"},
		"a form in clear":       {guarded, strings.Replace(page, `"/sign-in"`, `"http://a.example/sign-in"`, 1), goodCookie, true, "leads elsewhere"},
		"a password in a query": {guarded, strings.Replace(page, "post", "get", 1), goodCookie, true, "into an address"},
		"no form":               {guarded, "hello", goodCookie, true, "asks for no password"},
		"no cookie":             {guarded, page, "", true, "no cookie that could be judged"},
	} {
		door, _ := address(loginDoor(t, tt.change, tt.page, tt.cookie, tt.secure).Listener)
		c := loginOverTLS(door)
		if err := c.Positive(t.Context()); err != nil {
			t.Fatal(err)
		}
		var e assurance.Evidence
		err := c.Probe(context.Background(), &e)
		if (err == nil) != (tt.words == "") || err != nil && !strings.Contains(err.Error(), tt.words) {
			t.Errorf("%s: %v, want %q (%v)", what, err, tt.words, e)
		}
	}
}
