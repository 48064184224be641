// Package lkg keeps what a role enforced last on its node's disk, so that it
// can start when the control plane cannot be asked (design section 2, Nodes).
// It owns the form of DIR/lkg/ROLE.snap: sealed to the node, signed, numbered;
// an older number than one that was enforced before is refused. It decides
// nothing about what is in it.
package lkg

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/file"
)

// Limits and times.
const (
	MaxSize = 512 << 20           // bytes of a file
	MaxAge  = 30 * 24 * time.Hour // of what may still be enforced; older fails closed
	Schema  = 1                   // of the payload
)

const (
	magic      = "dun/lkg/v1\n"
	maxHeader  = 1 << 10
	nonceSize  = 12
	headerSize = len(magic) + 4
)

// Keys of one node. Seal keeps others from reading the file, Sign from making
// one: the control plane signs for the node.
type Keys struct {
	Seal [32]byte
	Sign ed25519.PrivateKey
}

// Place says whose file it is. A file of another place is refused.
type Place struct{ Role, Cell, Node string }

// Snapshot is what a file holds.
type Snapshot struct {
	Epoch   string
	Number  uint64 // revision
	Time    time.Time
	Payload []byte
}

// header is what stands in the clear; it is authenticated twice, by the seal
// and by the signature.
type header struct {
	Schema int       `json:"schema"`
	Role   string    `json:"role"`
	Cell   string    `json:"cell"`
	Node   string    `json:"node"`
	Epoch  string    `json:"epoch"`
	Number uint64    `json:"number"`
	Time   time.Time `json:"time"`
}

// File is the last-known-good of one role on one node.
type File struct {
	dir   string
	place Place
	keys  Keys

	mu    sync.Mutex
	floor header // highest that was saved or loaded in this process
}

// Open names the file of a role below dir; nothing is read yet.
func Open(dir string, place Place, keys Keys) *File {
	return &File{dir: dir, place: place, keys: keys}
}

// Path is where the snapshot lies.
func (f *File) Path() string { return filepath.Join(f.dir, f.place.Role+".snap") }

func (f *File) floorPath() string { return filepath.Join(f.dir, f.place.Role+".floor") }

// Save replaces the file, and then raises the floor below which nothing is
// taken any more. After a power cut the file is the old or the new one.
func (f *File) Save(s Snapshot) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.Epoch == f.floor.Epoch && s.Number < f.floor.Number {
		return fmt.Errorf("last-known-good %d is older than %d", s.Number, f.floor.Number)
	}
	h := header{Schema: Schema, Role: f.place.Role, Cell: f.place.Cell, Node: f.place.Node, Epoch: s.Epoch, Number: s.Number, Time: s.Time.UTC()}
	b, err := seal(f.keys, h, s.Payload)
	if err != nil {
		return err
	}
	if len(b) > MaxSize {
		return fmt.Errorf("last-known-good of %d bytes, at most %d are kept", len(b), MaxSize)
	}
	floor, err := seal(f.keys, h, nil)
	if err != nil {
		return err
	}
	if err := file.MakeDirs(f.dir, 0o700); err != nil {
		return err
	}
	if err := errors.Join(file.Replace(f.Path(), 0o600, b), file.Replace(f.floorPath(), 0o600, floor)); err != nil {
		return err
	}
	f.floor = h
	return nil
}

// ErrNone says that nothing was ever saved.
var ErrNone = errors.New("there is no last-known-good")

