package resource

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/text"
)

// maxFaults bounds how many wrong fields one answer lists.
const maxFaults = 50

// Fill decodes n into the struct that into points to, as strictly as a spec is
// decoded; configuration files use it.
func Fill(n *Node, into any) error {
	var a assigner
	a.value(n, reflect.ValueOf(into).Elem(), "", "")
	return fault.Fields(a.faults)
}

// assigner fills a typed value from a Node and notes every wrong field. The
// constraints come from the struct tags that the schema is made of, so that
// what the document says and what the gate refuses cannot differ.
type assigner struct{ faults []fault.Field }

func (a *assigner) fail(n *Node, path string, t text.Text) {
	if len(a.faults) >= maxFaults {
		return
	}
	if n != nil && n.line > 0 {
		t = text.F("%s (line %d)", "%s(第 %d 行)", t, n.line)
	}
	a.faults = append(a.faults, fault.Field{Path: path, Reason: t})
}

func (a *assigner) want(n *Node, path, en, zh string) {
	a.fail(n, path, text.F("want %s, not %s", "应为%s,而不是%s", text.T(en, zh), typeName(n)))
}

func typeName(n *Node) text.Text {
	switch n.typ {
	case nodeBool:
		return text.T("true or false", "布尔值")
	case nodeNumber:
		return text.T("a number", "数字")
	case nodeString:
		return text.T("text", "文本")
	case nodeList:
		return text.T("a list", "列表")
	case nodeMap:
		return text.T("an object", "对象")
	}
	return text.T("null", "空值")
}

var (
	timeType        = reflect.TypeFor[time.Time]()
	unmarshalerType = reflect.TypeFor[encoding.TextUnmarshaler]()
)

func (a *assigner) value(n *Node, v reflect.Value, path string, tag reflect.StructTag) {
	if n.typ == nodeNull {
		return // as absent
	}
	switch {
	case v.Type() == timeType || v.CanAddr() && v.Addr().Type().Implements(unmarshalerType):
		a.textual(n, v, path)
	case v.Kind() == reflect.Pointer:
		p := reflect.New(v.Type().Elem())
		a.value(n, p.Elem(), path, tag)
		v.Set(p)
	case v.Kind() == reflect.Struct:
		a.object(n, v, path)
	case v.Kind() == reflect.Map:
		a.table(n, v, path, tag)
	case v.Kind() == reflect.Slice:
		a.items(n, v, path, tag)
	default:
		a.scalar(n, v, path, tag)
	}
}

func (a *assigner) textual(n *Node, v reflect.Value, path string) {
	if n.typ != nodeString {
		a.want(n, path, "text", "文本")
		return
	}
	if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(n.text)); err != nil {
		if v.Type() == timeType {
			a.fail(n, path, text.T("want a time as in 2026-11-01T03:00:00Z", "时间格式应如 2026-11-01T03:00:00Z"))
			return
		}
		a.fail(n, path, text.T(err.Error(), "格式不正确:"+err.Error()))
		return
	}
	if t, ok := v.Interface().(time.Time); ok {
		v.Set(reflect.ValueOf(t.UTC()))
	}
}

func (a *assigner) object(n *Node, v reflect.Value, path string) {
	if n.typ != nodeMap {
		a.want(n, path, "an object", "对象")
		return
	}
	fields := fieldsOf(v.Type())
	for i, key := range n.keys {
		at := slices.IndexFunc(fields, func(f field) bool { return f.name == key })
		if at < 0 {
			a.fail(&n.list[i], join(path, key), unknownKey(key, fields))
			continue
		}
		f := fields[at]
		a.value(&n.list[i], v.Field(f.index), join(path, key), f.tag)
	}
	for _, f := range fields {
		if f.tag.Get("required") == "true" && v.Field(f.index).IsZero() && !a.has(join(path, f.name)) {
			a.fail(nil, join(path, f.name), text.T("is required", "为必填项"))
		}
	}
}

func (a *assigner) has(path string) bool {
	return slices.ContainsFunc(a.faults, func(f fault.Field) bool { return strings.HasPrefix(f.Path, path) })
}

func unknownKey(key string, fields []field) text.Text {
	best, distance := "", 3
	var names []string
	for _, f := range fields {
		names = append(names, f.name)
		if d := editDistance(strings.ToLower(key), strings.ToLower(f.name)); d < distance {
			best, distance = f.name, d
		}
	}
	if best != "" {
		return text.F("is not a field; did you mean %s?", "没有这个字段;是否想写 %s?", best)
	}
	return text.F("is not a field; known are %s", "没有这个字段;可用字段:%s", strings.Join(names, ", "))
}

