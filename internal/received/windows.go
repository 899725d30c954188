package received

import (
	"container/list"
	"slices"

	"cim/proto"
)

const (
	// WindowMax bounds the remembered ids of one sender: the texts that one sender
	// may have in a box (1,000), those that a session returns to it, and those that
	// arrive behind them.
	WindowMax = 2048
	// WindowsMax bounds the remembered ids of all senders: a full box, its reserve
	// for returned texts, and as many that arrive behind them. Above it, the sender
	// whose last text is the oldest is dropped. A second copy of a dropped text is
	// delivered again.
	WindowsMax = 8 * WindowMax
)

// Windows remember the ids of the last texts that arrived, over any session, in a
// window for each sender: an id is unique for its sender only. The zero value
// remembers none.
type Windows struct {
	windows map[proto.UserID]*list.Element // elements of order, each with a *window
	order   list.List                      // the sender of the newest text is first
	texts   int                            // in all windows; <= WindowsMax
}

// window is the ids of the last texts of one sender.
type window struct {
	sender proto.UserID
	ids    []proto.TextID // grows as texts arrive; len <= WindowMax
	oldest int            // index of the next to be replaced, when there are WindowMax
}

// Again reports whether the text id of sender has arrived before, and remembers it.
func (a *Windows) Again(sender proto.UserID, id proto.TextID) bool {
	w := a.window(sender)
	if slices.Contains(w.ids, id) {
		return true
	}
	if !w.add(id) {
		return false // it replaced another one
	}
	for a.texts++; a.texts > WindowsMax; {
		a.forget()
	}
	return false
}

// window is sender's, moved to the front.
func (a *Windows) window(sender proto.UserID) *window {
	if at, known := a.windows[sender]; known {
		a.order.MoveToFront(at)
		return at.Value.(*window)
	}
	if a.windows == nil {
		a.windows = map[proto.UserID]*list.Element{}
	}
	w := &window{sender: sender}
	a.windows[sender] = a.order.PushFront(w)
	return w
}

// forget removes the sender that has been silent for the longest time.
func (a *Windows) forget() {
	w := a.order.Remove(a.order.Back()).(*window)
	delete(a.windows, w.sender)
	a.texts -= len(w.ids)
}

// add remembers id, and reports whether the window has one more.
func (w *window) add(id proto.TextID) bool {
	if len(w.ids) < WindowMax {
		w.grow()
		w.ids = append(w.ids, id)
		return true
	}
	w.ids[w.oldest] = id
	w.oldest = (w.oldest + 1) % WindowMax
	return false
}

// grow makes room for one more: it doubles the capacity, up to the bound.
func (w *window) grow() {
	if len(w.ids) == cap(w.ids) {
		room := min(max(2*cap(w.ids), 4), WindowMax)
		w.ids = append(make([]proto.TextID, 0, room), w.ids...)
	}
}
