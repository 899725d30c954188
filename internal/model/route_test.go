package model

import (
	"errors"
	"slices"
	"strings"

	"cim/proto"
	"cim/server/shard"
	"cim/store"
)

// returningTicks is how long a route repeats a request for a session that returns
// texts, and receiptTicks how long it waits for a receipt.
const returningTicks, receiptTicks = 15, 50

// pageBytes bounds the texts of a page.
const pageBytes = 32 << 10

// try is one SEND of a message.
type try struct {
	message *message
	sender  *sender
	session int  // the sender's, which gets the outcome
	waits   bool // its receiver's session returns texts
	waited  int  // ticks, since then
}

// receipt is the open receipt of a push with WantReceived.
type receipt struct {
	try    *try
	server *server
	ticks  int
}

// storeState is the condition of the store.
type storeState uint8

const (
	storeWell storeState = iota
	storeAway            // no call reaches it
	storeSlow            // calls take effect, and their answers come too late
)

// deliver handles the oldest message of a pair.
func (w *world) deliver(p pair) {
	queue := w.queues[p]
	if len(queue) == 0 {
		return
	}
	if t := queue[0]; w.deliverOrStore(t) {
		w.queues[p] = queue[1:]
	} else {
		t.waits = true
	}
	w.collect()
}

// deliverOrStore reports whether t is done.
func (w *world) deliverOrStore(t *try) bool {
	m := t.message
	if w.isReturning(m.to) && w.fault != faultReturnBehind {
		return false
	}
	c := w.present[m.to]
	if c == nil {
		return w.keep(t)
	}
	if m.want == proto.WantStored && w.fault == faultNoHold {
		return w.keep(t)
	}
	if m.want == proto.WantStored {
		_, verdict := c.server.Hold(c.ref)
		w.collect()
		switch {
		case verdict == proto.VerdictReturning && w.fault != faultReturnBehind:
			return false
		case verdict == proto.VerdictAbsent && w.isReturning(m.to):
			return false
		}
		return w.keep(t)
	}
	d := shard.Delivery{Body: m.body()}
	if m.want == proto.WantReceived {
		w.lastReceipt++
		d.Receipt = shard.ReceiptTo{Link: w, ID: w.lastReceipt}
	}
	verdict, counts := c.server.Deliver(c.ref, d)
	if counts != (verdict == proto.VerdictTaken) {
		w.failf("%v, counts: %t", verdict, counts)
	}
	switch {
	case verdict == proto.VerdictTaken && m.want == proto.WantReceived:
		w.receipts[w.lastReceipt] = &receipt{try: t, server: c.server}
	case verdict == proto.VerdictTaken:
		w.answer(t, proto.OutcomeDelivered)
	case verdict == proto.VerdictReturning && w.fault == faultReturnBehind:
		return w.keep(t)
	case verdict == proto.VerdictReturning || verdict == proto.VerdictBusy:
		return false
	default:
		w.collect()
		if w.isReturning(m.to) && w.fault != faultReturnBehind {
			return false
		}
		return w.keep(t)
	}
	return true
}

// keep stores a message, and holds its receiver's session before it answers.
func (w *world) keep(t *try) bool {
	m := t.message
	if w.store != storeWell {
		w.disordered[m.pair] = true
	}
	if w.store == storeAway {
		w.answer(t, proto.OutcomeUnknown)
		return true
	}
	err := w.box.Append(w.ctx, m.to, proto.User{ID: m.from, Name: "s"}, m.key.ID, 0, []string{m.text()})
	switch {
	case errors.Is(err, store.ErrBoxFull):
		w.answer(t, proto.OutcomeBusy)
		return true
	case err != nil:
		w.failf("append: %v", err)
	}
	w.stored[m.key] = true
	if w.store == storeSlow {
		w.answer(t, proto.OutcomeUnknown)
		return true
	}
	if w.fault != faultNoHold {
		w.hold(m.to)
	}
	w.answer(t, proto.OutcomeStored)
	return true
}

func (w *world) hold(user proto.UserID) {
	if c := w.present[user]; c != nil {
		c.server.Hold(c.ref)
	}
}

func (w *world) isReturning(user proto.UserID) bool {
	return slices.ContainsFunc(w.servers, func(s *server) bool { return s.isReturning(user) })
}

// answer sends the outcome of a try to its sender.
func (w *world) answer(t *try, outcome proto.Outcome) {
	if t.session == t.sender.session {
		t.sender.answers = append(t.sender.answers, answer{t, outcome})
	}
}

// settle closes the receipt with a number.
func (w *world) settle(number uint64, outcome proto.Outcome) {
	r, waits := w.receipts[number]
	if !waits {
		if w.settled[number] {
			w.failf("receipt %d came twice", number)
		}
		return // it was unknown before
	}
	delete(w.receipts, number)
	key := r.try.message.key
	switch {
	case outcome == proto.OutcomeUnknown:
		w.answer(r.try, outcome)
		return
	case outcome == proto.OutcomeReceived && w.had[key] == 0:
		w.failf("%v counts as received, and was not", key)
	case outcome == proto.OutcomeStored && !w.stored[key]:
		w.failf("%v counts as stored, and was not", key)
	}
	w.settled[number] = true
	w.answer(r.try, outcome)
}

