package proto

import (
	"encoding/binary"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// Countable returns the number of texts of body, which AppendBody made or Parse
// accepted, and whether they can count towards a session's acknowledgements: each
// has an id, and it is no group message.
func Countable(body []byte) (texts int, can bool) {
	ids, toAll := 0, false
	for rest := body; len(rest) > 0; {
		field, kind, n := consumeTag(rest)
		rest = rest[n:]
		switch field {
		case fieldTextIDs:
			packed, n := consumeTextIDs(kind, rest)
			if ids += countIDs(packed); ids < 0 {
				return 0, false
			}
			rest = rest[n:]
			continue
		case fieldBatch:
			texts++
		case fieldToAll:
			value, _ := protowire.ConsumeVarint(rest)
			toAll = protowire.DecodeBool(value)
		}
		rest = rest[protowire.ConsumeFieldValue(field, kind, rest):]
	}
	texts = max(texts, 1)
	return texts, ids >= texts && !toAll
}

// countIDs returns the number of ids in packed, or a number far below 0 if one of
// them is 0, which is no id.
func countIDs(packed []byte) (n int) {
	for ; len(packed) > 0; packed = packed[textIDSize:] {
		if binary.LittleEndian.Uint64(packed) == 0 {
			return -1 << 20
		}
		n++
	}
	return n
}

// Sender is the user that the frame's properties name as its sender, 0 without one.
func (v *View) Sender() UserID {
	id, err := strconv.ParseInt(string(v.Property(PropertySenderID)), 10, 64)
	if err != nil {
		return 0
	}
	return UserID(id)
}

// Part is the message of the frame with only the texts whose number, from 0 on,
// keep accepts. It omits the receiver's property, as AppendBody does.
func (v *View) Part(keep func(n int) bool) Message {
	m := Message{Command: v.Command, ToAll: v.ToAll, Batch: []string{}}
	v.EachProperty(func(key, value []byte) {
		if string(key) != PropertyReceiverID {
			m.Properties = append(m.Properties, Property{string(key), string(value)})
		}
	})
	n := 0
	v.EachReceived(func(r Received) {
		if keep(n) {
			m.Batch = append(m.Batch, string(r.Text))
			if v.TextIDs > 0 {
				m.IDs = append(m.IDs, r.ID)
			}
			if v.Sent > 0 {
				m.Sent = append(m.Sent, r.Sent)
			}
		}
		n++
	})
	return m
}
