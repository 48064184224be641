package password

import (
	"context"
	"crypto/sha1"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dun-sec/dun/internal/core/fault"
)

func TestWhatIsStoredVerifiesThePasswordAndNothingElse(t *testing.T) {
	h := NewHasher()
	stored, err := h.Hash(t.Context(), "four words that fit")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(stored, "$argon2id$v=19$m=65536,t=3,p=4$") {
		t.Errorf("%s", stored)
	}
	again, _ := h.Hash(t.Context(), "four words that fit")
	if again == stored {
		t.Error("two hashes share a salt")
	}
	for p, want := range map[string]bool{"four words that fit": true, "four words that fiT": false, "": false} {
		if ok, err := h.Verify(t.Context(), stored, p, false); ok != want || err != nil {
			t.Errorf("%q: %v %v", p, ok, err)
		}
	}
	if ok, err := h.Verify(t.Context(), "", "", true); ok || err != nil {
		t.Errorf("nobody's password is right: %v %v", ok, err)
	}
	for _, bad := range []string{"x", "$argon2id$v=19$m=9999999,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "$argon2id$v=19$m=65536,t=3,p=4$$", "$argon2i$v=19$m=65536,t=3,p=4$AAAAAAAAAAA$AAAA"} {
		if _, err := h.Verify(t.Context(), bad, "x", false); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

// TestHashingIsBounded fills every place: the next ones wait, one too many is
// told to come back, and who is known still gets in.
func TestHashingIsBounded(t *testing.T) {
	h := NewHasher()
	for range placesAll {
		if err := h.all.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var gone sync.WaitGroup
	var refused atomic.Int32
	for range 3 * waiting {
		gone.Go(func() {
			if _, err := h.Verify(ctx, "", "x", false); fault.Is(err, fault.Exhausted) {
				refused.Add(1)
			}
		})
	}
	for refused.Load() < 2*waiting {
	}
	if ok, err := h.Verify(t.Context(), "", "x", true); ok || err != nil {
		t.Errorf("who is known: %v %v", ok, err)
	}
	cancel()
	gone.Wait()
	if n := len(h.all.queue); n != placesAll {
		t.Errorf("%d stand in the queue", n)
	}
}

func TestPrepareKeepsOneForm(t *testing.T) {
	one, err := Prepare("caf\u0065\u0301 und ein\u00a0Wort")
	if err != nil {
		t.Fatal(err)
	}
	if two, _ := Prepare("caf\u00e9 und ein Wort"); one != two {
		t.Errorf("%q %q", one, two)
	}
	for _, bad := range []string{"", "a\x00b", "a\u200b\nb", strings.Repeat("a", MaxBytes+1)} {
		if _, err := Prepare(bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}

func TestAWeakPasswordIsRefused(t *testing.T) {
	j, err := NewJudge("")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"short1!", "passwordpassword", "Password2024!", "qwertyuiop12", "aaaaaaaaaaaaaaaa", "operator-platform", "1234567890123", "Unbelievable99!!", strings.Repeat("ab", 200)} {
		if err := j.Check(bad, "operator", "platform"); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, good := range []string{"correct horse battery staple", "盾牌守护着我们的边界与家园", "kQ7!vR2#zP9x", "tangerine-oboe-42-plinth"} {
		if err := j.Check(good, "operator", "platform"); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
}

func TestTheOperatorsListIsSearchedWhereItLies(t *testing.T) {
	var lines []string
	var leaked []string
	for i := range 3000 {
		p := fmt.Sprintf("tangerine-oboe-%d-plinth", i)
		leaked = append(leaked, p)
		lines = append(lines, fmt.Sprintf("%X:%d", sha1.Sum([]byte(p)), i*i))
	}
	slices.Sort(lines)
	file := filepath.Join(t.TempDir(), "list")
	for _, end := range []string{"\n", "\r\n"} {
		if err := os.WriteFile(file, []byte(strings.Join(lines, end)), 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := NewJudge(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range leaked {
			if err := j.Check(p); !fault.Is(err, fault.Invalid) {
				t.Fatalf("%q: %v", p, err)
			}
		}
		if err := j.Check("tangerine-oboe-3001-plinth"); err != nil {
			t.Error(err)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := os.WriteFile(file, []byte(strings.Repeat("no hashes here ", 99)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewJudge(file); !fault.Is(err, fault.Invalid) {
		t.Errorf("another file: %v", err)
	}
	if _, err := NewJudge(file + "x"); !fault.Is(err, fault.Invalid) {
		t.Errorf("none: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("$argon2id$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := parse(s); err == nil && (p.memory > 4*memory || p.passes > 4*passes || len(p.key) > 64) {
			t.Errorf("%q costs %+v", s, p)
		}
	})
}
