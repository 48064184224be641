// Package nodelink is what a node and the control plane say to each other: the
// messages, the join token, and the node's end of the link. It owns the form of
// the messages, which carry a schema number, and it is the feed from which a
// node's roles get their records. It enforces nothing, keeps nothing on the
// disk, and decides nothing: the other end (govern/nodes) asks policy.
package nodelink

import (
	"encoding/json"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/telemetry"
	"github.com/dun-sec/dun/internal/core/usage"
)

// Schema is the number of these messages. The control plane of a release
// serves nodes of this number and of the one before; both sides ignore fields
// that they do not know, and a node skips kinds that it does not know.
const Schema = 1

// Service is the name of the service and of its methods (core/rpc).
const (
	Service      = "nodes"
	Watch        = "watch"        // WatchRequest -> a stream of Frame, one a line
	ReportState  = "report"       // Report -> {}
	Key          = "key"          // KeyRequest -> KeyReply
	Certificates = "certificates" // CertificatesRequest -> CertificatesReply
	Events       = "events"       // events, one a line -> {}
	Usage        = "usage"        // UsageReport -> {}
	Digest       = "digest"       // a digest of verdicts -> DigestReply
	Entries      = "entries"      // a request for verdicts -> verdicts
	Merge        = "merge"        // verdicts -> {}
	Floods       = "floods"       // FloodReport -> FloodReply
	Challenge    = "challenge"    // ChallengeRequest -> ChallengeReply
	Renew        = "renew"        // {} -> RenewReply, for the key of the caller
)

// Times of the link.
const (
	Heartbeat = 5 * time.Second  // between bookmarks of a stream that has nothing to say
	Silence   = 15 * time.Second // after which a side takes the other for gone
)

// Limits of what is sent.
const (
	MaxLine   = 1 << 20 // bytes of a frame
	MaxReport = 64 << 10
	MaxEvents = 500 // in one call
	MaxHosts  = 200 // certificates in one call
)

// Hub is who answers for the control plane.
func Hub() resource.Ref {
	return resource.Ref{Kind: "Service", Tenant: resource.Platform, Name: "nodes"}
}

// NodeRef names a node.
func NodeRef(name string) resource.Ref {
	return resource.Ref{Kind: "Node", Tenant: resource.Platform, Name: name}
}

// WatchRequest begins a stream of everything that the node may see.
type WatchRequest struct {
	V       int    `json:"v"`
	Version string `json:"version"` // release of the node
}

// Frame is one line of a stream (formats.md, Watch). A bookmark follows each
// group of changes and says how far the reader has come.
type Frame struct {
	V      int             `json:"v"`
	Type   string          `json:"type"` // put, delete, synced, bookmark, gone, error
	At     string          `json:"at,omitempty"`
	Object json.RawMessage `json:"object,omitempty"` // as it is stored, without status
	Ref    *resource.Ref   `json:"ref,omitempty"`
	Error  *FrameError     `json:"error,omitempty"`
}

// FrameError is why a stream ends.
type FrameError struct {
	Code string `json:"code"`
	En   string `json:"en"`
	Zh   string `json:"zh"`
}

// Report is how a node is.
type Report struct {
	V         int               `json:"v"`
	Version   string            `json:"version"`
	Epoch     string            `json:"epoch"`
	Revision  uint64            `json:"revision"` // that all its roles enforce
	Roles     []telemetry.Role  `json:"roles"`
	Endpoints map[string]string `json:"endpoints"`
	Requests  uint64            `json:"requests"` // since its start
	Blocked   uint64            `json:"blocked"`
}

// KeyRequest asks for the private key of a Certificate.
type KeyRequest struct {
	Owner   resource.Ref `json:"owner"`
	Ref     string       `json:"ref"`
	Purpose string       `json:"purpose"`
	Public  []byte       `json:"public"` // to which it is sealed (core/secret)
}

// KeyReply holds it.
type KeyReply struct {
	Sealed []byte `json:"sealed"`
}

// HostOf is a host and the site that configures it.
type HostOf struct {
	Host string       `json:"host"`
	Site resource.Ref `json:"site"` // empty for the name that is nobody's
}

// CertificatesRequest asks the cell's authority for certificates of hosts, all
// for one P-256 key of the node's.
type CertificatesRequest struct {
	Hosts  []HostOf `json:"hosts"`
	Public []byte   `json:"public"` // SubjectPublicKeyInfo, DER
}

// CertificatesReply holds one in DER for each host; empty where it was refused.
type CertificatesReply struct {
	Certificates [][]byte `json:"certificates"`
}

// UsageReport is what sites took since the last one.
type UsageReport struct {
	Entries []usage.Entry `json:"entries"`
}

// DigestReply is the other digest, and what is missing there.
type DigestReply struct {
	Digest  []byte `json:"digest"`
	Request []byte `json:"request,omitempty"`
}

// ChallengeRequest asks how to answer an ACME authority.
type ChallengeRequest struct {
	Tenant string `json:"tenant"`
	Host   string `json:"host"`
	Path   string `json:"path"`
}

// ChallengeReply is the answer, if there is one.
type ChallengeReply struct {
	Answer string `json:"answer"`
	OK     bool   `json:"ok"`
}

// RenewReply is a new certificate for the key that the node has.
type RenewReply struct {
	Certificate []byte `json:"certificate"` // DER
}

// JoinRequest is what a machine sends with its token, over HTTPS.
type JoinRequest struct {
	V      int    `json:"v"`
	Token  string `json:"token"`  // name of the record
	Secret string `json:"secret"` // whose hash is in the record
	Public []byte `json:"public"` // SubjectPublicKeyInfo of the node's key, P-256, DER
}

// JoinReply makes it a node.
type JoinReply struct {
	V           int      `json:"v"`
	Cell        string   `json:"cell"`
	Node        string   `json:"node"`
	Number      int      `json:"number"`
	Roles       []string `json:"roles"`
	Certificate []byte   `json:"certificate"` // DER
	CA          []byte   `json:"ca"`          // DER
	Address     string   `json:"address"`     // of the service, host:port; without a host it is that of the URL
}
