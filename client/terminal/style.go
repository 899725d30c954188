package terminal

import (
	"fmt"
	"hash/fnv"

	"cim/proto"
)

// style is how lines look: with escape sequences only where a terminal
// understands them.
type style struct {
	escapes bool // the output is a terminal
	colours bool // and not switched off
}

// The escape sequences' numbers.
const (
	dim     = "2"
	reverse = "7"
	red     = "31"
	green   = "32"
	yellow  = "33"
)

// userColours are numbers of the 256 colours that can be read on dark and on
// light.
var userColours = [...]int{31, 33, 35, 64, 66, 68, 71, 97, 103, 132, 134, 136, 166, 167, 172, 204}

func (s style) paint(number, text string) string {
	if !s.colours {
		return text
	}
	return "\x1b[" + number + "m" + text + "\x1b[0m"
}

// hit marks a search hit, also without colours.
func (s style) hit(text string) string {
	if !s.escapes {
		return text
	}
	return "\x1b[" + reverse + "m" + text + "\x1b[0m"
}

// user is a user as lines have it, each in a colour that stays.
func (s style) user(u proto.User) string {
	hash := fnv.New32a()
	_, _ = fmt.Fprint(hash, u.ID) // it never fails
	colour := userColours[hash.Sum32()%uint32(len(userColours))]
	return s.paint(fmt.Sprintf("38;5;%d", colour), HarmlessName(u.Name)) + s.paint(dim, fmt.Sprintf(" (%d)", u.ID))
}
