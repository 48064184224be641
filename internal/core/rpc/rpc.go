// Package rpc is how Dun's own services reach each other, and the only package
// that listens or dials for that. Both sides prove who they are with a
// certificate of the cell's own authority, over TCP and in-process alike; a
// service lists who may call what, and everybody else is refused. It owns the
// handshake and its limits; it knows no service, and it decides nothing that
// policy decides.
package rpc

import (
	"net/http"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
)

// Peer is who calls.
type Peer struct {
	Principal  resource.Ref
	Capability []byte // what the caller brought beside his name, not yet judged; nil = nothing
}

// Authenticator says who stands behind a request. Certificates is one; others
// may read more than the certificate. What it cannot tell it refuses.
type Authenticator interface {
	Authenticate(*http.Request) (Peer, error)
}

// Caller is whom a method admits. The tenant is exact; "*" as the name is
// everybody of that kind and tenant.
type Caller struct{ Kind, Tenant, Name string }

func (c Caller) admits(p resource.Ref) bool {
	return c.Kind != "" && c.Kind == p.Kind && c.Tenant == p.Tenant && p.Name != "" && (c.Name == "*" || c.Name == p.Name)
}

// Method is one thing that a service does.
type Method struct {
	Name    string
	Callers []Caller // empty = nobody
	MaxBody int64    // bytes of a request; 0 = 1 MiB, -1 = a stream without an end
	Handle  func(http.ResponseWriter, *http.Request, Peer)
}

// Service is a named list of methods.
type Service struct {
	Name    string
	Methods []Method
}

// Limits of a server, as defaults.
const (
	DefaultConnections = 256
	DefaultBody        = 1 << 20          // bytes of a request
	handshakeTime      = 5 * time.Second  // for the handshake, and for the headers of a request
	idleTime           = 2 * time.Minute  // of a connection without a request
	headerBytes        = 16 << 10         // of a request
	streamsAtOnce      = 64               // on one connection
	stopTime           = 5 * time.Second  // for requests that run when the server stops
	capabilityBytes    = 4 << 10          // decoded
	pingEvery          = 30 * time.Second // on a connection that says nothing
	capabilityHeader   = "Dun-Capability"
)
