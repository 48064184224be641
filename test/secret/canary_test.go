// Package secret plants a canary in a running cell and looks for it in
// everything that the cell says and keeps.
package secret

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/agent"
	"github.com/dun-sec/dun/internal/api"
	"github.com/dun-sec/dun/internal/cli"
	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/secret"
	"github.com/dun-sec/dun/internal/kinds"
	"github.com/dun-sec/dun/internal/lab"
)

// forms are the ways in which a text may lie in a file or in a reply.
func forms(text string) map[string]string {
	b := []byte(text)
	back := slices.Clone(b)
	slices.Reverse(back)
	out := map[string]string{
		"plain": text, "reversed": string(back), "hex": hex.EncodeToString(b), "HEX": strings.ToUpper(hex.EncodeToString(b)),
		"base32": strings.TrimRight(base32.StdEncoding.EncodeToString(b), "="), "dun's base32": id.Encoding.EncodeToString(b), "list": strings.Trim(strings.ReplaceAll(fmt.Sprint(b), " ", ","), "[]"),
	}
	for name, enc := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
		for shift := range 3 { // where it begins inside of something longer
			s := enc.EncodeToString(append(make([]byte, shift), b...))
			out[fmt.Sprint(name, shift)] = s[(shift*8+5)/6 : len(s)-1]
		}
	}
	return out
}

// where lists the places and forms in which the text is found.
func where(places map[string][]byte, text string) (out []string) {
	for place, b := range places {
		for name, form := range forms(text) {
			if bytes.Contains(b, []byte(form)) {
				out = append(out, place+": "+name)
			}
		}
	}
	slices.Sort(out)
	return out
}

// output is what the process writes, into its log and to people.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) bytes() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Clone(o.b.Bytes())
}

// cell is a whole cell in this process, so that the test can reach the secrets
// as a part of the program does.
type cell struct {
	agent.Parts
	t     *testing.T
	dir   string
	log   output
	stop  func()
	http  *http.Client
	token string
	api   string
}

