package proto

import (
	"encoding/binary"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// View is one frame parsed in place: its slices alias the frame's bytes and are
// valid as long as those are. Parse fills a View, and the next Parse reuses it.
type View struct {
	Text       []byte
	ID         int64
	Command    Command
	Dialect    uint64 // as sent; DialectCIM in a login of ours
	Ticket     []byte
	MessageID  uint64
	Receiver   UserID
	Outcome    Outcome
	Code       Code
	Reason     Reason
	Generation Generation
	Heartbeat  uint64 // seconds
	Epoch      Epoch
	Ack        uint32 // as sent; see AckVersion
	Want       Want
	ToAll      bool
	Receivers  Receivers
	LeftOut    uint64 // in a GAP: texts of group messages

	// The number of properties, texts of a batch, ids and times of texts in the
	// frame; EachProperty, EachText and EachReceived visit them.
	Properties int
	Batch      int
	TextIDs    int
	Sent       int

	frame []byte
}

// Texts is the number of messages in the frame: the texts of its batch, or one
// without a batch.
func (v *View) Texts() int {
	if v.Batch > 0 {
		return v.Batch
	}
	return 1
}

// Counted reports whether each text of the frame, a MESSAGE or OFFLINE, counts
// towards the session's acknowledgements.
func (v *View) Counted() bool { return v.Ack != 0 }

// Parse parses frame, without its length prefix, into v. It allocates nothing. It
// checks everything that v can return: wire types, counts, lengths of texts and
// UTF-8, so that a parsed frame can be forwarded. It skips unknown fields; if a
// field occurs twice, the last value counts, as in protobuf.
func (v *View) Parse(frame []byte) Reason {
	*v = View{frame: frame}
	for rest := frame; len(rest) > 0; {
		field, kind, n := consumeTag(rest)
		if n < 0 {
			return ReasonMalformed
		}
		rest = rest[n:]
		n, reason := v.parseField(field, kind, rest)
		if reason != ReasonNone {
			return reason
		}
		rest = rest[n:]
	}
	return ReasonNone
}

// parseField parses the value of one field and returns the number of bytes it took.
func (v *View) parseField(field protowire.Number, kind protowire.Type, rest []byte) (int, Reason) {
	switch field {
	case fieldTextIDs:
		return v.parseTextIDs(kind, rest)
	case fieldSent:
		return v.parseSent(kind, rest)
	case fieldText, fieldBatch, fieldProperties, fieldTicket:
		if kind != protowire.BytesType {
			return 0, ReasonMalformed
		}
		value, n := protowire.ConsumeBytes(rest)
		if n < 0 {
			return 0, ReasonMalformed
		}
		return n, v.setBytes(field, value)
	case fieldID, fieldCommand, fieldDialect, fieldMessageID, fieldReceiver, fieldOutcome,
		fieldCode, fieldReason, fieldGeneration, fieldHeartbeat, fieldEpoch, fieldAck, fieldWant, fieldToAll,
		fieldReceivers, fieldLeftOut:
		if kind != protowire.VarintType {
			return 0, ReasonMalformed
		}
		value, n := protowire.ConsumeVarint(rest)
		if n < 0 {
			return 0, ReasonMalformed
		}
		return n, v.setNumber(field, value)
	}
	n := protowire.ConsumeFieldValue(field, kind, rest)
	if n < 0 {
		return 0, ReasonMalformed
	}
	return n, ReasonNone
}

// parseTextIDs parses one id, or several packed ones.
func (v *View) parseTextIDs(kind protowire.Type, rest []byte) (int, Reason) {
	ids, n := consumeTextIDs(kind, rest)
	if n < 0 {
		return 0, ReasonMalformed
	}
	if v.TextIDs += len(ids) / textIDSize; v.TextIDs > BatchMax {
		return 0, ReasonManyTexts
	}
	return n, ReasonNone
}

// parseSent parses one time, or several packed ones.
func (v *View) parseSent(kind protowire.Type, rest []byte) (int, Reason) {
	times, n := consumeSent(kind, rest)
	if n < 0 {
		return 0, ReasonMalformed
	}
	for len(times) > 0 {
		_, m := protowire.ConsumeVarint(times)
		if m < 0 {
			return 0, ReasonMalformed
		}
		times = times[m:]
		if v.Sent++; v.Sent > BatchMax {
			return 0, ReasonManyTexts
		}
	}
	return n, ReasonNone
}

// consumeSent returns the bytes of the times in one value of their field, and the
// length of the value; below 0 if it is invalid.
func consumeSent(kind protowire.Type, rest []byte) (times []byte, n int) {
	switch kind {
	case protowire.VarintType:
		if _, n = protowire.ConsumeVarint(rest); n < 0 {
			return nil, -1
		}
		return rest[:n], n
	case protowire.BytesType:
		return protowire.ConsumeBytes(rest)
	}
	return nil, -1
}

// consumeTextIDs returns the bytes of the ids in one value of their field, and the
// length of the value; below 0 if it is invalid.
func consumeTextIDs(kind protowire.Type, rest []byte) (ids []byte, n int) {
	switch kind {
	case protowire.Fixed64Type:
		if len(rest) < textIDSize {
			return nil, -1
		}
		return rest[:textIDSize], textIDSize
	case protowire.BytesType:
		ids, n = protowire.ConsumeBytes(rest)
		if n >= 0 && len(ids)%textIDSize != 0 {
			return nil, -1
		}
		return ids, n
	}
	return nil, -1
}

// consumeTag is protowire.ConsumeTag with a fast path for fields below 16, and with
// the upper bound of field numbers, which ConsumeTag does not check.
func consumeTag(b []byte) (field protowire.Number, kind protowire.Type, n int) {
	if b[0] < 0x80 && b[0] >= 1<<3 {
		return protowire.Number(b[0] >> 3), protowire.Type(b[0] & 7), 1
	}
	field, kind, n = protowire.ConsumeTag(b)
	if field > protowire.MaxValidNumber {
		return 0, 0, -1
	}
	return field, kind, n
}

func (v *View) setBytes(field protowire.Number, value []byte) Reason {
	switch field {
	case fieldText:
		v.Text = value
		return checkText(value)
	case fieldBatch:
		v.Batch++
		if v.Batch > BatchMax {
			return ReasonManyTexts
		}
		return checkText(value)
	case fieldProperties:
		v.Properties++
		if v.Properties > PropertiesMax {
			return ReasonManyProperties
		}
		_, _, reason := parseProperty(value)
		return reason
	case fieldTicket:
		v.Ticket = value
		if len(value) != TicketSize {
			return ReasonTicket
		}
	}
	return ReasonNone
}

func (v *View) setNumber(field protowire.Number, value uint64) Reason {
	switch field {
	case fieldID:
		v.ID = int64(value)
	case fieldCommand:
		v.Command = Command(value)
	case fieldDialect:
		v.Dialect = value
	case fieldMessageID:
		v.MessageID = value
	case fieldReceiver:
		v.Receiver = UserID(value)
	case fieldOutcome:
		v.Outcome = Outcome(value)
	case fieldCode:
		v.Code = Code(value)
	case fieldReason:
		v.Reason = Reason(value)
	case fieldGeneration:
		v.Generation = Generation(value)
	case fieldHeartbeat:
		v.Heartbeat = value
	case fieldEpoch:
		v.Epoch = Epoch(value)
	case fieldAck:
		v.Ack = uint32(value)
	case fieldWant:
		v.Want = Want(min(uint32(value), wantMax))
	case fieldToAll:
		v.ToAll = protowire.DecodeBool(value)
	case fieldReceivers:
		v.Receivers = ReceiversOf(int(min(value, receiversMax)))
	case fieldLeftOut:
		v.LeftOut = value
	}
	return ReasonNone
}

func checkText(text []byte) Reason {
	if len(text) > TextMax {
		return ReasonTextTooLong
	}
	if !utf8.Valid(text) {
		return ReasonNotUTF8
	}
	return ReasonNone
}

// parseProperty parses one entry of the properties map. A missing key or value is
// the empty string, as in protobuf.
func parseProperty(entry []byte) (key, value []byte, reason Reason) {
	for len(entry) > 0 {
		field, kind, n := consumeTag(entry)
		if n < 0 {
			return nil, nil, ReasonMalformed
		}
		entry = entry[n:]
		if field != propertyKey && field != propertyValue {
			if n = protowire.ConsumeFieldValue(field, kind, entry); n < 0 {
				return nil, nil, ReasonMalformed
			}
			entry = entry[n:]
			continue
		}
		if kind != protowire.BytesType {
			return nil, nil, ReasonMalformed
		}
		text, n := protowire.ConsumeBytes(entry)
		if n < 0 {
			return nil, nil, ReasonMalformed
		}
		if !utf8.Valid(text) {
			return nil, nil, ReasonNotUTF8
		}
		if field == propertyKey {
			key = text
		} else {
			value = text
		}
		entry = entry[n:]
	}
	return key, value, ReasonNone
}

// EachProperty calls visit with each property in the order of the frame.
func (v *View) EachProperty(visit func(key, value []byte)) {
	v.each(fieldProperties, func(entry []byte) {
		key, value, _ := parseProperty(entry)
		visit(key, value)
	})
}

// Property returns the value of key, nil without one.
func (v *View) Property(key string) []byte {
	var found []byte
	v.EachProperty(func(k, value []byte) {
		if string(k) == key {
			found = value
		}
	})
	return found
}

// EachText calls visit with each text of the frame, in order.
func (v *View) EachText(visit func(text []byte)) {
	if v.Batch == 0 {
		visit(v.Text)
		return
	}
	v.each(fieldBatch, visit)
}

// EachIdentified is EachText with the id of each text, 0 without one.
func (v *View) EachIdentified(visit func(id TextID, text []byte)) {
	ids, count := v.textIDs()
	next := 0
	v.EachText(func(text []byte) {
		id := TextID(0)
		if next < count {
			id = ids[next]
		}
		next++
		visit(id, text)
	})
}

// Received is one message of a frame.
type Received struct {
	ID   TextID    // 0: none
	Sent UnixMilli // 0: unknown
	Text []byte
}

// EachReceived is EachIdentified with the time of each text.
func (v *View) EachReceived(visit func(Received)) {
	times := v.sent()
	next := 0
	v.EachIdentified(func(id TextID, text []byte) {
		visit(Received{id, times[next], text})
		next++
	})
}

// sent returns the frame's times; the first v.Sent are set.
func (v *View) sent() (times [BatchMax]UnixMilli) {
	if v.Sent == 0 {
		return times
	}
	next := 0
	for rest := v.frame; len(rest) > 0; {
		field, kind, n := consumeTag(rest)
		rest = rest[n:]
		if field != fieldSent {
			rest = rest[protowire.ConsumeFieldValue(field, kind, rest):]
			continue
		}
		packed, n := consumeSent(kind, rest)
		for ; len(packed) > 0; next++ {
			at, m := protowire.ConsumeVarint(packed)
			times[next] = UnixMilli(at)
			packed = packed[m:]
		}
		rest = rest[n:]
	}
	return times
}

// TextID is the first of the frame's ids, 0 without one: in an OUTCOME, the id
// under which the receivers know the text.
func (v *View) TextID() TextID {
	ids, _ := v.textIDs()
	return ids[0]
}

// textIDs returns the frame's ids and their number.
func (v *View) textIDs() (ids [BatchMax]TextID, count int) {
	if v.TextIDs == 0 {
		return ids, 0
	}
	for rest := v.frame; len(rest) > 0; {
		field, kind, n := consumeTag(rest)
		rest = rest[n:]
		if field != fieldTextIDs {
			rest = rest[protowire.ConsumeFieldValue(field, kind, rest):]
			continue
		}
		packed, n := consumeTextIDs(kind, rest)
		for ; len(packed) > 0; packed = packed[textIDSize:] {
			ids[count] = TextID(binary.LittleEndian.Uint64(packed))
			count++
		}
		rest = rest[n:]
	}
	return ids, count
}

// each visits the values of one repeated field of a frame that Parse accepted.
func (v *View) each(want protowire.Number, visit func(value []byte)) {
	for rest := v.frame; len(rest) > 0; {
		field, kind, n := consumeTag(rest)
		rest = rest[n:]
		if field == want {
			value, m := protowire.ConsumeBytes(rest)
			visit(value)
			rest = rest[m:]
			continue
		}
		rest = rest[protowire.ConsumeFieldValue(field, kind, rest):]
	}
}
