package loadgen

import (
	"encoding/binary"

	"cim/proto"
)

// message is a MESSAGE of one text, the frame that a run mostly consists of, as
// one walk over its fields finds it. Like the parsers of other systems it takes
// each field as it comes, expects no value, and leaves the text to Inbox.text.
type message struct {
	names
	user    int64 // the receiver, beside what the properties name
	text    []byte
	id      proto.TextID
	counted bool // towards the session's acknowledgements
}

// names are the users in the properties of a frame.
type names struct {
	receiverID, senderID, senderName []byte
	nameOnly                         bool // dialect v1 names a sender without its id
}

// Fields of a frame, by their tags in cim.proto, which are number and kind.
const (
	tagText        = 1<<3 | kindBytes
	tagID          = 2<<3 | kindVarint
	tagCommand     = 3<<3 | kindVarint
	tagProperty    = 4<<3 | kindBytes
	tagBatch       = 5<<3 | kindBytes
	tagTextID      = 26<<3 | kindFixed64
	tagPackedIDs   = 26<<3 | kindBytes
	tagAck         = 27<<3 | kindVarint
	tagToAll       = 29<<3 | kindVarint
	tagSent        = 30<<3 | kindVarint
	tagPackedTimes = 30<<3 | kindBytes

	tagKey   = 1<<3 | kindBytes // of a property
	tagValue = 2<<3 | kindBytes

	kindVarint  = 0
	kindFixed64 = 1
	kindBytes   = 2
	kindOf      = 7 // of a tag
)

// fixed64 is the length of such a value.
const fixed64 = 8

// read walks frame. It returns false if frame is not a MESSAGE of one text, or has an unknown
// field; then proto.View reads it.
func (m *message) read(frame []byte) bool {
	*m = message{}
	texts, ids, command := 0, 0, uint64(proto.CommandLogin)
	for len(frame) > 0 {
		tag, number, value, size := nextField(frame)
		if size == 0 {
			return false
		}
		frame = frame[size:]
		switch tag {
		case tagText, tagBatch:
			m.text = value
			texts++
		case tagID:
			m.user = int64(number)
		case tagCommand:
			command = number
		case tagProperty:
			if !m.readProperty(value) {
				return false
			}
		case tagTextID, tagPackedIDs:
			if len(value) != fixed64 {
				return false
			}
			m.id = proto.TextID(binary.LittleEndian.Uint64(value))
			ids++
		case tagAck:
			m.counted = number != 0
		case tagToAll, tagSent, tagPackedTimes: // of no interest
		default:
			return false
		}
	}
	return command == uint64(proto.CommandMessage) && texts == 1 && ids == 1
}

func (n *names) readProperty(entry []byte) bool {
	var key, text []byte
	for len(entry) > 0 {
		tag, _, value, size := nextField(entry)
		switch {
		case size == 0:
			return false
		case tag == tagKey:
			key = value
		case tag == tagValue:
			text = value
		default:
			return false
		}
		entry = entry[size:]
	}
	n.set(key, text)
	return true
}

// set takes one property; others than these may be there.
func (n *names) set(key, value []byte) {
	switch string(key) {
	case proto.PropertyReceiverID:
		n.receiverID = value
	case proto.PropertySenderID:
		n.senderID = value
	case proto.PropertySenderName:
		n.senderName = value
	}
}

// sender reports whether the sender that is named is the slot's.
func (n *names) sender(of *slot) bool {
	return (n.nameOnly || string(n.senderID) == of.senderID) && string(n.senderName) == of.sender.user.Name
}

// nextField is the field at the start of data, its value as a number or as bytes; size 0: it is
// cut, or of another kind.
func nextField(data []byte) (tag, number uint64, value []byte, size int) {
	tag, size = uvarint(data)
	if size == 0 {
		return 0, 0, nil, 0
	}
	rest := data[size:]
	switch tag & kindOf {
	case kindVarint:
		number, n := uvarint(rest)
		if n == 0 {
			return 0, 0, nil, 0
		}
		return tag, number, nil, size + n
	case kindFixed64:
		if len(rest) < fixed64 {
			return 0, 0, nil, 0
		}
		return tag, 0, rest[:fixed64], size + fixed64
	case kindBytes:
		length, n := uvarint(rest)
		if n == 0 || length > uint64(len(rest)-n) {
			return 0, 0, nil, 0
		}
		return tag, 0, rest[n : n+int(length)], size + n + int(length)
	}
	return 0, 0, nil, 0
}

// uvarint is binary.Uvarint with a short way for one byte; size 0: it is cut or
// too long.
func uvarint(data []byte) (v uint64, size int) {
	if len(data) > 0 && data[0] < 0x80 {
		return uint64(data[0]), 1
	}
	v, size = binary.Uvarint(data)
	return v, max(0, size)
}
