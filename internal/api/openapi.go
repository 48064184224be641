package api

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/dun-sec/dun/internal/core/resource"
)

// This file alone touches huma, so that it can be replaced. Two of its traps
// are avoided by shape: schemas get names of our own (two kinds whose Go types
// share a name would panic), and parameters are declared by operation and not
// by struct embedding (an unexported embedded struct silently yields "").

// operation is one method on one path.
type operation struct {
	id, method, path string
	summary          string
	query            []param
	header           []param
	body             string // content type of the request body; "" = none
	bodySchema       string // component name
	bodyOptional     bool
	maxBody          int64  // bytes; 0 = MaxBody
	status           int    // of success
	reply            string // content type of the reply
	replySchema      string
	public           bool // no session needed
	handle           func(*call) error
}

type param struct{ name, doc string }

// spec holds the OpenAPI 3.1 document while operations are mounted.
type spec struct {
	api huma.API
	mux *http.ServeMux
}

func newSpec(version string) *spec {
	mux := http.NewServeMux()
	cfg := huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Dun", Version: version,
				Description: "Records, proofs and events of one Dun cell. Errors are application/problem+json with one of eight codes.",
				License:     &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
			},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{"session": {Type: "http", Scheme: "bearer", BearerFormat: "dun_s_…"},
					"accessKey": {Type: "apiKey", In: "header", Name: "Authorization", Description: "AWS Signature Version 4: region local, service dun, by the id and secret of an AccessKey"}},
			},
		},
		OpenAPIPath:   "/openapi",
		Formats:       map[string]huma.Format{"application/json": huma.DefaultJSONFormat},
		DefaultFormat: "application/json",
	}
	return &spec{api: humago.New(mux, cfg), mux: mux}
}

// component names a schema once.
func (s *spec) component(name string, schema map[string]any) {
	s.api.OpenAPI().Components.Schemas.Map()[name] = &huma.Schema{Extensions: schema}
}

func ref(name string) *huma.Schema {
	if name == "" {
		return &huma.Schema{Type: "string", Format: "binary"}
	}
	return &huma.Schema{Ref: "#/components/schemas/" + name}
}

// mount documents the operation and serves it. Every {name} of the path is a
// declared parameter.
func (s *spec) mount(a *API, o operation) {
	op := &huma.Operation{
		OperationID: o.id, Method: o.method, Path: o.path, Summary: o.summary,
		Responses: map[string]*huma.Response{
			"default": {Description: "An error", Content: map[string]*huma.MediaType{"application/problem+json": {Schema: ref("Problem")}}},
		},
		Security: []map[string][]string{{"session": {}}, {"accessKey": {}}},
	}
	if o.public {
		op.Security = []map[string][]string{{}}
	}
	for _, name := range pathParams(o.path) {
		op.Parameters = append(op.Parameters, &huma.Param{Name: name, In: "path", Required: true, Schema: &huma.Schema{Type: "string"}, Description: pathDoc(name)})
	}
	for _, q := range o.query {
		op.Parameters = append(op.Parameters, &huma.Param{Name: q.name, In: "query", Schema: &huma.Schema{Type: "string"}, Description: q.doc})
	}
	for _, h := range o.header {
		op.Parameters = append(op.Parameters, &huma.Param{Name: h.name, In: "header", Schema: &huma.Schema{Type: "string"}, Description: h.doc})
	}
	if o.body != "" {
		op.RequestBody = &huma.RequestBody{Required: !o.bodyOptional, Content: map[string]*huma.MediaType{o.body: {Schema: ref(o.bodySchema)}}}
	}
	ok := &huma.Response{Description: http.StatusText(o.status)}
	if o.reply != "" {
		ok.Content = map[string]*huma.MediaType{o.reply: {Schema: ref(o.replySchema)}}
	}
	op.Responses[strconv.Itoa(o.status)] = ok
	s.api.OpenAPI().AddOperation(op)
	s.api.Adapter().Handle(op, func(ctx huma.Context) {
		r, w := humago.Unwrap(ctx)
		a.serve(w, r, &o)
	})
}

