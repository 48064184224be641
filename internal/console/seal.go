package console

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
)

// maxSealed is what a cookie can carry.
const maxSealed = 3500

// sealer closes what a browser keeps for us, and may neither read nor change.
// Its key lives as long as the process.
type sealer struct{ aead cipher.AEAD }

func newSealer() *sealer {
	key := make([]byte, 32)
	rand.Read(key)
	b, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // 32 bytes are a key
	}
	a, err := cipher.NewGCMWithRandomNonce(b)
	if err != nil {
		panic(err)
	}
	return &sealer{a}
}

func (s *sealer) close(v any) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	out := base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, b, nil))
	if len(out) > maxSealed {
		return "", errors.New("too long for a cookie")
	}
	return out, nil
}

func (s *sealer) open(text string, v any) error {
	if len(text) > maxSealed {
		return errors.New("not sealed here")
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return err
	}
	if b, err = s.aead.Open(nil, nil, b, nil); err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}
