package policy

import (
	"strings"

	"github.com/dun-sec/dun/internal/core/resource"
)

// Limits of the text of one Policy record. Nothing above them is parsed: the
// cost of a parser and a type checker grows faster than the text.
const (
	MaxStatements = 512  // permit and forbid statements
	MaxConditions = 1024 // when and unless clauses of all statements
	MaxNesting    = 64   // brackets, if and signs inside each other
	MaxOperators  = 1024 // && || + - * of all statements
)

// measure counts in one pass over the text, without a syntax tree; what it
// counts is never less than what the parser would find.
type measure struct{ statements, conditions, nesting, operators int }

func measureText(s string) measure {
	var m measure
	depth, run, chain := 0, 0, 0 // nesting here; signs in a row; attributes of attributes
	var frames []int             // depth outside of each open bracket
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '/' && i+1 < len(s) && s[i+1] == '/':
			for i < len(s) && s[i] != '\n' {
				i++
			}
			continue
		case c == '/' && i+1 < len(s) && s[i+1] == '*':
			end := strings.Index(s[i+2:], "*/")
			if end < 0 {
				return m // does not parse
			}
			i += 2 + end + 2
			continue
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
			continue
		case c == '!' && i+1 < len(s) && s[i+1] == '=':
			i++
			run, chain = 0, 0
		case c == '.':
			chain++
			m.nesting = max(m.nesting, depth+chain)
		case c == '!' || c == '-':
			run++
			if c == '-' {
				m.operators++
			}
			m.nesting = max(m.nesting, depth+run)
		case c == '(' || c == '[' || c == '{':
			frames = append(frames, depth)
			depth += run + 1
			run = 0
			m.nesting = max(m.nesting, depth+chain)
		case c == ')' || c == ']' || c == '}':
			if len(frames) > 0 {
				depth, frames = frames[len(frames)-1], frames[:len(frames)-1]
			}
			if c == ']' {
				chain++ // may be an attribute, as in context["mfa"]
				m.nesting = max(m.nesting, depth+chain)
			}
			run = 0
		case c == ',':
			run, chain = 0, 0
			if len(frames) > 0 {
				depth = frames[len(frames)-1] + 1
			}
		case c == ';':
			m.statements++
			run, chain = 0, 0
		case (c == '&' || c == '|') && i+1 < len(s) && s[i+1] == c:
			m.operators++
			i++
			run, chain = 0, 0
		case c == '"':
			for i++; i < len(s) && s[i] != '"'; i++ {
				if s[i] == '\\' {
					i++
				}
			}
			run = 0
		case letter(c):
			from := i
			for i < len(s) && (letter(s[i]) || s[i] >= '0' && s[i] <= '9') {
				i++
			}
			switch s[from:i] {
			case "when", "unless":
				m.conditions++
			case "then", "else", "in", "is", "like", "has":
				chain = 0
			case "if":
				chain = 0
				depth += run + 1
				m.nesting = max(m.nesting, depth)
			}
			run = 0
			continue
		default:
			run = 0
			if c == '+' || c == '*' {
				m.operators++
			}
			if c == '=' || c == '<' || c == '>' || c == '+' || c == '*' {
				chain = 0
			}
		}
		i++
	}
	return m
}

func letter(c byte) bool { return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// bounded notes what of the text is above a limit.
func bounded(source string, r *resource.Report) {
	m := measureText(source)
	const field = "spec.cedar"
	if m.statements > MaxStatements {
		r.Add(field, "holds %d statements, at most %d are allowed; split it into several policies", "共 %d 条语句,上限为 %d;请拆分为多个策略", m.statements, MaxStatements)
	}
	if m.conditions > MaxConditions {
		r.Add(field, "holds %d when and unless clauses, at most %d are allowed", "共 %d 个 when 与 unless 子句,上限为 %d", m.conditions, MaxConditions)
	}
	if m.operators > MaxOperators {
		r.Add(field, "holds %d operators such as && and +, at most %d are allowed", "共 %d 个 && 与 + 之类的运算符,上限为 %d", m.operators, MaxOperators)
	}
	if m.nesting > MaxNesting {
		r.Add(field, "is nested %d deep, at most %d are allowed", "嵌套 %d 层,上限为 %d", m.nesting, MaxNesting)
	}
}
