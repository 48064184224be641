package events

import (
	"encoding/base64"
	"regexp"
	"strings"
)

// hidden stands for what was masked.
const hidden = "***"

// maxMask is the longest input of Mask in bytes; the rest is cut off.
const maxMask = 4 << 10

// secretWord is part of the name of a field that holds a secret. The short
// words count only as a word of their own: "discard" is no card.
const secretWord = `[\w.\-\[\]]*(?:password|passwd|pwd|secret|token|authorization|api[_-]?key|cookie|session)[\w.\-\[\]]*` +
	`|(?:[\w.\[\]-]*[_.\[-])?(?:otp|card)(?:[_-]?(?:number|no|code|pin|[\d]+))?\]?`

// Go's regular expressions take linear time whatever the input is. They are
// tried only on input that has a part which each cannot do without.
var (
	namePattern = regexp.MustCompile(`(?i)^(?:` + secretWord + `)$`)
	// key=value, "key":"value", key: value; plain, escaped or percent-encoded.
	pairPattern = regexp.MustCompile(`(?i)\b((?:` + secretWord + `)(?:\\*["']|%2[27])?\s*(?:=|:|%3[ad])\s*(?:(?:bearer|basic|digest|negotiate)\s+)?)` +
		`("(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|\\+["'][^"'\\]*(?:\\+["'])?|[^\s&"']+)`)
	cookiePattern  = regexp.MustCompile(`(?i)\b((?:set-)?cookie\s*:\s*)[^\s;]+(?:;\s*[^\s;]+)*`)
	elementPattern = regexp.MustCompile(`(?i)(<(?:` + secretWord + `)(?:\s[^>]*)?>)[^<]+`)
	bearerPattern  = regexp.MustCompile(`(?i)\b(bearer(?:\s|\+|%20)+)[\w.~+/=-]+`)
	basicPattern   = regexp.MustCompile(`(?i)\bbasic\s+[A-Za-z0-9+/]{4,}={0,2}`)
	jwtPattern     = regexp.MustCompile(`\beyJ[\w-]*\.[\w-]*(?:\.[\w-]*)?`)
	userPattern    = regexp.MustCompile(`://[^/\s@:]*:[^/\s@]*@`)
	emailPattern   = regexp.MustCompile(`([\p{L}\p{N}])[\p{L}\p{N}._%+'-]*(@|%40)([\p{L}\p{N}-]+(?:\.[\p{L}\p{N}-]+)+)`)
)

// Mask hides what looks like a secret or like personal data in text that an
// attacker or a user sent: values of fields with telling names, bearer and
// basic credentials, long base64 or hex runs, payment card numbers, passwords
// in URLs, and the names in e-mail addresses but for the first letter. It is a
// net, not a wall: what must not be seen should not be put in an event.
// Attacks stay readable. At most 4 KiB of s are kept.
func Mask(s string) string {
	s = strings.ToValidUTF8(cut(s, maxMask), "\uFFFD")
	lower := strings.ToLower(s)
	if hasSecretWord(lower) {
		s = cookiePattern.ReplaceAllString(s, "${1}"+hidden)
		s = pairPattern.ReplaceAllString(s, "${1}"+hidden)
		s = elementPattern.ReplaceAllString(s, "${1}"+hidden)
	}
	if strings.Contains(lower, "bearer") {
		s = bearerPattern.ReplaceAllString(s, "${1}"+hidden)
	}
	if strings.Contains(lower, "basic") {
		s = basicPattern.ReplaceAllStringFunc(s, maskBasic)
	}
	if strings.Contains(s, "eyJ") {
		s = jwtPattern.ReplaceAllString(s, hidden)
	}
	if strings.Contains(s, "@") || strings.Contains(s, "%40") {
		s = userPattern.ReplaceAllString(s, "://"+hidden+"@")
		s = emailPattern.ReplaceAllString(s, "${1}"+hidden+"${2}${3}")
	}
	return maskCards(maskRuns(s)) // a card number inside a key must not cut the key into short parts
}

func hasSecretWord(lower string) bool {
	for _, w := range []string{"passw", "pwd", "secret", "token", "authorization", "key", "cookie", "session", "otp", "card"} {
		if strings.Contains(lower, w) {
			return true
		}
	}
	return false
}

// secretName reports whether a field of that name holds a secret; a collection
// may stand before it, as in "ARGS:password".
func secretName(name string) bool {
	if at := strings.LastIndexByte(name, ':'); at >= 0 {
		name = name[at+1:]
	}
	return len(name) <= maxMask && hasSecretWord(strings.ToLower(name)) && namePattern.MatchString(name)
}

// maskAttribute keeps references that Dun made itself: they look like secrets
// and open nothing.
func maskAttribute(key, value string) string {
	switch {
	case secretName(key):
		return hidden
	case key == "uid" && isReference(value, ""), key == "bytes" && isReference(value, "b-"):
		return value
	}
	return Mask(value)
}

func isReference(s, prefix string) bool {
	rest, ok := strings.CutPrefix(s, prefix)
	return ok && len(rest) == 26 && strings.Trim(rest, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

// maskBasic hides "basic X" when X is base64 of user:password; "basic" is an
// English word, too.
func maskBasic(s string) string {
	at := strings.LastIndexAny(s, " \t") + 1
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(s[at:], "="))
	if err != nil || !strings.Contains(string(raw), ":") {
		return s
	}
	return s[:at] + hidden
}
