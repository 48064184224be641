package audit

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// Limits of a bundle; the writer keeps them, so that what it writes verifies.
const (
	BundleFormat = "dun/bundle/1"
	MaxLeaves    = 10_000_000 // leaves in one bundle
	MaxValue     = 1 << 20    // bytes of one value

	maxManifest  = 64 << 20 // bytes of manifest.json
	maxProof     = 8 << 10  // bytes of one proof; 53 hashes and a leaf need 4 KiB
	maxPayload   = 10 << 20 // bytes of one payload: seven values in base64
	maxInclusion = 64       // hashes of one proof
)

// Manifest says what a bundle holds. Leaves is strictly ascending; Size is the
// size of the log at the checkpoint.
type Manifest struct {
	Format string   `json:"format"` // BundleFormat; empty means the same
	Origin string   `json:"origin"`
	VKey   string   `json:"vkey"`
	Size   int64    `json:"size"`
	Leaves []uint64 `json:"leaves"`
}

// Entry is one leaf with its proof and as much of its payload as may leave.
type Entry struct {
	Seq       uint64
	Leaf      []byte      // as encoded
	Inclusion []tlog.Hash // tlog.ProveRecord at the size of the checkpoint
	Salts     Salts       // nil = erased or withheld
	Values    Values      // nil with a salt = absent
}

type proofJSON struct {
	Leaf      []byte      `json:"leaf"`
	Inclusion []tlog.Hash `json:"inclusion"`
}

type payloadJSON struct {
	Salts  Salts  `json:"salts"`
	Values Values `json:"values"`
}

// BundleWriter streams a bundle: a USTAR archive with one possible sequence of
// bytes for a given content, which is what lets a verifier re-encode it.
type BundleWriter struct {
	tar    *tar.Writer
	leaves []uint64 // still to be added
}

// NewBundleWriter writes manifest, checkpoint and the empty cosignatures
// folder. It does not verify the checkpoint.
func NewBundleWriter(w io.Writer, m Manifest, checkpoint []byte) (*BundleWriter, error) {
	if m.Format == "" {
		m.Format = BundleFormat
	}
	if m.Leaves == nil {
		m.Leaves = []uint64{}
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("write bundle: %w", err)
	}
	b := &BundleWriter{tar: tar.NewWriter(w), leaves: m.Leaves}
	if err := b.json("manifest.json", m, maxManifest); err != nil {
		return nil, err
	}
	if len(checkpoint) > maxCheckpoint {
		return nil, fmt.Errorf("write bundle: checkpoint is over %d bytes", maxCheckpoint)
	}
	if err := b.file("checkpoint", checkpoint); err != nil {
		return nil, err
	}
	dir := &tar.Header{Typeflag: tar.TypeDir, Name: "cosignatures/", Mode: 0o755, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
	if err := b.tar.WriteHeader(dir); err != nil {
		return nil, fmt.Errorf("write bundle: cosignatures: %w", err)
	}
	return b, nil
}

func (m Manifest) check() error {
	if m.Format != BundleFormat {
		return errors.New("unknown format")
	}
	if m.Size < 0 || m.Size > MaxSize || len(m.Leaves) > MaxLeaves {
		return errors.New("size or number of leaves is out of range")
	}
	for i, seq := range m.Leaves {
		if seq >= uint64(m.Size) || i > 0 && seq <= m.Leaves[i-1] {
			return fmt.Errorf("leaf %d is out of order or beyond the log", seq)
		}
	}
	return nil
}

// Add writes one leaf; leaves come in the order of the manifest.
func (b *BundleWriter) Add(e Entry) error {
	if len(b.leaves) == 0 || b.leaves[0] != e.Seq {
		return fmt.Errorf("add leaf %d to bundle: not the next of the manifest", e.Seq)
	}
	if len(e.Leaf) > MaxLeaf || len(e.Inclusion) > maxInclusion {
		return fmt.Errorf("add leaf %d to bundle: leaf or proof is too long", e.Seq)
	}
	for i, v := range e.Values {
		if len(v) > MaxValue || len(e.Salts[i]) > SaltSize {
			return fmt.Errorf("add leaf %d to bundle: %s is too long", e.Seq, Field(i))
		}
	}
	if e.Inclusion == nil {
		e.Inclusion = []tlog.Hash{} // the proof of a log of one leaf; null is not canonical
	}
	proof, payload := entryNames(e.Seq)
	if err := b.json(proof, proofJSON{e.Leaf, e.Inclusion}, maxProof); err != nil {
		return err
	}
	if err := b.json(payload, payloadJSON{e.Salts, e.Values}, maxPayload); err != nil {
		return err
	}
	b.leaves = b.leaves[1:]
	return nil
}

// Close ends the archive. It fails when a leaf of the manifest is missing, and
// does not close the underlying writer.
func (b *BundleWriter) Close() error {
	if len(b.leaves) > 0 {
		return fmt.Errorf("close bundle: leaf %d and later are missing", b.leaves[0])
	}
	if err := b.tar.Close(); err != nil {
		return fmt.Errorf("close bundle: %w", err)
	}
	return nil
}

func entryNames(seq uint64) (proof, payload string) {
	n := strconv.FormatUint(seq, 10)
	return "proof/" + n + ".json", "payload/" + n + ".json"
}

func (b *BundleWriter) json(name string, v any, limit int) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	if buf.Len() > limit {
		return fmt.Errorf("encode %s: over %d bytes", name, limit)
	}
	return b.file(name, buf.Bytes())
}

func (b *BundleWriter) file(name string, content []byte) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(content)), Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
	if err := b.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if _, err := b.tar.Write(content); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
