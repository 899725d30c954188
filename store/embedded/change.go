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

// appending puts texts into a box, all or none.
type appending struct {
	receiver proto.UserID
	sender   proto.User
	id       proto.TextID // of the first text
	sent     proto.UnixMilli
	texts    []string
	full     bool // the outcome: refused
}

func (a *appending) apply(b *batch) error {
	if err := b.expire(a.receiver); err != nil {
		return err
	}
	box := b.box(a.receiver)
	if a.full = !store.BoxTakes(box.count, box.bytes, a.texts); a.full {
		return nil
	}
	storedMs := max(b.now.UnixMilli(), box.newestMs)
	for i, text := range a.texts {
		if err := b.put(a.receiver, messageValue(storedMs, a.sent, a.sender, a.id.Next(i), text)); err != nil {
			return err
		}
		box.add(len(text), storedMs)
	}
	b.boxes[a.receiver] = box
	return nil
}

func (b *batch) put(receiver proto.UserID, value []byte) error {
	b.wrote = true
	serial, err := b.offline.NextSequence()
	if err != nil {
		return fmt.Errorf("last serial: %w", err)
	}
	if err := b.offline.Put(messageKey(receiver, serial), value); err != nil {
		return fmt.Errorf("message %d: %w", serial, err)
	}
	return nil
}

// removing takes the head of a box off, up to and including a serial.
type removing struct {
	user   proto.UserID
	serial uint64
}

func (r *removing) apply(b *batch) error {
	return b.remove(r.user, func(v messageView) bool { return v.serial <= r.serial })
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

// expire takes off what is too old in user's box.
func (b *batch) expire(user proto.UserID) error {
	box := b.box(user)
	if box.count == 0 || !b.expired(time.UnixMilli(box.oldestMs)) {
		return nil
	}
	return b.remove(user, func(v messageView) bool { return b.expired(time.UnixMilli(v.storedMs)) })
}

// remove takes texts off the head of user's box while gone says so. A box has
// at most store.BoxMaxMessages.
func (b *batch) remove(user proto.UserID, gone func(messageView) bool) error {
	box := b.box(user)
	if box.count == 0 {
		return nil
	}
	cursor, first := b.offline.Cursor(), messageKey(user, 0)
	for box.count > 0 {
		head, err := viewMessage(cursor.Seek(first))
		if err != nil {
			return err
		}
		if head.receiver != user {
			return fmt.Errorf("damaged: user %d has %d texts less than were counted", user, box.count)
		}
		if !gone(head) {
			box.oldestMs = head.storedMs
			break
		}
		if err := cursor.Delete(); err != nil {
			return fmt.Errorf("message %d: %w", head.serial, err)
		}
		b.wrote = true
		box.count--
		box.bytes -= len(head.text)
	}
	b.boxes[user] = box
	return nil
}

// probing changes nothing, and tells whether the file can be written.
type probing struct{}

func (probing) apply(b *batch) error {
	b.wrote = true
	return nil
}
