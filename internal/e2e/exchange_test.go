package e2e

import (
	"fmt"
	"testing"

	"cim/proto"
)

// company is two old clients and two of ours, all logged in.
type company struct {
	*system
	olga, odo, ada, abe *session
}

func newCompany(t *testing.T, settings ...string) *company {
	t.Helper()
	s := startSystem(t, settings...)
	return &company{
		system: s,
		olga:   s.old("olga").logIn(), odo: s.old("odo").logIn(),
		ada: s.ours("ada").logIn(), abe: s.ours("abe").logIn(),
	}
}

func (c *company) all() []*session { return []*session{c.olga, c.odo, c.ada, c.abe} }

// wantOnly demands that receivers got exactly want and the others nothing.
func (c *company) wantOnly(receivers []*session, want ...delivery) {
	c.t.Helper()
	for _, s := range c.all() {
		got := false
		for _, r := range receivers {
			got = got || r == s
		}
		if got {
			s.wantExactly(want...)
		} else {
			s.wantExactly()
		}
	}
}

func (c *company) but(sender *session) []*session {
	var others []*session
	for _, s := range c.all() {
		if s != sender {
			others = append(others, s)
		}
	}
	return others
}

// from are texts of one sender.
func from(sender *user, texts ...string) []delivery {
	var all []delivery
	for _, text := range texts {
		all = append(all, delivery{From: sender.User, Text: text})
	}
	return all
}

// stored are texts of one sender that come as OFFLINE.
func stored(sender *user, texts ...string) []delivery {
	all := from(sender, texts...)
	for i := range all {
		all[i].Offline = true
	}
	return all
}

// TestExchange sends messages of every kind between old clients and ours: each arrives once, with
// its sender, and at no other client.
func TestExchange(t *testing.T) {
	t.Parallel()
	c := newCompany(t)
	batch := []string{"one", "", "three"}
	for _, sender := range c.all() {
		for _, receiver := range c.all() { // himself too
			text := fmt.Sprintf("%s to %s, 你好", sender.user.Name, receiver.user.Name)
			sender.user.sendPrivate(proto.CodeSuccess, receiver.user, text)
			c.wantOnly([]*session{receiver}, from(sender.user, text)...)
			sender.user.sendPrivate(proto.CodeSuccess, receiver.user, batch...)
			c.wantOnly([]*session{receiver}, from(sender.user, batch...)...)
			if sender.ours {
				sender.wantSend(proto.OutcomeDelivered, receiver.user, text)
				c.wantOnly([]*session{receiver}, from(sender.user, text)...)
			}
		}
		sender.user.sendGroup("to all")
		c.wantOnly(c.but(sender), from(sender.user, "to all")...)
		sender.user.sendGroup(batch...)
		c.wantOnly(c.but(sender), from(sender.user, batch...)...)
		if sender.ours {
			sender.wantSend(proto.OutcomeDelivered, nil, "over the connection")
			c.wantOnly(c.but(sender), from(sender.user, "over the connection")...)
		}
	}
}

// TestExchangeOrder pipelines SENDs, private and to all: receivers of either
// kind get them in the order in which they were sent.
func TestExchangeOrder(t *testing.T) {
	t.Parallel()
	c := newCompany(t)
	const count, window = 600, 100
	want := map[*session][]delivery{}
	for i := range count {
		receivers := [][]*session{{c.olga}, {c.abe}, c.but(c.ada)}[i%3]
		to, text := receivers[0].user, fmt.Sprint("number ", i)
		if len(receivers) > 1 {
			to = nil
		}
		id, err := c.ada.post(to, text)
		if err == nil && id > window {
			err = c.ada.wantDelivered(id - window)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range receivers {
			want[s] = append(want[s], from(c.ada.user, text)...)
		}
	}
	for id := uint64(count - window + 1); id <= count; id++ {
		if err := c.ada.wantDelivered(id); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range c.all() {
		s.wantExactly(want[s]...)
	}
}

// wantDelivered waits for the outcome of a SEND.
func (s *session) wantDelivered(id uint64) error {
	outcome, _, err := s.outcome(id)
	if err == nil && outcome != proto.OutcomeDelivered {
		err = fmt.Errorf("SEND %d of %s: %s, want delivered", id, s.user.Name, outcome)
	}
	return err
}

// TestExchangeTorn sends a login and SENDs byte by byte, and all at once.
func TestExchangeTorn(t *testing.T) {
	t.Parallel()
	sys := startSystem(t)
	receiver := sys.old("olga").logIn()
	sender := sys.ours("ada")
	at := sender.wantLogin(proto.CodeSuccess, "")
	s, err := sender.dial(at.address)
	if err != nil {
		t.Fatal(err)
	}
	stream := sender.loginFrame(at.ticket)
	for i := range 3 {
		stream = proto.AppendSend(stream, uint64(i+1), receiver.user.ID, fmt.Sprint("torn ", i))
	}
	for i := range stream {
		if err := s.write(stream[i : i+1]); err != nil {
			t.Fatal(err)
		}
	}
	var whole []byte
	for i := range 3 {
		whole = proto.AppendSend(whole, uint64(i+4), receiver.user.ID, fmt.Sprint("torn ", i+3))
	}
	if err := s.write(whole); err != nil {
		t.Fatal(err)
	}
	for id := range uint64(6) {
		if err := s.wantDelivered(id + 1); err != nil {
			t.Fatal(err)
		}
	}
	receiver.wantExactly(from(sender, "torn 0", "torn 1", "torn 2", "torn 3", "torn 4", "torn 5")...)
}

// TestExchangeUnknown sends to users that are not there.
func TestExchangeUnknown(t *testing.T) {
	t.Parallel()
	c := newCompany(t)
	nobody := &user{User: proto.User{ID: 1, Name: "nobody"}, system: c.system}
	c.olga.user.sendPrivate(proto.CodeAccountMismatch, nobody, "anybody?")
	c.ada.wantSend(proto.OutcomeFailed, nobody, "anybody?")
	nobody.want(proto.CodeAccountMismatch, proto.PathGroup, members{"userId": nobody.ID, "msg": "boo"})
	nobody.sendPrivate(proto.CodeAccountMismatch, c.olga.user, "boo")
	if code := nobody.ask(proto.PathLogin, members{"userId": nobody.ID, "userName": "nobody"}).code; code != proto.CodeAccountMismatch {
		t.Errorf("/login of nobody: code %s, want 9100", code)
	}
	wrong := members{"userId": c.olga.user.ID, "userName": "odo"}
	c.olga.user.want(proto.CodeAccountMismatch, proto.PathLogin, wrong)
	c.wantOnly(nil)
}
