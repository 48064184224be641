package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/dun-sec/dun/internal/console"
	"github.com/dun-sec/dun/internal/core/dial"
	"github.com/dun-sec/dun/internal/core/fault"
)

const (
	originTime = 10 * time.Second // one origin may take
	originHead = 64 << 10         // bytes of headers
)

// originTest asks an origin as the edge would reach it: by the tenant's dialer,
// with the name and the authority that the site gives, following nothing, and
// reading no more than the head of the answer.
func originTest(dial func(tenant string) func(ctx context.Context, network, address string) (net.Conn, error)) func(context.Context, string, console.Origin) (console.OriginAnswer, error) {
	return func(ctx context.Context, tenant string, o console.Origin) (a console.OriginAnswer, err error) {
		ctx, cancel := context.WithTimeout(ctx, originTime)
		defer cancel()
		conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: o.ServerName}
		if o.CA != "" {
			conf.RootCAs = x509.NewCertPool()
			if !conf.RootCAs.AppendCertsFromPEM([]byte(o.CA)) {
				return a, fault.New(fault.Invalid, "the authority of the origin is no certificate in PEM", "源站根证书不是 PEM 证书")
			}
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.URL, nil)
		if err != nil {
			return a, fault.New(fault.Invalid, "the address cannot be read", "地址无法解析")
		}
		if o.Host != "" {
			req.Host = o.Host
		}
		tr := &http.Transport{DialContext: dial(tenant), TLSClientConfig: conf, DisableKeepAlives: true, MaxResponseHeaderBytes: originHead}
		defer tr.CloseIdleConnections()
		start := time.Now()
		res, err := tr.RoundTrip(req)
		if a.Took = time.Since(start); err != nil {
			return a, originTrouble(err)
		}
		defer res.Body.Close()
		if _, err := io.CopyN(io.Discard, res.Body, 1); err != nil && !errors.Is(err, io.EOF) {
			return a, originTrouble(err)
		}
		if a.Status = res.StatusCode; res.TLS != nil && len(res.TLS.PeerCertificates) > 0 {
			leaf := res.TLS.PeerCertificates[0]
			if a.TLSName = leaf.Subject.CommonName; len(leaf.DNSNames) > 0 {
				a.TLSName = leaf.DNSNames[0]
			}
		}
		return a, nil
	}
}

// originTrouble says in words for people why an origin did not answer.
func originTrouble(err error) error {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	var dns *net.DNSError
	switch {
	case errors.Is(err, dial.ErrRefused):
		return fault.New(fault.Forbidden, "this address may not be reached for the tenant: private networks are opened by the platform (Tenant, spec.originNetworks)", "不允许为该租户访问此地址:内网须由平台开放(Tenant 的 spec.originNetworks)").Because(err)
	case errors.As(err, &dns):
		return fault.New(fault.Unavailable, "the name cannot be resolved", "域名无法解析").Because(err)
	case errors.As(err, &authority):
		return fault.New(fault.Unavailable, "its certificate is signed by an authority that is not trusted; give it as spec.origins.ca", "其证书由不受信任的机构签发;请在 spec.origins.ca 中提供根证书").Because(err)
	case errors.As(err, &host):
		return fault.New(fault.Unavailable, "its certificate is for other names; set spec.origins.serverName", "其证书的名称不符;请设置 spec.origins.serverName").Because(err)
	case errors.As(err, &invalid):
		return fault.New(fault.Unavailable, "its certificate has expired or is not good for a server", "其证书已过期或不适用于服务器").Because(err)
	case errors.As(err, &record):
		return fault.New(fault.Unavailable, "it does not speak TLS there; is it http://?", "该端口未使用 TLS;是否应为 http://?").Because(err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fault.New(fault.Unavailable, "nobody listens there", "该地址无服务监听").Because(err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return fault.New(fault.Unavailable, "it did not answer in time", "未在时限内应答").Because(err)
	}
	return fault.New(fault.Unavailable, "the connection broke off", "连接中断").Because(err)
}
