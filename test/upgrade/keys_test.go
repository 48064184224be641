package upgrade

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/dun-sec/dun/internal/core/id"
)

// The fixture carries no key: what its cell was made with is derived here, from
// words that anybody may read. They guard nothing.
const cellName = "fixture1"

func derived(what string) [32]byte { return sha256.Sum256([]byte("dun upgrade fixture v1: " + what)) }

// writeKeys makes the folder keys of a data directory.
func writeKeys(t *testing.T, dir string) {
	t.Helper()
	write := func(name string, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, "keys", name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(authorityKey(t))
	if err != nil {
		t.Fatal(err)
	}
	write("ca.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	seed := derived("log")
	pub := ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
	origin := "dun.dev/log/" + cellName
	vkey, err := note.NewEd25519VerifierKey(origin, pub)
	if err != nil {
		t.Fatal(err)
	}
	// The private form of C2SP signed-note: algorithm 1 and the seed.
	h := sha256.Sum256(append(append([]byte(origin+"\n"), 1), pub...))
	skey := fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", origin, binary.BigEndian.Uint32(h[:]), base64.StdEncoding.EncodeToString(append([]byte{1}, seed[:]...)))
	write("log.key", []byte(skey+"\n"+vkey+"\n"))
	rootKey := derived("root")
	write("root.key", append(id.Encoding.AppendEncode([]byte("dun-root-key-1 "), rootKey[:]), '\n'))
	for _, name := range []string{"node.key", "lkg.key"} {
		k := derived(name)
		write(name, []byte(hex.EncodeToString(k[:])+"\n"))
	}
}

func authorityKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	b := derived("authority")
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), b[:])
	if err != nil {
		t.Fatal(err)
	}
	return key
}
