package audit

import (
	"bufio"
	"bytes"
	"io"
	"strconv"

	"github.com/dun-sec/dun/internal/core/text"
)

// source remembers the first failure of a reader that is not its end, so that
// a failing disk is never reported as a forged file.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF && s.err == nil {
		s.err = err
	}
	return n, err
}

// comparer is a writer that fails at the first byte that differs from a file.
type comparer struct {
	src *source
	in  *bufio.Reader
	at  int64 // bytes compared
	buf []byte
}

func newComparer(r io.Reader) *comparer {
	s := &source{r: r}
	return &comparer{src: s, in: bufio.NewReaderSize(s, 16<<10), buf: make([]byte, 4<<10)}
}

func (c *comparer) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		want := p[done:min(done+len(c.buf), len(p))]
		n, err := io.ReadFull(c.in, c.buf[:len(want)])
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return done, err
		}
		if !bytes.Equal(c.buf[:n], want[:n]) {
			same := 0
			for c.buf[same] == want[same] {
				same++
			}
			return done, c.fail(int64(same), text.T("not as a bundle is written", "与标准写法不一致"))
		}
		if err != nil {
			return done, c.fail(int64(n), text.T("the file ends early", "文件提前结束"))
		}
		done += n
		c.at += int64(n)
	}
	return done, nil
}

// end checks that the file has no more bytes.
func (c *comparer) end() error {
	if _, err := c.in.ReadByte(); err == nil {
		return c.fail(0, text.T("bytes after the end", "末尾有多余字节"))
	} else if err != io.EOF {
		return err
	}
	return nil
}

func (c *comparer) fail(offset int64, what text.Text) error {
	return &VerifyError{Where: "byte " + strconv.FormatInt(c.at+offset, 10), What: what}
}
