package certificates

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/dun-sec/dun/internal/core/dial"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/secret"
	"github.com/dun-sec/dun/internal/kinds/edge"
	"github.com/dun-sec/dun/internal/lab"
)

// A real authority issues anew when two thirds of the life are over; what was
// before goes, and the account stays.
func TestACertificateIsRenewedWhenTwoThirdsOfItsLifeAreOver(t *testing.T) {
	s := newScene(t)
	s.orders(&dial.Dialer{})
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.Host)
		answer, ok := s.opt.Challenges.HTTP("platform", host, r.URL.Path)
		if !ok {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(door.Close)
	p := lab.StartPebble(t, lab.Build(t, "github.com/letsencrypt/pebble/v2/cmd/pebble"), door.Listener.Addr().(*net.TCPAddr).Port, 0)
	s.put(wants("platform", p.Directory, p.CAPEM))
	s.start()
	first := s.condition("shop", edge.CertificateReady)
	secrets := func() (keys, accounts []secret.Owned) {
		t.Helper()
		keys, err := s.secrets.Owned(t.Context(), "Certificate")
		if err != nil {
			t.Fatal(err)
		}
		if accounts, err = s.secrets.Owned(t.Context(), "Tenant"); err != nil {
			t.Fatal(err)
		}
		return keys, accounts
	}
	keys, accounts := secrets()
	if len(keys) != 1 || len(accounts) != 1 || accounts[0].Owner != tenantRef("platform") {
		t.Fatalf("%+v %+v", keys, accounts)
	}
	s.days(59)
	if c := s.condition("shop", edge.CertificateReady); c.Fingerprint != first.Fingerprint {
		t.Error("renewed before two thirds of its life")
	}
	s.end() // a restart in between forgets nothing
	s.start()
	s.days(2)
	s.until("shop", "the next one", func(c *edge.CertificateStatus) bool { return c.Fingerprint != first.Fingerprint && c.Failures == 0 })
	s.end()
	if k, a := secrets(); len(k) != 1 || k[0].Ref == keys[0].Ref || len(a) != 1 || a[0] != accounts[0] {
		t.Errorf("keys %+v, accounts %+v; had %+v and %+v", k, a, keys, accounts)
	}
	v, err := s.secrets.OpenOf(context.Background(), identity.Service("test"), accounts[0].Owner, accounts[0].Ref, accounts[0].Purpose)
	if err != nil || len(v.Reveal()) == 0 {
		t.Error(err)
	}
	for _, e := range s.states() {
		t.Errorf("told %q of a certificate that renews itself", e)
	}
}
