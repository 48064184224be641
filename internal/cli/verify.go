package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/file"
)

func (a *app) auditVerify() *cobra.Command {
	var log string
	var quick bool
	cmd := &cobra.Command{
		Use: "verify", Args: cobra.NoArgs,
		Short: a.t("Verify the whole log against the key that the profile pins", "用配置中固定的密钥校验整个日志"),
		Long: a.t("Fetches the signed checkpoint and every leaf, checks the signature with the pinned key, each leaf with what it commits to, and the tree with the signed root.\nThe newest checkpoint is kept beside the profile: the next time the log must be a continuation of it, so that nobody can have rewritten it in between.\nThen asks the cell to prove that each record is what its newest leaf says. Exit code 20 when anything differs.",
			"获取已签名的检查点和全部叶子,用固定的密钥核对签名,逐一核对叶子的承诺,并核对树根。\n最新的检查点保存在配置旁:下次校验时日志必须是它的延续,因此其间无法被改写。\n随后要求集群证明每条记录与其最新叶子一致。如有不符,退出码为 20。"),
	}
	a.logFlag(cmd, &log)
	cmd.Flags().BoolVar(&quick, "quick", false, a.t("only prove that the log continues the checkpoint seen last, without fetching it all", "仅证明日志是上次所见检查点的延续,不下载全部内容"))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		v, err := a.newVerifier(cmd, c, log)
		if err != nil || v == nil {
			return err
		}
		if quick {
			return v.continues()
		}
		return v.everything()
	}
	return cmd
}

// verifier is one verification of one log.
type verifier struct {
	a    *app
	cmd  *cobra.Command
	c    *client
	log  string
	vkey string
	note []byte
	head audit.Checkpoint
	seen *audit.Checkpoint // what was verified last, nil = nothing
}

// newVerifier fetches the checkpoint and reads the one that was seen last; nil
// for a log that has nothing to verify.
func (a *app) newVerifier(cmd *cobra.Command, c *client, log string) (*verifier, error) {
	origin, vkey, err := c.pinned(log)
	if err != nil {
		return nil, err
	}
	v := &verifier{a: a, cmd: cmd, c: c, log: log, vkey: vkey}
	b, err := os.ReadFile(v.file())
	if err == nil {
		p, err := audit.OpenCheckpoint(b, vkey)
		if err != nil {
			return nil, doesNotVerify(fmt.Errorf("%s: %w", v.file(), err))
		}
		v.seen = &p
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.Invalid, "%s cannot be read", "%s 无法读取", v.file()).Because(err)
	}
	r, err := c.do(cmd.Context(), request{method: http.MethodGet, path: "/api/v1/-/audit/checkpoint", query: url.Values{"log": {log}}})
	if err != nil {
		return nil, err
	}
	if len(r.body) == 0 && v.seen == nil {
		a.say("log      %s", "日志     %s", origin)
		a.say("leaves   none yet", "叶子     暂无")
		return nil, nil
	}
	if v.head, err = audit.OpenCheckpoint(r.body, vkey); err != nil {
		return nil, doesNotVerify(fmt.Errorf("checkpoint: %w", err))
	}
	if v.head.Origin != origin {
		return nil, doesNotVerify(fmt.Errorf("the checkpoint is of %s, the profile pins %s", v.head.Origin, origin))
	}
	if v.seen != nil && v.seen.Size > v.head.Size {
		return nil, doesNotVerify(fmt.Errorf("the log has %d leaves, and had %d when it was verified last: it was cut or rolled back", v.head.Size, v.seen.Size))
	}
	v.note = r.body
	return v, nil
}

// file is where the checkpoint that was verified last is kept.
func (v *verifier) file() string {
	return filepath.Join(filepath.Dir(v.c.file), "."+filepath.Base(v.c.file)+"."+v.log+".checkpoint")
}

// remember keeps the checkpoint for the next time. A folder that cannot be
// written is no reason to call a sound log unsound.
func (v *verifier) remember() {
	if err := file.Replace(v.file(), 0o600, v.note); err != nil {
		v.a.say("not kept for the next time: %s cannot be written", "未能保存以备下次校验:%s 无法写入", v.file())
	}
}

