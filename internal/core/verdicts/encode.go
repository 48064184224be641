package verdicts

import (
	"encoding/binary"
	"strings"

	"github.com/dun-sec/dun/internal/core/fault"
)

// What is encoded begins with the format, its version and what it is.
const (
	headDigest   = "dun/verdicts/v1 digest\n"
	headRequest  = "dun/verdicts/v1 request\n"
	headEntries  = "dun/verdicts/v1 entries\n"
	headSnapshot = "dun/verdicts/v1 snapshot\n"

	// maxEntry is the longest entry: four lengths, four names, the end.
	maxEntry = 4 + MaxKind + MaxKey + MaxRule + MaxNode + 8
)

// body cuts the head off; data is at most most bytes long.
func body(data []byte, head string, most int) ([]byte, error) {
	if len(data) > most {
		return nil, fault.New(fault.Invalid, "verdicts of %d bytes; at most %d are read", "判定数据有 %d 字节，最多读取 %d 字节", len(data), most)
	}
	if len(data) < len(head) || string(data[:len(head)]) != head {
		return nil, fault.New(fault.Invalid, "these are no verdicts, or of another version: %q was expected", "这不是判定数据，或版本不同：应为 %q", strings.TrimSpace(head))
	}
	return data[len(head):], nil
}

func damaged() error {
	return fault.New(fault.Invalid, "the verdicts are damaged", "判定数据已损坏")
}

// appendEntry adds kind, key, rule and node, each after its length in one
// byte, and the end in µs of Unix, big endian. There is one form for each.
func appendEntry(to []byte, e *entry) []byte {
	for _, s := range [...]string{e.kind, e.key, e.rule, e.node} {
		to = append(append(to, byte(len(s))), s...)
	}
	return binary.BigEndian.AppendUint64(to, uint64(e.until))
}

// decodeEntries reads entries to the end of data: all or none.
func decodeEntries(data []byte) ([]*entry, error) {
	var out []*entry
	for len(data) > 0 {
		var v Verdict
		for _, s := range [...]*string{&v.Kind, &v.Key, &v.Rule, &v.Node} {
			if len(data) == 0 || int(data[0]) >= len(data) {
				return nil, damaged()
			}
			n := 1 + int(data[0])
			*s, data = string(data[1:n]), data[n:]
		}
		if len(data) < 8 || !v.valid() {
			return nil, damaged()
		}
		out = append(out, newEntry(v, int64(binary.BigEndian.Uint64(data))))
		data = data[8:]
	}
	return out, nil
}
