package browser

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/dun-sec/dun/internal/lab"
)

// Eyes is one browser window.
type Eyes struct {
	Context context.Context // of chromedp

	t     *testing.T
	cell  *lab.Cell
	shots string

	mu       sync.Mutex
	messages []string
}

// Open starts chromium; shots is the folder for pictures, "" = a temporary one.
// It trusts the one key that the cell showed to a client who checked it against
// the cell's authority.
func Open(t *testing.T, cell *lab.Cell, shots string) *Eyes {
	t.Helper()
	res, err := cell.API.Get(cell.Profile.Server + "/enter")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	key := sha256.Sum256(res.TLS.PeerCertificates[0].RawSubjectPublicKeyInfo)
	return open(t, cell, shots, chromedp.Flag("ignore-certificate-errors-spki-list", base64.StdEncoding.EncodeToString(key[:])))
}

// OpenAt is Open for a person whose home is given and who reaches this machine
// under a name; the browser trusts what it finds there, and nothing else.
func OpenAt(t *testing.T, cell *lab.Cell, shots, home, name string) *Eyes {
	t.Helper()
	return open(t, cell, shots, chromedp.Env("HOME="+home), chromedp.Flag("host-resolver-rules", "MAP "+name+" 127.0.0.1"))
}

func open(t *testing.T, cell *lab.Cell, shots string, more ...chromedp.ExecAllocatorOption) *Eyes {
	t.Helper()
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath("chromium"), chromedp.NoSandbox,
		chromedp.Flag("user-data-dir", t.TempDir()), chromedp.Flag("disable-background-networking", true))
	opts = append(opts, more...)
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(cancel)
	ctx, stop := context.WithTimeout(ctx, 8*lab.Wait)
	t.Cleanup(stop)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	e := &Eyes{t: t, Context: ctx, cell: cell, shots: shots}
	if e.shots == "" {
		e.shots = t.TempDir()
	}
	messages := chromedp.Console(ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			if t := fmt.Sprint(m.Type); t == "debug" || t == "verbose" {
				continue // advice of chromium's own, which comes when it likes
			}
			e.mu.Lock()
			e.messages = append(e.messages, fmt.Sprintf("%s %s %s", m.Type, m.Text, m.URL))
			e.mu.Unlock()
		}
	}()
	return e
}

// Do carries out steps.
func (e *Eyes) Do(what string, steps ...chromedp.Action[chromedp.Void]) {
	e.t.Helper()
	if err := chromedp.Do(e.Context, steps...); err != nil {
		e.t.Fatalf("%s: %v\n%s", what, err, e.HTML())
	}
}

// Until waits until the page's script says that it is so. A page that is just
// being left answers with an error: the next one is asked again.
func (e *Eyes) Until(what, script string) {
	e.t.Helper()
	late := time.NewTimer(lab.Wait)
	defer late.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		yes, err := chromedp.Run(e.Context, chromedp.Evaluate[bool](script))
		if err == nil && yes {
			return
		}
		select {
		case <-late.C:
			e.t.Fatalf("%s: %v\n%s\n%v", what, err, e.HTML(), e.Said())
		case <-tick.C:
		}
	}
}

// HTML is the page as it stands.
func (e *Eyes) HTML() string {
	s, err := chromedp.Run(e.Context, chromedp.OuterHTML(chromedp.CSS("html")))
	if err != nil {
		return err.Error()
	}
	return s
}

// Said is what the browser's console said.
func (e *Eyes) Said() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.messages...)
}

// Shoot keeps a picture, and fails where the page is wider than the window.
func (e *Eyes) Shoot(name string, width int64, scheme string) {
	e.t.Helper()
	e.Do("resize", chromedp.EmulateViewport(width, 900), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		return err
	}))
	e.Until("layout of "+name, fmt.Sprintf("window.innerWidth === %d", width))
	if wide, err := chromedp.Run(e.Context, chromedp.Evaluate[int](`document.documentElement.scrollWidth`)); err != nil || int64(wide) > width {
		e.t.Errorf("%s: the page is %d wide in a window of %d: %v", name, wide, width, err)
	}
	b, err := chromedp.Run(e.Context, chromedp.FullScreenshot(100))
	if err != nil {
		e.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(e.shots, name+".png"), b, 0o600); err != nil {
		e.t.Fatal(err)
	}
}

// EveryLook keeps a picture wide and narrow, light and dark.
func (e *Eyes) EveryLook(name string) {
	e.t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		e.Shoot(name+"-wide-"+scheme, 1280, scheme)
		e.Shoot(name+"-narrow-"+scheme, 390, scheme)
	}
	e.Shoot(name+"-wide-light", 1280, "light")
}
