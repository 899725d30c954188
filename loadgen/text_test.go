package loadgen

import (
	"math"
	"strings"
	"testing"
)

func parseText(text []byte) (heading, bool) { return new(stampReader).parseText(text) }

func TestTextRoundTrip(t *testing.T) {
	headings := []heading{
		{},
		{1, 2, stamp{3, 4, 5, 6}},
		{0xdeadbeef, 0x01234567, stamp{0x89abcdef, 0xfedcba98, 0x0123456789abcdef, 0x76543210}},
		{math.MaxUint32, math.MaxUint32, stamp{math.MaxUint32, math.MaxUint32, math.MaxInt64, math.MaxUint32}},
	}
	for _, padding := range []string{"", strings.Repeat(".", 88)} {
		for _, h := range headings {
			text := appendText([]byte("before"), h, padding)[len("before"):]
			if len(text) != TextMin+len(padding) {
				t.Errorf("%d bytes, want %d", len(text), TextMin+len(padding))
			}
			if got, ok := parseText(text); !ok || got != h {
				t.Errorf("%q is %+v, %v, want %+v", text, got, ok, h)
			}
		}
	}
}

// TestTextRefused puts every byte at every place, and changes the length.
func TestTextRefused(t *testing.T) {
	whole := string(appendText(nil, heading{1, 2, stamp{3, 4, 5, 6}}, "...."))
	for at := range len(whole) {
		for b := range 256 {
			text := []byte(whole)
			text[at] = byte(b)
			if _, ok := parseText(text); ok != (string(text) == whole) {
				t.Fatalf("byte %#x at %d: accepted %v", b, at, ok)
			}
		}
	}
	for _, text := range []string{"", whole[1:], whole + ".", whole[:len(whole)-1], whole[:TextMin-1]} {
		if _, ok := parseText([]byte(text)); ok {
			t.Errorf("accepted %q", text)
		}
	}
}

// TestHex puts every byte at every place of a number.
func TestHex(t *testing.T) {
	for at := range 8 {
		for b := range 256 {
			digits := []byte("01abcdef")
			digits[at] = byte(b)
			v, ok := parseHex(digits)
			if want := strings.IndexByte(hexDigits, byte(b)) >= 0; ok != want || ok && string(appendHex(nil, v)) != string(digits) {
				t.Fatalf("%q: %x, %v", digits, v, ok)
			}
		}
	}
}

// TestLateness goes to the edges of what a heading can say.
func TestLateness(t *testing.T) {
	for _, c := range []struct{ due, now, sent int64 }{
		{100, 99, 100}, {100, 100, 100}, {100, 115, 100}, {100, 116, 116}, {0, 16 << 32, 16<<32 - 16}, {0, 16<<32 - 1, 16<<32 - 16},
	} {
		if got := (stamp{due: c.due, late: lateness(c.due, c.now)}).sent(); got != c.sent {
			t.Errorf("due %d, sent at %d: %d, want %d", c.due, c.now, got, c.sent)
		}
	}
}