func up(t *testing.T) *cell {
	t.Helper()
	c := &cell{t: t, dir: filepath.Join(t.TempDir(), "d")}
	parts := make(chan agent.Parts, 1)
	conf := agent.Config{Data: c.dir, Listen: agent.ListenConfig{Console: "127.0.0.1:0", EdgeHTTP: "127.0.0.1:0", EdgeHTTPS: "127.0.0.1:0", Telemetry: new("127.0.0.1:0")}}
	if err := conf.Complete(0, ""); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- agent.Up(ctx, agent.Options{
			Config: conf, Kinds: kinds.All(), Version: "test", Out: &c.log, Log: slog.New(slog.NewJSONHandler(&c.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			Console: func(p agent.Parts) (http.Handler, error) {
				parts <- p
				return api.New(api.Options{Gate: p.Gate, Events: p.Events, Secrets: p.Secrets, SignIn: p.SignIn, Keys: p.Keys, Enter: p.Enter, Status: func() any { return p.Status() }, NodeID: p.NodeID, Log: p.Log}), nil
			},
		})
	}()
	c.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(c.stop)
	select {
	case c.Parts = <-parts:
	case <-time.After(lab.Wait):
		t.Fatalf("the cell does not start\n%s", c.log.bytes())
	}
	p, err := identity.ReadProfile(filepath.Join(c.dir, "bootstrap/operator.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(p.CAPEM))
	c.http = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}, Timeout: lab.Wait}
	t.Cleanup(c.http.CloseIdleConnections)
	c.api, c.token = p.Server, p.Session.Token
	return c
}

func (c *cell) dun(in string, args ...string) []byte {
	c.t.Helper()
	var out bytes.Buffer
	args = append([]string{"--profile", filepath.Join(c.dir, "bootstrap/operator.yaml")}, args...)
	if exit := cli.Run(c.t.Context(), cli.Options{Registry: lab.Kinds(c.t), In: strings.NewReader(in), Out: &out, Err: &out}, args); exit != 0 {
		c.t.Fatalf("dun %v: exit %d\n%s", args, exit, out.String())
	}
	return out.Bytes()
}

// fails is dun for what must be refused.
func (c *cell) fails(args ...string) string {
	c.t.Helper()
	var out bytes.Buffer
	args = append([]string{"--profile", filepath.Join(c.dir, "bootstrap/operator.yaml")}, args...)
	if exit := cli.Run(c.t.Context(), cli.Options{Registry: lab.Kinds(c.t), In: strings.NewReader(""), Out: &out, Err: &out}, args); exit == 0 {
		c.t.Errorf("dun %v is not refused", args)
	}
	return out.String()
}

// get reads a reply of the API; of a stream what comes up to a mark.
func (c *cell) get(path, until string) []byte {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, c.api+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	res, err := c.http.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	var out []byte
	buf := make([]byte, 4096)
	for until == "" || !bytes.Contains(out, []byte(until)) {
		n, err := res.Body.Read(buf)
		out = append(out, buf[:n]...)
		if err == io.EOF {
			break
		}
		if err != nil {
			c.t.Fatal(err)
		}
	}
	if res.StatusCode != 200 {
		c.t.Fatalf("%s: %d %s", path, res.StatusCode, out)
	}
	return out
}

// travel lets something go every way on which a careless part might send it.
func (c *cell) travel(x any) {
	c.t.Helper()
	said := fmt.Sprintf("%v %+v %s", x, struct{ X any }{x}, x)
	c.Log.Debug("a part that tells too much", "what", x, "all", []any{x}, "said", said)
	c.Log.Error("failed", "err", fmt.Errorf("cannot use %v: %+v", x, x))
	c.Events.Add(events.Event{Part: "test", Kind: "canary", Tenant: resource.Platform, Attributes: map[string]string{"said": said}})
	site := fmt.Sprintf("kind: Site\nmetadata: {tenant: platform, name: shop, annotations: {note: %q}}\nspec: {hosts: [shop.test], origins: [{url: \"http://127.0.0.1:3000\"}]}\n", said)
	c.dun(site, "apply", "-f", "-", "--no-wait")
}

// everything is all that the cell says and keeps.
func (c *cell) everything() map[string][]byte {
	c.t.Helper()
	if err := c.Events.Flush(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	bundle := filepath.Join(c.t.TempDir(), "b.tar")
	out := map[string][]byte{
		"get":     c.dun("", "get", "site", "shop", "-o", "json"),
		"list":    c.dun("", "get", "sites", "-o", "yaml"),
		"history": c.get("/api/v1/platform/sites/shop/history", ""),
		"events":  c.dun("", "events", "-o", "json"),
		"tail":    c.dun("", "audit", "tail", "-o", "json"),
		"status":  c.dun("", "status", "-o", "json"),
		"export":  c.dun("", "audit", "export", "-o", bundle),
		"watch":   c.get("/api/v1/-/watch?kinds=site", `"synced"`),
		"openapi": c.get("/openapi.json", ""),
	}
	out["bundle"] = c.read(bundle)
	c.files(c.dir, "file ", out)
	backup := filepath.Join(c.t.TempDir(), "copy")
	if err := os.Mkdir(backup, 0o700); err != nil {
		c.t.Fatal(err)
	}
	for _, part := range []string{"records.db", "records.db-wal", "meta.db", "meta.db-wal", "denials.db", "keys/root.key"} {
		if err := os.WriteFile(filepath.Join(backup, filepath.Base(part)), c.read(filepath.Join(c.dir, part)), 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	c.files(backup, "backup ", out)
	out["log"] = c.log.bytes()
	return out
}

func (c *cell) read(name string) []byte {
	c.t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

func (c *cell) files(dir, prefix string, into map[string][]byte) {
	c.t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		into[prefix+name] = c.read(path)
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

func TestNobodyFindsTheCanary(t *testing.T) {
	c := up(t)
	ctx, who := t.Context(), identity.Service("test")
	canary := "canary" + id.Random(6) // longer ones the mask of events would hide
	owner := resource.Ref{Kind: "Site", Tenant: resource.Platform, Name: "shop"}
	v := secret.New([]byte(canary))
	ref, err := c.Secrets.Put(ctx, who, owner, "origin-key", v)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := c.Secrets.Open(ctx, who, ref, "origin-key")
	if err != nil || string(opened.Reveal()) != canary {
		t.Fatalf("the opener does not find it: %v", err)
	}
	shown, err := c.Secrets.Show(ctx, who, ref)
	if err != nil {
		t.Fatal(err)
	}
	node, err := secret.NewNodeKey()
	if err != nil {
		t.Fatal(err)
	}
	public, err := node.Public()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := c.Secrets.SealTo(ctx, who, owner, ref, "origin-key", resource.Ref{Kind: "Node", Tenant: resource.Platform, Name: "n1"}, public)
	if err != nil {
		t.Fatal(err)
	}
	_, denied := c.Secrets.Open(ctx, who, ref, "another purpose")
	c.travel([]any{v, &opened, struct{ inner secret.Value }{shown}, ref, denied, hex.EncodeToString(sealed)})

	all := c.everything()
	if found := where(all, canary); len(found) > 0 {
		t.Errorf("the canary was found in %v", found)
	}
	for _, action := range []string{"put", "open", "show", "seal"} { // its uses are proven, by name
		if !bytes.Contains(all["tail"], []byte(action)) || !bytes.Contains(all["tail"], []byte(ref)) {
			t.Errorf("the log does not tell of %s\n%s", action, all["tail"])
		}
	}
	c.dun("", "audit", "verify")

	// The same net, with a canary that nothing protects: it has to be found in
	// each place that it passed, else the silence above says nothing.
	planted := "canary" + id.Random(6)
	c.travel(planted)
	all = c.everything()
	found := strings.Join(where(all, planted), "\n")
	for _, place := range []string{"get", "list", "history", "events", "watch", "log", "bundle", "file records.db-wal", "backup records.db-wal", "file events/"} {
		if !strings.Contains("\n"+found, "\n"+place) {
			t.Errorf("a planted canary is not seen in %s, only in\n%s", place, found)
		}
	}

	if err := c.Secrets.Delete(ctx, who, ref); err != nil {
		t.Fatal(err)
	}
	c.stop()
	rest := map[string][]byte{"log": c.log.bytes()}
	c.files(c.dir, "file ", rest)
	if found := where(rest, canary); len(found) > 0 {
		t.Errorf("after the end the canary was found in %v", found)
	}
}

func TestTheNetHasSmallHoles(t *testing.T) {
	const text = "canaryabcdefghij"
	for name, as := range map[string]string{
		"plain": text, "hex": hex.EncodeToString([]byte(text)), "reversed": "jihgfedcbayranac",
		"base64 inside": base64.StdEncoding.EncodeToString([]byte("{\"x\":\"" + text + "\"}")), "base64 inside 1": base64.StdEncoding.EncodeToString([]byte("a" + text + "bc")),
		"base64 inside 2": base64.URLEncoding.EncodeToString([]byte("ab" + text)),
	} {
		if len(where(map[string][]byte{"place": []byte("before " + as + " after")}, text)) == 0 {
			t.Errorf("%s is not seen", name)
		}
	}
}
