package audit

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	originPrefix  = "dun.dev/log/"
	originDenials = "/denials"
	maxCheckpoint = 32 << 10 // bytes; leaves room for about 100 cosignatures
	maxSignatures = 100      // as in package note
)

// Origin is the name of the log of a cell ([a-z0-9]{8}), and of the key that
// signs it. A bad cell name is refused wherever the origin is used.
func Origin(cell string) string { return originPrefix + cell }

// DenialsOrigin is the name of the log of refused requests of a cell.
func DenialsOrigin(cell string) string { return Origin(cell) + originDenials }

// checkOrigin allows the two forms of an origin only, so that an origin from a
// hostile file is safe to print.
func checkOrigin(origin string) error {
	cell, ok := strings.CutPrefix(origin, originPrefix)
	cell = strings.TrimSuffix(cell, originDenials)
	if !ok || len(cell) != 8 || strings.Trim(cell, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return errors.New("origin is not dun.dev/log/<cell> or dun.dev/log/<cell>/denials")
	}
	return nil
}

// GenerateKey makes an Ed25519 key pair for the origin in the encoding of
// C2SP signed-note. skey is secret.
func GenerateKey(origin string) (skey, vkey string, err error) {
	if err := checkOrigin(origin); err != nil {
		return "", "", fmt.Errorf("generate log key: %w", err)
	}
	skey, vkey, err = note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return "", "", fmt.Errorf("generate log key: %w", err)
	}
	return skey, vkey, nil
}

// parseVKey reads a verifier key in its one canonical form.
func parseVKey(vkey string) (note.Verifier, error) {
	if len(vkey) > 256 {
		return nil, errors.New("key is over 256 bytes")
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, err
	}
	if err := checkOrigin(v.Name()); err != nil {
		return nil, fmt.Errorf("key name: %w", err)
	}
	// Package note reads hex of either case and loose base64. The base64
	// alphabet has a '+' of its own, so the key is cut from the front.
	_, rest, _ := strings.Cut(vkey, "+")
	_, b64, _ := strings.Cut(rest, "+")
	key, err := base64.StdEncoding.DecodeString(b64)
	if err != nil || vkey != fmt.Sprintf("%s+%08x+%s", v.Name(), v.KeyHash(), base64.StdEncoding.EncodeToString(key)) {
		return nil, errors.New("key is not in canonical form")
	}
	return v, nil
}

// Checkpoint is a signed statement about the whole log (C2SP tlog-checkpoint).
type Checkpoint struct {
	Origin string
	Size   int64 // leaves, 0..MaxSize
	Root   tlog.Hash
}

func (c Checkpoint) check() error {
	if err := checkOrigin(c.Origin); err != nil {
		return err
	}
	if c.Size < 0 || c.Size > MaxSize {
		return fmt.Errorf("size %d is outside 0..%d", c.Size, int64(MaxSize))
	}
	if c.Size == 0 && c.Root != emptyRoot() {
		return errors.New("root of an empty log is not the empty root")
	}
	return nil
}

func (c Checkpoint) body() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, c.Root)
}

// SignCheckpoint writes the checkpoint as a note with one signature. The name
// of the signer's key must be the origin.
func SignCheckpoint(c Checkpoint, s note.Signer) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("sign checkpoint: %w", err)
	}
	if s.Name() != c.Origin {
		return nil, errors.New("sign checkpoint: key name is not the origin")
	}
	b, err := note.Sign(&note.Note{Text: c.body()}, s)
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint: %w", err)
	}
	return b, nil
}

// OpenCheckpoint reads a checkpoint that vkey has signed once; the origin must
// be the name of the key. The body must be canonical and without extension
// lines. Cosignatures of unknown keys may stand beside it, in canonical base64;
// they are not verified, so only the rest of b is proved.
func OpenCheckpoint(b []byte, vkey string) (Checkpoint, error) {
	v, err := parseVKey(vkey)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("open checkpoint: parse key: %w", err)
	}
	c, err := openCheckpoint(b, v, maxSignatures)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("open checkpoint: %w", err)
	}
	return c, nil
}

// openCheckpoint allows at most signatures lines. With 1, every byte of b is
// proved: the body and the signature by Ed25519, the rest by its one form.
func openCheckpoint(b []byte, v note.Verifier, signatures int) (Checkpoint, error) {
	if len(b) > maxCheckpoint {
		return Checkpoint{}, fmt.Errorf("over %d bytes", maxCheckpoint)
	}
	n, err := note.Open(b, note.VerifierList(v))
	if err != nil {
		return Checkpoint{}, err
	}
	if err := checkSignatureLines(b[len(n.Text):], signatures); err != nil {
		return Checkpoint{}, err
	}
	c, err := parseBody(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	if c.Origin != v.Name() {
		return Checkpoint{}, errors.New("origin is not the name of the key")
	}
	return c, nil
}

func parseBody(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return Checkpoint{}, errors.New("body is not three lines")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return Checkpoint{}, errors.New("size is not a number")
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return Checkpoint{}, errors.New("root is not a hash")
	}
	c := Checkpoint{Origin: lines[0], Size: size, Root: root}
	if c.body() != text {
		return Checkpoint{}, errors.New("body is not in canonical form")
	}
	return c, c.check()
}

// checkSignatureLines re-encodes the signature block, which package note reads
// leniently: base64 with loose trailing bits or line ends, and repeated lines.
func checkSignatureLines(block []byte, limit int) error {
	var canonical bytes.Buffer
	canonical.WriteByte('\n')
	seen := make(map[string]bool)
	for line := range strings.Lines(string(block[1:])) {
		name, b64, _ := strings.Cut(strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "— "), " ")
		sig, err := base64.StdEncoding.DecodeString(b64)
		if err != nil || len(sig) < 4 {
			return errors.New("malformed signature line")
		}
		key := name + "+" + string(sig[:4])
		if seen[key] {
			return errors.New("a key signed twice")
		}
		seen[key] = true
		fmt.Fprintf(&canonical, "— %s %s\n", name, base64.StdEncoding.EncodeToString(sig))
	}
	if len(seen) > limit {
		return fmt.Errorf("%d signature lines, at most %d allowed", len(seen), limit)
	}
	if !bytes.Equal(canonical.Bytes(), block) {
		return errors.New("signature lines are not in canonical form")
	}
	return nil
}

// CheckGrowth verifies that the log of older is the beginning of the log of
// newer (RFC 6962 section 2.1.2). Both must be of one origin.
func CheckGrowth(proof []tlog.Hash, newer, older Checkpoint) error {
	if newer.Origin != older.Origin {
		return fmt.Errorf("a log of %s cannot continue one of %s", newer.Origin, older.Origin)
	}
	if older.Size < 1 || older.Size > newer.Size || len(proof) > 64 {
		return fmt.Errorf("a log of %d leaves cannot continue one of %d", newer.Size, older.Size)
	}
	if older.Size == newer.Size {
		if older.Root != newer.Root {
			return errors.New("another log of the same size was signed")
		}
		return nil
	}
	if err := tlog.CheckTree(proof, newer.Size, newer.Root, older.Size, older.Root); err != nil {
		return fmt.Errorf("the log of %d leaves is no continuation of the one of %d: %w", newer.Size, older.Size, err)
	}
	return nil
}

// Growth is a proof for CheckGrowth as it travels: standard base64 of each hash.
type Growth []tlog.Hash
