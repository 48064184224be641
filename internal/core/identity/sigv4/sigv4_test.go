package sigv4

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

// The published example get-vanilla.
func TestPublishedExample(t *testing.T) {
	r := &http.Request{Method: "GET", Host: "example.amazonaws.com", URL: &url.URL{Path: "/"}, Header: http.Header{"X-Amz-Date": {"20150830T123600Z"}}}
	c := &Claim{}
	if !c.claim(fields{
		credential: "AKIDEXAMPLE/20150830/us-east-1/service/aws4_request", signed: "host;x-amz-date", date: "20150830T123600Z",
		signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
	}) {
		t.Fatal("the fields are refused")
	}
	c.canonical = sha256.Sum256([]byte(canonical(r, "/", nil, c.signed, emptyHash)))
	if !c.Verify([]byte(secret)) || c.Verify([]byte(secret+"x")) {
		t.Fatal("the signature")
	}
}

// signedByCurl lets curl sign a request and returns it as it arrived.
func signedByCurl(t *testing.T, path string, args ...string) *http.Request {
	t.Helper()
	var got *http.Request
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Clone(t.Context()) }))
	defer s.Close()
	args = append([]string{"-sS", "--max-time", "20", "--aws-sigv4", "aws:amz:local:dun", "--user", "AKEXAMPLE:" + secret}, args...)
	if out, err := exec.Command("curl", append(args, s.URL+path)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return got
}

func accepted(r *http.Request) bool {
	c, err := Parse(r)
	return err == nil && c.KeyID == "AKEXAMPLE" && c.Verify([]byte(secret)) // another id is another secret
}

func TestCurlIsAcceptedAndEachChangeRefused(t *testing.T) {
	body := sha256.Sum256([]byte(`{"a":1}`))
	r := signedByCurl(t, "/api/v1/acme/sites/shop?dry=1", "-X", "PUT", "--data-binary", `{"a":1}`,
		"-H", "Content-Type: application/json", "-H", "Dun-Reason: why", "-H", "X-Amz-Content-Sha256: "+hex.EncodeToString(body[:]))
	if c, err := Parse(r); err != nil || !c.Verify([]byte(secret)) || c.KeyID != "AKEXAMPLE" || c.Payload != body {
		t.Fatalf("curl is refused: %v %+v", err, r.Header)
	}
	for name, change := range map[string]func(*http.Request){
		"method":           func(r *http.Request) { r.Method = "POST" },
		"path":             func(r *http.Request) { r.URL.Path += "s" },
		"encoded path":     func(r *http.Request) { r.URL.RawPath = strings.Replace(r.URL.Path, "shop", "%73hop", 1) },
		"query":            func(r *http.Request) { r.URL.RawQuery = "dry=0" },
		"one more query":   func(r *http.Request) { r.URL.RawQuery += "&x=1" },
		"host":             func(r *http.Request) { r.Host = "other" },
		"payload":          func(r *http.Request) { r.Header.Set(contentHash, strings.Repeat("0", 64)) },
		"unsigned payload": func(r *http.Request) { r.Header.Set(contentHash, "UNSIGNED-PAYLOAD") },
		"no payload hash":  func(r *http.Request) { r.Header.Del(contentHash) },
		"reason":           func(r *http.Request) { r.Header.Set("Dun-Reason", "other") },
		"reason doubled":   func(r *http.Request) { r.Header.Add("Dun-Reason", "why") },
		"unsigned header":  func(r *http.Request) { r.Header.Set("Idempotency-Key", "k") },
		"date":             func(r *http.Request) { r.Header.Set("X-Amz-Date", "20150830T123600Z") },
		"also by query":    func(r *http.Request) { r.URL.RawQuery += "&X-Amz-Algorithm=" + algorithm },
		"doubled proof":    func(r *http.Request) { r.Header.Add("Authorization", r.Header.Get("Authorization")) },
	} {
		bad := r.Clone(t.Context())
		change(bad)
		if accepted(bad) {
			t.Errorf("%s: accepted", name)
		}
	}
	auth := r.Header.Get("Authorization")
	for i := range auth {
		for _, flip := range []byte{1, 0x20} {
			bad := r.Clone(t.Context())
			b := []byte(auth)
			b[i] ^= flip
			if bad.Header.Set("Authorization", string(b)); accepted(bad) && b[i] != ' ' {
				t.Errorf("byte %d (%q) may be %q", i, auth[i], b[i])
			}
		}
	}
}

