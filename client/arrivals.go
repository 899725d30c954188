package client

import (
	"slices"

	"cim/proto"
)

// arrivalsMax bounds the texts that a client remembers: more than a catch-up
// of a full box and what arrives with it. A second arrival behind more texts
// than this is brought again.
const arrivalsMax = 4096

// arrivals remembers the ids of the last texts that arrived, whatever session
// they came over. One goroutine uses it.
type arrivals struct {
	ids    []proto.TextID // grows as texts arrive; len <= arrivalsMax
	oldest int            // which one makes way next, once there are arrivalsMax
}

// again reports whether the text of id has arrived before, and remembers it.
func (a *arrivals) again(id proto.TextID) bool {
	if slices.Contains(a.ids, id) {
		return true
	}
	if len(a.ids) < arrivalsMax {
		a.grow()
		a.ids = append(a.ids, id)
		return false
	}
	a.ids[a.oldest] = id
	a.oldest = (a.oldest + 1) % arrivalsMax
	return false
}

// grow makes room for one more: twice as much as there was, and never more
// than the bound needs.
func (a *arrivals) grow() {
	if len(a.ids) == cap(a.ids) {
		room := min(max(2*cap(a.ids), 16), arrivalsMax)
		a.ids = append(make([]proto.TextID, 0, room), a.ids...)
	}
}
