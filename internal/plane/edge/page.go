package edge

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"strconv"
	"strings"

	"github.com/dun-sec/dun/internal/core/text"
)

// pages are the answers that the edge gives itself. They show nothing of the
// request but its id: an echo would be a place for script injection.
type pages struct {
	csp      string
	rendered map[pageKey]page
}

type pageKey struct {
	status int
	lang   text.Lang
	form   pageForm
}

type pageForm uint8

const (
	formPlain pageForm = iota
	formHTML
	formJSON
)

// page is split where the request id goes.
type page struct{ before, after string }

func newPages(console string) *pages {
	sum := sha256.Sum256([]byte(pageStyle))
	p := &pages{
		csp:      "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
		rendered: map[pageKey]page{},
	}
	for _, status := range pageStatuses() {
		for _, lang := range []text.Lang{text.English, text.Chinese} {
			p.rendered[pageKey{status, lang, formPlain}] = plainPage(status, lang)
			p.rendered[pageKey{status, lang, formHTML}] = htmlPage(status, lang, console)
			p.rendered[pageKey{status, lang, formJSON}] = jsonPage(status, lang)
		}
	}
	return p
}

func plainPage(status int, lang text.Lang) page {
	title, advice := wording(status)
	return page{fmt.Sprintf("%d %s\n%s\n%s: ", status, title.In(lang), advice.In(lang), requestLabel(lang)), "\n"}
}

func htmlPage(status int, lang text.Lang, console string) page {
	title, advice := wording(status)
	code := map[text.Lang]string{text.English: "en", text.Chinese: "zh-CN"}[lang]
	link := ""
	if strings.HasPrefix(console, "https://") || strings.HasPrefix(console, "http://") {
		link = fmt.Sprintf(`<p><small><a rel="noreferrer nofollow" href="%s">%s</a></small></p>`, html.EscapeString(console),
			text.T("For the site's operator: the console", "网站运营者:控制台").In(lang))
	}
	before := fmt.Sprintf(`<!doctype html><html lang="%s"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="robots" content="noindex"><title>%d %s</title><style>%s</style></head><body><h1>%s</h1><p>%s</p><p>%s: <code>`,
		code, status, title.In(lang), pageStyle, title.In(lang), advice.In(lang), requestLabel(lang))
	return page{before, fmt.Sprintf("</code></p>%s<p><small>%d</small></p></body></html>\n", link, status)}
}

func jsonPage(status int, lang text.Lang) page {
	title, advice := wording(status)
	b, err := json.Marshal(map[string]any{"type": "about:blank", "status": status, "title": title.In(lang), "detail": advice.In(lang), "request": "\x00"})
	if err != nil {
		return plainPage(status, lang)
	}
	before, after, _ := strings.Cut(string(b), "\\u0000")
	return page{before, after + "\n"}
}

// formOf picks by the Accept header: HTML where the client names it, problem
// JSON (RFC 9457) where it names JSON first or alone, else plain text.
func formOf(accept []string) pageForm {
	if len(accept) == 0 {
		return formPlain
	}
	a := strings.ToLower(clip(accept[0], 512))
	page, data := strings.Index(a, "text/html"), strings.Index(a, "json")
	switch {
	case data >= 0 && (page < 0 || data < page):
		return formJSON
	case page >= 0:
		return formHTML
	}
	return formPlain
}

func contentType(f pageForm) string {
	switch f {
	case formHTML:
		return "text/html; charset=utf-8"
	case formJSON:
		return "application/problem+json"
	}
	return "text/plain; charset=utf-8"
}

// write answers with the page of status.
func (p *pages) write(w http.ResponseWriter, r *http.Request, id string, status int) {
	form := formOf(r.Header["Accept"])
	pg, ok := p.rendered[pageKey{status, text.Accept(r.Header.Get("Accept-Language")), form}]
	if !ok {
		pg = plainPage(status, text.English)
	}
	h := w.Header()
	h.Set("Content-Type", contentType(form))
	h.Set("Content-Length", strconv.Itoa(len(pg.before)+len(id)+len(pg.after)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", p.csp)
	h.Set("Referrer-Policy", "no-referrer")
	if status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "5")
	}
	w.WriteHeader(status)
	w.Write([]byte(pg.before + id + pg.after))
}

// raw is the answer to bytes that never became a request.
func (p *pages) raw(id string, status int) []byte {
	if _, ok := p.rendered[pageKey{status, text.English, formPlain}]; !ok {
		status = http.StatusBadRequest
	}
	en, zh := plainPage(status, text.English), plainPage(status, text.Chinese)
	body := en.before + id + en.after + "\n" + zh.before + id + zh.after
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\nDun-Request-Id: %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n%s",
		status, http.StatusText(status), id, len(body), body)
	return b.Bytes()
}
