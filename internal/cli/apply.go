package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
)

// applyFlags are the flags of dun apply.
type applyFlags struct {
	files          []string
	noWait, dryRun bool
	reason         string
	header         map[string]string // more of the request
}

func (a *app) apply() *cobra.Command {
	var f applyFlags
	var glass bool
	cmd := &cobra.Command{
		Use: "apply -f FILE", Args: cobra.NoArgs,
		Short: a.t("Bring records to what a file says", "使记录与文件一致"),
		Long: a.t("Reads records in YAML or JSON and brings the cell to what they say. What the file no longer says since the last apply is removed;\nwhat others set beside it stays. Prints the difference, sends the revision that was read, and waits until the nodes enforce it.",
			"读取 YAML 或 JSON 记录并使集群与之一致。自上次 apply 以来文件中删去的内容会被移除,\n他人另行设置的内容予以保留。打印差异,带上所读修订号提交,并等待节点生效。"),
		Example: "  dun apply -f site.yaml\n  cat site.yaml | dun apply -f -",
	}
	fl := cmd.Flags()
	fl.StringArrayVarP(&f.files, "file", "f", nil, a.t("file or folder of manifests; - is standard input", "清单文件或目录;- 为标准输入"))
	fl.BoolVar(&f.noWait, "no-wait", false, a.t("do not wait until the change is enforced", "不等待更改生效"))
	fl.BoolVar(&f.dryRun, "dry-run", false, a.t("only show what would change", "只显示将要更改的内容"))
	fl.StringVar(&f.reason, "reason", "", a.t("why, for the audit log", "理由,写入审计日志"))
	fl.BoolVar(&glass, "break-glass", false, a.t("carry out what needs approval without it; needs --reason and two factors, opens an incident, and is to be reviewed within 24 hours", "在未经审批的情况下执行需审批的更改;须有 --reason 和双因素,会开启事件并须在 24 小时内复核"))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if glass {
			f.header = map[string]string{"Dun-Approval": "break-glass"}
		}
		if len(f.files) == 0 {
			return fault.New(fault.Invalid, "name a file with -f; - reads standard input", "请用 -f 指定文件;- 读取标准输入")
		}
		list, err := a.manifests(f.files)
		if err != nil {
			return err
		}
		c, err := a.connect()
		if err != nil {
			return err
		}
		last, roles, err := a.applyAll(cmd.Context(), c, list, f)
		if err != nil || last == 0 || f.noWait {
			return err
		}
		return a.waitEnforced(cmd.Context(), c, last, roles)
	}
	return cmd
}

// batch is how many records go in one transaction.
const batch = 100

// applyAll brings the records in transactions of up to batch records: each is
// done whole or not at all. It returns the last revision, 0 when nothing
// changed, and the roles that enforce what did.
func (a *app) applyAll(ctx context.Context, c *client, list []document, f applyFlags) (last uint64, roles []string, err error) {
	for done := 0; done < len(list); {
		part := firstBatch(list[done:])
		rev, err := a.applyTogether(ctx, c, part, f)
		if err != nil {
			if last > 0 {
				fmt.Fprintln(a.opt.Err, text.F("dun: stopped after %d of %d records; those are applied", "dun: 已应用 %d 条记录(共 %d 条)后停止", done, len(list)).In(a.lang))
			}
			return 0, nil, err
		}
		done += len(part)
		last = max(last, rev)
		if rev > 0 {
			for _, m := range part {
				roles = append(roles, m.kind.NodeRoles...)
			}
		}
	}
	return last, roles, nil
}

// document is one record of a file.
type document struct {
	kind   *resource.Kind
	object *resource.Object
	where  string
}

// manifests reads and checks everything before anything is sent.
func (a *app) manifests(files []string) ([]document, error) {
	var out []document
	for _, name := range files {
		parts, err := a.read(name)
		if err != nil {
			return nil, err
		}
		for _, p := range parts {
			nodes, err := resource.ParseYAML(p.data)
			if err != nil {
				return nil, in(p.name, err)
			}
			for _, n := range nodes {
				o, k, err := a.opt.Registry.Decode(n)
				if err != nil {
					return nil, in(p.name, err)
				}
				if o.Metadata.Tenant == "" {
					o.Metadata.Tenant = resource.Platform
				}
				if err := k.Validate(o); err != nil {
					return nil, in(p.name, err)
				}
				out = append(out, document{k, o, p.name})
			}
		}
	}
	if len(out) == 0 {
		return nil, fault.New(fault.Invalid, "there is no record in %s", "%s 中没有记录", strings.Join(files, ", "))
	}
	return out, nil
}

