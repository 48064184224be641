package gate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/file"
)

// checkpoints signs the head of the log beside the write path and keeps the
// newest signature on disk: a store that is older than its own signature was
// rolled back or cut, and the gate refuses to start on it.
type checkpoints struct {
	file   string
	origin string
	signer note.Signer
	wake   chan struct{} // one slot: there is something to sign

	mu     sync.Mutex
	want   audit.Checkpoint // the committed head
	note   []byte           // newest signed
	size   int64            // of note; -1 = none
	signed chan struct{}    // closed at each signature
}

// checkpointOptions say who signs which log, and where the newest one lies.
type checkpointOptions struct {
	file, origin string
	signer       note.Signer
	vkey         string
}

func loadCheckpoints(opt checkpointOptions, tree *audit.Tree, r tlog.HashReader) (*checkpoints, error) {
	c := &checkpoints{
		file: opt.file, origin: opt.origin, signer: opt.signer, wake: make(chan struct{}, 1), size: -1, signed: make(chan struct{}),
		want: audit.Checkpoint{Origin: opt.origin, Size: tree.Size(), Root: tree.Root()},
	}
	if tree.Size() == 0 {
		c.size = 0 // there is nothing to sign yet
	}
	if c.file == "" {
		return c, nil
	}
	b, err := os.ReadFile(c.file)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the checkpoint: %w", err)
	}
	p, err := audit.OpenCheckpoint(b, opt.vkey)
	if err != nil {
		return nil, fmt.Errorf("the checkpoint %s does not verify: %w", c.file, err)
	}
	if p.Size > tree.Size() {
		return nil, fmt.Errorf("the log has %d leaves but a checkpoint of %d was signed: the record store was rolled back or cut; restore it", tree.Size(), p.Size)
	}
	root := audit.NewTree().Root()
	if p.Size > 0 {
		if root, err = tlog.TreeHash(p.Size, r); err != nil {
			return nil, fmt.Errorf("read the audit tree: %w", err)
		}
	}
	if root != p.Root {
		return nil, errors.New("the log does not contain what its own checkpoint signed; restore it")
	}
	c.note, c.size = b, p.Size
	return c, nil
}

// resume asks for the signature that the last run owes: it may have been
// stopped between commit and signature.
func (c *checkpoints) resume() {
	if c.want.Size > 0 && c.want.Size != c.size {
		c.again()
	}
}

// advance says that the head moved; it never waits for a signature.
func (c *checkpoints) advance(size int64, root tlog.Hash) {
	c.mu.Lock()
	c.want.Size, c.want.Root = size, root
	c.mu.Unlock()
	c.again()
}

// again asks for a signature.
func (c *checkpoints) again() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// sign signs the head if it is not signed yet. One caller at a time.
func (c *checkpoints) sign() error {
	c.mu.Lock()
	p, have := c.want, c.size
	c.mu.Unlock()
	if p.Size == have {
		return nil
	}
	b, err := audit.SignCheckpoint(p, c.signer)
	if err != nil {
		return fmt.Errorf("sign the checkpoint: %w", err)
	}
	if c.file != "" {
		if err := file.MakeDirs(filepath.Dir(c.file), 0o700); err != nil {
			return fmt.Errorf("write the checkpoint: %w", err)
		}
		if err := file.Replace(c.file, 0o600, b); err != nil {
			return fmt.Errorf("write the checkpoint: %w", err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.note, c.size = b, p.Size
	close(c.signed)
	c.signed = make(chan struct{})
	return nil
}

func (c *checkpoints) finish() error { return c.sign() }

// newest returns the newest signed checkpoint, its size, and what to wait for.
func (c *checkpoints) newest() ([]byte, int64, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.note, c.size, c.signed
}
