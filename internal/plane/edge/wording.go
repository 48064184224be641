package edge

import (
	"net/http"

	"github.com/dun-sec/dun/internal/core/text"
)

const pageStyle = `:root{color-scheme:light dark}body{font:16px/1.6 system-ui,sans-serif;max-width:34rem;margin:12vh auto;padding:0 1.5rem}h1{font-size:1.4rem}code{font-size:1rem;user-select:all}small{opacity:.7}`

// wording says what happened and what to do, for each status the edge sends.
func wording(status int) (title, advice text.Text) {
	operator := text.T("If this happens again, give the request id below to the site's operator.", "如果问题持续出现,请将下面的请求编号告知网站运营者。")
	switch status {
	case 400:
		return text.T("The request could not be understood", "无法理解该请求"), text.T("Your browser or program sent a malformed request.", "您的浏览器或程序发送了格式错误的请求。")
	case 403:
		return text.T("This request was blocked", "该请求已被拦截"), text.T("It looks like an attack on this site, your address is not welcome here, or the answer holds data that this site does not give out. If you meant no harm, give the request id below to the site's operator.", "该请求疑似攻击,您的地址不被允许访问,或响应含有本站不对外提供的数据。如属误判,请将下面的请求编号告知网站运营者。")
	case 405:
		return text.T("This method is not allowed", "不允许使用该请求方法"), operator
	case 408:
		return text.T("The request took too long to arrive", "请求接收超时"), text.T("Check your connection and try again.", "请检查网络后重试。")
	case 413:
		return text.T("The request is too large", "请求体过大"), text.T("Send less at once, or ask the site's operator with the request id below.", "请减少单次发送的内容,或凭下面的请求编号咨询网站运营者。")
	case 415:
		return text.T("The request is compressed in a way that is not supported", "不支持该请求的压缩方式"), text.T("Send it uncompressed, or compressed once with gzip, deflate or br.", "请不压缩发送,或仅使用 gzip、deflate、br 之一压缩一次。")
	case 421:
		return text.T("This site is not served here", "此处没有该网站"), text.T("Check the address. Its operator may not have set the site up yet.", "请检查网址;运营者可能尚未配置该网站。")
	case 431:
		return text.T("The request's header is too large", "请求头过大"), text.T("Deleting this site's cookies often helps.", "清除该网站的 Cookie 通常可以解决。")
	case 500:
		return text.T("The request could not be checked", "无法检查该请求"), operator
	case 502:
		return text.T("The site cannot be reached", "无法连接网站"), text.T("The server behind this site does not answer properly. Try again later.", "该网站的服务器没有正常响应,请稍后重试。")
	case 503:
		return text.T("The site is not available right now", "网站暂不可用"), text.T("Try again in a moment.", "请稍后重试。")
	case 504:
		return text.T("The site took too long to answer", "网站响应超时"), text.T("Try again later.", "请稍后重试。")
	case 508:
		return text.T("The request goes in a circle", "请求出现循环"), text.T("The site's origin leads back to this server; its operator has to correct that.", "该网站的源站又指回本服务器,需由运营者修正。")
	}
	return text.T(http.StatusText(status), http.StatusText(status)), operator
}

func pageStatuses() []int {
	return []int{400, 403, 405, 408, 413, 415, 421, 431, 500, 502, 503, 504, 508}
}

func requestLabel(l text.Lang) string { return text.T("Request id", "请求编号").In(l) }
