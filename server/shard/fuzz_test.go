package shard

import (
	"fmt"
	"slices"
	"testing"

	"cim/proto"
)

// FuzzRead gives a connection any bytes, in one piece and in pieces of any length.
// Both must have the same results, and a connection that has ended stays ended.
func FuzzRead(f *testing.F) {
	login := proto.AppendLogin(nil, proto.User{ID: 1, Name: "ann"}, proto.DialectCIM, proto.Ticket{1})
	f.Add(login, uint8(3))
	f.Add(slices.Concat(login, []byte(proto.Ping), proto.AppendSend(nil, 1, 2, "text"), []byte(proto.Ping)), uint8(7))
	f.Add(slices.Concat(login, login), uint8(1))
	acks := proto.AppendAckLogin(nil, proto.User{ID: 1, Name: "ann"}, proto.Ticket{1})
	f.Add(slices.Concat(acks, proto.AppendAck(nil, 2), proto.AppendAckPing(nil, 5), proto.AppendAck(nil, 1)), uint8(3))
	f.Add(slices.Concat(acks, proto.AppendAck(nil, 6), proto.AppendAck(nil, 7), []byte(proto.Ping)), uint8(200))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f}, uint8(2))
	v1 := proto.AppendV1Login(nil, proto.User{ID: 1, Name: "ann"})
	f.Add(slices.Concat(v1, proto.AppendV1Ping(nil, 1), v1), uint8(5))
	f.Add(slices.Concat(v1, []byte(proto.Ping)), uint8(1))
	f.Fuzz(func(t *testing.T, stream []byte, piece uint8) {
		whole := happens(t, [][]byte{stream})
		pieces := happens(t, slices.Collect(slices.Chunk(stream, int(piece)+1)))
		if !slices.Equal(whole, pieces) {
			t.Fatalf("whole: %q, in pieces of %d: %q", whole, int(piece)+1, pieces)
		}
	})
}

// happens accepts every login and logs the results of the bytes.
func happens(t *testing.T, pieces [][]byte) (log []string) {
	s := newKeeper(t)
	ref := s.Open()
	var view proto.View
	for _, piece := range pieces {
		for rest := piece; ; {
			var request Request
			if request, rest = s.Read(ref.Slot, rest, &view); request == RequestNone {
				break
			}
			log = append(log, string(view.Text))
			if request == RequestLogin {
				s.Accept(ref.Slot, Login{
					User: proto.UserID(view.ID), Generation: 1, Name: string(view.Text), Dialect: view.LoginDialect(), Ack: view.Ack != 0,
				})
				s.push(ref, message("hi"), true)
				s.push(ref, texts(proto.CommandMessage, 1, 3), true)
				s.DeliverPage(ref, texts(proto.CommandOffline, 4, 3), 9, "page")
			}
		}
	}
	s.run()
	for _, e := range s.ends {
		log = append(log, e.Reason.String())
	}
	if len(s.ends) > 1 {
		t.Fatalf("ended %d times: %v", len(s.ends), s.ends)
	}
	s.Closed(ref.Slot)
	for r, some := s.NextReturn(); some; r, some = s.NextReturn() {
		log = append(log, fmt.Sprint("returned ", r.Parts, r.End))
	}
	for a, some := s.NextAcked(); some; a, some = s.NextAcked() {
		log = append(log, fmt.Sprint("acknowledged ", a.Keys))
	}
	s.wantKept(0)
	return append(log, string(s.wire[ref.Slot]))
}
