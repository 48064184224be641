package agent

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/file"
	"github.com/dun-sec/dun/internal/core/nodelink"
)

// memberFile says of which cell a data directory's node is; one that holds the
// records has none.
const memberFile = "keys/member.json"

// membership is what a machine keeps of its joining. Key and certificate are
// replaced together, whole or not at all.
type membership struct {
	V           int      `json:"v"`
	Cell        string   `json:"cell"`
	Node        string   `json:"node"`
	Number      int      `json:"number"`
	Roles       []string `json:"roles"`
	URL         string   `json:"url"`
	Address     string   `json:"address"` // of the service, host:port
	CA          []byte   `json:"ca"`      // DER
	Certificate []byte   `json:"certificate,omitempty"`
	Key         []byte   `json:"key"` // PKCS #8
}

func (m *membership) joined() bool { return len(m.Certificate) > 0 }

// maxToken is how many bytes of a token file are read.
const maxToken = 16 << 10

// ReadToken reads the file of a token, as whoever starts the program may.
func ReadToken(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fault.New(fault.Invalid, "token file %s: %s", "令牌文件 %s:%s", name, err.Error()).Because(err)
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxToken))
}

// readMembership is nil where nothing was written yet.
func (d *Dir) readMembership() (*membership, error) {
	b, err := os.ReadFile(d.File(memberFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, dirError(d.File(memberFile), err)
	}
	var m membership
	if err := json.Unmarshal(b, &m); err != nil || m.V != 1 {
		return nil, fault.New(fault.Invalid, "%s is damaged; remove the data directory and join anew with dun token create --node NAME", "%s 已损坏;请删除数据目录并用 dun token create --node 名称 重新加入", d.File(memberFile)).Because(err)
	}
	return &m, nil
}

func (d *Dir) writeMembership(m *membership) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return d.write(memberFile, 0o600, b)
}

// member brings the directory to be that of a node: as it was, or by joining.
// The key is on the disk before the token is sent, so that a machine that is
// cut in between may send it once more.
func (d *Dir) member(ctx context.Context, join JoinConfig, roles []string, token []byte) (*membership, error) {
	if _, err := os.Stat(d.File("records.db")); !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.Invalid, "%s holds the records of a cell: start it with dun up, or choose another directory with --data", "%s 中有集群记录:请用 dun up 启动,或用 --data 另选目录", d.Path)
	}
	m, err := d.readMembership()
	if err != nil || m != nil && m.joined() {
		return m, errors.Join(err, allowed(m, roles))
	}
	if len(token) == 0 {
		return nil, fault.New(fault.Invalid, "this machine has not joined yet: give --token-file, made by dun token create", "本机尚未加入:请提供 --token-file(由 dun token create 生成)")
	}
	t, err := nodelink.ParseToken(token)
	if err != nil {
		return nil, err
	}
	if join.URL != "" {
		if t.URL = join.URL; nodelink.CheckURL(t.URL) != nil {
			return nil, nodelink.CheckURL(t.URL)
		}
	}
	if m == nil {
		if m, err = newMembership(); err != nil {
			return nil, err
		}
		if err := d.writeMembership(m); err != nil {
			return nil, err
		}
	}
	return m, errors.Join(d.join(ctx, m, t), allowed(m, roles))
}

// allowed refuses to start as something that the cell does not let this machine
// be.
func allowed(m *membership, roles []string) error {
	for _, r := range roles {
		if m != nil && m.joined() && !slices.Contains(m.Roles, r) {
			return fault.New(fault.Invalid, "--roles: this node is %s; %s needs another token", "--roles:本节点为 %s;%s 需要其他令牌", strings.Join(m.Roles, ","), r)
		}
	}
	return nil
}

func newMembership() (*membership, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return &membership{V: 1, Key: der}, err
}

func (d *Dir) join(ctx context.Context, m *membership, t nodelink.TokenFile) error {
	key, err := m.key()
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	r, err := nodelink.Join(ctx, t, public)
	if err != nil {
		return err
	}
	m.Cell, m.Node, m.Number, m.Roles, m.URL, m.CA, m.Certificate = r.Cell, r.Node, r.Number, r.Roles, t.URL, r.CA, r.Certificate
	host, port, err := net.SplitHostPort(r.Address)
	if err != nil {
		return fault.New(fault.Unavailable, "%s does not say where its service is", "%s 未说明服务地址", t.URL).Because(err)
	}
	if host == "" {
		u, err := url.Parse(t.URL)
		if err != nil {
			return nodelink.CheckURL(t.URL)
		}
		host = u.Hostname()
	}
	m.Address = net.JoinHostPort(host, port)
	if _, err := m.pair(); err != nil {
		return fault.New(fault.Unavailable, "%s sent a certificate that is not good", "%s 发来的证书无效", t.URL).Because(err)
	}
	return d.writeMembership(m)
}

func (m *membership) key() (*ecdsa.PrivateKey, error) {
	k, err := x509.ParsePKCS8PrivateKey(m.Key)
	key, ok := k.(*ecdsa.PrivateKey)
	if err != nil || !ok {
		return nil, errors.Join(errors.New("the key of this node cannot be read"), err)
	}
	return key, nil
}

// pair is the certificate with its key.
func (m *membership) pair() (*tls.Certificate, error) {
	key, err := m.key()
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(m.Certificate)
	if err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(leaf.PublicKey) {
		return nil, errors.New("the certificate is for another key")
	}
	return &tls.Certificate{Certificate: [][]byte{m.Certificate}, PrivateKey: key, Leaf: leaf}, nil
}

func (m *membership) roots() (*x509.CertPool, error) {
	ca, err := x509.ParseCertificate(m.CA)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return pool, nil
}

// erase forgets what a removed node knew: its key, and the records and keys
// that it enforced last.
func (d *Dir) erase() error {
	var errs []error
	for _, name := range []string{memberFile, "lkg"} {
		if err := os.RemoveAll(d.File(name)); err != nil {
			errs = append(errs, dirError(d.File(name), err))
		}
	}
	return errors.Join(append(errs, file.SyncDir(d.Path))...)
}

// due reports whether a certificate has lived two thirds of its time.
func due(leaf *x509.Certificate, now time.Time) bool {
	return now.After(leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 3 * 2))
}
