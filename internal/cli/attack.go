package cli

import (
	"io"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

// attack is dun attack: what goes beyond the records of attacks.
func (a *app) attack() *cobra.Command {
	return a.group(&cobra.Command{Use: "attack", Short: a.t("Fetch the packets that were kept of an attack", "获取攻击留存的数据包")}, a.attackPCAP())
}

func (a *app) attackPCAP() *cobra.Command {
	var where tenantFlags
	var file string
	cmd := &cobra.Command{
		Use: "pcap NAME", Args: cobra.ExactArgs(1), Short: a.t("Write the packets of an attack as a capture file", "将攻击的数据包写为抓包文件"),
		Long: a.t("Writes some of the attack's packets, the first 128 bytes of each, as a pcap file. They are data of people: each download is a leaf of the audit log.",
			"写出攻击的部分数据包(每个包的前 128 字节)为 pcap 文件。其中含个人数据:每次下载都会记入审计日志。"),
		Example: "  dun attack pcap shop-20261101t030000 -o shop.pcap\n  dun attack pcap shop-20261101t030000 | tcpdump -nr -",
	}
	a.tenantFlags(cmd, &where, false)
	cmd.Flags().StringVarP(&file, "output", "o", "-", a.t("file to write; - is standard output", "写入的文件;- 为标准输出"))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		res, err := c.send(cmd.Context(), request{method: http.MethodGet, path: "/api/v1/" + url.PathEscape(where.in(c)) + "/attacks/" + url.PathEscape(args[0]) + "/evidence"})
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if file == "-" {
			_, err := io.Copy(a.opt.Out, res.Body)
			return cut(err)
		}
		n, err := writeFile(file, res.Body)
		if err != nil {
			return err
		}
		a.say("%s written, %d bytes", "已写入 %s,%d 字节", file, n)
		return nil
	}
	return cmd
}
