package browser_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/lab"
	"github.com/dun-sec/dun/internal/lab/browser"
)

// run is a command that must not fail.
func run(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
}

// wire makes dv0, which the cell filters, and its other end in a named network
// namespace, where drills send from.
func wire(t *testing.T) {
	t.Helper()
	ns := fmt.Sprintf("dunflood%d", os.Getpid())
	run(t, "ip", "netns", "add", ns)
	t.Cleanup(func() { run(t, "ip", "netns", "del", ns) })
	run(t, "ip", "link", "add", "dv0", "type", "veth", "peer", "name", "dv1", "netns", ns)
	run(t, "ip", "addr", "add", "198.51.100.7/24", "dev", "dv0")
	run(t, "ip", "link", "set", "dv0", "up")
	run(t, "ip", "-n", ns, "addr", "add", "198.51.100.9/24", "dev", "dv1")
	run(t, "ip", "-n", ns, "link", "set", "dv1", "up")
}

// A person watches a real flood come and go: the first page names the address,
// its page draws it, and the attack is a record with the packets of it.
func TestAPersonWatchesAFlood(t *testing.T) {
	if !lab.Alone(t) {
		return
	}
	wire(t)
	dir := filepath.Join(t.TempDir(), "d")
	sum := sha256.Sum256([]byte(dir))
	pins := filepath.Join("/sys/fs/bpf", "dun-"+hex.EncodeToString(sum[:6])) // global to the machine
	t.Cleanup(func() {
		if err := os.RemoveAll(pins); err != nil {
			t.Error(err)
		}
	})
	cell := lab.Up(t, lab.Build(t, "github.com/dun-sec/dun/cmd/dun"), dir, "scrub: {interfaces: [dv0]}")
	if _, err := os.Stat(pins); err != nil {
		t.Errorf("the filter is pinned elsewhere: %v", err)
	}
	e := browser.Open(t, cell, *shots)
	e.Enter()
	apply(t, cell, "kind: ProtectedAddress\nmetadata: {tenant: platform, name: shop}\nspec:\n  prefix: 198.51.100.7\n  services: [{protocol: tcp, ports: \"80\"}]\n")
	const page = "/records/protectedaddresses/platform/shop"
	e.Until("the draft of thresholds", `fetch("`+page+`").then((r) => r.text()).then((t) => window.page = t), (window.page || "").includes('class="thresholds"')`)
	e.Do("the record", chromedp.Navigate(cell.Profile.Server+page))
	e.Judge("record")
	e.Shoot("protected-wide-light", 1280, "light")
	e.Do("its traffic", chromedp.Click(chromedp.CSS(`nav.tabs a[href="`+page+`/traffic"]`)))
	e.Until("the page of the traffic", `document.querySelector("#flood-whole canvas") !== null`)
	e.Judge("quiet")
	e.EveryLook("traffic-quiet")

	drill := func(vector string) chan string {
		done := make(chan string, 1)
		go func() {
			out, exit := cell.Dun("drill", "ddos", "--vector", vector, "--seconds", "8", "--rate", "30000", "-o", "json")
			t.Log("drill:", exit, out)
			done <- fmt.Sprint(exit, " ", out)
		}()
		return done
	}
	done := drill("syn")
	e.Until("the flood by itself", `document.querySelector("#flood-state").textContent.trim() === "under attack"`)
	e.Until("its lines", `document.querySelector("#flood-vectors canvas") !== null && document.querySelector("#flood-whole").dataset.points.split(";")[0].split(",").some((n) => n > 10000)`)
	e.Judge("flood")
	e.Do("the first page", chromedp.Navigate(cell.Profile.Server+"/"))
	e.Until("the address under attack", `document.querySelector("#floods a[href='`+page+`/traffic']") !== null`)
	e.Judge("home")
	if out := <-done; !strings.HasPrefix(out, "0 ") {
		t.Fatal(out)
	}
	done = drill("udp")
	e.EveryLook("flooded-home")
	e.Do("its page", chromedp.Navigate(cell.Profile.Server+page+"/traffic"))
	e.Until("the attack is named", `document.querySelector("table.attacks a") !== null`)
	e.EveryLook("traffic-flood")
	if out := <-done; !strings.HasPrefix(out, "0 ") {
		t.Fatal(out)
	}
	e.Until("it is over", `document.querySelector("table.attacks .tag.bad") === null && document.querySelector("table.attacks a") !== null`)

	e.Do("the attack", chromedp.Click(chromedp.CSS("table.attacks a")))
	e.Until("what it was", `location.pathname.startsWith("/records/attacks/platform/shop-") && document.readyState === "complete"`)
	attack, err := chromedp.Run(e.Context, chromedp.Evaluate[string](`location.pathname`))
	if err != nil {
		t.Fatal(err)
	}
	for ready, n := false, 0; !ready && n < 500; n++ { // the packets come in a moment
		e.Do("again", chromedp.Navigate(cell.Profile.Server+attack))
		if ready, err = chromedp.Run(e.Context, chromedp.Evaluate[bool](`document.querySelector("form[action$='/evidence']") !== null && document.querySelector("table.rules-used") !== null`)); err != nil {
			t.Fatal(err)
		}
	}
	e.Until("its course", `document.querySelector("#attack-course canvas") !== null`)
	e.Judge("attack")
	e.EveryLook("attack")
	downloaded(t, e, cell, attack)

	e.Do("language", chromedp.Click(chromedp.CSS(".lang button")))
	e.Until("Chinese", `document.documentElement.lang === "zh-CN" && document.querySelector("#attack-course") !== null`)
	e.Judge("attack in Chinese")
	e.EveryLook("attack-zh")
	e.Do("its traffic", chromedp.Navigate(cell.Profile.Server+page+"/traffic"))
	e.Until("the page", `document.querySelector("#flood-whole canvas") !== null`)
	e.EveryLook("traffic-zh")
	for _, m := range e.Said() {
		t.Errorf("the browser says: %s", m)
	}
}

