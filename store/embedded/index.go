package embedded

import (
	"cim/proto"
	"cim/store"
)

// indexedMax bounds the indexes in memory, by what they take: a text about 50
// bytes, a box as much as boxWeight texts.
const (
	indexedMax = 1 << 18
	boxWeight  = 10
)

// textRef is what a text with an id is known by within its box.
type textRef struct {
	sender proto.UserID
	id     proto.TextID // not 0
}

// boxIndex is what one box has.
type boxIndex struct {
	serials map[textRef]uint64 // of the texts with an id
	senders map[proto.UserID]store.Usage
	weight  int // as it was counted in indexes
}

func newBoxIndex() *boxIndex {
	return &boxIndex{serials: make(map[textRef]uint64), senders: make(map[proto.UserID]store.Usage)}
}

// has returns the serial of the text of a sender and id, if there is one.
func (i *boxIndex) has(sender proto.UserID, id proto.TextID) (serial uint64, found bool) {
	serial, found = i.serials[textRef{sender, id}]
	return serial, found
}

func (i *boxIndex) add(sender proto.UserID, id proto.TextID, serial uint64, text store.Usage) {
	if id != 0 {
		i.serials[textRef{sender, id}] = serial
	}
	i.senders[sender] = i.senders[sender].Plus(text)
}

func (i *boxIndex) remove(v messageView) {
	if serial, found := i.has(v.sender, v.id); found && serial == v.serial {
		delete(i.serials, textRef{v.sender, v.id})
	}
	left := i.senders[v.sender].Minus(v.usage())
	if left.Texts == 0 {
		delete(i.senders, v.sender)
	} else {
		i.senders[v.sender] = left
	}
}

// indexes are those of the boxes that were asked for lately. An index is made
// from the file when a change needs it: kept in the file it would make the
// commits larger than the texts do. The committer alone uses them.
type indexes struct {
	of     map[proto.UserID]*boxIndex
	weight int
}

func (x *indexes) forget(user proto.UserID) {
	if index := x.of[user]; index != nil {
		x.weight -= index.weight
		delete(x.of, user)
	}
}

// weigh counts user's index anew, and forgets it if its box is empty.
func (x *indexes) weigh(user proto.UserID) {
	index := x.of[user]
	switch {
	case index == nil:
	case len(index.senders) == 0:
		x.forget(user)
	default:
		weight := boxWeight + len(index.serials) + len(index.senders)
		x.weight, index.weight = x.weight-index.weight+weight, weight
	}
}

// bound forgets some while there are too many.
func (x *indexes) bound() {
	for user := range x.of {
		if x.weight <= indexedMax {
			return
		}
		x.forget(user)
	}
}

// index returns the index of user's box, made anew if need be. Of texts with one
// sender and id, which releases before could store, the first stays.
func (b *batch) index(user proto.UserID, box *box) (*boxIndex, error) {
	if index := b.indexes.of[user]; index != nil {
		b.indexed[user] = true
		return index, nil
	}
	file, err := b.fileOf(box)
	if err != nil {
		return nil, err
	}
	index := newBoxIndex()
	var twice []uint64
	err = box.each(file, user, 0, func(view messageView) (bool, error) {
		if _, found := index.has(view.sender, view.id); found {
			twice = append(twice, view.serial)
		} else {
			index.add(view.sender, view.id, view.serial, view.usage())
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	for _, serial := range twice {
		if err := b.take(user, box, serial); err != nil {
			return nil, err
		}
	}
	b.indexes.of[user], b.indexed[user] = index, true
	return index, nil
}

// forgetIndexes forgets what this batch would have made of the indexes.
func (b *batch) forgetIndexes() {
	for user := range b.indexed {
		b.indexes.forget(user)
	}
}

// weighIndexes counts the indexes that this batch used.
func (b *batch) weighIndexes() {
	for user := range b.indexed {
		b.indexes.weigh(user)
	}
	b.indexes.bound()
}
