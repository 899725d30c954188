package main

import (
	"strings"
	"testing"
)

// TestFrame keeps within the terminal, at its bounds and one past them.
func TestFrame(t *testing.T) {
	lines := []string{"title", "second", "third is longer"}
	for _, test := range []struct {
		height, width int
		want          []string
	}{
		{4, 80, lines},
		{3, 15, lines},
		{3, 14, []string{"title", "second", "third is longe"}},
		{2, 80, []string{"title", "... and 2 more lines"}},
		{1, 80, []string{"... and 3 more lines"}},
		{0, 0, lines}, // the size is unknown
	} {
		got := frame(lines, test.height, test.width, true)
		want := screenHome + lineEmpty + strings.Join(test.want, "\n"+lineEmpty)
		if test.height != len(test.want) {
			want += "\n" + screenEmpty
		}
		if got != want {
			t.Errorf("%d lines of %d: %q, want %q", test.height, test.width, got, want)
		}
	}
	if got := frame(lines, 3, 80, false); !strings.HasPrefix(got, screenHome+lineEmpty+boldOn+"title"+boldOff) {
		t.Errorf("%q does not begin in bold", got)
	}
	if lines[1] != "second" {
		t.Errorf("the lines have changed: %q", lines)
	}
}
