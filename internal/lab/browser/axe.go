// Package browser is the test kit for pages: what every test that looks at one
// with a real browser shares. It holds the accessibility engine axe-core, which
// is never part of the program that ships, and knows no page.
package browser

import _ "embed"

// Axe is the source of axe-core; VENDORED names its version and its hash.
//
//go:embed axe.min.js
var Axe string
