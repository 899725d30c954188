package peer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"cim/loadgen"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) } // a pool of gnet's never ends

// heard is what a session reported.
type heard struct{ said []string }

func (h *heard) Text(text []byte) { h.said = append(h.said, "text "+string(text)) }
func (h *heard) Outcome(id uint64, o loadgen.Outcome) {
	h.said = append(h.said, fmt.Sprintf("outcome %d of message %d", o, id))
}
func (h *heard) Reply(b []byte) { h.said = append(h.said, "reply "+string(b)) }
func (h *heard) Fault(format string, args ...any) {
	h.said = append(h.said, "fault "+fmt.Sprintf(format, args...))
}

func (h *heard) Ready(err error) {
	if err != nil {
		h.said = append(h.said, "refused")
		return
	}
	h.said = append(h.said, "ready")
}

// receiver is a session of any of the protocols.
type receiver interface {
	loadgen.Session
	receive(data []byte, in inbox) error
}

var protocols = map[string]func() receiver{
	"nats":           func() receiver { return new(natsSession) },
	"nats jetstream": func() receiver { return &jetSession{client: 7} },
	"redis":          func() receiver { return new(redisSession) },
	"mosquitto":      func() receiver { return new(mqttSession) },
	"mosquitto qos 1": func() receiver {
		s := &mqttSession{qos: 1}
		return sending(s, 41, 42)
	},
	"redis streams, sender":   func() receiver { return sending(new(streamSender), 41, 42) },
	"redis streams, receiver": func() receiver { return newStreamReceiver(7) },
}

// sending is a session that has sent messages of these ids.
func sending(s receiver, ids ...uint64) receiver {
	for _, id := range ids {
		s.AppendSend(nil, loadgen.Message{ID: id, Receiver: 1})
	}
	return s
}

// acknowledged is what a receiver of streams says to acknowledge messages and wait for more.
func acknowledged(ids ...string) string {
	return string(appendCommand(nil, append([]string{"XACK", "to.7", "g"}, ids...)...)) + string(newStreamReceiver(7).read)
}

// text is longer than a length of one byte can say.
var text = strings.Repeat("0123456789abcdef", 13)

