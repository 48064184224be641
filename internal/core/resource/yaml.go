package resource

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/text"
)

// MaxDocuments is how many YAML documents one file may hold.
const MaxDocuments = 1000

// ParseYAML reads the documents of one YAML stream; JSON is YAML too. Anchors,
// aliases, merge keys and tags are refused: they hide what is meant and can
// blow up. Empty documents are skipped.
func ParseYAML(b []byte) ([]*Node, error) {
	if len(b) > MaxDocuments*MaxInput {
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
		n, f := fromYAML(doc.Content[0], "", 0)
		if f != nil {
			return nil, fault.Fields([]fault.Field{*f})
		}
		out = append(out, n)
	}
}

func fromYAML(y *yaml.Node, path string, depth int) (*Node, *fault.Field) {
	refuse := func(en, zh string) (*Node, *fault.Field) {
		return nil, &fault.Field{Path: path, Reason: text.F(en+" (line %d)", zh+"(第 %d 行)", y.Line)}
	}
	n := &Node{line: y.Line}
	switch {
	case depth > MaxDepth:
		f := tooDeep(path)
		return nil, &f
	case y.Kind == yaml.AliasNode || y.Anchor != "":
		return refuse("YAML anchors and aliases are refused; write the value out", "不接受 YAML 锚点和别名;请直接写出值")
	case y.Kind == yaml.SequenceNode:
		n.typ = nodeList
		for i, c := range y.Content {
			v, f := fromYAML(c, fmt.Sprintf("%s[%d]", path, i), depth+1)
			if f != nil {
				return nil, f
			}
			n.list = append(n.list, *v)
		}
		return n, nil
	case y.Kind == yaml.MappingNode:
		return n, yamlMembers(n, y, path, depth)
	}
	switch y.Tag {
	case "!!null":
	case "!!bool":
		n.typ, n.text = nodeBool, strings.ToLower(y.Value)
	case "!!int", "!!float":
		n.typ, n.text = nodeNumber, y.Value
	case "!!str", "!!timestamp":
		n.typ, n.text = nodeString, y.Value
	default:
		return refuse("YAML tags are refused", "不接受 YAML 标签")
	}
	return n, nil
}

func yamlMembers(n *Node, y *yaml.Node, path string, depth int) *fault.Field {
	n.typ = nodeMap
	seen := make(map[string]bool)
	for i := 0; i+1 < len(y.Content); i += 2 {
		k := y.Content[i]
		if k.Kind != yaml.ScalarNode || k.Tag == "!!merge" || k.Anchor != "" {
			return &fault.Field{Path: path, Reason: text.F("want plain keys (line %d)", "键须为普通文本(第 %d 行)", k.Line)}
		}
		if seen[k.Value] {
			f := duplicate(join(path, k.Value), k.Line)
			return &f
		}
		seen[k.Value] = true
		v, f := fromYAML(y.Content[i+1], join(path, k.Value), depth+1)
		if f != nil {
			return f
		}
		n.keys, n.list = append(n.keys, k.Value), append(n.list, *v)
	}
	return nil
}
