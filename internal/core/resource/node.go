package resource

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/text"
)

type nodeType uint8

const (
	nodeNull nodeType = iota
	nodeBool
	nodeNumber
	nodeString
	nodeList
	nodeMap
)

// Node is a decoded but untyped document. It exists so that JSON and YAML are
// judged by one strict decoder that knows where each value stood.
type Node struct {
	typ  nodeType
	line int    // 1-based, 0 = unknown
	text string // bool, number and string
	list []Node
	keys []string // in the order written; list holds the values
}

// Line is the line in the input, from 1; 0 when unknown.
func (n *Node) Line() int { return n.line }

func (n *Node) get(key string) *Node {
	for i, k := range n.keys {
		if k == key {
			return &n.list[i]
		}
	}
	return nil
}

// At returns the value below the keys, nil when there is none.
func (n *Node) At(keys ...string) *Node {
	for _, k := range keys {
		if n == nil || n.typ != nodeMap {
			return nil
		}
		n = n.get(k)
	}
	return n
}

// Text returns the string value, and "" for everything that is not a string.
func (n *Node) Text() string {
	if n == nil || n.typ != nodeString {
		return ""
	}
	return n.text
}

// Any returns the node as plain maps, slices, strings, json.Number and bool.
func (n *Node) Any() any {
	switch n.typ {
	case nodeBool:
		return n.text == "true"
	case nodeNumber:
		return json.Number(n.text)
	case nodeString:
		return n.text
	case nodeList:
		out := make([]any, len(n.list))
		for i := range n.list {
			out[i] = n.list[i].Any()
		}
		return out
	case nodeMap:
		out := make(map[string]any, len(n.list))
		for i, k := range n.keys {
			out[k] = n.list[i].Any()
		}
		return out
	}
	return nil
}

// ParseJSON reads one JSON document. Duplicate keys, invalid UTF-8, deep
// nesting, oversize input and anything after the document are refused.
func ParseJSON(b []byte) (*Node, error) {
	if len(b) > MaxInput {
		return nil, fault.New(fault.Invalid, "the document has %d bytes; at most %d are accepted", "文档有 %d 字节,上限为 %d", len(b), MaxInput)
	}
	if !utf8.Valid(b) {
		return nil, fault.New(fault.Invalid, "the document is not valid UTF-8", "文档不是有效的 UTF-8")
	}
	p := jsonParser{dec: json.NewDecoder(bytes.NewReader(b)), src: b, line: 1}
	p.dec.UseNumber()
	n, err := p.value("", 0)
	if err != nil {
		return nil, p.fault(err)
	}
	if _, err := p.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fault.New(fault.Invalid, "something follows the JSON document", "JSON 文档之后还有内容")
	}
	return n, nil
}

type jsonParser struct {
	dec  *json.Decoder
	src  []byte
	line int   // line of offset
	off  int64 // how far lines were counted
}

func (p *jsonParser) fault(err error) error {
	if fault.Is(err, fault.Invalid) {
		return err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fault.New(fault.Invalid, "the JSON document ends too early", "JSON 文档不完整").Because(err)
	}
	return fault.New(fault.Invalid, "not JSON (line %d): %s", "不是有效的 JSON(第 %d 行):%s", p.here(), err.Error()).Because(err)
}

func (p *jsonParser) here() int {
	to := min(p.dec.InputOffset(), int64(len(p.src)))
	p.line += bytes.Count(p.src[p.off:to], []byte{'\n'})
	p.off = to
	return p.line
}

func (p *jsonParser) value(path string, depth int) (*Node, error) {
	if depth > MaxDepth {
		return nil, fault.Fields([]fault.Field{tooDeep(path)})
	}
	tok, err := p.dec.Token()
	if err != nil {
		return nil, err
	}
	n := &Node{line: p.here()}
	switch v := tok.(type) {
	case nil:
	case bool:
		n.typ, n.text = nodeBool, fmt.Sprint(v)
	case json.Number:
		n.typ, n.text = nodeNumber, v.String()
	case string:
		n.typ, n.text = nodeString, v
	case json.Delim:
		if v == '[' {
			return n, p.items(n, path, depth)
		}
		return n, p.members(n, path, depth)
	}
	return n, nil
}

func (p *jsonParser) items(n *Node, path string, depth int) error {
	n.typ = nodeList
	for p.dec.More() {
		c, err := p.value(fmt.Sprintf("%s[%d]", path, len(n.list)), depth+1)
		if err != nil {
			return err
		}
		n.list = append(n.list, *c)
	}
	_, err := p.dec.Token()
	return err
}

func (p *jsonParser) members(n *Node, path string, depth int) error {
	n.typ = nodeMap
	seen := make(map[string]bool)
	for p.dec.More() {
		tok, err := p.dec.Token()
		if err != nil {
			return err
		}
		key, _ := tok.(string)
		if seen[key] {
			return fault.Fields([]fault.Field{duplicate(join(path, key), p.here())})
		}
		seen[key] = true
		c, err := p.value(join(path, key), depth+1)
		if err != nil {
			return err
		}
		n.keys, n.list = append(n.keys, key), append(n.list, *c)
	}
	_, err := p.dec.Token()
	return err
}

func duplicate(path string, line int) fault.Field {
	return fault.Field{Path: path, Reason: text.F("is given twice (line %d)", "重复出现(第 %d 行)", line)}
}

func tooDeep(path string) fault.Field {
	return fault.Field{Path: path, Reason: text.F("is nested deeper than %d", "嵌套超过 %d 层", MaxDepth)}
}

func join(path, key string) string {
	key = clip(key)
	if path == "" {
		return key
	}
	return path + "." + key
}
