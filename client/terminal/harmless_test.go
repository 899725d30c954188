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

// TestHarmlessName: a name that hides something does not look like the one
// without it; a joined emoji of a text stays.
func TestHarmlessName(t *testing.T) {
	for name, want := range map[string]string{
		"ann": "ann", "ann\u200d": "ann\ufffd", "ann\ufe0f": "ann\ufffd", "\u3164ann": "\ufffdann", "an\u202en": "an\ufffdn", "é": "é",
	} {
		if got := HarmlessName(name); got != want {
			t.Errorf("%+q is shown as %+q, want %+q", name, got, want)
		}
	}
	if joined := "👩\u200d👩"; Harmless(joined) != joined {
		t.Error("a joined emoji of a text is broken")
	}
}
