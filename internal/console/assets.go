package console

import (
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
)

//go:embed assets/console.css assets/console.js assets/uplot.min.js assets/uplot.min.css assets/htmx.min.js assets/hx-sse.min.js assets/guard.js assets/passkey.js assets/icon.svg
var assetFiles embed.FS

// asset is one file that pages load. Its address holds the hash of its
// content, so that a browser may keep it for ever.
type asset struct {
	url, contentType string
	body, packed     []byte // packed is gzip (RFC 1952), made once
}

var assetTypes = map[string]string{
	"console.css": "text/css; charset=utf-8", "uplot.min.css": "text/css; charset=utf-8",
	"console.js": "text/javascript; charset=utf-8", "uplot.min.js": "text/javascript; charset=utf-8",
	"htmx.min.js":   "text/javascript; charset=utf-8",
	"hx-sse.min.js": "text/javascript; charset=utf-8", "guard.js": "text/javascript; charset=utf-8", "passkey.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml",
}

// loadAssets reads what is embedded; that a file is missing is a fault of the
// build.
func loadAssets() (map[string]asset, error) {
	out := map[string]asset{}
	for name, typ := range assetTypes {
		b, err := assetFiles.ReadFile("assets/" + name)
		if err != nil {
			return nil, err
		}
		packed, err := pack(b, gzip.BestCompression)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(b)
		out[name] = asset{url: "/assets/" + hex.EncodeToString(sum[:8]) + "/" + name, contentType: typ, body: b, packed: packed}
	}
	return out, nil
}

// asset serves a file under its one address.
func (c *Console) asset(w http.ResponseWriter, r *http.Request) {
	a, ok := c.assets[r.PathValue("name")]
	if !ok || a.url != r.URL.Path {
		c.public(w, r, func(*visit) error { return nothingHere() })
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.contentType)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Vary", "Accept-Encoding")
	body := a.body
	if packs(r) {
		h.Set("Content-Encoding", "gzip")
		body = a.packed
	}
	if _, err := w.Write(body); err != nil {
		c.opt.Log.Debug("client left", "err", err)
	}
}
