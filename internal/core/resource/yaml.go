package resource

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/text"
)

// MaxDocuments is how many YAML documents one file may hold.
const MaxDocuments = 1000

const maxFile = 32 << 20 // bytes of one file; the parser builds its tree in memory

// ParseYAML reads the documents of one YAML stream; JSON is YAML too. Anchors,
// aliases, merge keys and tags are refused: they hide what is meant and can
// blow up. Empty documents are skipped.
func ParseYAML(b []byte) ([]*Node, error) {
	if len(b) > maxFile {
		return nil, fault.New(fault.Invalid, "the file is too large", "文件过大")
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var out []*Node
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			msg := strings.TrimPrefix(err.Error(), "yaml: ")
			return nil, fault.New(fault.Invalid, "not YAML: %s", "不是有效的 YAML:%s", msg).Because(err)
		}
		if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
			continue
		}
		if len(out) == MaxDocuments {
			return nil, fault.New(fault.Invalid, "more than %d documents in one file", "一个文件中的文档超过 %d 个", MaxDocuments)
		}
		y := yamlReader{left: MaxInput}
		n, f := y.node(doc.Content[0], "", 0)
		if f != nil {
			return nil, fault.Fields([]fault.Field{*f})
		}
		out = append(out, n)
	}
}

// jsonNumber is the one form of a number: octal, hexadecimal and grouped ones
// mean different things to different readers of YAML.
var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// yamlReader turns one document into Nodes.
type yamlReader struct{ left int } // bytes of keys and values that may still come

func (r *yamlReader) node(y *yaml.Node, path string, depth int) (*Node, *fault.Field) {
	refuse := func(en, zh string) (*Node, *fault.Field) {
		return nil, &fault.Field{Path: path, Reason: text.F(en+" (line %d)", zh+"(第 %d 行)", y.Line)}
	}
	r.left -= len(y.Value)
	n := &Node{line: y.Line}
	switch {
	case depth > MaxDepth:
		f := tooDeep(path)
		return nil, &f
	case r.left < 0:
		return refuse("here the document passes 256 KiB, the most that is accepted", "文档在此处超过上限 256 KiB")
	case y.Kind == yaml.AliasNode || y.Anchor != "":
		return refuse("YAML anchors and aliases are refused; write the value out", "不接受 YAML 锚点和别名;请直接写出值")
	case y.Style&yaml.TaggedStyle != 0:
		return refuse("YAML tags are refused", "不接受 YAML 标签")
	case y.Kind == yaml.SequenceNode:
		n.typ = nodeList
		for i, c := range y.Content {
			v, f := r.node(c, fmt.Sprintf("%s[%d]", path, i), depth+1)
			if f != nil {
				return nil, f
			}
			n.list = append(n.list, *v)
		}
		return n, nil
	case y.Kind == yaml.MappingNode:
		return n, r.members(n, y, path, depth)
	}
	switch y.Tag {
	case "!!null":
	case "!!bool":
		n.typ, n.text = nodeBool, strings.ToLower(y.Value)
	case "!!int", "!!float":
		if !jsonNumber.MatchString(y.Value) {
			return refuse("write the number in plain decimals, or put it in quotes if it is text", "请用十进制写出数字;若为文本请加引号")
		}
		n.typ, n.text = nodeNumber, y.Value
	case "!!str", "!!timestamp":
		n.typ, n.text = nodeString, y.Value
	default:
		return refuse("YAML tags are refused", "不接受 YAML 标签")
	}
	return n, nil
}

func (r *yamlReader) members(n *Node, y *yaml.Node, path string, depth int) *fault.Field {
	n.typ = nodeMap
	seen := make(map[string]bool)
	for i := 0; i+1 < len(y.Content); i += 2 {
		k := y.Content[i]
		if k.Kind != yaml.ScalarNode || k.Tag == "!!merge" || k.Anchor != "" || k.Style&yaml.TaggedStyle != 0 {
			return &fault.Field{Path: path, Reason: text.F("want plain keys (line %d)", "键须为普通文本(第 %d 行)", k.Line)}
		}
		if seen[k.Value] {
			f := duplicate(join(path, k.Value), k.Line)
			return &f
		}
		seen[k.Value] = true
		r.left -= len(k.Value)
		v, f := r.node(y.Content[i+1], join(path, k.Value), depth+1)
		if f != nil {
			return f
		}
		n.keys, n.list = append(n.keys, k.Value), append(n.list, *v)
	}
	return nil
}
