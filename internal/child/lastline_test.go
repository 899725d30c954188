package child

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLastLine reads the ends of logs.
func TestLastLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if got := LastLine(path); got != "" {
		t.Errorf("without a file: %q", got)
	}
	long := strings.Repeat("ä", lastLineMax)
	for text, want := range map[string]string{
		"":                        "",
		"\n \n":                   "",
		"one\ntwo":                "two",
		"one\ntwo\n\n":            "two",
		"why\n\tat a.b\n\tat c\n": "why",
		strings.Repeat("x", 3*lastLineTail) + "\nend\n": "end",
		"one\n" + long: long[:lastLineMax] + "...",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := LastLine(path); got != want {
			t.Errorf("of %.20q: %q, want %q", text, got, want)
		}
	}
}
