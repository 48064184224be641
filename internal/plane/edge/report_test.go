package edge

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

func TestBlockEventTellsWhyWithoutSecrets(t *testing.T) {
	w := newWorld(t, nil, siteAt("shop", "shop.example", echoOrigin(t).URL))
	const secret = "hunter2hunter2"
	for name, fire := range map[string]func(){
		"query":     func() { w.do("GET", "http://shop.example/a?password="+secret+"&id="+url.QueryEscape(sqli), nil, nil) },
		"own value": func() { w.do("GET", "http://shop.example/a?password="+url.QueryEscape("' OR 1=1-- "+secret), nil, nil) },
		"whole body": func() {
			w.do("POST", "http://shop.example/a", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, strings.NewReader("password="+secret+"&x="+url.QueryEscape(log4j)))
		},
		"json": func() {
			w.do("POST", "http://shop.example/a", map[string]string{"Content-Type": "application/json"}, strings.NewReader(fmt.Sprintf(`{"login":{"password":"%s %s"}}`, secret, "<script>alert(1)</script>")))
		},
		"cookie": func() {
			w.do("GET", "http://shop.example/a", map[string]string{"Cookie": "sessionid=" + secret + "%3Cscript%3Ealert(1)%3C/script%3E"}, nil)
		},
		"authorization": func() {
			w.do("GET", "http://shop.example/a", map[string]string{"Authorization": "Bearer " + secret + log4j}, nil)
		},
		"path": func() { w.do("GET", "http://shop.example/a/password="+secret+"/<script>alert(1)</script>", nil, nil) },
	} {
		w.events.reset()
		fire()
		ev := w.events.list("")
		if len(ev) != 1 || ev[0].Kind != "block" {
			t.Errorf("%s: events %+v", name, ev)
			continue
		}
		b, _ := json.Marshal(ev[0])
		if strings.Contains(string(b), secret) {
			t.Errorf("%s: the secret is in the event: %s", name, b)
		}
		e := ev[0]
		if len(e.Rules) == 0 || e.V != 1 || e.ID == "" || e.Node != "n1" || e.Part != "edge" || e.Tenant != "acme" || e.Object != "site/shop" || e.Source != "127.0.0.1" || e.Request == "" {
			t.Errorf("%s: %s", name, b)
		}
		for _, r := range e.Rules {
			if r.ID == 0 || r.Message == "" || r.Where == "" || len(r.Match) > maxMatchInEvent || protected(r.ID) {
				t.Errorf("%s: rule %+v", name, r)
			}
		}
	}
}

func TestEventNamesTheArgument(t *testing.T) {
	w := newWorld(t, nil, siteAt("shop", "shop.example", echoOrigin(t).URL))
	w.do("GET", "http://shop.example/find?id="+url.QueryEscape(sqli), map[string]string{"User-Agent": strings.Repeat("ü", 300)}, nil)
	ev := w.events.list("block")
	if len(ev) != 1 {
		t.Fatalf("%+v", ev)
	}
	found := false
	for _, r := range ev[0].Rules {
		if r.ID == 942100 && r.Where == "ARGS:id" && strings.Contains(r.Match, "UNION SELECT") {
			found = true
		}
	}
	a := ev[0].Attributes
	if !found || a["host"] != "shop.example" || a["method"] != "GET" || a["path"] != "/find" || a["status"] != "403" || a["paranoia"] != "1" || a["site"] != "shop" || a["score"] == "" || a["score"] == "0" || len(a["userAgent"]) > 200 {
		t.Errorf("%+v", ev[0])
	}
}

func TestEventHoldsAtMostThirtyTwoRules(t *testing.T) {
	w := newWorld(t, nil, siteObject("acme", "shop", *withWAF("", "shop.example", echoOrigin(t).URL, "block", 4, 0)))
	var q []string
	for _, p := range []string{sqli, xss, lfi, rce, log4j, "() { :; }; echo", "php://input", "<?php system('id'); ?>", "http://127.0.0.1/", "__proto__[x]=1"} {
		q = append(q, "a="+url.QueryEscape(p))
	}
	w.do("GET", "http://shop.example/.git/config?"+strings.Join(q, "&"), map[string]string{"User-Agent": "sqlmap"}, nil)
	w.do("POST", "http://shop.example/x", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, strings.NewReader(strings.Join(q, "&")))
	for _, e := range w.events.list("block") {
		if len(e.Rules) > maxRulesInEvent {
			t.Errorf("%d rules", len(e.Rules))
		}
		t.Logf("%d rules", len(e.Rules))
	}
}

func TestWithoutMaskNoMatchedTextIsKept(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Mask = nil }, siteAt("shop", "shop.example", echoOrigin(t).URL))
	w.do("GET", "http://shop.example/find?id="+url.QueryEscape(sqli), nil, nil)
	for _, e := range w.events.list("block") {
		for _, r := range e.Rules {
			if r.Match != "" {
				t.Errorf("%+v", r)
			}
		}
	}
}

func TestMalformedMessagesMakeOneEventASecond(t *testing.T) {
	w := newWorld(t, nil, siteAt("shop", "shop.example", echoOrigin(t).URL))
	for range 20 {
		w.raw("GET / HTTP/1.1\nHost: shop.example\n\n")
	}
	if ev := w.events.list("limit"); len(ev) < 1 || len(ev) > 2 || ev[0].Tenant != "platform" || ev[0].Attributes["class"] != "malformed" {
		t.Errorf("%d events %+v", len(ev), ev)
	}
}
