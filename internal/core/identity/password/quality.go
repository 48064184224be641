package password

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"unicode/utf8"

	zxcvbn "github.com/ccojocar/zxcvbn-go"

	"github.com/dun-sec/dun/internal/core/fault"
)

// Bounds of a password: at least so many characters, at most so many bytes.
const (
	MinChars = 12
	MaxBytes = 1024
)

// minScore is what the estimate has to reach, of 0 to 4: 3 is above 10^8
// guesses. Estimating is quadratic and worse, so that it sees so many
// characters only; what follows them makes no password worse.
const (
	minScore     = 3
	minDifferent = 5 // characters
	scoredChars  = 40
)

// common holds, sorted, the first 5 bytes of the SHA-256 of each of the 42,000
// passwords that leaked most often, in lower case: see COMMON.
//
//go:embed common.bin
var common []byte

const commonLen = 5

// Judge says which passwords may be set.
type Judge struct{ breached *os.File }

// NewJudge makes one. breached, when not "", is a file of leaked passwords,
// sorted, a line each: the SHA-1 in 40 hex digits, a colon and a count, as the
// public lists have it; it is searched where it lies and never read whole.
func NewJudge(breached string) (*Judge, error) {
	if breached == "" {
		return &Judge{}, nil
	}
	f, err := os.Open(breached)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the list of breached passwords %s cannot be read: %s", "泄露密码列表 %s 无法读取:%s", breached, err.Error()).Because(err)
	}
	j := &Judge{f}
	if _, err := j.listed(sha1.Sum(nil)); err != nil {
		return nil, fault.New(fault.Invalid, "%s is no sorted list of SHA-1 hashes", "%s 不是已排序的 SHA-1 列表", breached).Because(err)
	}
	return j, nil
}

// Close closes the list.
func (j *Judge) Close() error {
	if j.breached == nil {
		return nil
	}
	return j.breached.Close()
}

// Check refuses a prepared password that is too short, was leaked, or is soon
// guessed, also from what everybody knows of its owner. Errors: invalid, with
// the reason; unavailable when the list cannot be read.
func (j *Judge) Check(prepared string, owner ...string) error {
	if n := utf8.RuneCountInString(prepared); n < MinChars {
		return fault.New(fault.Invalid, "a password has at least %d characters; this one has %d", "密码至少 %d 个字符;当前为 %d 个", MinChars, n)
	}
	leaked, err := j.leaked(prepared)
	if err != nil {
		return fault.New(fault.Unavailable, "the list of breached passwords cannot be read now", "暂时无法读取泄露密码列表").Because(err)
	}
	if leaked {
		return fault.New(fault.Invalid, "this password is on lists of stolen passwords; take one that nobody else has", "此密码已出现在泄露密码列表中;请使用他人未用过的密码")
	}
	head := prepared
	if r := []rune(prepared); len(r) > scoredChars {
		head = string(r[:scoredChars])
	}
	different := map[rune]bool{}
	for _, r := range prepared {
		different[r] = true
	}
	if len(different) < minDifferent || zxcvbn.PasswordStrength(head, append(owner, "dun")).Score < minScore {
		return fault.New(fault.Invalid, "this password is easy to guess; take four or more words that do not belong together", "此密码容易被猜中;建议使用四个以上互不相关的词语")
	}
	return nil
}

// leaked looks for the password, and for what is left of it without the digits
// and signs that people put at its ends.
func (j *Judge) leaked(prepared string) (bool, error) {
	low := strings.ToLower(prepared)
	for _, s := range []string{low, strings.Trim(low, "0123456789!@#$%^&*().,-_+=?~ ")} {
		if isCommon(s) {
			return true, nil
		}
	}
	if j.breached == nil {
		return false, nil
	}
	return j.listed(sha1.Sum([]byte(prepared)))
}

func isCommon(s string) bool {
	sum := sha256.Sum256([]byte(s))
	want, n := sum[:commonLen], len(common)/commonLen
	at := func(i int) []byte { return common[i*commonLen : (i+1)*commonLen] }
	i := sort.Search(n, func(i int) bool { return bytes.Compare(at(i), want) >= 0 })
	return i < n && bytes.Equal(at(i), want)
}

const maxLine = 64 // bytes of one line of the list

// listed searches the file by halves.
func (j *Judge) listed(sum [sha1.Size]byte) (bool, error) {
	want := strings.ToUpper(hex.EncodeToString(sum[:]))
	st, err := j.breached.Stat()
	if err != nil {
		return false, err
	}
	low, high := int64(0), st.Size()
	for low < high {
		mid := low + (high-low)/2
		line, start, next, err := j.line(mid, low)
		if err != nil {
			return false, err
		}
		switch c := strings.Compare(line, want); {
		case c == 0:
			return true, nil
		case c < 0:
			low = next
		default:
			high = start
		}
	}
	return false, nil
}

// line reads the hash of the line in which the byte at stands, and where the
// line starts and ends. No line begins before low.
func (j *Judge) line(at, low int64) (hash string, start, next int64, err error) {
	from := max(low, at-maxLine)
	b := make([]byte, at-from+2*maxLine)
	n, err := j.breached.ReadAt(b, from)
	if err != nil && err != io.EOF {
		return "", 0, 0, err
	}
	b = b[:n]
	i := bytes.LastIndexByte(b[:min(int64(n), at-from)], '\n') + 1
	row, _ := bufio.NewReader(bytes.NewReader(b[i:])).ReadBytes('\n')
	h, _, _ := strings.Cut(strings.TrimRight(string(row), "\r\n"), ":")
	if _, err := hex.DecodeString(h); err != nil || len(h) != 2*sha1.Size {
		return "", 0, 0, fmt.Errorf("no hash at byte %d", from+int64(i))
	}
	return strings.ToUpper(h), from + int64(i), from + int64(i) + int64(len(row)), nil
}
