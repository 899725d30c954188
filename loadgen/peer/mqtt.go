package peer

import (
	"encoding/binary"
	"fmt"
	"time"

	"cim/loadgen"
)

// Mosquitto is an MQTT broker at a TCP address, spoken to in MQTT 3.1.1 with
// QoS 0.
func Mosquitto(address string) loadgen.NewSystem {
	traits := loadgen.Traits{
		Name: "mosquitto", Guarantee: "at most once, QoS 0",
		Echo:      true, // 3.1.1 brings a publisher what it publishes
		PingEvery: mqttPingEvery,
	}
	return at(address, traits, func(client int) ([]byte, loadgen.Session) {
		return mqttHello(client), new(mqttSession)
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

func mqttHello(client int) []byte {
	body := appendMQTTText(nil, "MQTT")
	body = append(body, mqttVersion, mqttCleanSession)
	body = binary.BigEndian.AppendUint16(body, mqttAlive)
	body = appendMQTTText(body, fmt.Sprintf("load-%d", client))
	hello := appendMQTT(nil, mqttConnect, body)

	body = binary.BigEndian.AppendUint16(nil, 1) // the packet's id
	for _, name := range []string{nameAll, nameOf(client)} {
		body = append(appendMQTTText(body, name), 0)
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
type mqttSession struct{ partial loadgen.Partial }

// AppendPing implements loadgen.Session.
func (s *mqttSession) AppendPing(dst []byte) []byte { return append(dst, mqttPing, 0) }

// AppendSend implements loadgen.Session.
func (s *mqttSession) AppendSend(dst []byte, m loadgen.Message) []byte {
	name := nameTo(m.Receiver)
	dst = binary.AppendUvarint(append(dst, mqttPublish), uint64(2+len(name)+len(m.Text)))
	return append(appendMQTTText(dst, name), m.Text...)
}

// Receive implements loadgen.Session.
func (s *mqttSession) Receive(data []byte, in *loadgen.Inbox) error {
	return s.receive(data, in)
}

func (s *mqttSession) receive(data []byte, in inbox) error {
	return s.partial.Feed(data, mqttSize, func(item []byte) error { return takeMQTT(item, in) })
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

func takeMQTT(item []byte, in inbox) error {
	_, width := binary.Uvarint(item[1:])
	body := item[1+width:]
	switch item[0] {
	case mqttPublish:
		text, ok := mqttPayload(body)
		if !ok {
			return fmt.Errorf("a message without its name: %w", errSyntax)
		}
		in.Text(text)
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
