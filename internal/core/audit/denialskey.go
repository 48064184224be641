package audit

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

const algEd25519 = 1 // of C2SP signed-note

// DenialsKey names the cell's log key anew for the log of denials: one secret
// signs both, and whoever pins the one log's key knows the other's. No
// signature of the one log is one of the other: the origin is in what is
// signed, and in the key's name.
func DenialsKey(skey string) (string, error) {
	parts := strings.SplitN(skey, "+", 5)
	if len(parts) != 5 || parts[0] != "PRIVATE" || parts[1] != "KEY" {
		return "", errors.New("not a log key")
	}
	data, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil || len(data) != 1+ed25519.SeedSize || data[0] != algEd25519 {
		return "", errors.New("not an Ed25519 log key")
	}
	name := parts[2] + originDenials
	if err := checkOrigin(name); err != nil {
		return "", err
	}
	pub := ed25519.NewKeyFromSeed(data[1:]).Public().(ed25519.PublicKey)
	return fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", name, keyHash(name, pub), parts[4]), nil
}

// DenialsVKey is the verifier's side of DenialsKey.
func DenialsVKey(vkey string) (string, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return "", errors.New("not a log's verifier key")
	}
	data, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(data) != 1+ed25519.PublicKeySize || data[0] != algEd25519 {
		return "", errors.New("not an Ed25519 verifier key")
	}
	name := parts[0] + originDenials
	if err := checkOrigin(name); err != nil {
		return "", err
	}
	return note.NewEd25519VerifierKey(name, data[1:])
}

// keyHash is the key id of C2SP signed-note.
func keyHash(name string, pub ed25519.PublicKey) uint32 {
	h := sha256.New()
	h.Write([]byte(name + "\n"))
	h.Write([]byte{algEd25519})
	h.Write(pub)
	return binary.BigEndian.Uint32(h.Sum(nil))
}
