package challenges

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestAnAnswerIsGivenForItsTenantHostAndTime(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := New(func() time.Time { return now })
	cert := new(tls.Certificate)
	if err := s.PutHTTP("acme", "a.example", "tok_-1", "answer"); err != nil {
		t.Fatal(err)
	}
	if err := s.PutTLS("acme", "a.example", cert); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		tenant, host, path string
		want               bool
	}{
		{"acme", "a.example", PathPrefix + "tok_-1", true}, {"beta", "a.example", PathPrefix + "tok_-1", false}, {"acme", "b.example", PathPrefix + "tok_-1", false},
		{"acme", "a.example", PathPrefix + "other", false}, {"acme", "a.example", PathPrefix, false}, {"acme", "a.example", "/", false},
	} {
		if got, ok := s.HTTP(tt.tenant, tt.host, tt.path); ok != tt.want || ok && got != "answer" {
			t.Errorf("%+v: %q %v", tt, got, ok)
		}
	}
	if s.TLS("acme", "a.example") != cert || s.TLS("beta", "a.example") != nil || s.TLS("acme", "b.example") != nil {
		t.Error("the TLS challenge is given to others")
	}
	s.Take("acme", "a.example", "")
	if s.TLS("acme", "a.example") != nil {
		t.Error("taken back, and still shown")
	}
	now = now.Add(Lifetime + time.Second)
	if _, ok := s.HTTP("acme", "a.example", PathPrefix+"tok_-1"); ok {
		t.Error("it is answered for ever")
	}
}

func TestWhatNoAuthoritySendsIsRefused(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := New(func() time.Time { return now })
	for _, token := range []string{"", "../../x", "a b", "a/b", "é", strings.Repeat("a", 257)} {
		if err := s.PutHTTP("acme", "a.example", token, "x"); err == nil {
			t.Errorf("token %q", token)
		}
	}
	if err := s.PutHTTP("acme", "a.example", "a", strings.Repeat("x", MaxAnswer+1)); err == nil {
		t.Error("an endless answer")
	}
	for i := range MaxPending {
		if err := s.PutHTTP("acme", "a.example", fmt.Sprint(i), "x"); err != nil {
			t.Fatal(i, err)
		}
	}
	if err := s.PutHTTP("acme", "a.example", "more", "x"); err == nil {
		t.Error("no bound")
	}
	now = now.Add(Lifetime + time.Second)
	if err := s.PutHTTP("acme", "a.example", "more", "x"); err != nil {
		t.Error("what is over takes room:", err)
	}
}
