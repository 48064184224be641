package cli

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
)

func (a *app) ca() *cobra.Command {
	cmd := &cobra.Command{Use: "ca", Short: a.t("The cell's own certificate authority, as this machine trusts it", "集群自有 CA 及本机对其的信任")}
	return a.group(cmd, a.caTrust())
}

// caTrust puts the authority where programs of this machine look for whom to
// trust.
func (a *app) caTrust() *cobra.Command {
	var file string
	var t trusting
	cmd := &cobra.Command{
		Use: "trust", Args: cobra.NoArgs,
		Short: a.t("Let this machine's programs and your browsers trust the cell's certificates", "让本机程序和您的浏览器信任集群证书"),
		Long: a.t("Puts the cell's authority into the system's store (as root) and into the stores of Chromium and Firefox of whoever runs this (certutil of libnss3-tools is needed).\nWhoever holds the cell's data directory can then make this machine believe any page: do this on your own machines, for cells that you run. --remove takes it back.",
			"将集群 CA 写入系统证书库(需 root),以及执行者的 Chromium 和 Firefox 证书库(需 libnss3-tools 的 certutil)。\n此后,掌握集群数据目录者可使本机信任任意网页:请仅在自己的机器上、为自己运行的集群执行。--remove 可撤销。"),
		RunE: func(*cobra.Command, []string) error {
			pemText, err := a.authority(file)
			if err != nil {
				return err
			}
			return a.trust(pemText, t)
		},
	}
	cmd.Flags().StringVar(&file, "ca", "", a.t("file of the authority, ca.pem (default: the profile's)", "CA 证书文件 ca.pem(默认取自配置)"))
	cmd.Flags().BoolVar(&t.system, "system", true, a.t("change the system's store", "更改系统证书库"))
	cmd.Flags().BoolVar(&t.browsers, "browsers", true, a.t("change the browsers' stores", "更改浏览器证书库"))
	cmd.Flags().BoolVar(&t.remove, "remove", false, a.t("trust it no longer", "撤销信任"))
	return cmd
}

func (a *app) authority(file string) (string, error) {
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", fault.New(fault.Invalid, "%s: %s", "%s:%s", file, err.Error()).Because(err)
		}
		return string(b), nil
	}
	p, err := identity.ReadProfile(a.profilePath())
	if err != nil {
		return "", fault.New(fault.Invalid, "profile %s: %s; or name the file with --ca", "配置 %s:%s;或用 --ca 指明文件", a.profilePath(), err.Error()).Because(err)
	}
	return p.CAPEM, nil
}

// systemStores are the stores of distributions: a folder for authorities, and
// the program that reads it.
var systemStores = []struct{ dir, program string }{
	{"/usr/local/share/ca-certificates", "update-ca-certificates"},   // Debian, Ubuntu, Alpine
	{"/etc/pki/ca-trust/source/anchors", "update-ca-trust"},          // Fedora, RHEL
	{"/etc/ca-certificates/trust-source/anchors", "update-ca-trust"}, // Arch
	{"/usr/share/pki/trust/anchors", "update-ca-certificates"},       // SUSE
}

// trusting says which stores are changed, and how.
type trusting struct{ system, browsers, remove bool }

