// Package challenges hands the answers to ACME challenges (RFC 8555 section 8)
// from who orders a certificate to the doors that an authority asks. It owns
// them for as long as an order lasts, bounded in number and time. An answer is
// given for the sites of its own tenant alone: whoever asks says whose the host
// is. It never speaks to an authority.
package challenges

import (
	"crypto/tls"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Protocol is what a TLS handshake that asks a challenge negotiates (RFC 8737).
const Protocol = "acme-tls/1"

// PathPrefix is where an authority asks in clear (RFC 8555 section 8.3).
const PathPrefix = "/.well-known/acme-challenge/"

// Bounds.
const (
	MaxPending = 4096
	MaxAnswer  = 1024             // bytes
	Lifetime   = 15 * time.Minute // of one that nobody took back
)

type key struct{ tenant, host, token string } // token "" = the TLS challenge

type answer struct {
	text  string
	cert  *tls.Certificate
	until time.Time
}

// Set is safe for concurrent use.
type Set struct {
	now func() time.Time
	mu  sync.RWMutex
	all map[key]answer // guarded by mu
}

// New makes an empty set.
func New(now func() time.Time) *Set { return &Set{now: now, all: map[key]answer{}} }

// PutHTTP makes the clear doors answer a token on a host of the tenant.
func (s *Set) PutHTTP(tenant, host, token, text string) error {
	if !validToken(token) || len(text) > MaxAnswer {
		return fmt.Errorf("the authority sent a challenge that is none")
	}
	return s.put(key{tenant, host, token}, answer{text: text})
}

// PutTLS makes the TLS doors show a certificate to who negotiates Protocol.
func (s *Set) PutTLS(tenant, host string, cert *tls.Certificate) error {
	return s.put(key{tenant, host, ""}, answer{cert: cert})
}

func (s *Set) put(k key, a answer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if len(s.all) >= MaxPending {
		for k, a := range s.all {
			if now.After(a.until) {
				delete(s.all, k)
			}
		}
	}
	if len(s.all) >= MaxPending {
		return fmt.Errorf("more than %d challenges wait", MaxPending)
	}
	a.until = now.Add(Lifetime)
	s.all[k] = a
	return nil
}

// Take forgets a challenge; token "" is the TLS one.
func (s *Set) Take(tenant, host, token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, key{tenant, host, token})
}

func (s *Set) get(k key) (answer, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	a, ok := s.all[k]
	return a, ok && !s.now().After(a.until)
}

// HTTP is the answer to a path that was asked in clear on a host of the tenant.
func (s *Set) HTTP(tenant, host, path string) (string, bool) {
	token, ok := strings.CutPrefix(path, PathPrefix)
	if !ok || token == "" {
		return "", false
	}
	a, ok := s.get(key{tenant, host, token})
	return a.text, ok
}

// TLS is the certificate for a host of the tenant; nil = none is asked for.
func (s *Set) TLS(tenant, host string) *tls.Certificate {
	a, _ := s.get(key{tenant, host, ""})
	if a.cert == nil || s.now().After(a.until) {
		return nil
	}
	return a.cert
}

// validToken allows base64url alone (RFC 8555 section 8.3).
func validToken(t string) bool {
	return t != "" && len(t) <= 256 && !strings.ContainsFunc(t, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}