// golden are streams as the real servers write them, and what must be heard.
var golden = []struct {
	protocol, name, stream string
	want                   []string
	err                    error // how the connection ends; nil: it continues
}{
	{
		"nats", "a session",
		"INFO {\"server_id\":\"N\",\"max_payload\":1048576} \r\nPONG\r\nMSG all 1 208\r\n" + text + "\r\n" +
			"PING\r\nMSG to.7 2 2\r\n\r\n\r\n+OK\r\nMSG all 1 reply.to 1\r\nx\r\n",
		[]string{"ready", "text " + text, "reply PONG\r\n", "text \r\n", "text x"},
		nil,
	},
	{
		"nats jetstream", "a session",
		"INFO {}\r\nMSG answer.7.created 3 13\r\n{\"type\":\"io\"}\r\nMSG to.7 2 1\r\nx\r\nMSG answer.7.41 3 24\r\n{\"stream\":\"cim\",\"seq\":3}\r\n" +
			"MSG answer.7.42 3 12\r\n{\"error\":{}}\r\n",
		[]string{"ready", "text x", "outcome 2 of message 41", "fault JetStream refuses a message: {\"error\":{}}", "outcome 3 of message 42"},
		nil,
	},
	{"nats jetstream", "a delivery", "MSG to.7 2 1\r\nx\r\n", []string{"text x"}, nil},
	{"nats jetstream", "no stream", "MSG answer.7.created 3 12\r\n{\"error\":{}}\r\n", []string{"refused"}, errNoStream},
	{"nats jetstream", "an answer to no message", "MSG answer.7.x 3 9\r\n{\"seq\":3}\r\n", nil, errSyntax},
	{"nats", "refused", "INFO {}\r\n-ERR 'Authorization Violation'\r\n", []string{"refused"}, errAny},
	{"nats", "no size", "MSG all 1 x\r\n", nil, errSyntax},
	{"nats", "a size too large", "MSG all 1 1048577\r\n", nil, errSyntax},
	{"nats", "a text longer than its size", "MSG all 1 1\r\nxyz\r\n", nil, errSyntax},
	{"nats", "an unknown word", "MAIL all\r\n", nil, errSyntax},
	{"nats", "a line without an end", strings.Repeat("I", itemMax+1), nil, errTooLong},
	{
		"redis", "a session",
		"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nmodules\r\n*1\r\n%1\r\n$4\r\nname\r\n:1\r\n" +
			">3\r\n$9\r\nsubscribe\r\n$3\r\nall\r\n:1\r\n>3\r\n$9\r\nsubscribe\r\n$4\r\nto.7\r\n:2\r\n" +
			">3\r\n$7\r\nmessage\r\n$3\r\nall\r\n$208\r\n" + text + "\r\n:1001\r\n:0\r\n" +
			">3\r\n$7\r\nmessage\r\n$4\r\nto.7\r\n$2\r\n\r\n\r\n",
		[]string{"ready", "text " + text, "fault Redis published a message without a receiver", "text \r\n"},
		nil,
	},
	{"redis", "refused", "-NOPROTO unsupported protocol version\r\n", []string{"refused"}, errAny},
	{"redis", "a push too short", ">2\r\n$7\r\nmessage\r\n$3\r\nall\r\n", nil, errSyntax},
	{"redis", "a push of another kind", ">3\r\n$8\r\npmessage\r\n$3\r\nall\r\n$1\r\nx\r\n", nil, errSyntax},
	{"redis", "a message that is a number", ">3\r\n$7\r\nmessage\r\n$3\r\nall\r\n:1\r\n", nil, errSyntax},
	{"redis", "a string without its end", "$1\r\nxyz", nil, errSyntax},
	{"redis", "a size too large", "$1048577\r\n", nil, errSyntax},
	{"redis", "too many parts", ">257\r\n", nil, errSyntax},
	{"redis", "too deep", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n", nil, errSyntax},
	{"redis", "an unknown kind", "?1\r\n", nil, errSyntax},
	{"redis", "an empty line", "\r\n", nil, errSyntax},
	{
		"mosquitto", "a session",
		"\x20\x02\x00\x00\x90\x04\x00\x01\x00\x00" + "\x30\xd5\x01\x00\x03all" + text + "\xd0\x00" + "\x30\x07\x00\x04to.7x",
		[]string{"ready", "text " + text, "text x"},
		nil,
	},
	{"mosquitto", "a connection refused", "\x20\x02\x00\x05", []string{"refused"}, errAny},
	{"mosquitto", "a subscription refused", "\x20\x02\x00\x00\x90\x04\x00\x01\x00\x80", []string{"refused"}, errAny},
	{"mosquitto", "too few subscriptions", "\x90\x03\x00\x01\x00", []string{"refused"}, errAny},
	{"mosquitto", "a message of QoS 1", "\x32\x07\x00\x03all\x00\x01", nil, errSyntax},
	{"mosquitto", "a name past the end", "\x30\x03\x00\x02a", nil, errSyntax},
	{"mosquitto", "a message without a name", "\x30\x01\x00", nil, errSyntax},
	{"mosquitto", "a length of five bytes", "\x30\x80\x80\x80\x80\x01", nil, errSyntax},
	{
		"mosquitto qos 1", "a session",
		"\x20\x02\x01\x00\x90\x04\x00\x01\x01\x01" + "\x40\x02\x00\x01" + "\x32\xd7\x01\x00\x03all\x01\x02" + text,
		[]string{"ready", "outcome 2 of message 41", "text " + text, "reply \x40\x02\x01\x02"},
		nil,
	},
	{
		"mosquitto qos 1", "a message again", "\x3a\x09\x00\x04to.7\x00\x05x",
		[]string{"text x", "reply \x40\x02\x00\x05"},
		nil,
	},
	{"mosquitto qos 1", "an answer out of order", "\x40\x02\x00\x02", nil, errSyntax},
	{
		"mosquitto qos 1", "an answer too many", "\x40\x02\x00\x01\x40\x02\x00\x02\x40\x02\x00\x03",
		[]string{"outcome 2 of message 41", "outcome 2 of message 42"},
		errSyntax,
	},
	{"mosquitto qos 1", "a message without its number", "\x32\x06\x00\x03all\x01", nil, errSyntax},
	{
		"redis streams, sender", "a session", "+PONG\r\n$3\r\n1-0\r\n$3\r\n1-1\r\n",
		[]string{"ready", "outcome 2 of message 41", "outcome 2 of message 42"},
		nil,
	},
	{
		"redis streams, sender", "an answer too many", "$3\r\n1-0\r\n$3\r\n1-1\r\n$3\r\n1-2\r\n",
		[]string{"outcome 2 of message 41", "outcome 2 of message 42"},
		errSyntax,
	},
	{"redis streams, sender", "refused", "-OOM command not allowed\r\n", []string{"refused"}, errAny},
	{"redis streams, sender", "a number", ":1\r\n", nil, errSyntax},
	{
		"redis streams, receiver", "a session",
		"+OK\r\n*1\r\n*2\r\n$4\r\nto.7\r\n*2\r\n" +
			"*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\nt\r\n$208\r\n" + text + "\r\n" +
			"*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nt\r\n$1\r\nx\r\n:2\r\n",
		[]string{"ready", "text " + text, "text x", "reply " + acknowledged("1-0", "1-1")},
		nil,
	},
	{"redis streams, receiver", "again", "-BUSYGROUP Consumer Group name already exists\r\n:0\r\n", []string{"ready", "fault Redis knows none of the acknowledged messages"}, nil},
	{"redis streams, receiver", "refused", "-ERR unknown command\r\n", []string{"refused"}, errAny},
	{"redis streams, receiver", "two streams", "*2\r\n*2\r\n$1\r\na\r\n*0\r\n*2\r\n$1\r\nb\r\n*0\r\n", nil, errSyntax},
	{"redis streams, receiver", "no message", "*1\r\n*2\r\n$4\r\nto.7\r\n*0\r\n", nil, errSyntax},
	{"redis streams, receiver", "a message that was removed", "*1\r\n*2\r\n$4\r\nto.7\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*0\r\n", nil, errSyntax},
	{"redis streams, receiver", "two fields", "*1\r\n*2\r\n$1\r\na\r\n*1\r\n*2\r\n$1\r\n1\r\n*4\r\n$1\r\nt\r\n$1\r\nx\r\n$1\r\nu\r\n$1\r\ny\r\n", nil, errSyntax},
	{"redis streams, receiver", "a push", ">1\r\n$1\r\nx\r\n", nil, errSyntax},
	{"mosquitto", "a length too large", "\x30\xff\xff\xff\x7f", nil, errTooLong},
}

// errAny stands for an error that only people read.
var errAny = errors.New("any")

// TestGolden reads each stream whole, torn in two at each place, and a byte at a time: the result
// is always the same.
func TestGolden(t *testing.T) {
	for _, c := range golden {
		t.Run(c.protocol+"/"+c.name, func(t *testing.T) {
			for _, reads := range tornReads(c.stream) {
				h, err := feed(c.protocol, reads)
				if !slices.Equal(h.said, c.want) {
					t.Fatalf("in %d reads: heard %q, want %q", len(reads), h.said, c.want)
				}
				if (err == nil) != (c.err == nil) || c.err != errAny && !errors.Is(err, c.err) {
					t.Fatalf("in %d reads: %v, want %v", len(reads), err, c.err)
				}
			}
		})
	}
}

// tornReads are ways in which a stream may arrive.
func tornReads(stream string) [][]string {
	ways := [][]string{{stream}}
	if len(stream) > itemMax {
		return ways
	}
	for i := 1; i < len(stream); i++ {
		ways = append(ways, []string{stream[:i], stream[i:]})
	}
	return append(ways, strings.Split(stream, ""))
}

func feed(protocol string, reads []string) (*heard, error) {
	s, h := protocols[protocol](), new(heard)
	for _, data := range reads {
		if err := s.receive([]byte(data), h); err != nil {
			return h, err
		}
	}
	return h, nil
}

// TestSend compares the written bytes with what the servers read.
func TestSend(t *testing.T) {
	for protocol, want := range map[string][2]string{
		"nats":      {"PUB all 2\r\nhi\r\n", "PUB to.7 2\r\nhi\r\n"},
		"redis":     {"*3\r\n$7\r\nPUBLISH\r\n$3\r\nall\r\n$2\r\nhi\r\n", "*3\r\n$7\r\nPUBLISH\r\n$4\r\nto.7\r\n$2\r\nhi\r\n"},
		"mosquitto": {"\x30\x07\x00\x03allhi", "\x30\x08\x00\x04to.7hi"},
		// Two messages were sent before.
		"mosquitto qos 1": {"\x32\x09\x00\x03all\x00\x03hi", "\x32\x0a\x00\x04to.7\x00\x04hi"},
		"redis streams, sender": {
			string(appendCommand(nil, "XADD", "all", "MAXLEN", "~", "1000", "*", "t", "hi")),
			string(appendCommand(nil, "XADD", "to.7", "MAXLEN", "~", "1000", "*", "t", "hi")),
		},
	} {
		s := protocols[protocol]()
		for i, receiver := range []int{loadgen.AllClients, 7} {
			if got := s.AppendSend([]byte("before"), loadgen.Message{ID: 1, Receiver: receiver, Text: []byte("hi")}); string(got) != "before"+want[i] {
				t.Errorf("%s: %q, want %q", protocol, got, want[i])
			}
		}
	}
	if got := new(mqttSession).AppendPing(nil); string(got) != "\xc0\x00" {
		t.Errorf("a ping of MQTT: %q", got)
	}
}

// TestHello compares what a client says first.
func TestHello(t *testing.T) {
	for _, c := range []struct {
		got  []byte
		want string
	}{
		{redisHello(7), "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n*3\r\n$9\r\nSUBSCRIBE\r\n$3\r\nall\r\n$4\r\nto.7\r\n"},
		{mqttHello(7, 1), "\x10\x12\x00\x04MQTT\x04\x00\x00\x3c\x00\x06load-7" + "\x82\x0f\x00\x01\x00\x03all\x01\x00\x04to.7\x01"},
		{mqttHello(7, 0), "\x10\x12\x00\x04MQTT\x04\x02\x00\x3c\x00\x06load-7" + "\x82\x0f\x00\x01\x00\x03all\x00\x00\x04to.7\x00"},
	} {
		if string(c.got) != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
	if got := string(natsHello(7)); !strings.HasSuffix(got, "}\r\nSUB all 1\r\nSUB to.7 2\r\nPING\r\n") || !strings.Contains(got, `"echo":false`) {
		t.Errorf("nats: %q", got)
	}
}

// FuzzReceive: for all bytes of a peer, and wherever reads cut them, a session ends with an error
// or reports the same.
func FuzzReceive(f *testing.F) {
	for _, c := range golden {
		if len(c.stream) < itemMax {
			f.Add(c.protocol, []byte(c.stream), 3)
		}
	}
	f.Fuzz(func(t *testing.T, protocol string, stream []byte, cut int) {
		if protocols[protocol] == nil || len(stream) == 0 {
			return
		}
		cut = 1 + int(uint(cut)%uint(len(stream)))
		whole, wholeErr := feed(protocol, []string{string(stream)})
		var reads []string
		for chunk := range slices.Chunk(stream, cut) {
			reads = append(reads, string(chunk))
		}
		torn, tornErr := feed(protocol, reads)
		if !slices.Equal(whole.said, torn.said) || (wholeErr == nil) != (tornErr == nil) {
			t.Errorf("heard %q, %v in one read, %q, %v in reads of %d", whole.said, wholeErr, torn.said, tornErr, cut)
		}
	})
}

// TestReceiveAllocs: a message that arrives whole costs no memory.
func TestReceiveAllocs(t *testing.T) {
	for _, c := range golden {
		if c.err != nil {
			continue
		}
		s := protocols[c.protocol]()
		stream := []byte(c.stream)
		if strings.Contains(c.stream, "\x40\x02") || strings.Contains(c.stream, "MSG answer.") || c.protocol == "redis streams, sender" {
			continue // answers to messages, one for each
		}
		in := silent{}
		if n := testing.AllocsPerRun(100, func() {
			if err := s.receive(stream, in); err != nil {
				t.Fatal(err)
			}
		}); n > 0 {
			t.Errorf("%s: a read allocates %v times, want 0", c.protocol, n)
		}
	}
}

// BenchmarkParse is a read of 16 deliveries up to their texts: ns per delivery.
func BenchmarkParse(b *testing.B) {
	for protocol, delivery := range map[string]string{
		"nats":      "MSG all 1 208\r\n" + text + "\r\n",
		"redis":     ">3\r\n$7\r\nmessage\r\n$3\r\nall\r\n$208\r\n" + text + "\r\n",
		"mosquitto": "\x30\xd5\x01\x00\x03all" + text,
	} {
		b.Run(protocol, func(b *testing.B) {
			s, stream := protocols[protocol](), []byte(strings.Repeat(delivery, 16))
			b.ReportAllocs()
			for i := 0; i < b.N; i += 16 {
				if err := s.receive(stream, silent{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// silent reports nothing.
type silent struct{}

func (silent) Ready(error)                     {}
func (silent) Text([]byte)                     {}
func (silent) Outcome(uint64, loadgen.Outcome) {}
func (silent) Reply([]byte)                    {}
func (silent) Fault(string, ...any)            {}
