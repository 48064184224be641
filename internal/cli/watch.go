package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
)

// errGone says that the stream cannot go on and everything is to be listed anew.
// It is a sentinel, never changed.
var errGone = errors.New("the watch has to begin anew")

func (a *app) watch() *cobra.Command {
	var where tenantFlags
	var selector string
	cmd := &cobra.Command{
		Use: "watch KIND", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeKind,
		Short:   a.t("Show records and go on with what changes", "显示记录并持续显示变化"),
		Example: "  dun watch sites\n  dun watch bans -A -o json",
	}
	a.tenantFlags(cmd, &where, true)
	cmd.Flags().StringVarP(&selector, "labels", "l", "", a.t("only records with these labels, as in a=b,c!=d", "仅限带这些标签的记录,例如 a=b,c!=d"))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		k, c, err := a.reach(args[0])
		if err != nil {
			return err
		}
		q := url.Values{}
		if selector != "" {
			q.Set("labels", selector)
		}
		path := "/api/v1/" + url.PathEscape(where.in(c)) + "/" + k.Plural
		s := &watchStream{app: a, client: c, kind: k, path: path, query: q}
		return s.follow(cmd.Context())
	}
	a.outputFlag(cmd, "json")
	return cmd
}

// watchStream follows one kind until the caller ends it. A stream that broke
// is taken up where it was; gone begins anew.
type watchStream struct {
	app    *app
	client *client
	kind   *resource.Kind
	path   string
	query  url.Values
	at     string // position reached; "" = everything
	synced bool
}

func (s *watchStream) follow(ctx context.Context) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
		err := s.once(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errGone):
			s.at, s.synced = "", false
		case fault.Is(err, fault.Unavailable) || err == nil:
			if s.at == "" {
				return err // it never began
			}
		default:
			return err
		}
		pause.Reset(time.Second)
	}
}

func (s *watchStream) once(ctx context.Context) error {
	s.query.Set("watch", s.at)
	res, err := s.client.send(ctx, request{method: http.MethodGet, path: s.path, query: s.query})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	lines := bufio.NewReaderSize(res.Body, 64<<10)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return s.client.unreachable(err)
		}
		if err := s.frame(line); err != nil {
			return err
		}
	}
}

func (s *watchStream) frame(line []byte) error {
	var f struct {
		Type   string          `json:"type"`
		At     string          `json:"at"`
		Object json.RawMessage `json:"object"`
		Ref    resource.Ref    `json:"ref"`
		Error  struct {
			Code   fault.Code `json:"code"`
			Detail string     `json:"detail"`
		} `json:"error"`
	}
	if err := json.Unmarshal(line, &f); err != nil {
		return fmt.Errorf("read a watch: %w", err)
	}
	switch f.Type {
	case "gone":
		return errGone
	case "error":
		return fault.New(f.Error.Code, "%s", "%s", f.Error.Detail)
	}
	if f.At != "" && (s.synced || f.Type == "synced") {
		s.at = f.At // before synced a position is no place to go on from
	}
	if s.app.output == "json" {
		_, err := s.app.opt.Out.Write(line)
		s.synced = s.synced || f.Type == "synced"
		return err
	}
	switch f.Type {
	case "put":
		o, err := s.client.object(f.Object)
		if err != nil {
			return err
		}
		s.print(s.verb(o), o.Metadata.Tenant, o.Metadata.Name, s.columns(o))
	case "delete":
		s.print(s.app.t("deleted", "已删除"), f.Ref.Tenant, f.Ref.Name, "")
	case "synced":
		s.synced = true
	}
	return nil
}

func (s *watchStream) verb(o *resource.Object) string {
	switch {
	case !s.synced:
		return s.app.t("is", "现有")
	case o.Metadata.Created.Equal(o.Metadata.Updated):
		return s.app.t("created", "已创建")
	}
	return s.app.t("updated", "已更新")
}

func (s *watchStream) columns(o *resource.Object) string {
	out := []string{"rev " + strconv.FormatUint(o.Metadata.Revision, 10)}
	for _, c := range s.kind.Columns {
		if v := c.Value(o); v != "" && !c.Wide {
			out = append(out, v)
		}
	}
	return strings.Join(out, "  ")
}