// in names the file in an error about its content.
func in(file string, err error) error {
	e := fault.Of(err)
	if e.Code != fault.Invalid {
		return err
	}
	c := *e
	c.Detail.En, c.Detail.Zh = file+": "+c.Detail.En, file+":"+c.Detail.Zh
	if len(c.Fields) == 1 {
		c.Fields = slices.Clone(c.Fields)
		c.Fields[0].Reason.En += " [" + file + "]"
		c.Fields[0].Reason.Zh += " [" + file + "]"
	}
	return &c
}

type part struct {
	name string
	data []byte
}

func (a *app) read(name string) ([]part, error) {
	if name == "-" {
		b, err := io.ReadAll(io.LimitReader(a.opt.In, resource.MaxDocuments*resource.MaxInput+1))
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		return []part{{a.t("standard input", "标准输入"), b}}, nil
	}
	st, err := os.Stat(name)
	if err != nil {
		return nil, fault.New(fault.Invalid, "%s: there is no such file", "%s:文件不存在", name).Because(err)
	}
	names := []string{name}
	if st.IsDir() {
		names = nil
		for _, pattern := range []string{"*.yaml", "*.yml", "*.json"} {
			found, err := filepath.Glob(filepath.Join(name, pattern))
			if err != nil {
				return nil, fmt.Errorf("list %s: %w", name, err)
			}
			names = append(names, found...)
		}
		slices.Sort(names)
	}
	var out []part
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			return nil, fault.New(fault.Invalid, "%s cannot be read", "%s 无法读取", n).Because(err)
		}
		out = append(out, part{n, b})
	}
	return out, nil
}

// step is what one record of a file needs; no change means nothing.
type step struct {
	document
	change        map[string]any // as a transaction takes it
	label         string
	before, after map[string]any // as people read them
}

// plan reads the live record and compares it with what the file says.
func (a *app) plan(ctx context.Context, c *client, m document) (*step, error) {
	o := m.object
	s := &step{document: m, label: strings.ToLower(m.kind.Name) + " " + o.Metadata.Tenant + "/" + o.Metadata.Name}
	live, err := c.get(ctx, m.kind, o.Metadata.Tenant, o.Metadata.Name)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return nil, err
	}
	if rev := o.Metadata.Revision; live == nil && rev != 0 {
		return nil, fault.New(fault.Conflict, "%s is gone, the file says revision %d; take metadata.revision out to make it anew", "%s 已不存在,而文件中的修订号为 %d;要重新创建请删去 metadata.revision", s.label, rev)
	} else if live != nil && rev != 0 && rev != live.Metadata.Revision {
		return nil, fault.New(fault.Conflict, "%s is at revision %d, the file says %d; read it again", "%s 的修订号为 %d,文件中为 %d;请重新读取", s.label, live.Metadata.Revision, rev)
	}
	want, err := manifest(o)
	if err != nil {
		return nil, err
	}
	last, err := json.Marshal(want)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	if live == nil {
		s.after = want
		s.change = map[string]any{"op": "put", "object": annotated(want, string(last))}
		return s, nil
	}
	if s.before, err = manifest(live); err != nil {
		return nil, err
	}
	patch := threeWay(live, s.before, want)
	s.after, _ = resource.Merge(s.before, patch).(map[string]any)
	if len(patch) > 0 {
		s.change = map[string]any{
			"op": "patch", "kind": m.kind.Name, "tenant": o.Metadata.Tenant, "name": o.Metadata.Name, "patch": withRevision(patch, live.Metadata.Revision, string(last)),
		}
	}
	return s, nil
}

// firstBatch is what goes in one transaction: up to batch records, none of
// them twice, so that of two records of one name the later one counts.
func firstBatch(list []document) []document {
	seen := map[resource.Ref]bool{}
	for i, m := range list {
		ref := m.object.Ref()
		ref.UID = ""
		if i == batch || seen[ref] {
			return list[:i]
		}
		seen[ref] = true
	}
	return list
}

// applyTogether plans, shows and sends records as one transaction. A conflict
// means that somebody wrote since they were read: it is planned again, twice
// at most, unless nothing that is planned changes by it.
func (a *app) applyTogether(ctx context.Context, c *client, list []document, f applyFlags) (uint64, error) {
	for try := 0; ; try++ {
		steps := make([]*step, len(list))
		var changes []map[string]any
		for i, m := range list {
			var err error
			if steps[i], err = a.plan(ctx, c, m); err != nil {
				return 0, err
			}
			if steps[i].change != nil {
				changes = append(changes, steps[i].change)
			}
		}
		if err := a.show(steps, f.dryRun); err != nil || f.dryRun || len(changes) == 0 {
			return 0, err
		}
		res, err := c.do(ctx, request{
			method: http.MethodPost, path: "/api/v1/-/transaction", body: map[string]any{"changes": changes}, contentType: "application/json", header: f.headers(),
		})
		if fault.Is(err, fault.Conflict) && try < 2 && a.moved(ctx, c, steps) {
			continue
		}
		if err != nil {
			return 0, named(err, steps)
		}
		return a.applied(res.body, steps)
	}
}

