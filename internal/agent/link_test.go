package agent

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/govern/dayzero"
)

const linkBase = "https://127.0.0.1:7443"

func tokenOf(t *testing.T, link string) string {
	t.Helper()
	u, err := url.Parse(link)
	if err != nil || u.Query().Get("t") == "" {
		t.Fatalf("%q: %v", link, err)
	}
	return u.Query().Get("t")
}

func TestALinkIsBurntOnce(t *testing.T) {
	now := time.Now()
	path := filepath.Join(t.TempDir(), "bootstrap", "link")
	open := func() *link {
		l, err := openLink(path, dayzero.Operator, func() time.Time { return now })
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	refused := func(l *link, what, token string) {
		t.Helper()
		if _, err := l.Burn(token); !fault.Is(err, fault.Unauthenticated) || err.Error() != linkRefused().Error() {
			t.Errorf("%s: %v", what, err)
		}
	}
	l := open()
	refused(l, "before there is one", "")
	s, err := l.Make(linkBase)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", st.Mode(), err)
	}
	token := tokenOf(t, s)
	head, _, _ := strings.Cut(token, ".")
	refused(l, "wrong", token[:len(token)-1]+"a"+"a")
	refused(l, "with a later end", strings.Replace(token, head, "zzzzzzzz", 1))

	l = open() // a restart keeps what is unburnt, also on another port
	moved, err := l.Show("https://127.0.0.1:9999")
	if err != nil || !strings.HasPrefix(moved, "https://127.0.0.1:9999/enter?t=") || tokenOf(t, moved) != token {
		t.Fatalf("%q %v", moved, err)
	}
	if who, err := l.Burn(token); err != nil || who != dayzero.Operator {
		t.Fatalf("%v %v", who, err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the file is still there: %v", err)
	}
	refused(l, "burnt", token)
	refused(open(), "burnt before the restart", token)
	if s, err := l.Show(linkBase); s != "" || err != nil {
		t.Errorf("%q %v", s, err)
	}
}

func TestALinkEnds(t *testing.T) {
	now := time.Now()
	path := filepath.Join(t.TempDir(), "link")
	l, err := openLink(path, dayzero.Operator, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	make := func() string {
		s, err := l.Make(linkBase)
		if err != nil {
			t.Fatal(err)
		}
		return tokenOf(t, s)
	}
	old := make()
	if _, err := l.Burn(old + "x"); err == nil {
		t.Error("a longer token was taken")
	}
	current := make()
	if _, err := l.Burn(old); err == nil {
		t.Error("the old link works beside the new one")
	}
	now = now.Add(linkLife)
	if _, err := l.Burn(current); err == nil {
		t.Error("an expired link works")
	}
	if s, _ := l.Show(linkBase); s != "" {
		t.Errorf("an expired link is shown: %s", s)
	}
	current = make()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Burn(current); err == nil {
		t.Error("a link whose file was taken away works")
	}
	current = make()
	var all sync.WaitGroup
	var mu sync.Mutex
	in := 0
	for range 16 {
		all.Go(func() {
			if _, err := l.Burn(current); err == nil {
				mu.Lock()
				in++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if in != 1 {
		t.Errorf("%d entered by one link", in)
	}
}

func TestADamagedLinkIsNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "link")
	for _, s := range []string{"", "\x00", "https://x/enter?t=", "https://x/enter?t=zz.short", "%zz", strings.Repeat("x", 1<<16)} {
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := openLink(path, dayzero.Operator, time.Now)
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		if _, err := l.Burn(""); err == nil {
			t.Errorf("%q let somebody in", s)
		}
	}
}
