package agent

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/govern/classes"
	"github.com/dun-sec/dun/internal/plane/edge"
)

// canaryOrigin is the origin of the site by which control 1-1 tries the edge.
// It is in this process, since the canary's tenant reaches no private network,
// and it is there for that tenant alone and while a try lasts.
type canaryOrigin struct {
	mu     sync.Mutex
	host   string // "" = nobody is answered
	marker string
}

// What an answer is asked to say of its class.
const (
	pathMarked = "/marked"
	pathPlain  = "/plain"
)

// originWithin is how long one connection may last.
const originWithin = 10 * time.Second

// open answers for a host until the function that it returns is called.
func (o *canaryOrigin) open(marker string) (host string, end func()) {
	host = classes.Mark + id.Random(16) + ".canary.dun.invalid" // nobody has it (RFC 6761 section 6.4)
	o.set(host, marker)
	return host, func() { o.set("", "") }
}

func (o *canaryOrigin) set(host, marker string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.host, o.marker = host, marker
}

// before is the dialer of the edge, with the canary's origin in its place.
func (o *canaryOrigin) before(next func(tenant string) edge.DialFunc) func(tenant string) edge.DialFunc {
	return func(tenant string) edge.DialFunc {
		dial := next(tenant)
		if tenant != edge.CanaryTenant {
			return dial
		}
		return func(ctx context.Context, network, addr string) (net.Conn, error) {
			o.mu.Lock()
			host, marker := o.host, o.marker
			o.mu.Unlock()
			if host == "" || addr != net.JoinHostPort(host, "80") {
				return dial(ctx, network, addr)
			}
			ours, theirs := net.Pipe()
			go answerCanary(ours, marker)
			return theirs, nil
		}
	}
}

// answerCanary answers one request with the marker, in a header and as body,
// and with its class where the path says so.
func answerCanary(c net.Conn, marker string) {
	defer c.Close()
	// Who does not take the answer in time gets none.
	_ = c.SetDeadline(time.Now().Add(originWithin))
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	h := http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "Dun-Canary": {marker}}
	if r.URL.Path == pathMarked {
		h.Set(edge.ClassHeader, classes.UserData)
	}
	a := http.Response{StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, Request: r, Header: h, ContentLength: int64(len(marker)), Body: io.NopCloser(strings.NewReader(marker)), Close: true}
	_ = a.Write(c)
}

// edgeDoor is the edge of this machine as a door of control 1-1: a site that
// gives out public data alone, and an answer of its origin that says it is
// users' data. Its twin is the answer that says nothing of a class.
func (c *cell) edgeDoor(env edge.CheckEnv) classes.Door {
	look := func(path string) func(context.Context, classes.Planted) (classes.Look, error) {
		return func(ctx context.Context, p classes.Planted) (classes.Look, error) {
			host, end := c.canaryOrigin.open(p.Marker)
			defer end()
			a, err := c.edge.TryClass(ctx, env, edge.ClassTry{Site: classes.Mark + id.Random(10), Class: "public", Origin: "http://" + host}, path, p.Marker)
			if err != nil {
				return classes.Look{}, err
			}
			out := classes.Look{Leaked: a.Found, Quiet: !a.Found && !a.Told, Saw: fmt.Sprintf("an answer of class %s through a site of class public: %d", classes.UserData, a.Status)}
			if a.Told {
				out.Saw += ", and an event"
			}
			if !a.Found && a.Status != http.StatusForbidden {
				return out, fmt.Errorf("the edge answers %d", a.Status)
			}
			return out, nil
		}
	}
	return classes.Door{Name: "edge", Try: look(pathMarked), Twin: look(pathPlain)}
}
