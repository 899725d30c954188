package peer

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"cim/loadgen"
)

// JetStream is a nats-server at a TCP address whose JetStream keeps each message in
// a stream of one replica in a file, and answers its sender then. Receivers
// subscribe as in core NATS, so they acknowledge nothing: that costs the server less
// than consumers would.
func JetStream(address string) loadgen.NewSystem {
	traits := loadgen.Traits{
		Name: "nats jetstream", Guarantee: "answered once it is in the stream, as safe as its sync_interval says; brought to who is there, at most once",
		Outcomes: true,
	}
	return at(address, traits, func(client int) ([]byte, loadgen.Session) {
		s := &jetSession{client: client}
		hello := natsHello(client)
		if client == 0 {
			hello = fmt.Appendf(hello[:len(hello)-len(natsPing)], "SUB %s* 3\r\nPUB $JS.API.STREAM.CREATE.cim %s %d\r\n%s\r\n",
				s.answerName(), s.answerName()+jetCreated, len(jetStream), jetStream)
			return hello, s
		}
		return fmt.Appendf(hello[:len(hello)-len(natsPing)], "SUB %s* 3\r\n%s", s.answerName(), natsPing), s
	})
}

const (
	// jetStream is the stream that the first client makes. It keeps about as many messages as a run
	// of minutes sends.
	jetStream = `{"name":"cim","subjects":["to.*"],"storage":"file","num_replicas":1,"retention":"limits","discard":"old","max_msgs":1000000}`
	// jetCreated is the name below a client's answers of the answer to that.
	jetCreated = "created"
)

// errNoStream is the server's refusal to make the stream.
var errNoStream = errors.New("nats-server makes no stream: does it run with JetStream?")

// jetSession is core NATS, in which each message names the subject of its answer.
type jetSession struct {
	natsSession
	client int
}

// answerName is the start of the subjects of answers to the client.
func (s *jetSession) answerName() string { return "answer." + strconv.Itoa(s.client) + "." }

// AppendSend implements loadgen.Session.
func (s *jetSession) AppendSend(dst []byte, m loadgen.Message) []byte {
	dst = append(dst, "PUB "...)
	dst = append(dst, nameTo(m.Receiver)...)
	dst = append(dst, ' ')
	dst = append(dst, s.answerName()...)
	dst = strconv.AppendUint(dst, m.ID, 10)
	dst = append(dst, ' ')
	return appendNATSText(dst, m.Text)
}

// Receive implements loadgen.Session.
func (s *jetSession) Receive(data []byte, in *loadgen.Inbox) error {
	return s.receive(data, in)
}

func (s *jetSession) receive(data []byte, in inbox) error {
	return s.partial.Feed(data, natsSize, func(item []byte) error { return s.take(item, in) })
}

func (s *jetSession) take(item []byte, in inbox) error {
	subject, isAnswer := bytes.CutPrefix(item, []byte("MSG "+s.answerName()))
	if !isAnswer {
		return takeNATS(item, in)
	}
	name, rest, _ := bytes.Cut(subject, []byte(" "))
	_, answer, _ := bytes.Cut(rest, []byte(lineEnd))
	refused := bytes.Contains(answer, []byte(`"error":`))
	if string(name) == jetCreated {
		if refused {
			in.Ready(errNoStream)
			return errNoStream
		}
		in.Ready(nil)
		return nil
	}
	id, err := strconv.ParseUint(string(name), 10, 64)
	if err != nil {
		return fmt.Errorf("an answer to no message: %w", errSyntax)
	}
	if refused || !bytes.Contains(answer, []byte(`"seq":`)) {
		in.Fault("JetStream refuses a message: %s", bytes.TrimSpace(answer))
		in.Outcome(id, loadgen.Refused)
		return nil
	}
	in.Outcome(id, loadgen.Stored)
	return nil
}
