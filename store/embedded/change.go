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

func (r *registering) apply(b *batch) error {
	if id := b.names.Get([]byte(r.name)); id != nil {
		r.user = proto.User{ID: idOf(id), Name: r.name}
		return nil
	}
	last := proto.UserID(b.accounts.Sequence())
	r.user = proto.User{ID: store.NextUserID(b.now, last), Name: r.name}
	return b.register(r.user)
}

func (b *batch) register(user proto.User) error {
	b.wrote = true
	b.registered = append(b.registered, user)
	id := idKey(user.ID)
	if err := b.accounts.SetSequence(uint64(user.ID)); err != nil {
		return fmt.Errorf("largest user id: %w", err)
	}
	if err := b.accounts.Put(id, []byte(user.Name)); err != nil {
		return fmt.Errorf("account %d: %w", user.ID, err)
	}
	if err := b.names.Put([]byte(user.Name), id); err != nil {
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
			serial, err := b.put(p.receiver, messageValue(storedMs, text))
			if err != nil {
				return err
			}
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

func (b *batch) put(receiver proto.UserID, value []byte) (serial uint64, err error) {
	b.wrote = true
	if serial, err = b.offline.NextSequence(); err != nil {
		return 0, fmt.Errorf("last serial: %w", err)
	}
	if err := b.offline.Put(messageKey(receiver, serial), value); err != nil {
		return 0, fmt.Errorf("message %d: %w", serial, err)
	}
	return serial, nil
}

// removing takes texts out of a box by their keys.
type removing struct {
	user proto.UserID
	keys []store.TextKey // at most store.RemoveMax
}

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
	key := messageKey(user, serial)
	value := b.offline.Get(key)
	if value == nil {
		return nil
	}
	view, err := viewMessage(key, value)
	if err != nil {
		return err
	}
	box.usage = box.usage.Minus(view.usage())
	if index := b.indexes.of[user]; index != nil {
		b.indexed[user] = true
		index.remove(view)
	}
	b.wrote = true
	if err := b.offline.Delete(key); err != nil {
		return fmt.Errorf("message %d: %w", serial, err)
	}
	return nil
}

// settle keeps what user's box is after texts were taken out of it.
func (b *batch) settle(user proto.UserID, box box) error {
	if box.usage.Texts > 0 {
		first, err := b.first(user, box)
		if err != nil {
			return err
		}
		box.oldestMs = first.storedMs
	}
	b.boxes[user] = box
	return nil
}

// first is the first text of user's box, which has some. It seeks: behind a
// Delete bbolt's Prev and Last may come to a page that is empty by now, and
// answer that there is nothing.
func (b *batch) first(user proto.UserID, box box) (messageView, error) {
	view, err := viewMessage(b.offline.Cursor().Seek(messageKey(user, 0)))
	if err == nil && view.receiver != user {
		err = fmt.Errorf("damaged: user %d has %d texts less than were counted", user, box.usage.Texts)
	}
	return view, err
}

// expiring takes off what is too old in the boxes of users.
type expiring struct{ users []proto.UserID }

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
	for box.usage.Texts > 0 {
		head, err := b.first(user, box)
		if err != nil {
			return err
		}
		if !b.expired(time.UnixMilli(head.storedMs)) {
			break
		}
		if err := b.take(user, &box, head.serial); err != nil {
			return err
		}
	}
	return b.settle(user, box)
}

// probing changes nothing, and tells whether the file can be written.
type probing struct{}

func (probing) apply(b *batch) error {
	b.wrote = true
	return nil
}
