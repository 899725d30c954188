package terminal

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"cim/proto"
)

const (
	zeroWidthJoiner = '\u200d'
	variation16     = '\ufe0f' // asks for the colourful form of an emoji
)

// Harmless is what others sent as one line that a terminal cannot take for a
// command: line breaks and tabs become spaces, what does not print, such as
// control characters of both sets and the marks that turn the direction of
// writing, becomes a mark. The joiners that emoji are made of stay.
func Harmless(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case printable(r):
			return r
		}
		return utf8.RuneError
	}, text)
}

func printable(r rune) bool { return unicode.IsPrint(r) || r == zeroWidthJoiner }

// HarmlessName is Harmless for a user's name, in which nothing may be hidden. An invisible
// character becomes a mark, so that two accounts of old releases that differ in such a character
// look different.
func HarmlessName(name string) string {
	return strings.Map(func(r rune) rune {
		if proto.Unseen(r) {
			return utf8.RuneError
		}
		return r
	}, Harmless(name))
}
