// Package identity says who: it turns a proof (today a bearer session; later
// certificates, access keys, Kerberos) into an Actor, and it holds the cell's
// own certificate authority. It never says what an actor may do.
package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"net/netip"
	"strings"

	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/core/resource"
)

// Actor is who acts, and by which door he came in. The door fills it once for
// each request; nothing behind it changes it.
type Actor struct {
	Principal resource.Ref // User, Service or Node
	Door      string       // api, console, socket, control …
	Source    string       // address of the client; "" for the program itself
	Request   string       // request id, "" = none

	// ChangeRequest names the approved request that is carried out; "" = none.
	ChangeRequest string
	MFA           bool  // two factors were proven for this session
	Proof         Proof // how its session was opened; "" for the program itself
}

// Proof is how somebody showed who he is when a session was opened.
type Proof string

// The proofs of today. A session by link can do one thing: set the other
// proofs.
const (
	ProofLink     Proof = "link"          // the one-time link
	ProofMachine  Proof = "machine"       // root or the owner of the data directory
	ProofPassword Proof = "password+code" // password and one-time code
	ProofPasskey  Proof = "passkey"       // WebAuthn with user verification
	ProofUpstream Proof = "openid"        // an OpenID Connect provider
	ProofKey      Proof = "accesskey"     // a request signed by an access key: no session, nobody present
	// A personal certificate (PrincipalOf) becomes one more, with the doors that
	// ask for it.
)

// Source writes the address of a peer, "host:port" as net/http has it, as
// records and events do: without port and zone; "" for what is none.
func Source(remote string) string {
	a, err := netip.ParseAddrPort(remote)
	if err != nil {
		return ""
	}
	return a.Addr().Unmap().WithZone("").String()
}

// String names the principal as the audit log does: "User platform/operator".
func (a Actor) String() string { return a.Principal.String() }

// Service is the actor of a part of the program itself.
func Service(name string) Actor {
	return Actor{Principal: resource.Ref{Kind: "Service", Tenant: resource.Platform, Name: name}, Door: "control"}
}

// tokenPrefix makes a leaked token recognisable to scanners.
const tokenPrefix = "dun_s_"

const tokenBytes = 32

// NewToken makes a session token of 256 bits; only its hash is ever stored.
func NewToken() string {
	b := make([]byte, tokenBytes)
	rand.Read(b)
	return tokenPrefix + id.Encoding.EncodeToString(b)
}

// HashToken returns the SHA-256 under which a token is stored; ok is false
// when s is not a token. Looking up by the hash leaks nothing about the token
// through timing.
func HashToken(s string) (sum [32]byte, ok bool) {
	rest, ok := strings.CutPrefix(s, tokenPrefix)
	if !ok || len(rest) != id.Encoding.EncodedLen(tokenBytes) {
		return sum, false
	}
	if _, err := id.Encoding.DecodeString(rest); err != nil {
		return sum, false
	}
	return sha256.Sum256([]byte(s)), true
}