// What Sign signs is what botocore signs, and what Parse takes.
func TestSignSaysWhatBotocoreSays(t *testing.T) {
	for _, r := range signedByBotocore(t,
		toSign{Method: "GET", Path: "/api/v1/acme/sites?a=b%2Cc&limit=5", Secret: secret},
		toSign{Method: "PUT", Path: "/a", Body: "{}", Secret: secret, Headers: map[string]string{"Content-Type": "application/json", "Dun-Reason": "why"}}) {
		at, err := time.Parse(stampForm, r.Header.Get("X-Amz-Date"))
		if err != nil {
			t.Fatal(err)
		}
		body := map[string]string{"GET": "", "PUT": "{}"}[r.Method]
		mine := r.Clone(t.Context())
		mine.Header.Del("Authorization")
		if err := Sign(mine, "AKEXAMPLE", []byte(secret), []byte(body), at); err != nil {
			t.Fatal(err)
		}
		if got, want := mine.Header.Get("Authorization"), r.Header.Get("Authorization"); got != want || !accepted(mine) {
			t.Errorf("signed\n%s, botocore\n%s", got, want)
		}
	}
}

func TestDatesAndUsedSignatures(t *testing.T) {
	start := time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)
	now := start.Add(time.Hour)
	for off, want := range map[time.Duration][2]bool{0: {true, true}, -Skew: {true, true}, -Skew - time.Second: {}, Skew: {true, false}, Skew + time.Second: {}, Ahead: {true, true}, Ahead + time.Second: {true, false}} {
		c := &Claim{Date: now.Add(off)}
		if (c.Fresh(now, false) == nil) != want[0] || (c.Fresh(now, true) == nil) != want[1] {
			t.Errorf("%s off: want read, write %v", off, want)
		}
	}
	b := NewBurnt(start)
	b.most, b.each = 6, 2
	claim := func(key string, n byte) *Claim { return &Claim{KeyID: key, Date: now, signature: [32]byte{n}} }
	late := func(n byte) *Claim { return &Claim{KeyID: "a", Date: now.Add(Skew), signature: [32]byte{n}} }
	for i, step := range []struct {
		c      *Claim
		tenant string
		at     time.Time
		ok     bool
	}{
		{claim("a", 1), "acme", now, true},
		{claim("a", 1), "acme", now, false}, // used
		{claim("a", 2), "acme", now, true},
		{claim("a", 3), "acme", now, false}, // full for this key
		{claim("b", 4), "acme", now, true},
		{claim("c", 5), "acme", now, false}, // full for this tenant: as many are free
		{claim("d", 6), "beta", now, true},  // and another finds room
		{claim("d", 7), "beta", now, true},
		{claim("e", 8), "beta", now, false},
		{claim("f", 9), "new", now, true},
		{claim("a", 1), "acme", now.Add(Skew), false},
		{late(3), "acme", now.Add(Skew + time.Minute), true},            // room again
		{claim("a", 1), "acme", now.Add(Skew + time.Minute), false},     // forgotten, but as old as that
		{claim("a", 1), "acme", now.Add(-time.Minute), false},           // also where the clock went back
		{&Claim{KeyID: "d", Date: start.Add(Ahead)}, "x", start, false}, // before the start
	} {
		if err := b.Burn(step.c, step.tenant, step.at); (err == nil) != step.ok {
			t.Errorf("step %d: %v, want %v", i, err, step.ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("/api/v1/a", "a=b", algorithm+" Credential=A/20150830/local/dun/aws4_request, SignedHeaders=host;x-amz-date, Signature="+emptyHash, "20150830T123600Z")
	f.Fuzz(func(t *testing.T, path, query, auth, date string) {
		r := &http.Request{Method: "GET", Host: "h", URL: &url.URL{Path: path, RawQuery: query}, Header: http.Header{"Authorization": {auth}, "X-Amz-Date": {date}}}
		if c, err := Parse(r); err == nil && (c.KeyID == "" || c.Verify([]byte(secret))) {
			t.Fatal("accepted what nobody signed")
		}
	})
}

// BenchmarkVerify is a whole request that is read and verified, without a key
// that is kept for the day.
func BenchmarkVerify(b *testing.B) {
	r := httptest.NewRequest("GET", "https://dun.test/api/v1/acme/sites?labels=&limit=5", nil)
	if err := Sign(r, "AKEXAMPLE", []byte(secret), nil, time.Now()); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !accepted(r) {
			b.Fatal("refused")
		}
	}
}
