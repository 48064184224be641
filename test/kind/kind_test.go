// Package kind proves that a kind is one file and one line: a kind that no
// other code knows gets API, description, command line, validation, history,
// policy, audit proof and both languages from its declaration alone.
package kind

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/api"
	"github.com/dun-sec/dun/internal/cli"
	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/telemetry"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/lab"
)

// This is the one file …
type lighthouseSpec struct {
	Height int    `json:"height" required:"true" min:"1" max:"500" en:"Height" zh:"高度" help:"In metres" help_zh:"单位:米"`
	Colour string `json:"colour,omitempty" enum:"white,red" en:"Colour" zh:"颜色"`
}

type lighthouseState struct {
	Lit    bool   `json:"lit" en:"Lit" zh:"已点亮"`
	Keeper string `json:"keeper,omitempty" en:"Keeper" zh:"看守"`
}

type lightInput struct {
	Keeper string `json:"keeper" required:"true" format:"name" en:"Keeper" zh:"看守"`
}

func lighthouse() *resource.Kind {
	return resource.Define(resource.Kind{
		NewState: func() any { return &lighthouseState{} },
		Verbs: []resource.Verb{resource.On(resource.Verb{Name: "kindle", Title: resource.T("Kindle", "点亮"), Doc: resource.T("Lights the lamp.", "点亮灯。")},
			func(a resource.Act[lighthouseSpec, lighthouseState, lightInput]) error {
				if a.State.Lit {
					return resource.Refuse("it burns already", "已经点亮")
				}
				*a.State = lighthouseState{Lit: true, Keeper: a.Input.Keeper}
				return nil
			})},
		Name: "Lighthouse", Plural: "lighthouses", Short: "light", Scope: resource.ScopeTenant, Nav: "coast",
		Title: resource.T("Lighthouse", "灯塔"), Doc: resource.T("A tower with a lamp.", "带灯的塔。"), Version: 1,
		Columns:     []resource.Column{{Title: resource.T("Colour", "颜色"), Value: func(o *resource.Object) string { return o.Spec.(*lighthouseSpec).Colour }}},
		Example:     "kind: Lighthouse\nmetadata: {tenant: platform, name: skerryvore}\nspec: {height: 48, colour: white}\n",
		Sensitivity: resource.SensitivityPublic, ApprovalClass: resource.ApprovalNone,
	}, resource.Behaviour[lighthouseSpec]{})
}

// … and this the one line.
func registry(t *testing.T) *resource.Registry { return lab.Kinds(t, lighthouse()) }

// shell runs the command line against a cell in this process.
type shell struct {
	t       *testing.T
	reg     *resource.Registry
	profile string
}

func newShell(t *testing.T) *shell {
	t.Helper()
	s := &shell{t: t, reg: registry(t), profile: filepath.Join(t.TempDir(), "operator.yaml")}
	g := lab.Gate(t, s.reg)
	if err := dayzero.Run(t.Context(), g, "test"); err != nil {
		t.Fatal(err)
	}
	log, err := events.Open(events.Options{Dir: filepath.Join(t.TempDir(), "events")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	srv := httptest.NewTLSServer(api.New(api.Options{Gate: g, Events: log, Status: func() any { return telemetry.Status{} }}))
	t.Cleanup(srv.Close)
	token, expires, err := g.OpenSession(t.Context(), identity.Service(gate.Dayzero), dayzero.Operator, "")
	if err != nil {
		t.Fatal(err)
	}
	p := &identity.Profile{
		Version: 1, Server: srv.URL, CAPEM: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})), Tenant: "platform", Lang: "en",
		Session: identity.ProfileSession{Token: token, Expires: expires}, Log: identity.ProfileLog{Origin: g.Log().Origin, VKey: g.Log().VKey},
	}
	if err := p.Write(s.profile); err != nil {
		t.Fatal(err)
	}
	return s
}

