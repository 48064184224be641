package rpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
)

// ClientOptions of a Client. All but Capability and Now are needed.
type ClientOptions struct {
	Certificate *tls.Certificate // of the caller
	Roots       *x509.CertPool   // the cell's authority, alone
	Cell        string
	Server      resource.Ref // who has to answer
	Connect     func(context.Context) (net.Conn, error)
	Capability  []byte // sent with each call; at most 4 KiB
	Now         func() time.Time
}

// Client calls one server. It is safe for concurrent use and reconnects by
// itself.
type Client struct {
	opt       ClientOptions
	transport *http.Transport
}

// TCP connects to an address of the cell's own.
func TCP(addr string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{Timeout: handshakeTime}).DialContext(ctx, "tcp", addr)
	}
}

// Dial prepares a client; it connects with the first call.
func Dial(opt ClientOptions) (*Client, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Certificate == nil || opt.Roots == nil || opt.Cell == "" || opt.Server.Kind == "" || opt.Connect == nil || len(opt.Capability) > capabilityBytes {
		return nil, errors.New("rpc: a client needs a certificate, the authority, the cell, whom to call and how, and a capability of 4 KiB at most")
	}
	c := &Client{opt: opt}
	c.transport = &http.Transport{
		Protocols: new(http.Protocols), DialTLSContext: c.connect, IdleConnTimeout: idleTime, DisableCompression: true,
		MaxResponseHeaderBytes: headerBytes, HTTP2: &http.HTTP2Config{SendPingTimeout: pingEvery},
	}
	c.transport.Protocols.SetHTTP2(true)
	return c, nil
}

// Close gives up connections that no call uses.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

func (c *Client) connect(ctx context.Context, _, _ string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	raw, err := c.opt.Connect(ctx)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, c.tlsConfig())
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return conn, nil
}

// tlsConfig replaces the library's check of a host name, which services have
// not, by that of the principal: chain, time, use and name.
func (c *Client) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*c.opt.Certificate}, NextProtos: []string{"h2"}, Time: c.opt.Now,
		InsecureSkipVerify: true, // VerifyConnection does it
		VerifyConnection: func(cs tls.ConnectionState) error {
			leaf := cs.PeerCertificates[0]
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: c.opt.Roots, CurrentTime: c.opt.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
				return err
			}
			who, err := identity.PrincipalOf(leaf, c.opt.Cell)
			if err != nil {
				return err
			}
			want := c.opt.Server
			if want.UID = ""; who != want {
				return fmt.Errorf("%s answers instead of %s", who, want)
			}
			return nil
		},
	}
}

// Call sends body, which may be nil or a stream, to a method and returns its
// reply, which the caller closes. What the service refused is an error with
// its code; unavailable means that there was no answer.
func (c *Client) Call(ctx context.Context, service, method string, body io.Reader) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+c.opt.Cell+"/"+service+"/"+method, body)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", service, err)
	}
	if len(c.opt.Capability) > 0 {
		req.Header.Set(capabilityHeader, base64.RawStdEncoding.EncodeToString(c.opt.Capability))
	}
	res, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, fault.New(fault.Unavailable, "the service %s does not answer", "服务 %s 无应答", service).Because(err)
	}
	if res.StatusCode == http.StatusOK {
		return res.Body, nil
	}
	defer res.Body.Close()
	var told refusal
	if err := json.NewDecoder(io.LimitReader(res.Body, headerBytes)).Decode(&told); err != nil || !told.Code.Known() {
		return nil, fault.New(fault.Internal, "the service %s failed", "服务 %s 出错", service).Because(fmt.Errorf("status %d", res.StatusCode))
	}
	return nil, fault.New(told.Code, "%s", "%s", wording(told))
}
