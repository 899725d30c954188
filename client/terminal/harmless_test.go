package terminal

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// FuzzHarmless shows any text as one line that has nothing but what prints.
func FuzzHarmless(f *testing.F) {
	for _, seed := range []string{"a\nb\r\t", "\x1b[31m", "\u009b31m\x7f", "\u202eabc", "\xff", "👩\u200d👩"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		shown := Harmless(text)
		if strings.ContainsFunc(shown, func(r rune) bool { return !unicode.IsPrint(r) && r != zeroWidthJoiner }) {
			t.Errorf("%q is shown as %q", text, shown)
		}
		if !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) && utf8.ValidString(text) && shown != text {
			t.Errorf("%q is changed to %q", text, shown)
		}
	})
}