func (s *watchStream) print(verb, tenant, name, rest string) {
	line := fmt.Sprintf("%s  %s%s %s/%s  %s", time.Now().UTC().Format("15:04:05Z"), verb, strings.Repeat(" ", max(0, 8-width(verb))), tenant, name, rest)
	fmt.Fprintln(s.app.opt.Out, strings.TrimRight(clean(strings.ReplaceAll(line, "\n", " ")), " "))
}

func (a *app) revert() *cobra.Command {
	var where tenantFlags
	var revision uint64
	var reason string
	cmd := &cobra.Command{
		Use: "revert KIND NAME --revision N", Args: cobra.ExactArgs(2), ValidArgsFunction: a.completeKind,
		Short: a.t("Bring a record back to what it was at a revision", "使记录恢复到某一修订的内容"),
		Long: a.t("Writes spec, labels and annotations of the older revision as a new change: it is authorised, validated and proven like any other. A deleted record is made anew.",
			"把旧修订的 spec、标签和注解作为一次新的更改写入:与其他更改一样经过授权、校验并留下证明。已删除的记录会重新创建。"),
	}
	a.tenantFlags(cmd, &where, false)
	cmd.Flags().Uint64Var(&revision, "revision", 0, a.t("revision to go back to, as dun history shows it", "要恢复到的修订,见 dun history"))
	cmd.Flags().StringVar(&reason, "reason", "", a.t("why, for the audit log", "理由,写入审计日志"))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if revision == 0 {
			return fault.New(fault.Invalid, "name the revision with --revision, as dun history shows it", "请用 --revision 指定修订,见 dun history")
		}
		k, c, err := a.reach(args[0])
		if err != nil {
			return err
		}
		return a.revertTo(cmd, c, k, where.in(c), args[1], revision, reason)
	}
	return cmd
}

func (a *app) revertTo(cmd *cobra.Command, c *client, k *resource.Kind, tenant, name string, revision uint64, reason string) error {
	ctx := cmd.Context()
	path := recordPath(k, tenant, name)
	r, err := c.do(ctx, request{method: http.MethodGet, path: path, query: url.Values{"revision": {strconv.FormatUint(revision, 10)}}})
	if err != nil {
		return err
	}
	old, err := c.object(r.body)
	if err != nil {
		return err
	}
	if old.Metadata.Revision != revision {
		return fault.New(fault.NotFound, "%s %s/%s has no revision %d; see dun history", "%s %s/%s 没有修订 %d;见 dun history", k.Short, tenant, name, revision)
	}
	want, err := manifest(old)
	if err != nil {
		return err
	}
	meta, _ := want["metadata"].(map[string]any)
	if last := old.Metadata.Annotations[resource.LastApplied]; last != "" {
		want = annotated(want, last)
		meta, _ = want["metadata"].(map[string]any)
	}
	var before map[string]any
	live, err := c.get(ctx, k, tenant, name)
	if err == nil {
		meta["revision"] = live.Metadata.Revision
		if before, err = manifest(live); err != nil {
			return err
		}
	} else if !fault.Is(err, fault.NotFound) {
		return err
	}
	label := k.Short + " " + tenant + "/" + name
	shown, err := manifest(old)
	if err != nil {
		return err
	}
	if err := a.showDiff(label, before, shown); err != nil {
		return err
	}
	if reason == "" {
		reason = "revert to revision " + strconv.FormatUint(revision, 10)
	}
	res, err := c.do(ctx, request{method: http.MethodPut, path: path, body: want, contentType: "application/json", header: reasonHeader(reason)})
	if err != nil {
		return err
	}
	got, err := c.object(res.body)
	if err != nil {
		return err
	}
	a.say("%s is as at revision %d again, revision %d", "%s 已恢复到修订 %d 的内容,新修订 %d", label, revision, got.Metadata.Revision)
	return a.waitEnforced(ctx, c, got.Metadata.Revision, k.NodeRoles)
}