func (a *app) trust(text string, t trusting) error {
	block, rest := pem.Decode([]byte(text))
	if block == nil || len(strings.TrimSpace(string(rest))) > 0 {
		return fault.New(fault.Invalid, "want exactly one certificate in PEM", "应为恰好一个 PEM 证书")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil || !cert.IsCA {
		return fault.New(fault.Invalid, "this is no certificate authority", "这不是 CA 证书").Because(err)
	}
	sum := sha256.Sum256(cert.Raw)
	name := "dun-" + hex.EncodeToString(sum[:8])
	a.say("%s\n  SHA-256 %X", "%s\n  SHA-256 %X", cert.Subject.CommonName, sum)
	var done bool
	if t.system {
		if done, err = a.trustSystem(name, text, t.remove); err != nil {
			return err
		}
	}
	n := 0
	if t.browsers {
		if n, err = a.trustBrowsers(name, text, t.remove); err != nil {
			return err
		}
	}
	if !done && n == 0 {
		return fault.New(fault.Unavailable, "no store was changed: be root for the system's, and have certutil (libnss3-tools) for the browsers'", "未更改任何证书库:系统证书库需要 root,浏览器证书库需要 certutil(libnss3-tools)")
	}
	return nil
}

func (a *app) trustSystem(name, text string, remove bool) (bool, error) {
	if os.Geteuid() != 0 {
		a.say("  the system's store: only root changes it", "  系统证书库:仅 root 可更改")
		return false, nil
	}
	for _, s := range systemStores {
		program, err := exec.LookPath(s.program)
		if st, serr := os.Stat(s.dir); err != nil || serr != nil || !st.IsDir() {
			continue
		}
		file := filepath.Join(s.dir, name+".crt")
		if remove {
			if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return false, fault.New(fault.Invalid, "%s cannot be removed: %s", "无法移除 %s:%s", file, err.Error()).Because(err)
			}
		} else if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return false, fault.New(fault.Invalid, "%s cannot be written: %s", "无法写入 %s:%s", file, err.Error()).Because(err)
		}
		if out, err := exec.Command(program).CombinedOutput(); err != nil {
			return false, fault.New(fault.Unavailable, "%s: %s", "%s:%s", s.program, strings.TrimSpace(string(out))).Because(err)
		}
		a.say("  the system's store: %s", "  系统证书库:%s", file)
		return true, nil
	}
	a.say("  the system's store: none is known here", "  系统证书库:未找到")
	return false, nil
}

// trustBrowsers changes the NSS stores of the user's browsers; the one of
// Chromium is made where it is missing.
func (a *app) trustBrowsers(name, text string, remove bool) (int, error) {
	certutil, err := exec.LookPath("certutil")
	if err != nil {
		a.say("  browsers: certutil is missing; install libnss3-tools", "  浏览器:缺少 certutil;请安装 libnss3-tools")
		return 0, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return 0, fault.New(fault.Invalid, "whose browsers? HOME is not set", "未设置 HOME,无法确定浏览器所属用户").Because(err)
	}
	chromium := filepath.Join(home, ".pki", "nssdb")
	if _, err := os.Stat(filepath.Join(chromium, "cert9.db")); errors.Is(err, fs.ErrNotExist) && !remove {
		if err := os.MkdirAll(chromium, 0o700); err != nil {
			return 0, fault.New(fault.Invalid, "%s cannot be made: %s", "无法创建 %s:%s", chromium, err.Error()).Because(err)
		}
		if out, err := exec.Command(certutil, "-N", "-d", "sql:"+chromium, "--empty-password").CombinedOutput(); err != nil {
			return 0, fault.New(fault.Unavailable, "certutil: %s", "certutil:%s", strings.TrimSpace(string(out))).Because(err)
		}
	}
	var stores []string
	for _, pattern := range []string{".pki/nssdb", ".mozilla/firefox/*", "snap/firefox/common/.mozilla/firefox/*", "snap/chromium/current/.pki/nssdb"} {
		found, err := filepath.Glob(filepath.Join(home, pattern, "cert9.db"))
		if err != nil {
			return 0, err
		}
		for _, f := range found {
			stores = append(stores, filepath.Dir(f))
		}
	}
	for _, dir := range stores {
		args := []string{"-A", "-d", "sql:" + dir, "-n", name, "-t", "C,,"}
		if remove {
			args = []string{"-D", "-d", "sql:" + dir, "-n", name}
		}
		c := exec.Command(certutil, args...)
		c.Stdin = strings.NewReader(text)
		out, err := c.CombinedOutput()
		if err != nil && !(remove && strings.Contains(string(out), "could not find")) {
			return 0, fault.New(fault.Unavailable, "certutil: %s", "certutil:%s", strings.TrimSpace(string(out))).Because(err)
		}
		a.say("  browser: %s", "  浏览器:%s", dir)
	}
	return len(stores), nil
}