// run carries out a command line and returns what was printed.
func (s *shell) run(want int, in string, args ...string) string {
	s.t.Helper()
	var out bytes.Buffer
	args = append([]string{"--profile", s.profile}, args...)
	if got := cli.Run(s.t.Context(), cli.Options{Registry: s.reg, Version: "test", In: strings.NewReader(in), Out: &out, Err: &out}, args); got != want {
		s.t.Fatalf("dun %v: exit %d, want %d\n%s", args, got, want, out.String())
	}
	return out.String()
}

func (s *shell) contains(out string, words ...string) {
	s.t.Helper()
	for _, w := range words {
		if !strings.Contains(out, w) {
			s.t.Errorf("%q is missing in\n%s", w, out)
		}
	}
}

func TestAKindIsOneFileAndOneLine(t *testing.T) {
	s := newShell(t)
	example := lighthouse().Example
	s.contains(s.run(0, example, "apply", "-f", "-"), "lighthouse platform/skerryvore created", "+  height: 48")
	s.contains(s.run(2, strings.Replace(example, "48", "501", 1), "apply", "-f", "-"), "spec.height: want at most 500")
	s.contains(s.run(2, strings.Replace(example, "white", "blue", 1), "apply", "-f", "-"), "spec.colour", "white, red")
	s.contains(s.run(0, strings.Replace(example, "white", "red", 1), "apply", "-f", "-"), "updated", "-  colour: white", "+  colour: red")
	s.contains(s.run(0, "", "get", "lighthouses"), "COLOUR", "skerryvore", "red")
	s.contains(s.run(0, "", "--lang", "zh", "get", "light"), "颜色", "skerryvore")
	s.contains(s.run(0, "", "get", "light", "skerryvore", "-o", "json"), `"height": 48`)
	s.contains(s.run(0, "", "history", "light", "skerryvore"), "create", "update", "spec.colour")
	s.contains(s.run(0, "", "explain", "kind", "light"), "A tower with a lamp.", "In metres", "white|red", example)
	s.contains(s.run(0, "", "--lang", "zh", "explain", "kind", "light"), "灯塔", "单位:米")
	s.contains(s.run(0, "", "audit", "tail"), "Lighthouse", "platform/skerryvore")
	s.contains(s.run(0, "", "audit", "verify"), "verified")
	s.contains(s.run(0, "", "__complete", "get", ""), "light\tLighthouse")
	s.contains(s.run(0, "", "__complete", "get", "light", ""), "skerryvore")

	// Its verbs come along, too.
	s.contains(s.run(0, "", "explain", "kind", "light"), "dun do VERB light NAME", "kindle", "--set keeper=text")
	s.contains(s.run(0, "", "__complete", "do", ""), "kindle\tLighthouse: Kindle")
	s.contains(s.run(0, "", "__complete", "do", "kindle", "light", ""), "skerryvore")
	s.contains(s.run(2, "", "do", "kindle", "light", "skerryvore"), "input.keeper: is required")
	s.contains(s.run(2, "", "do", "burn", "light", "skerryvore"), "no verb")
	s.contains(s.run(0, "", "do", "kindle", "light", "skerryvore", "--set", "keeper=ann"), "Kindle, revision")
	s.contains(s.run(6, "", "--lang", "zh", "do", "kindle", "light", "skerryvore", "--set", "keeper=ann"), "已经点亮")
	s.contains(s.run(0, "", "get", "light", "skerryvore", "-o", "yaml"), "lit: true", "keeper: ann")
	s.contains(s.run(0, "", "history", "light", "skerryvore"), "kindle")

	// A policy about the new kind validates, and is obeyed.
	forbid := "kind: Policy\nmetadata: {tenant: platform, name: no-red}\nspec:\n  cedar: |\n" +
		"    forbid (principal, action == Action::\"lighthouse.delete\", resource is Lighthouse) when { resource.spec.colour == \"red\" && resource.spec.height > 40 };\n"
	s.run(0, forbid, "apply", "-f", "-")
	s.contains(s.run(4, "", "delete", "light", "skerryvore"), "may not delete", "platform/no-red")
	s.run(0, "", "delete", "policy", "no-red")
	s.run(0, "", "delete", "light", "skerryvore")
	s.contains(s.run(5, "", "get", "light", "skerryvore"), "there is no Lighthouse platform/skerryvore")
	s.contains(s.run(0, "", "history", "light", "skerryvore"), "delete")
}

