package secret

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/file"
	"github.com/dun-sec/dun/internal/core/id"
)

const (
	keyBytes = 32
	keyIDLen = 8
	keyHead  = "dun-root-key-1 " // begins the one line of the file
	nextKey  = ".next"           // ends the name of a key that is about to follow
)

// Key is the root key: 256 random bits. What seals is derived from it.
type Key struct {
	root Value
	id   string             // hex; tells keys apart and nothing about them
	seal func() cipher.AEAD // a function for the reason that Value has one
}

// NewKey makes a key.
func NewKey() (Key, error) {
	b := make([]byte, keyBytes)
	rand.Read(b)
	return keyOf(b)
}

func keyOf(root []byte) (Key, error) {
	if len(root) != keyBytes {
		return Key{}, errors.New("a root key has 32 bytes")
	}
	name, err := hkdf.Expand(sha256.New, root, "dun/secret/keyid/v1", keyIDLen)
	if err != nil {
		return Key{}, fmt.Errorf("derive the key's name: %w", err)
	}
	sealing, err := hkdf.Expand(sha256.New, root, "dun/secret/seal/v1", keyBytes)
	if err != nil {
		return Key{}, fmt.Errorf("derive the sealing key: %w", err)
	}
	defer clear(sealing)
	block, err := aes.NewCipher(sealing)
	if err != nil {
		return Key{}, fmt.Errorf("use the sealing key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return Key{}, fmt.Errorf("use the sealing key: %w", err)
	}
	return Key{root: New(root), id: hex.EncodeToString(name), seal: func() cipher.AEAD { return aead }}, nil
}

// ID tells keys apart; it may be shown.
func (k Key) ID() string { return k.id }

// Write puts the key into a file of mode 0600, whole or not at all; when it
// returns, the file survives a power cut.
func (k Key) Write(name string) error {
	line := id.Encoding.AppendEncode([]byte(keyHead), k.root.Reveal())
	line = append(line, '\n')
	defer clear(line)
	if err := file.Replace(name, 0o600, line); err != nil {
		return fmt.Errorf("write the root key: %w", err)
	}
	return nil
}

// ReadKey reads the file that Write made; fs.ErrNotExist when there is none.
// A file that others than its owner may read is refused.
func ReadKey(name string) (Key, error) {
	f, err := os.Open(name)
	if err != nil {
		return Key{}, fmt.Errorf("read the root key: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return Key{}, fmt.Errorf("read the root key: %w", err)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return Key{}, fault.New(fault.Invalid, "others may read %s: chmod 600, and change the key if they did", "其他用户可读取 %s:请 chmod 600;如已泄露请更换密钥", name)
	}
	b, err := io.ReadAll(io.LimitReader(f, 256))
	defer clear(b)
	if err != nil {
		return Key{}, fmt.Errorf("read the root key: %w", err)
	}
	rest, ok := bytes.CutPrefix(bytes.TrimSuffix(b, []byte("\n")), []byte(keyHead))
	root := make([]byte, keyBytes, 64)
	if ok && len(rest) == id.Encoding.EncodedLen(keyBytes) {
		if _, err := id.Encoding.Decode(root, rest); err == nil {
			return keyOf(root)
		}
	}
	return Key{}, fault.New(fault.Invalid, "%s is no root key, or damaged; restore it", "%s 不是根密钥或已损坏;请恢复", name)
}

// next reads the key that a rotation was about to put in place of name.
func next(name string) (Key, bool, error) {
	k, err := ReadKey(name + nextKey)
	if errors.Is(err, fs.ErrNotExist) {
		return Key{}, false, nil
	}
	return k, err == nil, err
}