// Load reads the file back. Whatever is not exactly what this node was given,
// an older number than it enforced before, and what is older than MaxAge at
// now are refused, each with its reason.
func (f *File) Load(now time.Time) (Snapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h, payload, err := f.read(f.Path())
	if err != nil {
		return Snapshot{}, err
	}
	floor, _, err := f.read(f.floorPath())
	switch {
	case errors.Is(err, ErrNone): // the power went between the two
	case err != nil:
		return Snapshot{}, fmt.Errorf("its floor: %w", err)
	case floor.Epoch == h.Epoch && floor.Number > h.Number, floor.Epoch != h.Epoch && floor.Time.After(h.Time):
		return Snapshot{}, fmt.Errorf("it is number %d of %s, and number %d was enforced before: an older file was put in its place", h.Number, h.Epoch, floor.Number)
	}
	if f.floor.Epoch == h.Epoch && f.floor.Number > h.Number {
		return Snapshot{}, fmt.Errorf("it is number %d, and number %d was enforced before", h.Number, f.floor.Number)
	}
	if age := now.Sub(h.Time); age > MaxAge {
		return Snapshot{}, fmt.Errorf("it is of %s, older than %d days", h.Time.Format(time.RFC3339), int(MaxAge.Hours()/24))
	}
	f.floor = h
	return Snapshot{Epoch: h.Epoch, Number: h.Number, Time: h.Time, Payload: payload}, nil
}

func (f *File) read(name string) (header, []byte, error) {
	in, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return header{}, nil, ErrNone
	}
	if err != nil {
		return header{}, nil, fmt.Errorf("read last-known-good: %w", err)
	}
	defer in.Close()
	b, err := io.ReadAll(io.LimitReader(in, MaxSize+1))
	if err != nil {
		return header{}, nil, fmt.Errorf("read last-known-good: %w", err)
	}
	h, payload, err := open(f.keys, b)
	if err != nil {
		return h, nil, err
	}
	if h.Schema != Schema {
		return h, nil, fmt.Errorf("it has schema %d; this release reads %d", h.Schema, Schema)
	}
	if (Place{h.Role, h.Cell, h.Node}) != f.place {
		return h, nil, fmt.Errorf("it is of role %s on node %s of cell %s", h.Role, h.Node, h.Cell)
	}
	return h, payload, nil
}

// seal writes magic, header, sealed payload and the signature over all of it.
func seal(k Keys, h header, payload []byte) ([]byte, error) {
	head, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode last-known-good: %w", err)
	}
	aead, err := gcm(k)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, headerSize+len(head)+nonceSize+len(payload)+aead.Overhead()+ed25519.SignatureSize)
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(head)))
	b = append(b, head...)
	var nonce [nonceSize]byte
	rand.Read(nonce[:])
	aad := b[:len(b):len(b)]
	b = append(b, nonce[:]...)
	b = aead.Seal(b, nonce[:], payload, aad)
	return append(b, ed25519.Sign(k.Sign, b)...), nil
}

// open checks the signature before anything else is looked at.
func open(k Keys, b []byte) (h header, payload []byte, err error) {
	if len(b) > MaxSize {
		return h, nil, fmt.Errorf("it has more than %d bytes", MaxSize)
	}
	if !bytes.HasPrefix(b, []byte(magic)) || len(b) < headerSize+nonceSize+ed25519.SignatureSize {
		return h, nil, errors.New("it is no last-known-good, or cut")
	}
	signed := b[:len(b)-ed25519.SignatureSize]
	if !ed25519.Verify(k.Sign.Public().(ed25519.PublicKey), signed, b[len(signed):]) {
		return h, nil, errors.New("its signature does not verify")
	}
	n := binary.BigEndian.Uint32(signed[len(magic):])
	if n > maxHeader || int(n) > len(signed)-headerSize-nonceSize {
		return h, nil, errors.New("its header is too long")
	}
	aad := signed[:headerSize+int(n)]
	dec := json.NewDecoder(bytes.NewReader(aad[headerSize:]))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&h); err != nil {
		return h, nil, errors.New("its header cannot be read")
	}
	aead, err := gcm(k)
	if err != nil {
		return h, nil, err
	}
	rest := signed[len(aad):]
	payload, err = aead.Open(nil, rest[:nonceSize], rest[nonceSize:], aad)
	if err != nil {
		return h, nil, errors.New("it is sealed to another node")
	}
	return h, payload, nil
}

func gcm(k Keys) (cipher.AEAD, error) {
	block, err := aes.NewCipher(k.Seal[:])
	if err != nil {
		return nil, fmt.Errorf("seal last-known-good: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("seal last-known-good: %w", err)
	}
	return aead, nil
}
