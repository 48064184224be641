package agent

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/lkg"
	"github.com/dun-sec/dun/internal/core/nodelink"
	"github.com/dun-sec/dun/internal/core/resource"
	kindedge "github.com/dun-sec/dun/internal/kinds/edge"
)

// nobody is the name in the certificate that answers unknown names.
const nobody = "dun.invalid"

// hostCerts are the certificates that the cell's authority signed for the hosts
// of this node, for one key that never leaves it. They are fetched before a
// handshake asks, and kept under the seal of last-known-good: the node serves on
// while the control plane is gone, and after a start without it.
type hostCerts struct {
	ask  func(ctx context.Context, hosts []nodelink.HostOf, public []byte) ([][]byte, error)
	file *lkg.File
	at   func() resource.Position
	now  func() time.Time
	log  *slog.Logger

	mu    sync.Mutex
	key   *ecdsa.PrivateKey
	all   map[string]*tls.Certificate
	sites map[string]resource.Ref
}

// keptCerts is what the file holds.
type keptCerts struct {
	Key          []byte            `json:"key"`
	Certificates map[string][]byte `json:"certificates"`
}

// load begins with what was kept; without it with a new key.
func (h *hostCerts) load() error {
	h.all, h.sites = map[string]*tls.Certificate{}, map[string]resource.Ref{}
	if s, err := h.file.Load(h.now()); err == nil {
		if err := h.restore(s.Payload); err == nil {
			return nil
		}
		h.log.Warn("the certificates of hosts that were kept cannot be read", "err", err)
	}
	var err error
	h.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return err
}

func (h *hostCerts) restore(b []byte) error {
	defer clear(b)
	var k keptCerts
	if err := json.Unmarshal(b, &k); err != nil {
		return err
	}
	key, err := x509.ParsePKCS8PrivateKey(k.Key)
	if err != nil {
		return err
	}
	var ok bool
	if h.key, ok = key.(*ecdsa.PrivateKey); !ok {
		return fmt.Errorf("a key of another kind")
	}
	for host, der := range k.Certificates {
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		h.all[host] = h.pair(leaf)
	}
	return nil
}

func (h *hostCerts) pair(leaf *x509.Certificate) *tls.Certificate {
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: h.key, Leaf: leaf}
}

// Certificate implements edge.Issuer. A host that was not fetched yet is asked
// for; without an answer the one that is there serves until it ends.
func (h *hostCerts) Certificate(ctx context.Context, host string) (*tls.Certificate, error) {
	h.mu.Lock()
	c, site := h.all[host], h.sites[host]
	h.mu.Unlock()
	now := h.now()
	if c != nil && !due(c.Leaf, now) {
		return c, nil
	}
	if err := h.fetch(ctx, []nodelink.HostOf{{Host: host, Site: site}}); err != nil && c == nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if c = h.all[host]; c == nil || now.After(c.Leaf.NotAfter) {
		return nil, fmt.Errorf("the cell signs nothing for %s", host)
	}
	return c, nil
}

func (h *hostCerts) fetch(ctx context.Context, hosts []nodelink.HostOf) error {
	public, err := x509.MarshalPKIXPublicKey(&h.key.PublicKey)
	if err != nil {
		return err
	}
	list, err := h.ask(ctx, hosts, public)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, der := range list {
		if len(der) == 0 {
			continue // the site went, or is not for this node
		}
		leaf, err := x509.ParseCertificate(der)
		if err != nil || !h.key.PublicKey.Equal(leaf.PublicKey) || leaf.VerifyHostname(hosts[i].Host) != nil && hosts[i].Host[0] != '*' {
			return fmt.Errorf("the authority signed something else for %s", hosts[i].Host)
		}
		h.all[hosts[i].Host] = h.pair(leaf)
	}
	return nil
}

// follow fetches what the sites need and forgets what none needs. It returns
// when everything is there, or with the first error.
func (h *hostCerts) follow(ctx context.Context, sites []*resource.Object) error {
	now := h.now()
	var want []nodelink.HostOf
	need := map[string]resource.Ref{nobody: {}}
	for _, o := range sites {
		for _, host := range o.Spec.(*kindedge.SiteSpec).Hosts {
			need[host] = resource.Ref{Kind: "Site", Tenant: o.Metadata.Tenant, Name: o.Metadata.Name}
		}
	}
	h.mu.Lock()
	h.sites = need
	changed := false
	for host := range h.all {
		if _, ok := need[host]; !ok {
			delete(h.all, host)
			changed = true
		}
	}
	for host, site := range need {
		if c := h.all[host]; c == nil || due(c.Leaf, now) {
			want = append(want, nodelink.HostOf{Host: host, Site: site})
		}
	}
	h.mu.Unlock()
	for len(want) > 0 {
		n := min(len(want), nodelink.MaxHosts)
		if err := h.fetch(ctx, want[:n]); err != nil {
			return err
		}
		want, changed = want[n:], true
	}
	if !changed {
		return nil
	}
	return h.save()
}

func (h *hostCerts) save() error {
	der, err := x509.MarshalPKCS8PrivateKey(h.key)
	if err != nil {
		return err
	}
	k := keptCerts{Key: der, Certificates: map[string][]byte{}}
	h.mu.Lock()
	for host, c := range h.all {
		k.Certificates[host] = c.Leaf.Raw
	}
	h.mu.Unlock()
	b, err := json.Marshal(k)
	if err != nil {
		return err
	}
	defer clear(b)
	at := h.at()
	return h.file.Save(lkg.Snapshot{Epoch: at.Epoch, Number: at.Revision, Time: h.now(), Payload: b})
}
