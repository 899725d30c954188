package peer

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"cim/loadgen"
)

// Mosquitto is an MQTT broker at a TCP address, spoken to in MQTT 3.1.1 with
// QoS 0.
func Mosquitto(address string) loadgen.NewSystem {
	traits := loadgen.Traits{
		Name: "mosquitto", Guarantee: "at most once, QoS 0",
		Echo:      true, // 3.1.1 sends a publisher its own messages
		PingEvery: mqttPingEvery,
	}
	return at(address, traits, func(client int) ([]byte, loadgen.Session) {
		return mqttHello(client, 0), new(mqttSession)
	})
}

// MosquittoQoS1 is Mosquitto with QoS 1 and sessions that outlive their
// connections: the broker acknowledges each message to its sender and keeps it
// in memory until its receiver has acknowledged it.
func MosquittoQoS1(address string) loadgen.NewSystem {
	traits := loadgen.Traits{
		Name: "mosquitto qos 1", Guarantee: "at least once, QoS 1: answered once the broker has it in memory, kept until the receiver has acknowledged it",
		Outcomes: true, Echo: true, PingEvery: mqttPingEvery,
	}
	return at(address, traits, func(client int) ([]byte, loadgen.Session) {
		return mqttHello(client, 1), &mqttSession{qos: 1}
	})
}

// mqttAlive is the silence after which the broker may end a connection, in
// seconds; clients ping well before.
const (
	mqttAlive     = 60
	mqttPingEvery = 30 * time.Second
)

// What the first byte of a packet says, flags included.
const (
	mqttConnect      = 0x10
	mqttConnectTaken = 0x20
	mqttPublish      = 0x30 // QoS 0, not kept, not repeated
	mqttPublish1     = 0x32 // QoS 1
	mqttAgain        = 0x08 // of QoS 1: it may have come before
	mqttTaken        = 0x40 // of QoS 1
	mqttSubscribe    = 0x82
	mqttSubscribed   = 0x90
	mqttPing         = 0xc0
	mqttPong         = 0xd0
)

const (
	mqttVersion      = 4 // 3.1.1
	mqttCleanSession = 2
	mqttRefused      = 0x80 // from here on, an answer to a subscription
)

// mqttHello connects and subscribes. A session of QoS 1 outlives its connection.
func mqttHello(client int, qos byte) []byte {
	body := appendMQTTText(nil, "MQTT")
	flags := byte(mqttCleanSession)
	if qos > 0 {
		flags = 0
	}
	body = append(body, mqttVersion, flags)
	body = binary.BigEndian.AppendUint16(body, mqttAlive)
	body = appendMQTTText(body, fmt.Sprintf("load-%d", client))
	hello := appendMQTT(nil, mqttConnect, body)

	body = binary.BigEndian.AppendUint16(nil, 1) // the packet's id
	for _, name := range []string{nameAll, nameOf(client)} {
		body = append(appendMQTTText(body, name), qos)
	}
	return appendMQTT(hello, mqttSubscribe, body)
}

func appendMQTTText(dst []byte, text string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(text)))
	return append(dst, text...)
}

func appendMQTT(dst []byte, first byte, body []byte) []byte {
	dst = binary.AppendUvarint(append(dst, first), uint64(len(body)))
	return append(dst, body...)
}

// mqttSession is one client's protocol.
type mqttSession struct {
	partial loadgen.Partial
	qos     byte
	// Of QoS 1 only.
	answers answers // of the messages it has sent
	taken   []byte  // acknowledgements for one read
}

// AppendPing implements loadgen.Session.
func (s *mqttSession) AppendPing(dst []byte) []byte { return append(dst, mqttPing, 0) }

// AppendSend implements loadgen.Session.
func (s *mqttSession) AppendSend(dst []byte, m loadgen.Message) []byte {
	name := nameTo(m.Receiver)
	size := uint64(2 + len(name) + len(m.Text))
	if s.qos == 0 {
		dst = binary.AppendUvarint(append(dst, mqttPublish), size)
		return append(appendMQTTText(dst, name), m.Text...)
	}
	packet := mqttPacket(s.answers.add(m.ID))
	dst = binary.AppendUvarint(append(dst, mqttPublish1), size+2)
	dst = binary.BigEndian.AppendUint16(appendMQTTText(dst, name), packet)
	return append(dst, m.Text...)
}

