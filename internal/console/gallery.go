package console

import "net/http"

// gallery shows each component in each state; pictures of it are kept by the
// browser tests.
func (c *Console) gallery(v *visit) error { return v.render(http.StatusOK, galleryPage(v)) }
