package client

import (
	"testing"
	"time"

	"cim/proto"
)

// TestMessages passes private, group and stored messages, in order, one call for each text, with
// frames torn at every byte.
func TestMessages(t *testing.T) {
	f := newFake(t, ticketOne)
	config := f.config()
	got := make(chan Message, 100)
	config.OnMessage = func(m Message) { got <- m }
	_, p := f.logIn(config)
	bob := proto.User{ID: 9, Name: "bob"}
	live := proto.AppendBody(nil, proto.MessageFrom(proto.CommandMessage, bob, 0, []string{"one"}))
	stored := proto.AppendBody(nil, proto.MessageFrom(proto.CommandOffline, bob, 0, []string{"two", "three"}))
	stream := proto.AppendDelivery(nil, live, ann.ID)
	stream = append(stream, proto.Pong...)
	stream = proto.AppendDelivery(stream, stored, ann.ID)
	toAll := proto.MessageFrom(proto.CommandMessage, bob, 4, []string{"four"})
	toAll.ToAll, toAll.Sent = true, []proto.UnixMilli{1796068800123}
	stream = proto.AppendDelivery(stream, proto.AppendBody(nil, toAll), ann.ID)
	timed := proto.MessageFrom(proto.CommandOffline, bob, 5, []string{"five", "six"})
	timed.Sent = []proto.UnixMilli{0, 1796068800000}
	stream = proto.AppendDelivery(stream, proto.AppendBody(nil, timed), ann.ID)
	for i := range stream {
		p.write(stream[i : i+1])
	}
	for _, want := range []Message{
		{Sender: bob, Text: "one"},
		{Sender: bob, Text: "two", Offline: true},
		{Sender: bob, Text: "three", Offline: true},
		{ID: 4, Sender: bob, Text: "four", ToAll: true, Sent: time.UnixMilli(1796068800123)},
		{ID: 5, Sender: bob, Text: "five", Offline: true},
		{ID: 6, Sender: bob, Text: "six", Offline: true, Sent: time.UnixMilli(1796068800000)},
	} {
		if m := await(t, got); m != want {
			t.Errorf("message %+v, want %+v", m, want)
		}
	}
}

// TestSilence leaves a server that does not answer pings any more, and pings before that.
func TestSilence(t *testing.T) {
	f := newFake(t, ticketOne)
	config := f.config()
	seen := states(&config)
	done := dial(config)
	p := f.takeLogin(proto.LoginAnswer{User: ann.ID, Heartbeat: 1})
	d := await(t, done)
	if d.err != nil {
		t.Fatal(d.err)
	}
	defer shut(t, d.client)
	began := time.Now()
	if ping := p.read(); ping.Command != proto.CommandPing {
		t.Errorf("an idle client sends %+v, want a ping", ping)
	}
	wantState(t, seen, StateReconnecting)
	if bore := time.Since(began); bore >= loginMax {
		t.Errorf("the client bore %v of silence, want its heartbeat of 1s", bore)
	}
}
