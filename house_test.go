// Package dun_test holds the rules of the house: what may import what, who may
// open a door, and what every package and kind must have. A rule that fails
// says why it exists.
package dun_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds"
)

const module = "github.com/dun-sec/dun/"

var update = flag.Bool("update", false, "write deps.txt anew")

type listed struct {
	ImportPath, Name, Doc, Dir string
	GoFiles, Imports           []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Name,Doc,Dir,GoFiles,Imports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, module)
		all = append(all, p)
	}
}

// layer is how high a package stands; imports point down only.
func layer(path string) (string, int) {
	for i, prefixes := range [][]string{
		{"internal/core/"},
		{"internal/kinds"},
		{"internal/plane/", "internal/govern/"},
		{"internal/api", "internal/console", "internal/cli", "internal/agent"},
		{"internal/lab", "cmd/", "bench/", "test/"},
	} {
		for _, p := range prefixes {
			if strings.HasPrefix(path, p) {
				return p, i
			}
		}
	}
	return "", -1
}

func TestImportsPointDown(t *testing.T) {
	for _, p := range packages(t) {
		_, from := layer(p.ImportPath)
		if from < 0 {
			if p.ImportPath != strings.TrimSuffix(module, "/") {
				t.Errorf("%s: in no room of the house (design section 4): core, kinds, plane, govern, api, console, cli, agent, lab, cmd, bench, test", p.ImportPath)
			}
			continue
		}
		for _, imp := range p.Imports {
			to, own := strings.CutPrefix(imp, module)
			if !own {
				continue
			}
			room, at := layer(to)
			switch {
			case at > from:
				t.Errorf("%s imports %s: imports only ever point down, so that a lower room can be read without the higher", p.ImportPath, to)
			case from == 2 && at == 2 && !sameFolder(p.ImportPath, to, 3):
				t.Errorf("%s imports %s: planes and duties never import each other; they meet in records, events and verdicts", p.ImportPath, to)
			case from == 3 && at == 3 && !strings.HasPrefix(p.ImportPath, room):
				t.Errorf("%s imports %s: faces never import each other; cmd wires them", p.ImportPath, to)
			case from == 1 && at == 0 && to != "internal/core/resource":
				t.Errorf("%s imports %s: kinds import core/resource alone; they are vocabulary, not behaviour", p.ImportPath, to)
			case from == 1 && at == 1 && p.ImportPath != "internal/kinds":
				t.Errorf("%s imports %s: kinds name each other, they do not import each other", p.ImportPath, to)
			case (from == 3 && (strings.HasPrefix(p.ImportPath, "internal/api") || strings.HasPrefix(p.ImportPath, "internal/cli") || strings.HasPrefix(p.ImportPath, "internal/console"))) && at == 1:
				t.Errorf("%s imports %s: faces know kinds only through resource.Kind, so that a new kind needs no line there", p.ImportPath, to)
			}
		}
	}
}

func sameFolder(a, b string, depth int) bool {
	x, y := strings.Split(a, "/"), strings.Split(b, "/")
	return len(x) >= depth && len(y) >= depth && slices.Equal(x[:depth], y[:depth])
}