// named puts the record in the place of its number in a transaction.
func named(err error, steps []*step) error {
	e := *fault.Of(err)
	e.Fields = slices.Clone(e.Fields)
	i := 0
	for _, s := range steps {
		if s.change == nil {
			continue
		}
		for j := range e.Fields {
			if path, ok := strings.CutPrefix(e.Fields[j].Path, fmt.Sprintf("changes[%d].", i)); ok {
				e.Fields[j].Path = s.label + ": " + path
			}
		}
		i++
	}
	return &e
}

// moved reports whether the steps would be planned otherwise now.
func (a *app) moved(ctx context.Context, c *client, steps []*step) bool {
	for _, s := range steps {
		again, err := a.plan(ctx, c, s.document)
		if err != nil {
			return false
		}
		if !reflect.DeepEqual(again.change, s.change) {
			return true
		}
	}
	return false
}

// show prints what each step would change.
func (a *app) show(steps []*step, dryRun bool) error {
	for _, s := range steps {
		if s.change == nil {
			a.say("%s unchanged", "%s 无变化", s.label)
			continue
		}
		if err := a.showDiff(s.label, s.before, s.after); err != nil {
			return err
		}
		if dryRun {
			a.say("%s would change (dry run)", "%s 将会更改(试运行)", s.label)
		}
	}
	return nil
}

// applied prints what became of the steps and returns the last revision.
func (a *app) applied(body []byte, steps []*step) (last uint64, err error) {
	var reply struct {
		Results []struct {
			Revision uint64 `json:"revision"`
		} `json:"results"`
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		return 0, fault.New(fault.Internal, "the answer cannot be read; is the server of another release?", "无法读取应答;服务器版本是否不同?").Because(err)
	}
	i := 0
	for _, s := range steps {
		if s.change == nil || i == len(reply.Results) {
			continue
		}
		rev := reply.Results[i].Revision
		i++
		if s.before == nil {
			a.say("%s created, revision %d", "%s 已创建,修订 %d", s.label, rev)
		} else {
			a.say("%s updated, revision %d", "%s 已更新,修订 %d", s.label, rev)
		}
		last = max(last, rev)
	}
	return last, nil
}

func reasonHeader(reason string) map[string]string {
	if reason == "" {
		return nil
	}
	return map[string]string{"Dun-Reason": url.PathEscape(reason)}
}

// threeWay compares what was applied last, what is wanted and what is there.
func threeWay(live *resource.Object, have, want map[string]any) map[string]any {
	base := map[string]any{}
	if s := live.Metadata.Annotations[resource.LastApplied]; s != "" {
		dec := json.NewDecoder(strings.NewReader(s))
		dec.UseNumber()
		if err := dec.Decode(&base); err != nil {
			base = map[string]any{} // somebody damaged it: nothing is removed then
		}
	}
	next := normal(want)
	// A manifest without labels removes those it had, one by one, and not
	// those of others: compare key by key.
	hm, _ := have["metadata"].(map[string]any)
	if nm, ok := next["metadata"].(map[string]any); ok {
		for _, k := range []string{"labels", "annotations"} {
			if _, there := hm[k]; there && nm[k] == nil {
				nm[k] = map[string]any{}
			}
		}
	}
	return resource.ThreeWay(base, next, have)
}

// normal gives want the number type that decoded JSON has.
func normal(want map[string]any) map[string]any {
	b, err := json.Marshal(want)
	if err != nil {
		return want
	}
	dec := json.NewDecoder(strings.NewReader(string(b)))
	dec.UseNumber()
	out := map[string]any{}
	if dec.Decode(&out) != nil {
		return want
	}
	return out
}

func annotated(tree map[string]any, last string) map[string]any {
	return resource.Merge(tree, map[string]any{"metadata": map[string]any{"annotations": map[string]any{resource.LastApplied: last}}}).(map[string]any)
}

// withRevision completes a patch with what was read and what was applied.
func withRevision(patch map[string]any, rev uint64, last string) map[string]any {
	out := annotated(patch, last)
	out["metadata"].(map[string]any)["revision"] = rev
	return out
}

func (a *app) showDiff(label string, before, after map[string]any) error {
	var x, y []byte
	var err error
	if before != nil {
		if x, err = toYAML(before); err != nil {
			return err
		}
	}
	if y, err = toYAML(after); err != nil {
		return err
	}
	lines := strings.SplitAfter(string(diff.Diff("live", x, "file", y)), "\n")
	if len(lines) > 3 {
		lines = lines[3:] // "diff", "---", "+++": the label says it
	}
	fmt.Fprintf(a.opt.Out, "%s\n", label)
	for _, l := range lines {
		if l != "" {
			fmt.Fprint(a.opt.Out, "  "+clean(l))
		}
	}
	return nil
}
