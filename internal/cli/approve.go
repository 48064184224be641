package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
)

// waits is the end of a change that waits for approval; it is no failure.
type waits struct {
	ChangeRequest string   `json:"changeRequest"`
	Tenant        string   `json:"tenant"`
	Approvers     []string `json:"approvers"`
	URL           string   `json:"url"`
}

// Error implements error.
func (w *waits) Error() string { return "waits for approval: " + w.ChangeRequest }

func waitsOf(body io.Reader) error {
	var w waits
	if err := json.NewDecoder(io.LimitReader(body, 64<<10)).Decode(&w); err != nil || w.ChangeRequest == "" {
		return fault.New(fault.Internal, "the answer names no change request", "应答中没有变更请求").Because(err)
	}
	return &w
}

func (a *app) tellWaiting(w *waits) {
	who := strings.Join(w.Approvers, ", ")
	fmt.Fprintln(a.opt.Err, text.F("waits for approval: %s (of %s)\n  somebody else: dun approve %[1]s%[3]s", "等待审批:%s(审批人:%s)\n  由他人执行:dun approve %[1]s%[3]s", w.ChangeRequest, who, tenantFlag(w.Tenant)).In(a.lang))
}

func tenantFlag(tenant string) string {
	if tenant == resource.Platform {
		return ""
	}
	return " --tenant " + tenant
}

// headers are what a request of dun apply carries.
func (f *applyFlags) headers() map[string]string {
	h := reasonHeader(f.reason)
	if len(f.header) > 0 {
		h = maps.Clone(h)
		if h == nil {
			h = map[string]string{}
		}
		maps.Copy(h, f.header)
	}
	return h
}

// request is dun apply that is to be approved in any case.
func (a *app) request() *cobra.Command {
	f := applyFlags{noWait: true, header: map[string]string{"Dun-Approval": "ask"}}
	var from, until string
	cmd := &cobra.Command{
		Use: "request -f FILE --reason WHY", Args: cobra.NoArgs,
		Short: a.t("Ask for the approval of a change, whether a rule wants it or not", "为更改申请审批,无论规则是否要求"),
		Long: a.t("Like dun apply, but nothing changes: a change request is made, and carried out once it is approved, within the window that --from and --until give. Exits 9 with its name.",
			"与 dun apply 类似,但不作更改:生成变更请求,批准后在 --from 和 --until 指定的窗口内执行。以退出码 9 给出其名称。"),
		Example: "  dun request -f policy.yaml --reason 'the night shift needs it' --from 2026-11-25T22:00:00Z",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(f.files) == 0 {
				return fault.New(fault.Invalid, "name a file with -f; - reads standard input", "请用 -f 指定文件;- 读取标准输入")
			}
			for name, v := range map[string]string{"Dun-Not-Before": from, "Dun-Not-After": until} {
				if v != "" {
					f.header[name] = v
				}
			}
			list, err := a.manifests(f.files)
			if err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			_, _, err = a.applyAll(cmd.Context(), c, list, f)
			return err
		},
	}
	fl := cmd.Flags()
	fl.StringArrayVarP(&f.files, "file", "f", nil, a.t("file or folder of manifests; - is standard input", "清单文件或目录;- 为标准输入"))
	fl.StringVar(&f.reason, "reason", "", a.t("why, for those who decide and for the audit log", "理由,供审批人参考并写入审计日志"))
	fl.StringVar(&from, "from", "", a.t("carry it out no earlier (RFC 3339)", "不早于此时间执行(RFC 3339)"))
	fl.StringVar(&until, "until", "", a.t("and no later (RFC 3339)", "不晚于此时间执行(RFC 3339)"))
	return cmd
}

func (a *app) approve() *cobra.Command {
	return a.decide("approve", a.t("Assent to a change request; the last assent carries it out", "同意变更请求;最后一人同意后即执行"), func(ctx context.Context, c *client, k *resource.Kind, tenant, name string) error {
		return a.waitCarriedOut(ctx, c, k, tenant, name)
	})
}

