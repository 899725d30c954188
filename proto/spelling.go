package proto

import (
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// NormalName is name in Unicode's form NFC, which the names of new accounts have: é
// is one character, however it was typed.
func NormalName(name string) string { return norm.NFC.String(name) }

// SameName reports whether a and b are spellings of one name.
func SameName(a, b string) bool {
	return a == b || NormalName(a) == NormalName(b)
}

// NameSpellings returns the spellings under which the account of name may be
// stored, in the order of lookup: as given, in NFC, and decomposed (NFD), which
// only accounts from before the NFC rule have. An error means that name is invalid
// in every spelling.
func NameSpellings(name string) ([]string, error) {
	err := CheckUserName(name)
	if err != nil && !utf8.ValidString(name) {
		return nil, err
	}
	var spellings []string
	for _, spelling := range []string{name, NormalName(name), norm.NFD.String(name)} {
		if CheckUserName(spelling) == nil && !slices.Contains(spellings, spelling) {
			spellings = append(spellings, spelling)
		}
	}
	if len(spellings) == 0 {
		return nil, err
	}
	return spellings, nil
}

// CheckNameSpelling reports why name is invalid in every spelling, or nil.
func CheckNameSpelling(name string) error {
	_, err := NameSpellings(name)
	return err
}

// CheckNewName reports why name cannot be the name of a new account, or nil: it
// must pass CheckUserName, be in NFC, and have no character that makes it look like
// another name. Accounts from before this rule keep their names.
func CheckNewName(name string) error {
	if err := CheckUserName(name); err != nil {
		return err
	}
	if first, _ := utf8.DecodeRuneInString(name); unicode.IsMark(first) {
		return fmt.Errorf("userName %+q begins with %U, a mark that stands on the character before it", name, first)
	}
	for _, r := range name {
		switch {
		case Unseen(r):
			return fmt.Errorf("userName %+q has %U, a character that does not show: leave it out", name, r)
		case r != ' ' && unicode.IsSpace(r):
			return fmt.Errorf("userName %+q has %U, which looks like a space: type a plain one", name, r)
		}
	}
	if normal := NormalName(name); normal != name {
		return fmt.Errorf("userName %+q is not in Unicode's form NFC, want %+q", name, normal)
	}
	return nil
}

// Invisible characters that Unicode's tables do not mark as such.
const (
	blankBraille    = '\u2800'
	lineSeparator   = '\u2028'
	paragraphBreak  = '\u2029'
	noncharacterLow = 0xfffe // the last two of each plane, and those between the next two
	arabicNonFirst  = '\ufdd0'
	arabicNonLast   = '\ufdef'
)

// Unseen reports whether r is invisible, or only changes how other characters look:
// format characters (zero width, direction, joiners, tags), fillers, variation
// selectors, noncharacters. An emoji that joins several, or selects its colours,
// contains such characters too.
func Unseen(r rune) bool {
	switch {
	case r < utf8.RuneSelf:
		return false // control characters are refused before
	case r == blankBraille || r == lineSeparator || r == paragraphBreak:
		return true
	case r&noncharacterLow == noncharacterLow || r >= arabicNonFirst && r <= arabicNonLast:
		return true
	}
	return unicode.In(r, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}
