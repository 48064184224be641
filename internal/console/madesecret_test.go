package console

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/deposit"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/lab"
)

var madeSecret = regexp.MustCompile(`id="made-secret">(dun_k_[a-z2-7]{52})<`)

// The secret of a key is on the page that made it, once, and on no other.
func TestTheSecretOfAKeyIsOnOnePage(t *testing.T) {
	h := newHouse(t)
	h.signIn(dayzero.Operator)
	h.put("kind: AccessKey\nmetadata: {tenant: platform, name: laptop}\nspec: {user: operator}\n")
	h.put("kind: User\nmetadata: {tenant: platform, name: ann}\nspec: {}\n")
	h.put("kind: AccessKey\nmetadata: {tenant: platform, name: hers}\nspec: {user: ann}\n")
	const path = "/records/accesskeys/platform/laptop"
	if _, body := h.call("GET", path, nil); strings.Contains(body, "/do/issue") {
		t.Error("it is offered where nothing makes it")
	}
	secrets := lab.Secrets(t)
	h.console.opt.MakeSecret = func(ctx context.Context, req deposit.Request) (*resource.Object, string, error) {
		res, v, err := deposit.Make(ctx, h.gate, secrets, req)
		return res.Object, string(v.Reveal()), err
	}
	if _, body := h.call("GET", path, nil); !strings.Contains(body, `href="`+path+`/do/issue"`) {
		t.Errorf("it is not offered: %s", body)
	}
	res, form := h.call("GET", path+"/do/issue", nil)
	if res.StatusCode != 200 || strings.Contains(form, "input.ref") {
		t.Errorf("%d %s", res.StatusCode, form)
	}
	res, page := h.call("POST", path+"/do/issue", fields(form))
	m := madeSecret.FindStringSubmatch(page)
	if res.StatusCode != 200 || m == nil || res.Header.Get("Cache-Control") != "no-store" || !regexp.MustCompile(`AK[A-Z2-7]{26}`).MatchString(page) {
		t.Fatalf("%d %s", res.StatusCode, page)
	}
	if res, body := h.call("POST", path+"/do/issue", fields(form)); res.StatusCode != 409 || madeSecret.MatchString(body) {
		t.Errorf("a second time: %d %s", res.StatusCode, body)
	}
	for _, p := range []string{"", "/history", "/proof", "/edit", "/edit?as=yaml"} {
		if _, body := h.call("GET", path+p, nil); strings.Contains(body, m[1]) {
			t.Errorf("%s%s shows it again", path, p)
		}
	}
	_, form = h.call("GET", "/records/accesskeys/platform/hers/do/issue", nil)
	if res, body := h.call("POST", "/records/accesskeys/platform/hers/do/issue", fields(form)); res.StatusCode != 409 || !strings.Contains(body, "his own key") {
		t.Errorf("for somebody else: %d %s", res.StatusCode, body)
	}
}
