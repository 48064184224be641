package console

import "testing"

func TestWhoGetsHSTS(t *testing.T) {
	for host, want := range map[string]bool{
		"dun.example": true, "dun.example:7443": true, "localhost": false, "localhost:7443": false, "a.localhost": false,
		"127.0.0.1": false, "127.0.0.1:7443": false, "[::1]:7443": false, "[::1]": false, "": false,
	} {
		if got := named(host); got != want {
			t.Errorf("%s: %v", host, got)
		}
	}
	h := newHouse(t)
	res := h.request(t.Context(), "GET", "/enter", nil) // of an address
	res.Body.Close()
	if got := res.Header.Get("Strict-Transport-Security"); got != "" {
		t.Errorf("an address got %q", got)
	}
}