// editDistance is Levenshtein's, on at most 64 bytes of each.
func editDistance(a, b string) int {
	a, b = a[:min(len(a), 64)], b[:min(len(b), 64)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func (a *assigner) table(n *Node, v reflect.Value, path string, tag reflect.StructTag) {
	if n.typ != nodeMap {
		a.want(n, path, "an object", "对象")
		return
	}
	a.bounds(n, path, tag, float64(len(n.keys)), text.T("entries", "项"))
	m := reflect.MakeMapWithSize(v.Type(), len(n.keys))
	for i, key := range n.keys {
		if t := checkString(key); t != nil {
			a.fail(&n.list[i], join(path, key), *t)
			continue
		}
		if n.list[i].typ == nodeNull {
			a.fail(&n.list[i], join(path, key), text.T(`is empty; leave it out, or write "" for empty text`, `为空;请删除,或用 "" 表示空文本`))
			continue
		}
		e := reflect.New(v.Type().Elem()).Elem()
		a.value(&n.list[i], e, join(path, key), "")
		m.SetMapIndex(reflect.ValueOf(key), e)
	}
	v.Set(m)
}

func (a *assigner) items(n *Node, v reflect.Value, path string, tag reflect.StructTag) {
	if n.typ != nodeList {
		a.want(n, path, "a list", "列表")
		return
	}
	a.bounds(n, path, tag, float64(len(n.list)), text.T("entries", "项"))
	s := reflect.MakeSlice(v.Type(), len(n.list), len(n.list))
	each := reflect.StructTag("")
	if e := tag.Get("each"); e != "" {
		each = reflect.StructTag(strings.ReplaceAll(e, "'", `"`))
	}
	for i := range n.list {
		at := fmt.Sprintf("%s[%d]", path, i)
		if n.list[i].typ == nodeNull {
			a.fail(&n.list[i], at, text.T("is empty", "为空"))
			continue
		}
		a.value(&n.list[i], s.Index(i), at, each)
	}
	v.Set(s)
}

func (a *assigner) scalar(n *Node, v reflect.Value, path string, tag reflect.StructTag) {
	switch v.Kind() {
	case reflect.String:
		a.str(n, v, path, tag)
	case reflect.Bool:
		if n.typ != nodeBool {
			a.want(n, path, "true or false", "布尔值")
			return
		}
		v.SetBool(n.text == "true")
	case reflect.Int, reflect.Int64, reflect.Uint16, reflect.Uint64:
		a.integer(n, v, path, tag)
	default:
		a.fail(n, path, text.F("has the unsupported type %s", "类型 %s 不受支持", v.Type()))
	}
}

func (a *assigner) integer(n *Node, v reflect.Value, path string, tag reflect.StructTag) {
	if n.typ != nodeNumber {
		a.want(n, path, "a whole number", "整数")
		return
	}
	i, err := strconv.ParseInt(n.text, 10, 64)
	if err != nil || i > 1<<53-1 || i < -(1<<53-1) || v.CanUint() && (i < 0 || v.OverflowUint(uint64(i))) {
		a.fail(n, path, text.T("want a whole number in range", "应为范围内的整数"))
		return
	}
	a.bounds(n, path, tag, float64(i), text.Text{})
	if v.CanUint() {
		v.SetUint(uint64(i))
		return
	}
	v.SetInt(i)
}

func (a *assigner) str(n *Node, v reflect.Value, path string, tag reflect.StructTag) {
	if n.typ != nodeString {
		a.want(n, path, "text (put it in quotes)", "文本(请加引号)")
		return
	}
	if t := checkString(n.text); t != nil {
		a.fail(n, path, *t)
		return
	}
	if enum := tag.Get("enum"); enum != "" && !slices.Contains(strings.Split(enum, ","), n.text) {
		a.fail(n, path, text.F("is %q; want one of %s", "值为 %q;应为以下之一:%s", clip(n.text), strings.ReplaceAll(enum, ",", ", ")))
		return
	}
	a.bounds(n, path, tag, float64(utf8.RuneCountInString(n.text)), text.T("characters", "个字符"))
	if t := checkFormat(tag.Get("format"), n.text); t != nil {
		a.fail(n, path, text.F("%q: %s", "%q:%s", clip(n.text), *t))
		return
	}
	v.SetString(n.text)
}

func clip(s string) string {
	if len(s) <= 64 {
		return s
	}
	return strings.ToValidUTF8(s[:64], "") + "…"
}

func (a *assigner) bounds(n *Node, path string, tag reflect.StructTag, got float64, unit text.Text) {
	if lo, err := strconv.ParseFloat(tag.Get("min"), 64); err == nil && got < lo {
		a.fail(n, path, bound("want at least", "至少为", lo, unit))
	}
	if hi, err := strconv.ParseFloat(tag.Get("max"), 64); err == nil && got > hi {
		a.fail(n, path, bound("want at most", "至多为", hi, unit))
	}
}

func checkFormat(format, s string) *text.Text {
	switch format {
	case "host":
		return CheckHost(s)
	case "url":
		return CheckURL(s)
	case "name":
		if !ValidName(s) {
			t := text.T("is not a name (a-z, 0-9 and '-', at most 63, no '-' at either end)", "不是有效名称(a-z、0-9 和 -,至多 63 个字符,首尾不能是 -)")
			return &t
		}
	}
	return nil
}

func bound(en, zh string, limit float64, unit text.Text) text.Text {
	if unit.En == "" {
		return text.F(en+" %v", zh+" %v", limit)
	}
	return text.F(en+" %v %s", zh+" %v %s", limit, unit)
}
