package loadgen

import (
	"math"
	"strings"
	"testing"
)

func TestTextRoundTrip(t *testing.T) {
	headings := []heading{
		{},
		{1, 2, 3, 4},
		{0xdeadbeef, 0x01234567, 0x89abcdef, 0x0123456789abcdef},
		{math.MaxUint32, math.MaxUint32, math.MaxUint32, math.MaxInt64},
	}
	for _, padding := range []string{"", strings.Repeat(".", 88)} {
		for _, h := range headings {
			text := appendText(nil, h, padding)
			if len(text) != TextMin+len(padding) {
				t.Errorf("%d bytes, want %d", len(text), TextMin+len(padding))
			}
			if got, ok := parseText(text, padding); !ok || got != h {
				t.Errorf("%q is %+v, %v, want %+v", text, got, ok, h)
			}
		}
	}
}

// TestTextRefused puts every byte at every place of the numbers, and changes
// the padding and the length.
func TestTextRefused(t *testing.T) {
	const padding = "...."
	whole := string(appendText(nil, heading{1, 2, 3, 4}, padding))
	for at := range paddingAt {
		for b := range 256 {
			text := []byte(whole)
			text[at] = byte(b)
			_, ok := parseText(text, padding)
			if want := strings.IndexByte(hexDigits, byte(b)) >= 0; ok != want {
				t.Fatalf("byte %#x at %d: accepted %v", b, at, ok)
			}
		}
	}
	for _, text := range []string{"", whole[1:], whole + ".", whole[:len(whole)-1] + ","} {
		if _, ok := parseText([]byte(text), padding); ok {
			t.Errorf("accepted %q", text)
		}
	}
}
