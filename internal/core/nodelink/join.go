package nodelink

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/rpc"
)

// JoinPath is where a machine sends its token.
const JoinPath = "/api/v1/join"

// JoinTime is how long joining may take.
const JoinTime = 15 * time.Second

// Join uses the token up and makes this machine a node. The server must show
// the authority whose hash the token carries, and a certificate that this
// authority signed for the address: whoever stands in between gets nothing.
func Join(ctx context.Context, t TokenFile, public []byte) (*JoinReply, error) {
	ctx, cancel := context.WithTimeout(ctx, JoinTime)
	defer cancel()
	body, err := json.Marshal(JoinRequest{V: Schema, Token: t.Token, Secret: t.Secret, Public: public})
	if err != nil {
		return nil, err
	}
	var ca *x509.Certificate
	client := rpc.Pinned(func(cs tls.ConnectionState) (err error) {
		ca, err = pinned(cs, t.CA)
		return err
	})
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(t.URL, "/")+JoinPath, bytes.NewReader(body))
	if err != nil {
		return nil, CheckURL(t.URL)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return nil, fault.New(fault.Unavailable, "%s cannot be joined: %s", "无法加入 %s:%s", t.URL, err.Error()).Because(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, MaxReport))
	if err != nil {
		return nil, fault.New(fault.Unavailable, "%s did not finish its answer", "%s 未答完", t.URL).Because(err)
	}
	if res.StatusCode != http.StatusCreated {
		var p struct{ Code, Detail string }
		if json.Unmarshal(b, &p) != nil || !fault.Code(p.Code).Known() {
			return nil, fault.New(fault.Unavailable, "%s answers %d: no cell of Dun", "%s 应答 %d:不是 Dun 集群", t.URL, res.StatusCode)
		}
		return nil, fault.New(fault.Code(p.Code), "%s refuses: %s", "%s 拒绝:%s", t.URL, p.Detail)
	}
	var r JoinReply
	if err := json.Unmarshal(b, &r); err != nil || !bytes.Equal(r.CA, ca.Raw) || !resource.ValidName(r.Cell) || !resource.ValidName(r.Node) {
		return nil, fault.New(fault.Unavailable, "%s sent an answer that is none", "%s 的应答无效", t.URL)
	}
	return &r, nil
}

// pinned verifies what the server showed against the hash of the authority.
func pinned(cs tls.ConnectionState, want string) (*x509.Certificate, error) {
	chain := cs.PeerCertificates
	if len(chain) < 2 {
		return nil, errors.New("the server does not show its authority")
	}
	ca := chain[len(chain)-1]
	sum := sha256.Sum256(ca.RawSubjectPublicKeyInfo)
	if subtle.ConstantTimeCompare([]byte(HashOf(hex.EncodeToString(sum[:]))), []byte(want)) != 1 {
		return nil, errors.New("the server's authority is not the one that the token names")
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	if _, err := chain[0].Verify(x509.VerifyOptions{Roots: pool, DNSName: cs.ServerName, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
		return nil, fmt.Errorf("the server's certificate: %w", err)
	}
	return ca, nil
}
