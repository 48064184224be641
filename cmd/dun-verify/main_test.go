package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const golden = "../../internal/core/audit/testdata/"

func TestExitCodesAndWording(t *testing.T) {
	raw, err := os.ReadFile(golden + "vkey")
	if err != nil {
		t.Fatal(err)
	}
	vkey := strings.TrimSpace(string(raw))
	good, err := os.ReadFile(golden + "bundle.tar")
	if err != nil {
		t.Fatal(err)
	}
	forged := filepath.Join(t.TempDir(), "forged.tar")
	good[len(good)-1] = 1
	if err := os.WriteFile(forged, good, 0o600); err != nil {
		t.Fatal(err)
	}
	bundle := golden + "bundle.tar"
	for name, c := range map[string]struct {
		args []string
		exit int
		says []string // in stdout when 0, else in stderr
	}{
		"pinned":        {[]string{"--key", vkey, bundle}, 0, []string{"verified\n", "origin   dun.dev/log/testcell\n", "log      5 leaves", "bundle   2 leaves, 2 fields", "2026-03-01T12:00:01.00025Z to 2026-03-01T12:00:03.00025Z", ", pinned\n"}},
		"not pinned":    {[]string{bundle}, 0, []string{"signer dun.dev/log/testcell+", ", not pinned\n", "proves nothing about who signed"}},
		"Chinese":       {[]string{"--lang", "zh", bundle}, 0, []string{"验证通过\n", "未指定密钥\n", "不能证明由谁签名"}},
		"forged":        {[]string{forged}, 20, []string{"does not verify: end: malformed"}},
		"forged, zh":    {[]string{"--lang", "zh", forged}, 20, []string{"验证失败"}},
		"damaged key":   {[]string{"--key", strings.Replace(vkey, "testcell", "othercel", 1), bundle}, 2, []string{"parse pinned key"}},
		"not a bundle":  {[]string{golden + "vkey"}, 20, []string{"manifest.json: missing"}},
		"no such file":  {[]string{golden + "nothing"}, 2, []string{"cannot verify"}},
		"a folder":      {[]string{golden}, 2, []string{"not a regular file"}},
		"no file":       {nil, 2, []string{"usage:"}},
		"two files":     {[]string{bundle, bundle}, 2, []string{"usage:"}},
		"bad language":  {[]string{"--lang", "fr", bundle}, 2, []string{"usage:"}},
		"unknown flags": {[]string{"--quiet", bundle}, 2, []string{"usage:"}},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			exit := run(c.args, &stdout, &stderr)
			said, silent := &stdout, &stderr
			if c.exit != 0 {
				said, silent = &stderr, &stdout
			}
			if exit != c.exit || silent.Len() != 0 {
				t.Fatalf("exit %d\n%s%s", exit, &stdout, &stderr)
			}
			for _, s := range c.says {
				if !strings.Contains(said.String(), s) {
					t.Errorf("%q is missing in\n%s", s, said)
				}
			}
			if c.exit == 20 && strings.Count(said.String(), "\n") != 1 {
				t.Errorf("more than one line:\n%s", said)
			}
		})
	}
}
