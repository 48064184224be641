package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
)

// maxTransaction bounds the body of a transaction, in bytes.
const maxTransaction = 8 << 20

// wanted is one change of a transaction as it is sent.
type wanted struct {
	Op       string          `json:"op"`
	Kind     string          `json:"kind"`
	Tenant   string          `json:"tenant"`
	Name     string          `json:"name"`
	UID      string          `json:"uid"`
	Object   json.RawMessage `json:"object"` // of put
	Patch    json.RawMessage `json:"patch"`  // of patch, with metadata.revision
	Verb     string          `json:"verb"`   // of act
	Input    json.RawMessage `json:"input"`
	Revision uint64          `json:"revision"` // of delete and act
}

func transactionSchema() map[string]any {
	text := map[string]any{"type": "string"}
	doc := map[string]any{"type": "object"}
	return map[string]any{"type": "object", "required": []string{"changes"}, "properties": map[string]any{
		"changes": map[string]any{"type": "array", "minItems": 1, "maxItems": gate.MaxChanges, "items": map[string]any{
			"type": "object", "required": []string{"op"}, "properties": map[string]any{
				"op":   map[string]any{"type": "string", "enum": []string{"put", "patch", "delete", "act"}},
				"kind": text, "tenant": text, "name": text, "uid": text, "object": doc, "patch": doc, "verb": text, "input": doc,
				"revision": map[string]any{"type": "integer", "minimum": 0},
			},
		}},
	}}
}

// transaction carries out several changes, all of them or none. The order of
// the list does not matter for what records need of each other.
func (a *API) transaction(c *call) error {
	body, err := c.body(jsonType)
	if err != nil {
		return err
	}
	var in struct {
		Changes []wanted `json:"changes"`
	}
	// The frame only: each record in it goes through the strict decoder.
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil || dec.More() {
		return fault.New(fault.Invalid, "want {\"changes\": [{\"op\": …}]} and nothing else", "应为 {\"changes\": [{\"op\": …}]},不能有其他内容").Because(err)
	}
	reason, err := c.reason()
	if err != nil {
		return err
	}
	req := gate.Request{Actor: c.actor, Reason: reason, IdempotencyKey: c.r.Header.Get("Idempotency-Key"), Hash: c.hash(body)}
	for i, w := range in.Changes {
		ch, err := a.change(w)
		if err != nil {
			return gate.Numbered(err, i, len(in.Changes))
		}
		req.Changes = append(req.Changes, ch)
	}
	if err := c.approval(&req); err != nil {
		return err
	}
	out, err := a.opt.Gate.Apply(c.r.Context(), req)
	if err != nil {
		return err
	}
	results := []map[string]any{}
	for _, r := range out {
		m := map[string]any{"ref": r.Ref, "revision": r.Revision, "created": r.Created, "unchanged": r.Unchanged}
		if r.Object != nil {
			m["object"] = r.Object
		}
		results = append(results, m)
	}
	return c.json(http.StatusOK, map[string]any{"results": results, "at": a.opt.Gate.At().String()})
}

func (a *API) change(w wanted) (gate.Change, error) {
	if w.Op == "put" {
		return a.put(w)
	}
	var ch gate.Change
	k, err := a.opt.Gate.Registry().Find(w.Kind)
	if err != nil {
		return ch, err
	}
	ch.Ref = resource.Ref{Kind: k.Name, Tenant: w.Tenant, Name: w.Name, UID: w.UID}
	ch.Revision = w.Revision
	if !resource.ValidName(w.Tenant) || !resource.ValidName(w.Name) {
		return ch, fault.New(fault.Invalid, "kind, tenant and name say which record is meant", "请以 kind、tenant 和 name 指明记录")
	}
	switch w.Op {
	case "patch":
		ch.Op = gate.Patch
		return ch, patchOf(w.Patch, &ch)
	case "delete":
		ch.Op = gate.Delete
		return ch, nil
	case "act":
		ch.Op, ch.Verb = gate.Act, w.Verb
		if len(w.Input) > 0 {
			ch.Input = w.Input
		}
		return ch, nil
	}
	return ch, fault.New(fault.Invalid, "op: want put, patch, delete or act, not %q", "op:应为 put、patch、delete 或 act,而不是 %q", w.Op)
}

func (a *API) put(w wanted) (gate.Change, error) {
	if w.Kind+w.Tenant+w.Name+w.UID != "" || len(w.Patch) > 0 || w.Revision != 0 {
		return gate.Change{}, fault.New(fault.Invalid, "a put says everything in its object", "put 的内容都应写在 object 中")
	}
	n, err := resource.ParseJSON(w.Object)
	if err != nil {
		return gate.Change{}, err
	}
	o, _, err := a.opt.Gate.Registry().Decode(n)
	if err != nil {
		return gate.Change{}, err
	}
	if o.Metadata.Tenant == "" {
		o.Metadata.Tenant = resource.Platform
	}
	return gate.Change{Op: gate.Put, Ref: o.Ref(), Object: o, Revision: o.Metadata.Revision}, nil
}

// patchOf reads a merge patch and the revision in it.
func patchOf(b []byte, ch *gate.Change) error {
	n, err := resource.ParseJSON(b)
	if err != nil {
		return err
	}
	m, ok := n.Any().(map[string]any)
	if !ok {
		return fault.New(fault.Invalid, "a patch is an object", "补丁应为对象")
	}
	meta, _ := m["metadata"].(map[string]any)
	rev, _ := meta["revision"].(json.Number)
	ch.Patch = m
	if ch.Revision, err = number(rev.String(), "metadata.revision"); err != nil {
		return fmt.Errorf("patch: %w", err)
	}
	return nil
}
