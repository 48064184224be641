package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/file"
	"github.com/dun-sec/dun/internal/core/telemetry"
	"github.com/dun-sec/dun/internal/plane/detect"
)

const (
	learnedFile  = "lkg/learned" // of thresholds, in DIR
	keepLearned  = 10 * time.Minute
	retryLearned = time.Minute
)

// memory is what the detection centre learned of thresholds, over restarts.
type memory struct {
	d    *detect.Detector
	name string
	log  *slog.Logger

	mu     sync.Mutex
	failed error // why it is not kept
}

// remember takes up what an earlier process learned. Without it thresholds start
// at their floors, which is said and keeps nobody from starting.
func remember(d *detect.Detector, dir *Dir, log *slog.Logger) *memory {
	m := &memory{d: d, name: dir.File(learnedFile), log: log}
	b, err := m.read()
	if err == nil {
		err = d.Remember(b)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Error("thresholds are learned anew", "err", err)
	}
	return m
}

func (m *memory) read() ([]byte, error) {
	f, err := os.Open(m.name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, detect.MaxMemory+1))
	if err != nil {
		return nil, fmt.Errorf("read what was learned: %w", err)
	}
	return b, nil
}

// run keeps what was learned, every ten minutes and at the end.
func (m *memory) run(ctx context.Context) {
	every := keepLearned
	for again := true; again; {
		again = pause(ctx, every)
		if every = keepLearned; !m.keep(m.d.Memory()) {
			every = retryLearned
		}
	}
}

// keep reports whether it is on disk; nothing is no failure.
func (m *memory) keep(b []byte) bool {
	if b == nil {
		return true
	}
	err := file.Replace(m.name, 0o600, b)
	m.mu.Lock()
	first := err != nil && m.failed == nil
	m.failed = err
	m.mu.Unlock()
	if first {
		m.log.Error("what was learned of thresholds is not kept", "err", err)
	}
	return err == nil
}

func (m *memory) lacks() []telemetry.Missing {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed == nil {
		return nil
	}
	return []telemetry.Missing{{Need: learnedFile, Why: m.failed.Error(), Instead: "a restart forgets what was learned of thresholds since it was kept last"}}
}
