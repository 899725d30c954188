package proto

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// reservedName and reservedPrefixes would collide with the keys that the original
// stores beside its accounts, whose own keys have no prefix.
const reservedName = "login-status"

var reservedPrefixes = [...]string{"cim-", "{cim-", "offline:"}

// CheckUserName reports what is wrong with a user's name, or nil. A name is 1 to
// UserNameMax characters of valid UTF-8, without control characters or white space
// at its ends, and is no key of the store. CheckNewName has further rules for new
// accounts.
func CheckUserName(name string) error {
	if !utf8.ValidString(name) {
		return fmt.Errorf("userName is not valid UTF-8")
	}
	if n := utf8.RuneCountInString(name); n < 1 || n > UserNameMax {
		return fmt.Errorf("userName has %d characters, want 1 to %d", n, UserNameMax)
	}
	return checkNameShape(name)
}

func checkNameShape(name string) error {
	for _, r := range name {
		if unicode.IsControl(r) {
			return fmt.Errorf("userName %q has a control character", name)
		}
	}
	first, _ := utf8.DecodeRuneInString(name)
	last, _ := utf8.DecodeLastRuneInString(name)
	if unicode.IsSpace(first) || unicode.IsSpace(last) {
		return fmt.Errorf("userName %q begins or ends with white space", name)
	}
	if name == reservedName {
		return fmt.Errorf("userName %q is reserved", name)
	}
	for _, p := range reservedPrefixes {
		if strings.HasPrefix(name, p) {
			return fmt.Errorf("userName %q begins with %q, which is reserved", name, p)
		}
	}
	return nil
}
