package rpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
)

// ServerOptions of a Server. Certificate, Roots, Cell and Services are needed.
type ServerOptions struct {
	Certificate *tls.Certificate // of this service, from the cell's authority
	// Renewed gives the one to use from now on, at each handshake; nil = always
	// Certificate.
	Renewed     func() (*tls.Certificate, error)
	Roots       *x509.CertPool // the cell's authority, alone
	Cell        string
	Services    []Service
	Auth        Authenticator // nil = Certificates
	Connections int           // at once; 0 = DefaultConnections
	Now         func() time.Time
	Log         *slog.Logger
}

// Server answers calls over any listeners, and in-process over its own.
type Server struct {
	opt     ServerOptions
	methods map[string]*Method // by "/service/method"
	local   *pipes
}

// NewServer checks the services: each has a name, each method one too, once.
func NewServer(opt ServerOptions) (*Server, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Auth == nil {
		opt.Auth = Certificates{Cell: opt.Cell, Now: opt.Now}
	}
	if opt.Connections == 0 {
		opt.Connections = DefaultConnections
	}
	if opt.Certificate == nil || opt.Roots == nil || opt.Cell == "" {
		return nil, errors.New("rpc: a server needs a certificate, the authority and the cell")
	}
	s := &Server{opt: opt, methods: map[string]*Method{}, local: newPipes()}
	for _, svc := range opt.Services {
		for _, m := range svc.Methods {
			path := "/" + svc.Name + "/" + m.Name
			if s.methods[path] != nil || svc.Name == "" || m.Name == "" || m.Handle == nil {
				return nil, fmt.Errorf("rpc: the method %s is there twice, or incomplete", path)
			}
			if m.MaxBody == 0 {
				m.MaxBody = DefaultBody
			}
			s.methods[path] = &m
		}
	}
	return s, nil
}

// Listen opens a TCP address for Serve.
func Listen(addr string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for services: %w", err)
	}
	return ln, nil
}

// Serve answers on the listeners, which it closes, and in-process, until ctx
// ends; then requests that run have 5 s. A server serves once.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	srv := &http.Server{
		Handler: s, TLSConfig: s.tlsConfig(), Protocols: new(http.Protocols), HTTP2: &http.HTTP2Config{MaxConcurrentStreams: streamsAtOnce, SendPingTimeout: pingEvery},
		ReadHeaderTimeout: handshakeTime, IdleTimeout: idleTime, MaxHeaderBytes: headerBytes,
		ErrorLog:    slog.NewLogLogger(s.opt.Log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return ctx }, // a stream ends with the server
	}
	srv.Protocols.SetHTTP2(true)
	room := make(chan struct{}, s.opt.Connections)
	all := append([]net.Listener{s.local}, listeners...)
	ended := make(chan error, len(all))
	var run sync.WaitGroup
	for _, ln := range all {
		run.Go(func() { ended <- srv.ServeTLS(&bounded{Listener: ln, room: room}, "", "") })
	}
	var failed error
	select {
	case <-ctx.Done():
	case failed = <-ended:
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	if srv.Shutdown(grace) != nil {
		failed = errors.Join(failed, srv.Close())
	}
	run.Wait()
	if errors.Is(failed, http.ErrServerClosed) || errors.Is(failed, net.ErrClosed) {
		return nil
	}
	return failed
}

func (s *Server) tlsConfig() *tls.Config {
	var get func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	if s.opt.Renewed != nil {
		get = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.opt.Renewed() }
	}
	return &tls.Config{
		GetCertificate: get,
		MinVersion:     tls.VersionTLS13, Certificates: []tls.Certificate{*s.opt.Certificate}, NextProtos: []string{"h2"}, Time: s.opt.Now,
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: s.opt.Roots, SessionTicketsDisabled: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			_, err := identity.PrincipalOf(cs.PeerCertificates[0], s.opt.Cell)
			return err
		},
	}
}

// ServeHTTP implements http.Handler: who, then whether, then what. A method
// that is not there is refused like one that the caller may not call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p, err := s.opt.Auth.Authenticate(r)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	m := s.methods[r.URL.Path]
	if m == nil || r.Method != http.MethodPost || !m.admit(p) {
		s.refuse(w, r, fault.New(fault.Forbidden, "%s may not call %s", "%s 无权调用 %s", p.Principal.String(), r.URL.Path))
		return
	}
	if m.MaxBody > 0 {
		if r.ContentLength > m.MaxBody {
			s.refuse(w, r, fault.New(fault.Invalid, "the request has %d bytes; at most %d are taken", "请求有 %d 字节,上限为 %d", r.ContentLength, m.MaxBody))
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, m.MaxBody)
	}
	m.Handle(w, r, p)
}

func (m *Method) admit(p Peer) bool {
	for _, c := range m.Callers {
		if c.admits(p.Principal) {
			return true
		}
	}
	return false
}

// refusal is what a caller is told.
type refusal struct {
	Code   fault.Code `json:"code"`
	En, Zh string
}

// refuse answers with the code and its wording; the cause is for the log.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	s.opt.Log.Debug("refused", "part", "rpc", "path", r.URL.Path, "err", err)
	Refuse(w, err)
}

// Refuse answers a call with an error, which Call gives back to the caller.
func Refuse(w http.ResponseWriter, err error) {
	e := fault.Of(err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Code.Status())
	if json.NewEncoder(w).Encode(refusal{e.Code, e.Detail.En, e.Detail.Zh}) != nil {
		return // the caller left
	}
}
