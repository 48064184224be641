package resource

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/text"
)

// Decode reads one record strictly: unknown or doubled fields, wrong types,
// values out of range and server-owned parts (state, status) are refused, each
// with its path. It does not validate meaning; Kind.Validate does.
func (r *Registry) Decode(n *Node) (*Object, *Kind, error) {
	if n.typ != nodeMap {
		return nil, nil, fault.New(fault.Invalid, "want an object with kind, metadata and spec", "应为包含 kind、metadata 和 spec 的对象")
	}
	name := n.At("kind")
	if name == nil || name.typ != nodeString {
		return nil, nil, fault.Fields([]fault.Field{{Path: "kind", Reason: text.T("is required", "为必填项")}})
	}
	k, err := r.Kind(name.text)
	if err != nil {
		return nil, nil, err
	}
	o, err := k.Decode(n)
	return o, k, err
}

// Decode reads a record of the kind k, as Registry.Decode does.
func (k *Kind) Decode(n *Node) (*Object, error) {
	if n.typ != nodeMap {
		return nil, fault.New(fault.Invalid, "want an object with kind, metadata and spec", "应为包含 kind、metadata 和 spec 的对象")
	}
	o := &Object{Kind: k.Name, Version: k.Version, Spec: k.NewSpec()}
	var a assigner
	for i, key := range n.keys {
		v := &n.list[i]
		switch key {
		case "kind":
			if v.text != k.Name {
				a.fail(v, key, text.F("is %q; want %s", "为 %q;应为 %s", clip(v.text), k.Name))
			}
		case "version":
			a.value(v, reflect.ValueOf(&o.Version).Elem(), key, "")
			if len(a.faults) == 0 && o.Version != k.Version {
				a.fail(v, key, text.F("is %d; this release reads version %d", "为 %d;此版本只接受 %d", o.Version, k.Version))
			}
		case "metadata":
			a.value(v, reflect.ValueOf(&o.Metadata).Elem(), key, "")
		case "spec":
			a.value(v, reflect.ValueOf(o.Spec).Elem(), key, "")
		case "state", "status":
			if v.typ != nodeNull {
				a.fail(v, key, text.T("is set by Dun; leave it out", "由 Dun 设置,请删除"))
			}
		default:
			a.fail(v, key, text.T("is not a field; known are kind, version, metadata, spec", "没有这个字段;可用字段:kind, version, metadata, spec"))
		}
	}
	if n.get("metadata") == nil {
		a.fail(nil, "metadata", text.T("is required", "为必填项"))
	}
	if s := n.get("spec"); s == nil || s.typ == nodeNull {
		empty := &Node{typ: nodeMap}
		a.value(empty, reflect.ValueOf(o.Spec).Elem(), "spec", "")
	}
	return o, fault.Fields(a.faults)
}

// Load reads stored bytes back, through Upgrade where they are of an older
// version. Stored bytes are Dun's own: an error here means a damaged store.
func (r *Registry) Load(b []byte) (*Object, error) {
	var raw struct {
		Kind     string          `json:"kind"`
		Version  int             `json:"version"`
		Metadata Metadata        `json:"metadata"`
		Spec     json.RawMessage `json:"spec"`
		State    json.RawMessage `json:"state"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return nil, fmt.Errorf("read a stored record: %w", err)
	}
	k, err := r.Kind(raw.Kind)
	if err != nil {
		return nil, fmt.Errorf("read a stored record: %w", err)
	}
	if raw.Version > k.Version {
		return nil, fmt.Errorf("read %s %s/%s: its version %d is newer than %d", k.Name, raw.Metadata.Tenant, raw.Metadata.Name, raw.Version, k.Version)
	}
	if raw.Version < 1 {
		return nil, fmt.Errorf("read %s %s/%s: it has no version", k.Name, raw.Metadata.Tenant, raw.Metadata.Name)
	}
	if raw.Version < k.Version {
		if raw.Spec, err = k.Upgrade(raw.Version, raw.Spec); err != nil {
			return nil, fmt.Errorf("upgrade %s %s/%s from version %d: %w", k.Name, raw.Metadata.Tenant, raw.Metadata.Name, raw.Version, err)
		}
	}
	o := &Object{Kind: k.Name, Version: k.Version, Metadata: raw.Metadata, Spec: k.NewSpec()}
	if err := json.Unmarshal(raw.Spec, o.Spec); err != nil {
		return nil, fmt.Errorf("read %s: %w", o.Ref(), err)
	}
	if k.NewState != nil {
		o.State = k.NewState() // what the kind had no state for was made before it had one
		if len(raw.State) > 0 {
			o.State = reflect.New(reflect.TypeOf(o.State).Elem()).Interface()
			if err := json.Unmarshal(raw.State, o.State); err != nil {
				return nil, fmt.Errorf("read the state of %s: %w", o.Ref(), err)
			}
		}
	}
	return o, nil
}

// Copy returns a record that shares nothing with o, its status left out.
func (k *Kind) Copy(o *Object) (*Object, error) {
	b, err := o.Stored()
	if err != nil {
		return nil, err
	}
	r := Registry{byName: map[string]*Kind{strings.ToLower(k.Name): k}}
	return r.Load(b)
}
