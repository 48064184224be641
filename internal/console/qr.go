package console

import (
	"fmt"
	"strings"

	"github.com/boombuler/barcode/qr"
)

// quiet is the margin that a scanner needs, in modules (ISO/IEC 18004).
const quiet = 4

// picture draws text as a QR code: the width of the square and one path of its
// dark modules.
func picture(text string) (size int, path string, err error) {
	code, err := qr.Encode(text, qr.M, qr.Auto)
	if err != nil {
		return 0, "", fmt.Errorf("draw a code: %w", err)
	}
	var b strings.Builder
	n := code.Bounds().Dx()
	for y := range n {
		for x := range n {
			if r, _, _, _ := code.At(x, y).RGBA(); r == 0 {
				fmt.Fprintf(&b, "M%d %dh1v1h-1z", x+quiet, y+quiet)
			}
		}
	}
	return n + 2*quiet, b.String(), nil
}
