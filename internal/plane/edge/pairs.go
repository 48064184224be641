package edge

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/secret"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

// KeyOpener opens the private key of a Certificate for this node.
type KeyOpener func(ctx context.Context, owner resource.Ref, ref secret.Ref, purpose string) (secret.Value, error)

const (
	openAtOnce = 16               // keys; the log takes those that wait together into one group
	openTime   = 10 * time.Second // for all keys of a change: enforcement waits for them
	openAgain  = 10 * time.Second // after which keys that did not open are tried again
)

// pair is a Certificate in force: its chain and its key.
type pair struct {
	of    *resource.Object // that it was made of, so that what did not move is not read again
	key   string           // reference of the key
	chain string           // PEM
	names map[string]bool  // small letters; a leading *. covers one label
	leaf  *x509.Certificate
	cert  *tls.Certificate
}

// covers reports whether the certificate is good for a host.
func (p *pair) covers(host string) bool { return p.names[host] || p.names[wildcard(host)] }

// wildcard is the name that covers host and its neighbours; "" = none.
func wildcard(host string) string {
	if i := strings.IndexByte(host, '.'); i > 0 {
		return "*" + host[i:]
	}
	return ""
}

// ownPairs are the tenants' own certificates of a snapshot.
type ownPairs struct {
	byName map[siteName]*pair
	byHost map[siteName]*pair // tenant and covered name
}

// find is the certificate of a site for a host: the one that the site names,
// else the one of its tenant with the most specific name; nil = none.
func (o ownPairs) find(t *site, host string) *tls.Certificate {
	if p := o.byName[siteName{t.name.tenant, t.cert}]; p != nil && p.covers(host) {
		return p.cert
	}
	p := o.byHost[siteName{t.name.tenant, host}]
	if p == nil {
		p = o.byHost[siteName{t.name.tenant, wildcard(host)}]
	}
	if p == nil {
		return nil
	}
	return p.cert
}

// pairs makes them; the goroutine of Run owns it.
type pairs struct {
	edge   *Edge
	all    map[siteName]*pair
	failed time.Time // when keys did not open; zero = all did
}

// due reports whether keys that did not open are to be tried again.
func (p *pairs) due() bool {
	return !p.failed.IsZero() && p.edge.opts.Now().Sub(p.failed) >= openAgain
}

// follow makes the pairs of all certificates. It runs before a snapshot uses
// them, so that no handshake waits for a key. A key that does not open leaves
// the pair before in force.
func (p *pairs) follow(ctx context.Context, records map[resource.Ref]*resource.Object) ownPairs {
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	p.failed = time.Time{}
	next := map[siteName]*pair{}
	var mu sync.Mutex // next, p.failed
	var opening sync.WaitGroup
	slots := make(chan struct{}, openAtOnce)
	for ref, o := range records {
		if ref.Kind != "Certificate" {
			continue
		}
		n := siteName{ref.Tenant, ref.Name}
		if old := p.all[n]; old != nil && old.of == o {
			mu.Lock()
			next[n] = old
			mu.Unlock()
			continue
		}
		chain, key, ok := edge.InForce(o)
		if !ok {
			continue
		}
		old := p.all[n]
		if old != nil && old.key == key && old.chain == chain {
			same := *old
			same.of = o
			mu.Lock()
			next[n] = &same
			mu.Unlock()
			continue
		}
		slots <- struct{}{}
		opening.Go(func() {
			defer func() { <-slots }()
			made, err := p.open(ctx, o.Ref(), chain, key)
			if err == nil {
				made.of = o
			} else {
				p.edge.opts.Log.Error("certificate is not in force: its key does not open", "kind", "Certificate", "tenant", n.tenant, "name", n.name, "err", err)
				made = old
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				p.failed = p.edge.opts.Now()
			}
			if made != nil {
				next[n] = made
			}
		})
	}
	opening.Wait()
	p.all = next
	return index(next)
}

func (p *pairs) open(ctx context.Context, owner resource.Ref, chainPEM, ref string) (*pair, error) {
	chain, why := edge.ParseChain(chainPEM)
	if why != nil {
		return nil, fmt.Errorf("the chain %s", why.En)
	}
	if p.edge.opts.Keys == nil {
		return nil, errors.New("no secrets are opened here")
	}
	v, err := p.edge.opts.Keys(ctx, owner, secret.Ref(ref), edge.KeyPurpose)
	if err != nil {
		return nil, err
	}
	defer v.Wipe()
	key, why := edge.ParseKey(v.Reveal())
	if why != nil {
		return nil, fmt.Errorf("the key: %s", why.En)
	}
	if edge.PublicKeyHash(key.Public()) != edge.PublicKeyHash(chain[0].PublicKey) {
		return nil, errors.New("the key is not that of the chain")
	}
	out := &pair{key: ref, chain: chainPEM, names: map[string]bool{}, leaf: chain[0], cert: &tls.Certificate{PrivateKey: key, Leaf: chain[0]}}
	for _, n := range edge.Names(chain[0]) {
		out.names[n] = true
	}
	for _, c := range chain {
		out.cert.Certificate = append(out.cert.Certificate, c.Raw)
	}
	return out, nil
}

// index sorts pairs by what they cover. Of two for one name the one that holds
// longer counts, then the first by name.
func index(all map[siteName]*pair) ownPairs {
	out := ownPairs{byName: all, byHost: map[siteName]*pair{}}
	from := map[siteName]string{}
	for n, p := range all {
		for host := range p.names {
			k := siteName{n.tenant, host}
			had := out.byHost[k]
			if had == nil || p.leaf.NotAfter.After(had.leaf.NotAfter) || p.leaf.NotAfter.Equal(had.leaf.NotAfter) && n.name < from[k] {
				out.byHost[k], from[k] = p, n.name
			}
		}
	}
	return out
}
