package console

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
)

//go:embed assets/console.css assets/htmx.min.js assets/hx-sse.min.js assets/guard.js assets/icon.svg
var assetFiles embed.FS

// asset is one file that pages load. Its address holds the hash of its
// content, so that a browser may keep it for ever.
type asset struct {
	url, contentType string
	body             []byte
}

var assetTypes = map[string]string{
	"console.css": "text/css; charset=utf-8", "htmx.min.js": "text/javascript; charset=utf-8",
	"hx-sse.min.js": "text/javascript; charset=utf-8", "guard.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml",
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
		sum := sha256.Sum256(b)
		out[name] = asset{url: "/assets/" + hex.EncodeToString(sum[:8]) + "/" + name, contentType: typ, body: b}
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
	if _, err := w.Write(a.body); err != nil {
		c.opt.Log.Debug("client left", "err", err)
	}
}
