package edge

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/andybalholm/brotli"
)

// Bounds of coded request bodies. What comes out may be ratioFree bytes
// whatever went in, and codingRatio times what went in beyond that.
const (
	codingRatio = 100
	ratioFree   = 1 << 20
	codings     = "gzip, deflate, br" // as Accept-Encoding of a 415 (RFC 9110 section 15.5.16)
)

var (
	errCoding = errors.New("content coding not supported")
	errCoded  = errors.New("malformed coded body")
	errRatio  = errors.New("coded body grows too much")
)

// contentCoding names the one coding of a body; "" = none. Two codings are
// refused like unknown ones: nobody needs them but to hide something.
func contentCoding(fields []string) (string, error) {
	found := ""
	for _, f := range fields {
		for t := range strings.SplitSeq(f, ",") {
			t = strings.ToLower(strings.TrimSpace(t))
			if t == "x-gzip" {
				t = "gzip" // RFC 9110 section 8.4.1.3
			}
			switch t {
			case "", "identity":
				continue
			case "gzip", "deflate", "br":
			default:
				return "", errCoding
			}
			if found != "" {
				return "", errCoding
			}
			found = t
		}
	}
	return found, nil
}

// decoder reads the plain body. Its reader fails on what is cut or followed by
// other bytes: servers differ in what they make of such a body.
func decoder(coding string, from io.Reader) (io.Reader, error) {
	in := bufio.NewReader(from)
	switch coding {
	case "gzip":
		return gzip.NewReader(in) // of all members (RFC 1952 section 2.2)
	case "br":
		return brotli.NewReader(in), nil
	}
	head, _ := in.Peek(2)
	// Both are sent as "deflate"; zlib (RFC 1950) is what it means.
	if len(head) == 2 && head[0]&0x0f == 8 && head[0]>>4 <= 7 && (uint(head[0])<<8|uint(head[1]))%31 == 0 {
		r, err := zlib.NewReader(in)
		return &whole{r, in}, err
	}
	return &whole{flate.NewReader(in), in}, nil
}

// whole makes sure that nothing follows the stream. flate reads no further
// than it must from a bufio.Reader.
type whole struct {
	io.Reader
	rest *bufio.Reader
}

// Read implements io.Reader.
func (w *whole) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if err == io.EOF {
		if _, more := w.rest.ReadByte(); more != io.EOF {
			return n, errCoded
		}
	}
	return n, err
}

// decode writes the plain form of raw to plain, at most limit bytes. It fails
// with errTooLarge, errRatio, errCoded, errSpoolFull, errBusy, errBudget or
// errGone. It works on a body that has arrived, in a slot, since a decoder
// holds up to 16 MiB: a slow client must not keep one.
func (g *engine) decode(ctx context.Context, tenant, coding string, raw, plain *spool, limit int64, chunk []byte) error {
	release, err := g.enter(ctx, tenant, coding == "br")
	if err != nil {
		return err
	}
	defer release()
	until := time.Now().Add(g.limits.inspection)
	r, err := decoder(coding, raw.reader())
	if err != nil {
		return codedError(err)
	}
	grown := max(ratioFree, codingRatio*raw.size())
	err = plain.fill(&timed{r, ctx, until}, min(limit, grown), chunk)
	switch {
	case errors.Is(err, errTooLarge) && grown < limit:
		return errRatio
	case err == nil, errors.Is(err, errTooLarge), errors.Is(err, errSpoolFull), errors.Is(err, errGone), errors.Is(err, errBudget):
		return err
	}
	return codedError(err)
}

// codedError tells what the client sent from what our disk did.
func codedError(err error) error {
	var perr *os.PathError
	if errors.As(err, &perr) {
		return err
	}
	return fmt.Errorf("%w: %w", errCoded, err)
}

// timed gives a reader of what is already here the budget of an inspection.
type timed struct {
	io.Reader
	ctx   context.Context
	until time.Time
}

// Read implements io.Reader.
func (t *timed) Read(p []byte) (int, error) {
	if t.ctx.Err() != nil {
		return 0, errGone
	}
	if time.Now().After(t.until) {
		return 0, errBudget
	}
	return t.Reader.Read(p)
}

// decoded gives the body as it will be judged and forwarded. The request then
// looks as if it had been sent so. In detect mode a body that cannot be decoded
// stays what it was.
func (q *request) decoded(coding string, raw *spool) (body *spool, pass bool) {
	plain := &spool{budget: q.edge.spools}
	chunk := q.edge.buffers.Get().(*[]byte)
	err := q.edge.engine.decode(q.r.Context(), q.site.name.tenant, coding, raw, plain, q.site.body, *chunk)
	q.edge.buffers.Put(chunk)
	if err == nil {
		raw.close()
		h := q.r.Header
		h.Set("Content-Length", strconv.FormatInt(plain.size(), 10))
		for _, name := range []string{"Content-Encoding", "Content-Md5", "Digest", "Content-Digest", "Repr-Digest"} {
			h.Del(name) // digests are of the coded bytes (RFC 9530)
		}
		q.r.ContentLength, q.r.TransferEncoding = plain.size(), nil
		return plain, true
	}
	plain.close()
	switch {
	case errors.Is(err, errCoded):
		pass = q.overCoded("coding", http.StatusBadRequest)
	case errors.Is(err, errRatio):
		pass = q.overCoded("ratio", http.StatusRequestEntityTooLarge)
	case errors.Is(err, errGone), errors.Is(err, errBusy), errors.Is(err, errBudget):
		pass = q.unjudged(err)
	default:
		q.bodyFailed(err)
	}
	return raw, pass
}

// overCoded refuses a coded body, but for detect mode.
func (q *request) overCoded(class string, status int) (pass bool) {
	if q.site.mode == modeDetect {
		q.site.tally.detected.Add(1)
		q.reportLimit(class, actionDetected, 0)
		return true
	}
	q.limit(class, status)
	return false
}
