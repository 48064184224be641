package secret

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/lab"
)

// post sends JSON and returns what came back.
func (c *cell) post(path, token string, in any) (int, []byte) {
	c.t.Helper()
	b, err := json.Marshal(in)
	if err != nil {
		c.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.api+path, bytes.NewReader(b))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return res.StatusCode, out
}

// about is everything, and what is said of access keys, denials and sessions.
func (c *cell) about() map[string][]byte {
	c.t.Helper()
	all := c.everything()
	all["accesskey"] = c.dun("", "key", "list", "-o", "json")
	all["accesskey history"] = c.get("/api/v1/platform/accesskeys/one/history", "")
	all["accesskey proof"] = c.get("/api/v1/platform/accesskeys/one/proof", "")
	all["accesskey watch"] = c.get("/api/v1/-/watch?kinds=accesskey", `"synced"`)
	all["denials"] = c.dun("", "audit", "tail", "--log", "denials", "-o", "json")
	return all
}

// The secret of an access key is made, shown once, used, refused and replaced;
// what was shown is found nowhere else.
func TestNobodyFindsTheSecretOfAnAccessKey(t *testing.T) {
	c := up(t)
	c.travel("a site")
	planted := "canary" + id.Random(6)
	shown := strings.Fields(string(c.dun("", "key", "create", "one", "--user", "operator", "--reason", planted)))
	if len(shown) < 4 || shown[0] != "id" || shown[2] != "secret" {
		t.Fatalf("%q", shown)
	}
	keyID, text := shown[1], shown[3]
	raw, err := id.Encoding.DecodeString(strings.TrimPrefix(text, "dun_k_"))
	if err != nil || len(raw) != 32 {
		t.Fatalf("%v: %d bytes", err, len(raw))
	}
	curl := func(secret string) string {
		t.Helper()
		out, err := exec.Command("curl", "-sS", "--max-time", "20", "--cacert", filepath.Join(c.dir, "ca.pem"), "--aws-sigv4", "aws:amz:local:dun", "--user", keyID+":"+secret, c.api+"/api/v1/platform/users/operator").CombinedOutput()
		if err != nil {
			t.Fatalf("%v %s", err, out)
		}
		return string(out)
	}
	if out := curl(text); !strings.Contains(out, `"operator"`) {
		t.Fatalf("the key is not taken: %s", out)
	}
	if out := curl(text + "x"); !strings.Contains(out, "no access key stands behind") {
		t.Fatalf("a wrong secret: %s", out)
	}
	if status, out := c.post("/api/v1/platform/accesskeys/one/issue", c.token, nil); status != 409 || bytes.Contains(out, []byte(text)) {
		t.Errorf("a second time: %d %s", status, out)
	}
	all := c.about()
	for what, s := range map[string]string{"the secret": strings.TrimPrefix(text, "dun_k_"), "its bytes": string(raw)} {
		if found := where(all, s); len(found) > 0 {
			t.Errorf("%s was found in %v", what, found)
		}
	}
	if found := strings.Join(where(all, planted), "\n"); !strings.Contains(found, "tail: ") || !strings.Contains(found, "file records.db") {
		t.Errorf("a reason is not seen: %s", found)
	}
	for _, place := range []string{"accesskey", "accesskey history", "accesskey watch", "file records.db-wal"} {
		if !bytes.Contains(all[place], []byte(keyID)) {
			t.Errorf("%s does not hold the id of the key: the net sees nothing there", place)
		}
	}
}

// A password that is set, one that is tried, and the key of an app.
func TestNobodyFindsAPassword(t *testing.T) {
	c := up(t)
	c.travel("a site")
	c.dun("", "key", "create", "one", "--user", "operator")
	u, err := url.Parse(strings.TrimSpace(string(c.read(filepath.Join(c.dir, "bootstrap/link")))))
	if err != nil {
		t.Fatal(err)
	}
	status, out := c.post("/api/v1/enter", "", map[string]string{"token": u.Query().Get("t") + u.Fragment})
	var entered struct{ Token, Key string }
	if err := json.Unmarshal(out, &entered); err != nil || status != 201 {
		t.Fatalf("%d %s of %s", status, out, u)
	}
	password, tried := "heron quilt "+id.Random(8), "tried"+id.Random(8)
	if status, out := c.post("/api/v1/enrol", entered.Token, map[string]string{"password": password, "code": lab.Code(t, entered.Key, time.Now())}); status != 201 {
		t.Fatalf("%d %s", status, out)
	}
	for _, in := range []map[string]string{{"name": "operator", "password": tried, "code": "000000"}, {"name": tried, "password": tried, "code": "000000"}} {
		if status, out := c.post("/api/v1/sign-in", "", in); status != 401 || bytes.Contains(out, []byte(tried)) {
			t.Errorf("%d %s", status, out)
		}
	}
	all := c.about()
	key := strings.ReplaceAll(entered.Key, " ", "")
	for what, s := range map[string]string{"the password": password, "what was tried, also as a name": tried, "the key of the app": key, "a session": entered.Token} {
		if found := where(all, s); len(found) > 0 {
			t.Errorf("%s was found in %v", what, found)
		}
	}
	if !bytes.Contains(all["denials"], []byte("sign-in")) {
		t.Errorf("the log of denials does not tell of the tries: %s", all["denials"])
	}
}