func (a *app) deny() *cobra.Command {
	return a.decide("deny", a.t("Refuse a change request for good", "拒绝变更请求,不可撤销"), func(context.Context, *client, *resource.Kind, string, string) error {
		a.say("denied", "已拒绝")
		return nil
	})
}

func (a *app) decide(verb, short string, then func(context.Context, *client, *resource.Kind, string, string) error) *cobra.Command {
	var where tenantFlags
	var reason string
	cmd := &cobra.Command{Use: verb + " REQUEST", Args: cobra.ExactArgs(1), Short: short, Example: "  dun get changerequests\n  dun " + verb + " cr-4kq2jrw6"}
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		return a.completeKind(cmd, append([]string{"changerequest"}, args...), typed)
	}
	a.tenantFlags(cmd, &where, false)
	cmd.Flags().StringVar(&reason, "reason", "", a.t("why; it stays with the request", "理由,随请求保存"))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		k, c, err := a.reach("changerequest")
		if err != nil {
			return err
		}
		tenant := where.in(c)
		o, err := c.get(cmd.Context(), k, tenant, args[0])
		if err != nil {
			return err
		}
		a.tellWithheld(o)
		_, err = c.do(cmd.Context(), request{
			method: http.MethodPost, path: recordPath(k, tenant, args[0]) + "/" + verb, body: map[string]string{"reason": reason}, contentType: "application/json",
			query: url.Values{"revision": {strconv.FormatUint(o.Metadata.Revision, 10)}}, header: reasonHeader(reason),
		})
		if err != nil {
			return err
		}
		return then(cmd.Context(), c, k, tenant, args[0])
	}
	return cmd
}

// tellWithheld says that somebody decides without having seen what is asked for.
func (a *app) tellWithheld(o *resource.Object) {
	tree, err := resource.Tree(o)
	if err != nil {
		return // what cannot be encoded was not decoded either
	}
	spec, _ := tree["spec"].(map[string]any)
	changes, _ := spec["changes"].([]any)
	for _, x := range changes {
		if c, _ := x.(map[string]any); c["withheld"] == true {
			fmt.Fprintln(a.opt.Err, text.T("what is asked for is withheld: you may not read every record that the request is about", "请求的内容已隐去:您无权查看该请求涉及的全部记录").In(a.lang))
			return
		}
	}
}

// carriedOut is how long dun approve waits for what it set off.
const carriedOut = 10 * time.Second

// waitCarriedOut says what became of a request after an assent.
func (a *app) waitCarriedOut(ctx context.Context, c *client, k *resource.Kind, tenant, name string) error {
	ctx, cancel := context.WithTimeout(ctx, carriedOut)
	defer cancel()
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	for {
		r, err := c.do(ctx, request{method: http.MethodGet, path: recordPath(k, tenant, name)})
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		var o struct {
			Spec  struct{ NotBefore *time.Time }
			State struct {
				Phase, Outcome string
				Step           int
			}
		}
		if err == nil {
			if err := json.Unmarshal(r.body, &o); err != nil {
				return fmt.Errorf("read %s: %w", name, err)
			}
		}
		switch p := o.State.Phase; {
		case p == "open":
			a.say("assented; step %d waits for others", "已同意;步骤 %d 等待其他人", o.State.Step+1)
			return nil
		case p == "approved" && o.Spec.NotBefore != nil && time.Now().Before(*o.Spec.NotBefore):
			a.say("approved; carried out at %s", "已批准;将于 %s 执行", when(*o.Spec.NotBefore))
			return nil
		case p == "done":
			a.say("approved and carried out", "已批准并执行")
			return nil
		case slices.Contains([]string{"failed", "expired"}, p):
			return fault.New(fault.Conflict, "approved, but not carried out: %s", "已批准但未能执行:%s", o.State.Outcome)
		}
		select {
		case <-ctx.Done():
			a.say("approved; it is carried out soon", "已批准;即将执行")
			return nil
		case <-t.C:
		}
	}
}
