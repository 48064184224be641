package nodelink

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/rpc"
	"github.com/dun-sec/dun/internal/core/secret"
	"github.com/dun-sec/dun/internal/core/usage"
	"github.com/dun-sec/dun/internal/core/verdicts"
)

// ErrRemoved says that the cell no longer knows this node: its record is gone,
// it is disabled, or another machine took its name.
var ErrRemoved = errors.New("this node was removed from the cell")

// Options of a Link. All but Floor, Log and Now are needed.
type Options struct {
	Certificate *tls.Certificate
	Roots       *x509.CertPool
	Cell, Node  string
	Connect     func(context.Context) (net.Conn, error)
	Registry    *resource.Registry
	Version     string
	Floor       resource.Position // nothing older of the same epoch is taken
	Log         *slog.Logger
	Now         func() time.Time
}

// Link is a node's end. It is safe for concurrent use; Feed has one reader.
type Link struct {
	opt     Options
	client  atomic.Pointer[rpc.Client]
	node    resource.Ref
	sealing secret.NodeKey

	mu      sync.Mutex
	heard   time.Time // last frame or reply
	up      bool      // a stream runs
	trouble error     // why none does
	floor   resource.Position
	skipped map[string]bool // records that this release cannot read
}

// New prepares a link; it connects when the feed is asked.
func New(opt Options) (*Link, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	l := &Link{opt: opt, node: NodeRef(opt.Node), floor: opt.Floor, skipped: map[string]bool{}}
	var err error
	if l.sealing, err = secret.NewNodeKey(); err != nil {
		return nil, err
	}
	return l, l.Use(opt.Certificate)
}

// Use goes over to a new certificate.
func (l *Link) Use(cert *tls.Certificate) error {
	c, err := rpc.Dial(rpc.ClientOptions{Certificate: cert, Roots: l.opt.Roots, Cell: l.opt.Cell, Server: Hub(), Connect: l.opt.Connect, Now: l.opt.Now})
	if err != nil {
		return err
	}
	if old := l.client.Swap(c); old != nil {
		old.Close()
	}
	return nil
}

// Close gives up the connections.
func (l *Link) Close() { l.client.Load().Close() }

// Contact is when the control plane was heard last, and whether a stream runs;
// why says what is in the way.
func (l *Link) Contact() (heard time.Time, up bool, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.heard, l.up, l.trouble
}

// Skipped lists records that this release cannot read: those of a newer one.
func (l *Link) Skipped() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for name := range l.skipped {
		out = append(out, name)
	}
	return out
}

func (l *Link) hear() {
	l.mu.Lock()
	l.heard = l.opt.Now()
	l.mu.Unlock()
}

func (l *Link) state(up bool, why error) {
	l.mu.Lock()
	l.up, l.trouble = up, why
	l.mu.Unlock()
}

// callTime is how long a single answer may take.
const callTime = 10 * time.Second

// call sends one message and reads its answer, at most MaxLine bytes.
func (l *Link) call(ctx context.Context, method string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	res, err := l.client.Load().Call(ctx, Service, method, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer res.Close()
	b, err := io.ReadAll(io.LimitReader(res, MaxLine+1))
	if err != nil {
		return nil, fault.New(fault.Unavailable, "the control plane did not finish its answer", "控制面未答完").Because(err)
	}
	if len(b) > MaxLine {
		return nil, fmt.Errorf("%s: the answer is too long", method)
	}
	l.hear()
	return b, nil
}

// removed turns the refusal to watch of a node that is no more into ErrRemoved.
func removed(err error) error {
	if fault.Is(err, fault.NotFound) {
		return errors.Join(ErrRemoved, err)
	}
	return err
}

func (l *Link) ask(ctx context.Context, method string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encode %s: %w", method, err)
	}
	b, err := l.call(ctx, method, body)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("read the answer of %s: %w", method, err)
	}
	return nil
}

// Report tells how the node is.
func (l *Link) Report(ctx context.Context, r Report) error {
	r.V = Schema
	return l.ask(ctx, ReportState, r, nil)
}

// Key opens the private key of a Certificate: sealed to this process for this
// purpose, and told to the audit log.
func (l *Link) Key(ctx context.Context, owner resource.Ref, ref secret.Ref, purpose string) (secret.Value, error) {
	public, err := l.sealing.Public()
	if err != nil {
		return secret.Value{}, err
	}
	var out KeyReply
	if err := l.ask(ctx, Key, KeyRequest{Owner: owner, Ref: string(ref), Purpose: purpose, Public: public}, &out); err != nil {
		return secret.Value{}, err
	}
	return l.sealing.OpenSealed(l.node, ref, purpose, out.Sealed)
}

// Certificates asks for certificates of hosts, for one key of this node.
func (l *Link) Certificates(ctx context.Context, hosts []HostOf, public []byte) ([][]byte, error) {
	var out CertificatesReply
	if err := l.ask(ctx, Certificates, CertificatesRequest{Hosts: hosts, Public: public}, &out); err != nil {
		return nil, err
	}
	if len(out.Certificates) != len(hosts) {
		return nil, errors.New("the authority answered for other hosts")
	}
	return out.Certificates, nil
}

// Ship hands on events that this node saw. When it returns nil they are on the
// disk of the control plane.
func (l *Link) Ship(ctx context.Context, list []events.Event) error {
	var b bytes.Buffer
	for _, e := range list {
		line, err := e.MarshalJSON()
		if err != nil {
			return err
		}
		b.Write(append(line, '\n'))
	}
	_, err := l.call(ctx, Events, b.Bytes())
	return err
}

// Usage tells what sites took. When it returns nil that is kept.
func (l *Link) Usage(ctx context.Context, entries []usage.Entry) error {
	return l.ask(ctx, Usage, UsageReport{entries}, nil)
}

// Repair brings the set and the control plane's to hold the same verdicts.
func (l *Link) Repair(ctx context.Context, s *verdicts.Set) error {
	b, err := l.call(ctx, Digest, s.Digest())
	if err != nil {
		return err
	}
	var r DigestReply
	if err := json.Unmarshal(b, &r); err != nil {
		return fmt.Errorf("read a digest: %w", err)
	}
	if r.Request != nil {
		m, err := s.Entries(r.Request)
		if err != nil {
			return err
		}
		if _, err := l.call(ctx, Merge, m); err != nil {
			return err
		}
	}
	want, err := s.Differ(r.Digest)
	if err != nil || want == nil {
		return err
	}
	m, err := l.call(ctx, Entries, want)
	if err != nil {
		return err
	}
	_, err = s.Merge(m)
	return err
}

// Challenge asks how to answer an ACME authority for a host.
func (l *Link) Challenge(ctx context.Context, tenant, host, path string) (string, bool) {
	var r ChallengeReply
	if err := l.ask(ctx, Challenge, ChallengeRequest{tenant, host, path}, &r); err != nil {
		return "", false
	}
	return r.Answer, r.OK
}

// Renew asks for a new certificate for the key of the one in use, in DER.
func (l *Link) Renew(ctx context.Context) ([]byte, error) {
	var r RenewReply
	err := l.ask(ctx, Renew, struct{}{}, &r)
	return r.Certificate, err
}