// methodsOf lists the methods of a path.
func methodsOf(item *huma.PathItem) []string {
	var out []string
	for method, op := range map[string]*huma.Operation{"GET": item.Get, "PUT": item.Put, "PATCH": item.Patch, "DELETE": item.Delete, "POST": item.Post} {
		if op != nil {
			out = append(out, method)
		}
	}
	return out
}

func pathParams(path string) []string {
	var out []string
	for part := range strings.SplitSeq(path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			out = append(out, strings.TrimSuffix(name, "}"))
		}
	}
	return out
}

func pathDoc(name string) string {
	switch name {
	case "tenant":
		return "Name of a tenant; - means every tenant that you may see, where a list is asked"
	case "name":
		return "Name of the record"
	case "control":
		return "Id of the control, as in 8.4-9"
	case "finalizer":
		return "Name of the service that has cleaned up"
	}
	return ""
}

// schemas declares what the operations refer to.
func (s *spec) schemas(reg *resource.Registry) {
	text := map[string]any{"type": "string"}
	number := map[string]any{"type": "integer", "minimum": 0}
	s.component("Problem", map[string]any{"type": "object", "required": []string{"type", "title", "status", "code", "request"}, "properties": map[string]any{
		"type": text, "title": text, "status": number, "detail": text, "request": text,
		"code":     map[string]any{"type": "string", "enum": []string{"invalid", "unauthenticated", "forbidden", "not_found", "conflict", "exhausted", "unavailable", "internal"}},
		"errors":   map[string]any{"type": "array", "items": map[string]any{"type": "object", "properties": map[string]any{"field": text, "reason": text}}},
		"policies": map[string]any{"type": "array", "items": text}, "missing": map[string]any{"type": "array", "items": text}, "retryAfter": number,
	}})
	table := map[string]any{"type": "object", "additionalProperties": text}
	s.component("Metadata", map[string]any{"type": "object", "required": []string{"tenant", "name"}, "properties": map[string]any{
		"tenant": text, "name": text, "uid": text, "revision": number, "statusRevision": number,
		"created": map[string]any{"type": "string", "format": "date-time"}, "updated": map[string]any{"type": "string", "format": "date-time"},
		"labels": table, "annotations": table, "finalizers": map[string]any{"type": "array", "items": text},
		"deleting": map[string]any{"type": "string", "format": "date-time"}, "owner": map[string]any{"type": "object"},
	}})
	s.component("Transaction", transactionSchema())
	s.component("SignIn", signInSchema())
	s.component("Enter", enterSchema())
	s.component("Enrol", enrolSchema())
	s.component("Join", joinSchema())
	s.component("Document", map[string]any{"type": "object"})
	for _, k := range reg.All() {
		s.component(k.Name+"Spec", k.Schema())
		state, status := map[string]any{"type": "object"}, map[string]any{"type": "object"}
		if k.NewState != nil {
			state = k.StateSchema()
		}
		if k.NewStatus != nil {
			s.component(k.Name+"Status", k.StatusSchema())
			status = map[string]any{"$ref": "#/components/schemas/" + k.Name + "Status"}
		}
		for i := range k.Verbs {
			if k.Verbs[i].Secret == nil {
				s.component(k.Name+"-"+k.Verbs[i].Name, k.Verbs[i].Schema())
			}
		}
		s.component(k.Name, map[string]any{
			"type": "object", "title": k.Title.En, "description": k.Doc.En, "x-title-zh": k.Title.Zh,
			"required": []string{"kind", "metadata", "spec"}, "properties": map[string]any{
				"kind": map[string]any{"type": "string", "const": k.Name}, "version": number,
				"metadata": map[string]any{"$ref": "#/components/schemas/Metadata"},
				"spec":     map[string]any{"$ref": "#/components/schemas/" + k.Name + "Spec"},
				"state":    state, "status": status,
			},
		})
		s.component(k.Name+"List", map[string]any{"type": "object", "required": []string{"items", "at"}, "properties": map[string]any{
			"items": map[string]any{"type": "array", "items": map[string]any{"$ref": "#/components/schemas/" + k.Name}}, "next": text, "at": text,
		}})
	}
}