func TestLibrariesStayBehindOneFolder(t *testing.T) {
	only := map[string]struct {
		in  []string
		why string
	}{
		"modernc.org/sqlite":                      {[]string{"internal/core/db"}, "the settings that make a commit durable live there"},
		module + "internal/core/db":               {[]string{"internal/core/gate/internal/store/sqlite", "internal/core/bytes", "internal/core/control", "internal/core/secret", "internal/core/views", "internal/core/identity/signin", "internal/core/identity/signup", "internal/core/usage", "internal/agent", "internal/lab"}, "only the gate may open the record store; the others share meta.db, which the agent opens"},
		"github.com/cedar-policy/cedar-go":        {[]string{"internal/core/policy"}, "one place decides"},
		"github.com/danielgtaylor/huma":           {[]string{"internal/api"}, "it stays replaceable"},
		"github.com/corazawaf":                    {[]string{"internal/plane/edge"}, "one rule engine, one owner"},
		"github.com/netsampler/goflow2":           {[]string{"internal/plane/detect/flow"}, "templates are bounded there before it sees them"},
		"golang.org/x/crypto/acme":                {[]string{"internal/govern/certificates/acme"}, "it stays replaceable, and is handed its dialer"},
		"github.com/spf13":                        {[]string{"internal/cli", "cmd/dun"}, "only the command line has flags"},
		"github.com/prometheus/":                  {[]string{"internal/core/telemetry"}, "parts keep their own counters"},
		"golang.org/x/mod/sumdb/tlog":             {[]string{"internal/core/audit", "internal/core/gate"}, "the tree belongs to the audit log"},
		"log\n":                                   {nil, "use log/slog with attributes"},
		"math/rand\n":                             {nil, "use crypto/rand"},
		"testing\n":                               {[]string{"internal/lab", "internal/core/gate/internal/store/storetest"}, "test code does not belong into the program"},
		"github.com/go-webauthn":                  {[]string{"internal/core/identity/signin"}, "one place says who somebody is"},
		"github.com/a-h/templ":                    {[]string{"internal/console"}, "pages are made in one place, and it stays replaceable"},
		"github.com/letsencrypt":                  {[]string{"internal/lab"}, "test code does not belong into the program"},
		"github.com/chromedp":                     {[]string{"internal/lab/browser"}, "test code does not belong into the program"},
		"github.com/rogpeppe/go-internal/diff":    {[]string{"internal/cli"}, "only people read differences"},
		"github.com/rogpeppe/go-internal/testing": {nil, "test code does not belong into the program"},
	}
	for _, p := range packages(t) {
		for _, imp := range p.Imports {
			for lib, rule := range only {
				hit := imp == strings.TrimSuffix(lib, "\n") || !strings.HasSuffix(lib, "\n") && strings.HasPrefix(imp, lib)
				if hit && !slices.ContainsFunc(rule.in, func(in string) bool { return strings.HasPrefix(p.ImportPath, in) }) && !strings.HasPrefix(p.ImportPath, "bench/") {
					t.Errorf("%s imports %s: %s", p.ImportPath, imp, rule.why)
				}
			}
		}
	}
}

// doors may open or reach a network. Each has its reason.
var doors = map[string]string{
	"internal/core/dial/":                         "the only dialer for addresses that tenants and remote parties name",
	"internal/core/rpc/":                          "the only package that connects Dun's own services",
	"internal/agent/doors.go":                     "opens the public doors",
	"internal/agent/socket.go":                    "the local admin socket",
	"internal/agent/telemetry.go":                 "serves the telemetry door",
	"internal/agent/supervisor/":                  "netd opens the public doors for a worker without privileges",
	"internal/plane/edge/serve.go":                "serves the edge's doors",
	"internal/plane/edge/origin.go":               "the edge's transports, over the given dialer",
	"internal/agent/checkkeys.go":                 "signs requests at the own door, to prove what it takes",
	"internal/agent/check.go":                     "asks the console's own door as an outsider would",
	"internal/agent/checklogin.go":                "asks the console to sign in as an outsider would",
	"internal/plane/edge/check.go":                "asks the edge's own door as an outsider would",
	"internal/plane/edge/checktls.go":             "greets the edge's own TLS door as an outsider would",
	"internal/govern/certificates/acme/client.go": "speaks to ACME authorities, over the given dialer",
	"cmd/dun/origin.go":                           "tries an origin for a person, over the given dialer",
	"internal/cli/client.go":                      "the client of the API",
	"internal/core/identity/upstream/":            "asks identity providers, over the dialer that it is given",
	"internal/cli/login.go":                       "the client of the local admin socket",
	"internal/lab/":                               "the test kit plays clients and origins",
	"internal/plane/scrub/flood/":                 "a drill connects from a network namespace as a client would",
	"bench/":                                      "measures",
	"internal/govern/sites/look.go":               "asks a host for its proof, over the given dialer",
}

