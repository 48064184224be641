package console

import (
	"strconv"
	"time"

	"github.com/dun-sec/dun/internal/core/text"
)

// The chart's own units; the page scales them.
const (
	chartStep   = 10
	chartHeight = 64
)

// bar is one minute of the chart.
type bar struct{ x, y, height string }

// bars scales the minutes to the highest of them; a minute with one block is
// never invisible.
func (v view) chart() []bar {
	top := 1
	for _, n := range v.bars {
		top = max(top, n)
	}
	var out []bar
	for i, n := range v.bars {
		if n == 0 {
			continue
		}
		h := max(2, n*chartHeight/top)
		out = append(out, bar{strconv.Itoa(i * chartStep), strconv.Itoa(chartHeight - h), strconv.Itoa(h)})
	}
	return out
}

func (v view) total() (n int) {
	for _, x := range v.bars {
		n += x
	}
	return n
}

// most is the busiest minute and its count.
func (v view) most() (at time.Time, n int) {
	for i, x := range v.bars {
		if x > n {
			at, n = v.end.Add(time.Duration(i-hour+1)*time.Minute), x
		}
	}
	return at, n
}

// words is the chart for whoever does not see it.
func (v view) words() text.Text {
	at, n := v.most()
	switch {
	case n == 0:
		return text.T("No blocks in the last hour.", "过去一小时没有拦截。")
	case v.atLeast:
		return text.F("At least %d blocks in the last hour: not all were counted. Busiest counted minute %s UTC with %d.", "过去一小时至少 %d 次拦截(未全部计入)。已计入的最繁忙一分钟:%s UTC,%d 次。", v.total(), at.Format("15:04"), n)
	}
	return text.F("Blocks in the last hour: %d. Busiest minute %s UTC with %d.", "过去一小时拦截 %d 次。最繁忙的一分钟:%s UTC,%d 次。", v.total(), at.Format("15:04"), n)
}
