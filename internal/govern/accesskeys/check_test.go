package accesskeys

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/api"
	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/clock"
	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/identity/sigv4"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/lab"
)

// loose are keys that somebody weakened: what they refuse may be taken.
type loose struct {
	*Keys
	take func(r *http.Request, err error) bool
}

func (l loose) Identify(r *http.Request, visitor identity.Actor, most int64) (identity.Actor, func() error, error) {
	who, still, err := l.Keys.Identify(r, visitor, most)
	if err != nil && l.take(r, err) {
		who, err = visitor, nil
		who.Principal = resource.Ref{Kind: "Service", Tenant: canary, Name: canaryService}
	}
	return who, still, err
}

// TestAWeakDoorTurnsTheCheckRed breaks the control in each way that the check is
// to see.
func TestAWeakDoorTurnsTheCheckRed(t *testing.T) {
	says := func(words string) func(*http.Request, error) bool {
		return func(_ *http.Request, err error) bool { return strings.Contains(err.Error(), words) }
	}
	var now *scene
	gone := func(id string) bool {
		return strings.HasPrefix(id, "AK") && len(id) > 3 && now.g.Holder("AccessKey", id) == nil
	}
	for what, tt := range map[string]struct {
		take  func(*http.Request, error) bool
		words string // of what is found; "" = the control holds
	}{
		"as it is":              {says("nothing"), ""},
		"everybody is taken":    {func(*http.Request, error) bool { return true }, "a wrong secret"},
		"an unsigned header":    {says("not in the form"), "a header that was not signed"},
		"a body that was not":   {says("not the one that was signed"), "another body"},
		"whenever it was dated": {says("is dated"), "older than 15 minutes"},
		"a write acts twice":    {says("was used"), "the same write again"},
		"any signature":         {says("stands behind"), "a wrong secret"},
		"what is forgotten late": {func(r *http.Request, _ error) bool {
			id, _, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential="), "/")
			return gone(id)
		}, "a deleted key"},
	} {
		c := newScene(t)
		now = c
		c.keys = New(Options{Gate: c.g, Secrets: c.secrets, Clock: clock.New(), Log: slog.New(slog.DiscardHandler)})
		c.keys.burnt = sigv4.NewBurnt(time.Now().Add(-time.Minute))
		log, err := events.Open(events.Options{Dir: filepath.Join(t.TempDir(), "events")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { log.Close() })
		s := httptest.NewServer(api.New(api.Options{Gate: c.g, Events: log, Secrets: c.secrets.Store, Keys: loose{c.keys, tt.take}, SignIn: lab.SignIn(t, c.g), Status: func() any { return nil }}))
		t.Cleanup(s.Close)
		check := Check(CheckEnv{Gate: c.g, Secrets: c.secrets.Store, Send: func(r *http.Request) (*http.Response, error) {
			r.Host = r.URL.Host // as it was signed
			r.URL.Scheme, r.URL.Host = "http", strings.TrimPrefix(s.URL, "http://")
			return http.DefaultClient.Do(r)
		}})
		registry, err := assurance.NewRegistry("n1", c.g.RecordCheck, time.Now, check)
		if err != nil {
			t.Fatal(err)
		}
		res, err := registry.Run(t.Context(), operator, "4.1-2")
		if err != nil {
			t.Fatal(err)
		}
		reason := ""
		if res.Reason != nil {
			reason = res.Reason.En
		}
		if want := map[bool]assurance.State{true: assurance.Proved, false: assurance.Failed}[tt.words == ""]; res.State != want || !strings.Contains(reason, tt.words) {
			t.Errorf("%s: %s %q\n%+v", what, res.State, reason, res.Evidence)
		}
		for _, name := range []string{"check-a", "check-b", "check-c"} {
			if _, err := c.g.Get(t.Context(), operator, keyRef(name)); err == nil {
				t.Errorf("%s: %s stays", what, name)
			}
		}
	}
}
