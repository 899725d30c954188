package proto

import "encoding/binary"

// Returned is a kept message of a session that goes back to the box.
type Returned struct {
	Body []byte // as it was pushed; could be made by AppendBody
	Skip int    // how many texts at its start are acknowledged; < its texts
}

const (
	// ReturnedMax bounds the messages of one RecordReturn: what a session keeps.
	ReturnedMax = 256
	// returnedHead is the length of what AppendReturned puts in front of a body.
	returnedHead = 4 + 2
	// ReturnedBodyMax bounds the body of a message that can be returned: its
	// receiver must fit into a frame with it, and it into a record.
	ReturnedBodyMax = FrameMax - receiverMax
)

// ReturnedSize is the size in a RecordReturn of a body of this length.
func ReturnedSize(body int) int { return returnedHead + body }

// AppendReturned appends r to the body of a RecordReturn: length u32 of the
// message's body, skip u16, and that body; little endian.
func AppendReturned(dst []byte, r Returned) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(r.Body)))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(r.Skip))
	return append(dst, r.Body...)
}

// ParseReturned parses the body of a RecordReturn, which has at least one message.
// View.Parse accepts each; their bodies alias body. An error ends the link.
func ParseReturned(body []byte) ([]Returned, error) {
	var all []Returned
	var v View
	for len(body) > 0 || len(all) == 0 {
		if len(body) < returnedHead || len(all) == ReturnedMax {
			return nil, recordError("length of returned messages", uint64(len(body)))
		}
		length := int(binary.LittleEndian.Uint32(body))
		skip := int(binary.LittleEndian.Uint16(body[4:]))
		body = body[returnedHead:]
		if length > len(body) {
			return nil, recordError("length of a returned message", uint64(length))
		}
		r := Returned{Body: body[:length:length], Skip: skip}
		if reason := v.Parse(r.Body); reason != ReasonNone {
			return nil, recordError("returned message, "+reason.String()+", of length", uint64(length))
		}
		if skip >= v.Texts() {
			return nil, recordError("acknowledged texts of a returned message", uint64(skip))
		}
		all = append(all, r)
		body = body[length:]
	}
	return all, nil
}

// TextKey names a stored text: by Sender and ID, or by its Serial in the box if the
// ID is 0.
type TextKey struct {
	Sender UserID
	ID     TextID
	Serial uint64
}

// TextKeysMax bounds the keys of one RecordAcked: 48,000 bytes.
const TextKeysMax = 2000

const textKeySize = 24

// AppendTextKeys appends keys to the body of a RecordAcked: sender i64, id u64
// and serial u64 of each, little endian.
func AppendTextKeys(dst []byte, keys ...TextKey) []byte {
	for _, k := range keys {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(k.Sender))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(k.ID))
		dst = binary.LittleEndian.AppendUint64(dst, k.Serial)
	}
	return dst
}

// ParseTextKeys parses the body of a RecordAcked. An error ends the link.
func ParseTextKeys(body []byte) ([]TextKey, error) {
	if len(body)%textKeySize != 0 || len(body) > TextKeysMax*textKeySize {
		return nil, recordError("length of text keys", uint64(len(body)))
	}
	keys := make([]TextKey, 0, len(body)/textKeySize)
	for ; len(body) > 0; body = body[textKeySize:] {
		keys = append(keys, TextKey{
			Sender: UserID(binary.LittleEndian.Uint64(body)),
			ID:     TextID(binary.LittleEndian.Uint64(body[8:])),
			Serial: binary.LittleEndian.Uint64(body[16:]),
		})
	}
	return keys, nil
}

const epochSize = 8

// AppendEpoch appends an epoch for the body of a RecordUp, little endian, and
// nothing for 0.
func AppendEpoch(dst []byte, epoch Epoch) []byte {
	if epoch == 0 {
		return dst
	}
	return binary.LittleEndian.AppendUint64(dst, uint64(epoch))
}

// ParseEpoch parses what AppendEpoch writes. An error ends the link.
func ParseEpoch(body []byte) (Epoch, error) {
	switch len(body) {
	case 0:
		return 0, nil
	case epochSize:
		return Epoch(binary.LittleEndian.Uint64(body)), nil
	}
	return 0, recordError("length of an epoch", uint64(len(body)))
}
