package events

import "strings"

// maskRuns hides runs of at least 24 characters of base64, base64url or hex.
func maskRuns(s string) string {
	var out strings.Builder
	start, done := -1, 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && (isAlnum(s[i]) || strings.IndexByte("+/_-", s[i]) >= 0) {
			if start < 0 {
				start = i
			}
			continue
		}
		if start >= 0 && i-start >= 24 && looksRandom(s[start:i]) {
			out.WriteString(s[done:start])
			out.WriteString(hidden)
			for i < len(s) && s[i] == '=' {
				i++
			}
			done = i
			i-- // the loop steps over it
		}
		start = -1
	}
	out.WriteString(s[done:])
	return out.String()
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }
func isAlnum(c byte) bool { return isDigit(c) || isUpper(c) || 'a' <= c && c <= 'z' }

// looksRandom tells keys from long paths and from SQL joined by '+': random
// text changes between small letters, capitals and digits all the time.
func looksRandom(run string) bool {
	var digits, changes, piece, longest int
	var last byte
	for i := range len(run) {
		c := run[i]
		if !isAlnum(c) {
			piece = 0
			continue
		}
		if isDigit(c) {
			digits++
		}
		if last != 0 && (isDigit(c) != isDigit(last) || isUpper(c) != isUpper(last)) {
			changes++
		}
		last = c
		piece++
		longest = max(longest, piece)
	}
	if longest >= 24 && digits > 0 {
		return true
	}
	return changes*4 >= len(run) || digits >= 2 && changes*5 >= len(run)
}

// maskCards hides payment card numbers: 13 to 19 digits in groups that a
// single space or hyphen parts, valid by Luhn (ISO/IEC 7812-1 annex B).
func maskCards(s string) string {
	var out strings.Builder
	done := 0
	for i := 0; i < len(s); {
		if !isDigit(s[i]) || i > 0 && isDigit(s[i-1]) {
			i++
			continue
		}
		if end := cardAt(s, i); end > 0 {
			out.WriteString(s[done:i])
			out.WriteString(hidden)
			i, done = end, end
			continue
		}
		i++
	}
	out.WriteString(s[done:])
	return out.String()
}

// cardAt returns the end of the longest card number that starts at i and ends
// with a group of digits, or 0. It looks at no more than 19 digits.
func cardAt(s string, i int) (end int) {
	var digits []byte
	for j := i; j < len(s) && len(digits) < 20; j++ {
		switch {
		case isDigit(s[j]):
			digits = append(digits, s[j]-'0')
		case (s[j] == ' ' || s[j] == '-') && j+1 < len(s) && isDigit(s[j+1]):
			continue
		default:
			return end
		}
		if last := j+1 == len(s) || !isDigit(s[j+1]); last && 13 <= len(digits) && len(digits) <= 19 && luhn(digits) {
			end = j + 1
		}
	}
	return end
}

func luhn(digits []byte) bool {
	sum := 0
	for i := range digits {
		d := int(digits[len(digits)-1-i])
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}