// downloaded takes the capture as the page does and by the command line, and
// reads it.
func downloaded(t *testing.T, e *browser.Eyes, cell *lab.Cell, attack string) {
	t.Helper()
	e.Do("download", chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`window.got = null; fetch(document.querySelector("form[action$='/evidence']").action, {method: "POST"}).then(async (r) => {
			const b = new Uint8Array(await r.arrayBuffer());
			window.got = JSON.stringify({type: r.headers.get("Content-Type"), name: r.headers.get("Content-Disposition"), body: btoa(String.fromCharCode(...b.slice(0, 60000)))});
		}); true`))
		return err
	}))
	e.Until("the capture", `typeof window.got === "string"`)
	s, err := chromedp.Run(e.Context, chromedp.Evaluate[string](`window.got`))
	var got struct{ Type, Name, Body string }
	if err == nil {
		err = json.Unmarshal([]byte(s), &got)
	}
	b, berr := base64.StdEncoding.DecodeString(got.Body)
	if err != nil || berr != nil || got.Type != "application/vnd.tcpdump.pcap" || !strings.Contains(got.Name, ".pcap") {
		t.Fatal(err, berr, got.Type, got.Name)
	}
	frames, err := traffic.ReadCapture(b)
	if err != nil || len(frames) < 50 {
		t.Fatalf("%d packets: %v", len(frames), err)
	}
	for i, f := range frames {
		if len(f.Data) < 34 || string(f.Data[30:34]) != "\xc6\x33\x64\x07" {
			t.Fatalf("packet %d is not to the address: %x", i, f.Data)
		}
	}
	name := attack[strings.LastIndexByte(attack, '/')+1:]
	file := filepath.Join(t.TempDir(), "a.pcap")
	if out, exit := cell.Dun("attack", "pcap", name, "-o", file); exit != 0 {
		t.Fatal(out)
	}
	same, err := os.ReadFile(file)
	if err != nil || string(same) != string(b) {
		t.Errorf("the command line gives another file: %d and %d bytes, %v", len(same), len(b), err)
	}
	if tool, err := exec.LookPath("tcpdump"); err == nil {
		if out, err := exec.Command(tool, "-nr", file).CombinedOutput(); err != nil || strings.Count(string(out), "198.51.100.7") < len(frames) {
			t.Errorf("tcpdump: %v %s", err, out)
		}
	}
}
