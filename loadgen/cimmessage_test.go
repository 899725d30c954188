package loadgen

import (
	"testing"

	"cim/proto"
)

// FuzzMessageRead: for any frame, one walk reads the same as proto.View, unless that refuses the
// frame.
func FuzzMessageRead(f *testing.F) {
	user := proto.User{ID: 1_700_000_000_001, Name: "load-1-0-3"}
	body := proto.AppendSentBody(nil, user.ID, user.Name, 7, text(3, 0))
	for _, delivery := range [][]byte{proto.AppendDelivery(nil, body, 5), proto.AppendCountedDelivery(nil, body, 5)} {
		frame, _, _ := proto.NextFrame(delivery, proto.FrameMax)
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		var m message
		var v proto.View
		if !m.read(frame) || v.Parse(frame) != proto.ReasonNone {
			return
		}
		if v.Command != proto.CommandMessage || v.ID != m.user || v.TextIDs != 1 || v.TextID() != m.id || v.Counted() != m.counted || v.Texts() != 1 {
			t.Fatalf("one walk: %+v; view: %+v", m, v)
		}
		v.EachText(func(text []byte) {
			if string(text) != string(m.text) {
				t.Errorf("text %q, want %q", m.text, text)
			}
		})
		for key, got := range map[string][]byte{
			proto.PropertyReceiverID: m.receiverID, proto.PropertySenderID: m.senderID, proto.PropertySenderName: m.senderName,
		} {
			if want := v.Property(key); string(got) != string(want) {
				t.Errorf("%s %q, want %q", key, got, want)
			}
		}
	})
}
