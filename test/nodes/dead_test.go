package nodes

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/agent"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/telemetry"
	"github.com/dun-sec/dun/internal/kinds"
	"github.com/dun-sec/dun/internal/lab"
)

// controlPlaneIsDead runs a node in this process, whose clock the test moves:
// ten minutes without a control plane it serves as its status says, and after
// thirty days it closes.
func controlPlaneIsDead(t *testing.T, bin string) {
	w := newWorld(t, bin)
	token, err := os.ReadFile(w.token())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var mu sync.Mutex
	var ahead time.Duration
	pass := func(d time.Duration) {
		mu.Lock()
		ahead += d
		mu.Unlock()
	}
	config := filepath.Join(t.TempDir(), "dun.yaml")
	text := "data: " + dir + "\n" + `listen: {console: "off", edgeHTTP: "127.0.0.1:0", edgeHTTPS: "127.0.0.1:0", nodes: "off", telemetry: "127.0.0.1:0"}`
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := agent.ReadConfig(config)
	if err == nil {
		err = c.Complete(0, "")
	}
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- agent.Run(ctx, agent.Options{Config: c, Kinds: kinds.All(), Version: "test", Out: &out, Log: slog.New(slog.DiscardHandler), Now: func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().Add(ahead)
		}}, token)
	}()
	n := lab.Running(t, dir)
	if err := n.Ready(); err != nil {
		t.Fatal(err)
	}
	w.serves(n, "shop.test")

	w.control.Kill()
	pass(10 * time.Minute)
	w.state(n, telemetry.LastKnownGood)
	s := n.Status
	if !s.Ready || len(s.Roles[0].Missing) != 1 || !strings.Contains(s.Roles[0].Missing[0].Instead, "30 days") {
		t.Errorf("the status after ten minutes: %+v", s)
	}
	w.serves(n, "shop.test")
	w.servesTLS(n, "shop.test")

	pass(31 * 24 * time.Hour)
	select {
	case err := <-ended:
		if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "30 days") {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(lab.Wait):
		t.Fatal("it serves on after thirty days")
	}
	if _, _, err := get(n, "shop.test", "/"); err == nil {
		t.Error("the door is open")
	}
}