// continues proves growth alone.
func (v *verifier) continues() error {
	if v.seen == nil {
		return fault.New(fault.Invalid, "nothing was verified before; run dun audit verify once without --quick", "尚未做过完整校验;请先不带 --quick 运行一次 dun audit verify")
	}
	if v.seen.Size < v.head.Size {
		r, err := v.c.do(v.cmd.Context(), request{
			method: http.MethodGet, path: "/api/v1/-/audit/consistency", query: url.Values{"log": {v.log}, "from": {strconv.FormatInt(v.seen.Size, 10)}},
		})
		if err != nil {
			return err
		}
		var in struct {
			Proof      audit.Growth `json:"proof"`
			Checkpoint string       `json:"checkpoint"`
		}
		if err := json.Unmarshal(r.body, &in); err != nil {
			return doesNotVerify(fmt.Errorf("the proof cannot be read: %w", err))
		}
		if v.head, err = audit.OpenCheckpoint([]byte(in.Checkpoint), v.vkey); err != nil {
			return doesNotVerify(fmt.Errorf("checkpoint: %w", err))
		}
		v.note = []byte(in.Checkpoint)
		if err := audit.CheckGrowth(in.Proof, v.head, *v.seen); err != nil {
			return doesNotVerify(err)
		}
	} else if err := audit.CheckGrowth(nil, v.head, *v.seen); err != nil {
		return doesNotVerify(err)
	}
	v.remember()
	v.a.say("log      %s", "日志     %s", v.head.Origin)
	v.a.say("grown    from %d to %d leaves, nothing rewritten", "增长     从 %d 到 %d 个叶子,未被改写", v.seen.Size, v.head.Size)
	v.a.say("signed   by the pinned key", "签名     由固定的密钥签署")
	return nil
}

// everything rebuilds the tree from all leaves.
func (v *verifier) everything() error {
	erased, err := v.leaves()
	if err != nil {
		return err
	}
	v.remember()
	v.a.say("log      %s", "日志     %s", v.head.Origin)
	v.a.say("leaves   %d verified, %d erased", "叶子     已校验 %d,已抹除 %d", v.head.Size, erased)
	v.a.say("root     %s", "根       %s", v.head.Root.String())
	v.a.say("signed   by the pinned key", "签名     由固定的密钥签署")
	if v.seen != nil {
		v.a.say("history  a continuation of the %d leaves verified last", "历史     是上次校验的 %d 个叶子的延续", v.seen.Size)
	}
	if v.log != "main" {
		return nil
	}
	return v.a.checkRecords(v.cmd, v.c)
}

// leaves rebuilds the tree and compares the root, and that of the log seen last.
func (v *verifier) leaves() (erased int, err error) {
	tree := audit.NewTree()
	for tree.Size() < v.head.Size {
		list, err := v.c.leaves(v.cmd, v.log, url.Values{"from": {strconv.FormatInt(tree.Size(), 10)}, "limit": {"500"}})
		if err != nil {
			return 0, err
		}
		if len(list) == 0 {
			return 0, doesNotVerify(fmt.Errorf("leaf %d is missing", tree.Size()))
		}
		for i := range list {
			if tree.Size() == v.head.Size {
				break
			}
			if list[i].Seq != uint64(tree.Size()) {
				return 0, doesNotVerify(fmt.Errorf("leaf %d is missing", tree.Size()))
			}
			if _, _, err := list[i].open(); err != nil {
				return 0, doesNotVerify(err)
			}
			if list[i].Salts[audit.FieldTenant] == nil {
				erased++
			}
			tree.Append(audit.LeafHash(list[i].Leaf))
			if v.seen != nil && tree.Size() == v.seen.Size && tree.Root() != v.seen.Root {
				return 0, doesNotVerify(fmt.Errorf("the first %d leaves are not those that were verified last: the log was rewritten", v.seen.Size))
			}
		}
	}
	if tree.Root() != v.head.Root {
		return 0, doesNotVerify(errors.New("the leaves do not give the signed root"))
	}
	return erased, nil
}
