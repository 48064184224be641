// Package reference keeps docs/reference in step with the code: the API's
// description and the pages of all kinds are made from the declarations.
package reference

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/api"
	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
	"github.com/dun-sec/dun/internal/lab"
)

var update = flag.Bool("update", false, "write docs/reference anew")

const folder = "../../docs/reference"

func TestReferenceIsUpToDate(t *testing.T) {
	reg := lab.Kinds(t)
	for name, content := range map[string][]byte{
		"openapi.json":       openAPI(t, reg),
		"kinds.md":           kindPages(reg, text.English),
		"kinds.zh.md":        kindPages(reg, text.Chinese),
		"policy.cedarschema": []byte(policy.Schema(reg)),
	} {
		path := filepath.Join(folder, name)
		if *update {
			if err := os.WriteFile(path, content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if have, err := os.ReadFile(path); err != nil || !bytes.Equal(have, content) {
			t.Errorf("docs/reference/%s is not what the code says (%v); run: go test ./test/reference -update", name, err)
		}
	}
}

func openAPI(t *testing.T, reg *resource.Registry) []byte {
	t.Helper()
	g := lab.Gate(t, reg)
	w := httptest.NewRecorder()
	api.New(api.Options{Gate: g, Version: "1"}).ServeHTTP(w, httptest.NewRequest("GET", "/openapi.json", nil))
	var out bytes.Buffer
	if err := json.Indent(&out, w.Body.Bytes(), "", " "); err != nil {
		t.Fatal(err)
	}
	return append(bytes.TrimSpace(out.Bytes()), '\n')
}

func kindPages(reg *resource.Registry, l text.Lang) []byte {
	var b bytes.Buffer
	w := func(en, zh string, args ...any) { fmt.Fprintln(&b, text.F(en, zh, args...).In(l)) }
	w("# Kinds\n\nMade from the code; `dun explain kind KIND` shows the same.", "# 类型\n\n由代码生成;`dun explain kind KIND` 显示相同内容。")
	for _, k := range reg.All() {
		fmt.Fprintf(&b, "\n## %s (%s)\n\n%s\n\n", k.Name, k.Title.In(l), k.Doc.In(l))
		w("Path `%s`, short name `%s`, scope %s, version %d.\n", "路径 `%s`,简称 `%s`,范围 %s,版本 %d。\n", k.Plural, k.Short, string(k.Scope), k.Version)
		w("| field | type | required | meaning |\n|---|---|---|---|", "| 字段 | 类型 | 必填 | 含义 |\n|---|---|---|---|")
		for _, f := range k.Fields() {
			typ := f.Type.In(l)
			if len(f.Enum) > 0 {
				typ = strings.Join(f.Enum, " \\| ")
			}
			need := ""
			if f.Required {
				need = text.T("yes", "是").In(l)
			}
			meaning := f.Label.In(l)
			if h := f.Help.In(l); h != "" {
				meaning += text.T(": ", ":").In(l) + h
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Path, typ, need, meaning)
		}
		fmt.Fprintf(&b, "\n```yaml\n%s```\n", k.Example)
	}
	return b.Bytes()
}