// mqttPacket is the number of a packet after before others. It repeats after 65,535: no sender has
// as many outstanding, since a run gives up messages that are not answered within its drain.
func mqttPacket(before uint64) uint16 { return uint16(before%math.MaxUint16) + 1 }

// Receive implements loadgen.Session.
func (s *mqttSession) Receive(data []byte, in *loadgen.Inbox) error {
	return s.receive(data, in)
}

// receive acknowledges all packets of a read in one write.
func (s *mqttSession) receive(data []byte, in inbox) error {
	err := s.partial.Feed(data, mqttSize, func(item []byte) error { return s.take(item, in) })
	if len(s.taken) > 0 {
		in.Reply(s.taken)
		s.taken = s.taken[:0]
	}
	return err
}

// mqttLengthMax is the most bytes that a packet's length takes.
const mqttLengthMax = 4

// mqttSize is the length of a packet, whose own length is a varint behind its
// first byte.
func mqttSize(data []byte) (int, error) {
	if len(data) < 2 {
		return 0, nil
	}
	n, width := binary.Uvarint(data[1:min(len(data), 1+mqttLengthMax)])
	switch {
	case width <= 0 && len(data) > mqttLengthMax:
		return 0, fmt.Errorf("a length of more than %d bytes: %w", mqttLengthMax, errSyntax)
	case width <= 0:
		return 0, nil
	}
	size := 1 + width + int(n)
	return size, bounded(size)
}

func (s *mqttSession) take(item []byte, in inbox) error {
	_, width := binary.Uvarint(item[1:])
	body := item[1+width:]
	switch item[0] {
	case mqttPublish:
		text, ok := mqttPayload(body)
		if !ok {
			return fmt.Errorf("a message without its name: %w", errSyntax)
		}
		in.Text(text)
	case mqttPublish1, mqttPublish1 | mqttAgain:
		return s.takeKept(body, in)
	case mqttTaken:
		return s.takeAnswer(body, in)
	case mqttConnectTaken:
		if len(body) != 2 || body[1] != 0 {
			return refuse(in, fmt.Errorf("the broker refused the connection: % x", body))
		}
	case mqttSubscribed:
		if len(body) != 2+names || body[2] >= mqttRefused || body[3] >= mqttRefused {
			return refuse(in, fmt.Errorf("the broker refused a subscription: % x", body))
		}
		in.Ready(nil)
	case mqttPong:
	default:
		return fmt.Errorf("a packet that begins with %#x: %w", item[0], errSyntax)
	}
	return nil
}

// takeKept takes a message that the broker keeps until it is acknowledged.
func (s *mqttSession) takeKept(body []byte, in inbox) error {
	rest, ok := mqttPayload(body)
	if !ok || len(rest) < 2 || s.qos == 0 {
		return fmt.Errorf("a message of QoS 1 that was not asked for, or without name or number: %w", errSyntax)
	}
	in.Text(rest[2:])
	s.taken = append(append(s.taken, mqttTaken, 2), rest[:2]...)
	return nil
}

// takeAnswer takes the broker's acknowledgement of a message. They come in the
// order of the messages.
func (s *mqttSession) takeAnswer(body []byte, in inbox) error {
	id, before, sent := s.answers.next()
	if len(body) != 2 || !sent || binary.BigEndian.Uint16(body) != mqttPacket(before) {
		return fmt.Errorf("an acknowledgement of packet % x, which is not the next that waits for one: %w", body, errSyntax)
	}
	in.Outcome(id, loadgen.Stored)
	return nil
}

func refuse(in inbox, err error) error {
	in.Ready(err)
	return err
}

// mqttPayload is what follows the name of a message.
func mqttPayload(body []byte) ([]byte, bool) {
	if len(body) < 2 {
		return nil, false
	}
	end := 2 + int(binary.BigEndian.Uint16(body))
	if end > len(body) {
		return nil, false
	}
	return body[end:], true
}