// catchUp is a step of a catch-up of user, with at most that many texts.
func (w *world) catchUp(user proto.UserID, texts int) {
	c := w.present[user]
	if c == nil || c.paging || w.store != storeWell {
		return
	}
	w.remove(c.server)
	var held *shard.Held
	c.server.EachHeld(func(h shard.Held) {
		if h.User == user && h.Generation == c.generation {
			held = &h
		}
	})
	if held == nil {
		return
	}
	page, err := w.box.Page(w.ctx, user, held.Cursor)
	if err != nil {
		w.failf("page: %v", err)
	}
	if len(page) == 0 {
		if !w.isReturning(user) {
			c.server.Resume(c.ref, held.Holds)
		}
		w.collect()
		return
	}
	m := proto.MessageFrom(proto.CommandOffline, page[0].Sender, 0, nil)
	for i, bytes := 0, 0; i < len(page) && i < texts && page[i].Sender == page[0].Sender; i++ {
		if bytes += len(page[i].Text); i > 0 && bytes > pageBytes {
			break
		}
		m.Batch, m.IDs = append(m.Batch, page[i].Text), append(m.IDs, page[i].ID)
	}
	last := page[len(m.Batch)-1].Serial
	c.paging = true
	c.server.DeliverPage(c.ref, proto.AppendBody(nil, m), last, c)
	w.collect()
}

// returnOne has the box take the oldest Return of a server, or not; and the server
// learn that, or not.
func (w *world) returnOne(s *server, stored, known bool) {
	if len(s.returns) == 0 || w.store == storeAway {
		return
	}
	r := s.returns[0]
	known = known && w.store == storeWell
	if stored {
		for _, part := range r.Parts {
			w.putReturned(r.User, part)
		}
		if c := w.present[r.User]; c != nil && c.generation != r.Generation {
			w.hold(r.User) // it may have found the box empty
		}
	}
	ok := stored && known
	switch {
	case r.End && !ok && w.fault == faultReturnOnce:
		s.returns = s.returns[1:]
	case r.End && !ok: // its server retries
	case r.End:
		s.returns = s.returns[1:]
		for _, part := range r.Parts {
			for _, to := range part.Receipts {
				w.settle(to.ID, proto.OutcomeStored)
			}
		}
		s.acked = append(s.acked, shard.Acked{User: r.User, Generation: r.Generation, Keys: r.Late})
	default:
		s.returns = s.returns[1:]
		s.Returned(r.Ref, r.Through, ok)
	}
	w.collect()
}

func (w *world) putReturned(user proto.UserID, part shard.ReturnPart) {
	messages, err := proto.ParseReturned(part.Body)
	if err != nil {
		w.failf("%x: %v", part.Body, err)
	}
	var texts []store.Returned
	for _, m := range messages {
		var v proto.View
		if reason := v.Parse(m.Body); reason != proto.ReasonNone {
			w.failf("returned %x: %v", m.Body, reason)
		}
		n := 0
		v.EachIdentified(func(id proto.TextID, text []byte) {
			if n++; n > m.Skip {
				texts = append(texts, store.Returned{Sender: proto.User{ID: v.Sender(), Name: "s"}, ID: id, Text: strings.Clone(string(text))})
				w.stored[proto.TextKey{Sender: v.Sender(), ID: id}] = true
			}
		})
	}
	if err := w.box.Return(w.ctx, user, texts); err != nil {
		w.failf("return: %v", err)
	}
}

// remove has the boxes remove the texts that sessions of a server have
// acknowledged.
func (w *world) remove(s *server) {
	for a, some := s.NextAcked(); some; a, some = s.NextAcked() {
		s.acked = append(s.acked, a)
	}
	if w.store != storeWell {
		return
	}
	for _, a := range s.acked {
		keys := a.Keys
		if w.fault == faultRemoveUpTo {
			keys = w.upTo(a.User, keys)
		}
		if err := w.box.Remove(w.ctx, a.User, keys); err != nil {
			w.failf("remove: %v", err)
		}
	}
	s.acked = nil
}

// upTo is all texts of a box up to the largest serial of keys.
func (w *world) upTo(user proto.UserID, keys []proto.TextKey) []proto.TextKey {
	page, err := w.box.Page(w.ctx, user, 0)
	if err != nil {
		w.failf("page: %v", err)
	}
	through := 0
	for i, text := range page {
		if slices.Contains(keys, proto.TextKey{Sender: text.Sender.ID, ID: text.ID}) {
			through = i + 1
		}
	}
	for _, text := range page[:through] {
		keys = append(keys, text.Key())
	}
	return keys
}
