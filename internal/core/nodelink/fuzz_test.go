package nodelink

import (
	"bufio"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
)

// FuzzStream reads what a control plane may send; nothing of it may break the
// node, and what is taken never goes back.
func FuzzStream(f *testing.F) {
	for _, s := range []string{
		`{"v":1,"type":"synced","at":"a.5"}`,
		`{"v":1,"type":"put","at":"a.5","object":{"kind":"Lamp","version":1,"metadata":{"tenant":"acme","name":"x"},"spec":{}}}` + "\n" + `{"v":1,"type":"bookmark","at":"a.6"}`,
		`{"v":1,"type":"delete","at":"a.7","ref":{"kind":"Lamp","tenant":"acme","name":"x"}}` + "\n" + `{"v":1,"type":"bookmark","at":"a.7"}`,
		`{"v":1,"type":"error","error":{"code":"not_found","en":"gone","zh":"无"}}`,
		`{"v":1,"type":"gone"}`, `{"v":2}`, `{`, "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		reg, err := resource.NewRegistry()
		if err != nil {
			t.Fatal(err)
		}
		l := &Link{opt: Options{Registry: reg, Now: time.Now}, skipped: map[string]bool{}, floor: resource.Position{Epoch: "a", Revision: 5}}
		lines := bufio.NewScanner(strings.NewReader(text))
		lines.Buffer(nil, MaxLine)
		s := &stream{lines: lines, alive: time.NewTimer(time.Hour), fresh: true}
		defer s.alive.Stop()
		var last uint64
		for {
			b, err := s.next(l)
			if err != nil {
				return
			}
			if b.At.Epoch == "a" && b.At.Revision < max(last, 5) {
				t.Fatalf("it went back to %s", b.At)
			}
			if last = 0; b.At.Epoch == "a" {
				last = b.At.Revision
			}
		}
	})
}

func FuzzToken(f *testing.F) {
	s, _ := NewSecret()
	whole := TokenFile{URL: "https://10.0.0.1:7443", CA: HashOf(strings.Repeat("ab", 32)), Token: "t-abc", Secret: s}
	f.Add(whole.Text([]string{"edge"}, time.Unix(0, 0)))
	f.Add("url: https://u@h/\nca: x\ntoken: ../x\nsecret: y\n")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseToken([]byte(text))
		if err != nil {
			if strings.Contains(err.Error(), s) {
				t.Fatal("the error shows the secret")
			}
			return
		}
		again, err := ParseToken([]byte(got.Text([]string{"edge"}, time.Now())))
		if err != nil || again != got {
			t.Fatalf("%+v %+v %v", got, again, err)
		}
	})
}

func TestTokenFile(t *testing.T) {
	s, verifier := NewSecret()
	whole := TokenFile{URL: "https://10.0.0.1:7443", CA: HashOf(strings.Repeat("ab", 32)), Token: "t-abc", Secret: s}
	got, err := ParseToken([]byte(whole.Text([]string{"edge"}, time.Now())))
	if err != nil || got != whole {
		t.Fatalf("%+v %v", got, err)
	}
	if !Verify(s, verifier) || Verify(s+"x", verifier) || Verify("", verifier) {
		t.Error("the verifier is wrong")
	}
	for what, change := range map[string]func(*TokenFile){
		"http":      func(f *TokenFile) { f.URL = "http://10.0.0.1:7443" },
		"a user":    func(f *TokenFile) { f.URL = "https://me@10.0.0.1" },
		"a path":    func(f *TokenFile) { f.URL = "https://10.0.0.1/x" },
		"short CA":  func(f *TokenFile) { f.CA = "sha256:ab" },
		"no hash":   func(f *TokenFile) { f.CA = strings.Repeat("ab", 32) },
		"cut":       func(f *TokenFile) { f.Secret = f.Secret[:30] },
		"no prefix": func(f *TokenFile) { f.Secret = strings.TrimPrefix(f.Secret, secretPrefix) },
		"a name":    func(f *TokenFile) { f.Token = "../x" },
	} {
		bad := whole
		change(&bad)
		if _, err := ParseToken([]byte(bad.Text(nil, time.Now()))); err == nil {
			t.Errorf("%s: taken", what)
		} else if strings.Contains(err.Error(), s) {
			t.Errorf("%s: the error shows the secret: %v", what, err)
		}
	}
}