// TestAFileIsOneTransaction: what only the gate can refuse leaves nothing of
// the file behind, and the order of its records does not matter.
func TestAFileIsOneTransaction(t *testing.T) {
	s := newShell(t)
	light := func(tenant, name string) string {
		return "---\nkind: Lighthouse\nmetadata: {tenant: " + tenant + ", name: " + name + "}\nspec: {height: 10}\n"
	}
	acme := "---\nkind: Tenant\nmetadata: {tenant: platform, name: acme}\n"
	out := s.run(2, light("platform", "a")+light("nowhere", "b"), "apply", "--no-wait", "-f", "-")
	s.contains(out, "lighthouse nowhere/b: metadata.tenant: there is no tenant")
	s.run(5, "", "get", "light", "a")
	s.contains(s.run(0, light("platform", "a")+light("acme", "b")+acme, "apply", "--no-wait", "-f", "-"), "lighthouse acme/b created", "tenant platform/acme created")
	var many strings.Builder
	for i := range 230 {
		many.WriteString(light("acme", fmt.Sprint("l", i)))
	}
	s.contains(s.run(0, many.String(), "apply", "--no-wait", "-f", "-"), "acme/l0 created", "acme/l229 created")
	s.contains(s.run(0, many.String(), "apply", "--no-wait", "-f", "-"), "acme/l229 unchanged")
}

// TestApplyMergesThreeWays: what the file said and no longer says goes, what
// others set stays.
func TestApplyMergesThreeWays(t *testing.T) {
	s := newShell(t)
	base := "kind: Lighthouse\nmetadata: {tenant: platform, name: a, labels: {mine: '1', other: '1'}}\nspec: {height: 10, colour: white}\n"
	s.run(0, base, "apply", "-f", "-")
	// Somebody else adds a label with a file of his own that knows only that.
	s.run(0, "kind: Lighthouse\nmetadata: {tenant: platform, name: a, labels: {mine: '1', other: '1', theirs: x}}\nspec: {height: 10, colour: white}\n", "apply", "-f", "-")
	// The file drops a label and the colour.
	out := s.run(0, "kind: Lighthouse\nmetadata: {tenant: platform, name: a, labels: {mine: '2', theirs: x}}\nspec: {height: 10}\n", "apply", "-f", "-")
	s.contains(out, "-    other:", "-  colour: white", "mine: \"2\"")
	got := s.run(0, "", "get", "light", "a", "-o", "yaml")
	s.contains(got, "theirs: x", "mine: \"2\"")
	if strings.Contains(got, "\n    other:") || strings.Contains(got, "\n  colour:") {
		t.Errorf("what the file dropped is still there:\n%s", got)
	}
	s.contains(s.run(0, "kind: Lighthouse\nmetadata: {tenant: platform, name: a, labels: {mine: '2', theirs: x}}\nspec: {height: 10}\n", "apply", "-f", "-"), "unchanged")
	// All labels gone.
	s.run(0, "kind: Lighthouse\nmetadata: {tenant: platform, name: a}\nspec: {height: 10}\n", "apply", "-f", "-")
	if got := s.run(0, "", "get", "light", "a", "-o", "yaml"); strings.Contains(got, "theirs: x\n") && strings.Contains(got, "  labels:") {
		t.Errorf("labels that the file dropped are still there:\n%s", got)
	}
	s.contains(s.run(0, "kind: Lighthouse\nmetadata: {tenant: platform, name: a}\nspec: {height: 11}\n", "apply", "--dry-run", "-f", "-"), "dry run", "+  height: 11")
	s.contains(s.run(0, "", "get", "light", "a", "-o", "yaml"), "height: 10")
}
