package embedded

import (
	"fmt"
	"time"

	"cim/proto"
	"cim/store"
)

// registering makes an account, or finds it made.
type registering struct {
	name string
	user proto.User // the outcome
}

func (*registering) isOfFile() bool { return true }

func (r *registering) apply(b *batch) error {
	if id := b.accounts.names.Get([]byte(r.name)); id != nil {
		r.user = proto.User{ID: idOf(id), Name: r.name}
		return nil
	}
	last := proto.UserID(b.accounts.accounts.Sequence())
	r.user = proto.User{ID: store.NextUserID(b.now, last), Name: r.name}
	return b.register(r.user)
}

func (b *batch) register(user proto.User) error {
	b.wroteFile = true
	b.registered = append(b.registered, user)
	id := idKey(user.ID)
	if err := b.accounts.accounts.SetSequence(uint64(user.ID)); err != nil {
		return fmt.Errorf("largest user id: %w", err)
	}
	if err := b.accounts.accounts.Put(id, []byte(user.Name)); err != nil {
		return fmt.Errorf("account %d: %w", user.ID, err)
	}
	if err := b.accounts.names.Put([]byte(user.Name), id); err != nil {
		return fmt.Errorf("name of account %d: %w", user.ID, err)
	}
	return nil
}

// putting puts texts into a box, all or none, but for those that it has.
type putting struct {
	receiver proto.UserID
	texts    []store.Returned
	returned bool  // by a session; else one sender's
	refusal  error // the outcome: why they do not fit
}

func (*putting) isOfFile() bool { return false }

func (p *putting) apply(b *batch) error {
	if err := b.expire(p.receiver); err != nil {
		return err
	}
	box := b.box(p.receiver)
	index, err := b.index(p.receiver, &box)
	if err != nil {
		return err
	}
	fresh, more := p.fresh(index)
	if p.refusal = p.check(box, index, more); p.refusal == nil {
		storedMs := max(b.now.UnixMilli(), box.newestMs)
		for _, text := range fresh {
			serial := b.put(p.receiver, &box, messageValue(storedMs, text))
			usage := store.UsageOf(text.Text)
			box.add(usage, storedMs, serial)
			index.add(text.Sender.ID, text.ID, serial, usage)
		}
	}
	b.boxes[p.receiver] = box
	return nil
}

func (p *putting) check(box box, index *boxIndex, more store.Usage) error {
	if p.returned || more.Texts == 0 {
		return store.CheckReturn(box.usage, more)
	}
	return store.CheckAppend(box.usage, index.senders[p.texts[0].Sender.ID], more)
}

// fresh returns those of the texts that the box does not have, and what they
// take.
func (p *putting) fresh(index *boxIndex) (fresh []store.Returned, usage store.Usage) {
	seen := make(map[textRef]bool)
	for _, text := range p.texts {
		ref := textRef{text.Sender.ID, text.ID}
		if _, found := index.has(ref.sender, ref.id); found || seen[ref] {
			continue
		}
		if ref.id != 0 && len(p.texts) > 1 {
			seen[ref] = true
		}
		fresh, usage = append(fresh, text), usage.Plus(store.UsageOf(text.Text))
	}
	return fresh, usage
}

// put puts a text behind those of receiver's box.
func (b *batch) put(receiver proto.UserID, box *box, value []byte) (serial uint64) {
	b.lastSerial++
	box.texts = append(box.texts, pendingText{b.lastSerial, value})
	b.puts = true
	b.entries = appendPut(b.entries, receiver, b.lastSerial, value)
	return b.lastSerial
}

// removing takes texts out of a box by their keys.
type removing struct {
	user proto.UserID
	keys []store.TextKey // at most store.RemoveMax
}

func (*removing) isOfFile() bool { return false }

func (r *removing) apply(b *batch) error {
	box := b.box(r.user)
	if box.usage.Texts == 0 {
		return nil
	}
	index, err := b.index(r.user, &box)
	if err != nil {
		return err
	}
	for _, key := range r.keys {
		serial := key.Serial
		if key.ID != 0 {
			serial, _ = index.has(key.Sender, key.ID) // no text has the serial 0
		}
		if err := b.take(r.user, &box, serial); err != nil {
			return err
		}
	}
	return b.settle(r.user, box)
}

// take takes one text out of user's box, if it is there.
func (b *batch) take(user proto.UserID, box *box, serial uint64) error {
	view, found, err := b.text(user, box, serial)
	if !found || err != nil {
		return err
	}
	box.usage = box.usage.Minus(view.usage())
	if index := b.indexes.of[user]; index != nil {
		b.indexed[user] = true
		index.remove(view)
	}
	box.drop(serial)
	b.entries = appendRemove(b.entries, user, serial)
	return nil
}

// text looks for one text of user's box.
func (b *batch) text(user proto.UserID, box *box, serial uint64) (view messageView, found bool, err error) {
	key, value := messageKey(user, serial), []byte(nil)
	if at, isPending := box.find(serial); isPending {
		value = box.texts[at].value
	} else if !box.isGone(serial) {
		file, err := b.fileOf(box)
		if file == nil || err != nil {
			return messageView{}, false, err
		}
		value = file.Get(key)
	}
	if value == nil {
		return messageView{}, false, nil
	}
	view, err = viewMessage(key, value)
	return view, err == nil, err
}

// settle keeps what user's box is after texts were taken out of it.
func (b *batch) settle(user proto.UserID, box box) error {
	if box.usage.Texts > 0 {
		first, err := b.first(user, &box)
		if err != nil {
			return err
		}
		box.oldestMs = first.storedMs
	}
	b.boxes[user] = box
	return nil
}

// first is the first text of user's box, which has some.
func (b *batch) first(user proto.UserID, box *box) (messageView, error) {
	file, err := b.fileOf(box)
	if err != nil {
		return messageView{}, err
	}
	return box.first(file, user)
}

// expiring takes off what is too old in the boxes of users.
type expiring struct{ users []proto.UserID }

func (*expiring) isOfFile() bool { return false }

func (e *expiring) apply(b *batch) error {
	for _, user := range e.users {
		if err := b.expire(user); err != nil {
			return err
		}
	}
	return nil
}

// expire takes off what is too old in user's box: its head. A box has at most
// twice store.BoxMaxMessages.
func (b *batch) expire(user proto.UserID) error {
	box := b.box(user)
	if box.usage.Texts == 0 || !b.expired(time.UnixMilli(box.oldestMs)) {
		return nil
	}
	file, err := b.fileOf(&box)
	if err != nil {
		return err
	}
	var old []uint64
	err = box.each(file, user, 0, func(view messageView) (bool, error) {
		if !b.expired(time.UnixMilli(view.storedMs)) {
			return false, nil
		}
		old = append(old, view.serial)
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, serial := range old {
		if err := b.take(user, &box, serial); err != nil {
			return err
		}
	}
	return b.settle(user, box)
}

// probing changes nothing, and tells whether the file can be written.
type probing struct{}

func (probing) isOfFile() bool { return true }

func (probing) apply(b *batch) error {
	b.wroteFile = true
	return nil
}