var doorWords = map[string][]string{
	"net":  {"Listen", "ListenTCP", "ListenUDP", "ListenUnix", "ListenPacket", "ListenConfig", "Dial", "DialTCP", "DialUDP", "DialUnix", "DialTimeout", "Dialer"},
	"tls":  {"Listen", "Dial", "Dialer", "DialWithDialer"},
	"http": {"Server", "Serve", "ServeTLS", "ListenAndServe", "ListenAndServeTLS", "Client", "DefaultClient", "Transport", "DefaultTransport", "Get", "Post", "Head", "PostForm"},
}

func TestOnlyKnownDoorsTouchTheNetwork(t *testing.T) {
	eachFile(t, func(path string, f *ast.File) {
		if slices.ContainsFunc(keys(doors), func(d string) bool { return strings.HasPrefix(path, d) }) {
			return
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && x.Obj == nil && slices.Contains(doorWords[x.Name], s.Sel.Name) {
					t.Errorf("%s uses %s.%s: doors are listed in house_test.go with a reason; dial through core/dial or core/rpc", path, x.Name, s.Sel.Name)
				}
			}
			return true
		})
	})
}

func TestNoHiddenStartsAndNoSleeps(t *testing.T) {
	eachFile(t, func(path string, f *ast.File) {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s has an init function: parts are wired by constructors that one can read", path)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" && s.Sel.Name == "Sleep" {
					t.Errorf("%s sleeps: wait for what is meant, with a timer and a context", path)
				}
			}
			return true
		})
	})
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range packages(t) {
		if base := filepath.Base(p.ImportPath); slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "manager", "misc", "base", "shared"}, base) {
			t.Errorf("%s: a package is named for what it does", p.ImportPath)
		}
		if len(p.GoFiles) > 0 && p.Doc == "" && p.ImportPath != strings.TrimSuffix(module, "/") {
			t.Errorf("%s has no package comment: say what it is for, what it owns and what it never does", p.ImportPath)
		}
	}
}

func TestKindsAreComplete(t *testing.T) {
	if _, err := resource.NewRegistry(kinds.All()...); err != nil {
		t.Errorf("%v: a kind has labels in both languages, an example and columns", err)
	}
	listed, err := os.ReadFile("internal/kinds/kinds.go")
	if err != nil {
		t.Fatal(err)
	}
	eachFile(t, func(path string, f *ast.File) {
		if !strings.HasPrefix(path, "internal/kinds/") {
			return
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if ok && fn.Recv == nil && fn.Name.IsExported() && returnsKind(fn) && !strings.Contains(string(listed), f.Name.Name+"."+fn.Name.Name+"(),") {
				t.Errorf("%s declares %s, which kinds.go does not list: a new kind is one file and one line", path, fn.Name.Name)
			}
		}
	})
}

func returnsKind(fn *ast.FuncDecl) bool {
	if fn.Type.Results == nil || len(fn.Type.Results.List) != 1 {
		return false
	}
	star, ok := fn.Type.Results.List[0].Type.(*ast.StarExpr)
	if !ok {
		return false
	}
	sel, ok := star.X.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == "Kind"
}

func TestDependenciesAreTheCommittedOnes(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./cmd/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		if line := s.Text(); line != "" && !strings.HasPrefix(line, strings.TrimSuffix(module, "/")) {
			got = append(got, line)
		}
	}
	slices.Sort(got)
	text := strings.Join(got, "\n") + "\n"
	if *update {
		if err := os.WriteFile("deps.txt", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("deps.txt")
	if err != nil || string(want) != text {
		have := strings.Split(string(want), "\n")
		for _, g := range got {
			if !slices.Contains(have, g) {
				t.Errorf("new: %s", g)
			}
		}
		t.Errorf("deps.txt is not what the programs link (%v): a new dependency is reviewed; then run go test . -run Dependencies -update", err)
	}
}

func TestFilesAreFormatted(t *testing.T) {
	out, err := exec.Command("gofmt", "-l", ".").CombinedOutput()
	if err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("gofmt would change: %s %v", out, err)
	}
}

// eachFile parses every Go file that is not a test.
func eachFile(t *testing.T, visit func(path string, f *ast.File)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != "." {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		visit(path, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func keys(m map[string]string) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	return out
}
