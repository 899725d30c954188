package terminal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"cim/client"
	"cim/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestParseLine reads each form of a line, and what only looks like one.
func TestParseLine(t *testing.T) {
	for text, want := range map[string]line{
		"":               {kind: lineEmpty},
		" \t":            {kind: lineEmpty},
		"hello":          {kind: lineGroup, text: "hello"},
		" hello; you ":   {kind: lineGroup, text: " hello; you "},
		":q!":            {kind: lineQuit},
		":olu":           {kind: lineOnline},
		":all":           {kind: lineCommands},
		":all \t":        {kind: lineCommands},
		":q! ":           {kind: lineQuit},
		":olu  ":         {kind: lineOnline},
		":what ":         {kind: lineUnknown, text: ":what"},
		"7;;hi":          {kind: linePrivate, receiver: 7, text: "hi"},
		" 7 ;;hi;;there": {kind: linePrivate, receiver: 7, text: "hi;;there"},
	} {
		if got := parseLine(text); got != want {
			t.Errorf("parseLine(%q) = %+v, want %+v", text, got, want)
		}
	}
	long := strings.Repeat("x", proto.TextMax)
	if got := parseLine(long); got.kind != lineGroup {
		t.Errorf("a line of %d bytes: %+v", len(long), got.kind)
	}
	for _, text := range []string{"bob;;hi", ";;hi", "0;;hi", "-7;;hi", "7;;", "99999999999999999999;;hi", long + "x"} {
		if got := parseLine(text); got.kind != lineWrong || got.text == "" {
			t.Errorf("parseLine(%.20q) = %+v, want it refused", text, got.kind)
		}
	}
}

// TestReadLines reads lines with either end, the last one without, and goes on
// behind one that is too long.
func TestReadLines(t *testing.T) {
	long := strings.Repeat("x", 3*proto.TextMax)
	lines := make(chan string, 10)
	in := "one\r\n\n" + long + "\ntwo\n" + strings.Repeat("y", proto.TextMax) + "\nlast"
	if err := readLines(t.Context(), strings.NewReader(in), lines); err != nil {
		t.Fatal(err)
	}
	close(lines)
	got := slices.Collect(func(yield func(string) bool) {
		for l := range lines {
			if !yield(l) {
				return
			}
		}
	})
	if len(got) != 6 || got[0] != "one" || got[1] != "" || got[3] != "two" || got[5] != "last" {
		t.Fatalf("%d lines: %.10q", len(got), got)
	}
	if len(got[2]) <= proto.TextMax || len(got[4]) != proto.TextMax {
		t.Errorf("long lines of %d and %d bytes", len(got[2]), len(got[4]))
	}
}

// TestReadLinesEnds ends with its context, and with the error of its input.
func TestReadLinesEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := readLines(ctx, strings.NewReader("nobody takes this\n"), make(chan string)); err != nil {
		t.Errorf("ended context: %v", err)
	}
	broken := errors.New("broken")
	if err := readLines(t.Context(), errorReader{broken}, make(chan string)); !errors.Is(err, broken) {
		t.Errorf("broken input: %v", err)
	}
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

// TestHarmless lets nothing through that moves a cursor, hides text or makes a
// line that somebody else seems to have written.
func TestHarmless(t *testing.T) {
	for text, want := range map[string]string{
		"hello, 世界 \u00e9!":        "hello, 世界 \u00e9!",
		"\x1b[2J\x07\x00":          "\ufffd[2J\ufffd\ufffd",
		"a\nbob (9): b\r\tc":       "a bob (9): b  c",
		"\u202eevil\u200b\u0085":   "\ufffdevil\ufffd\ufffd",
		"👩\u200d🚀 e\u0301 \u2028x": "👩\u200d🚀 e\u0301 \ufffdx",
		"\xff":                     "\ufffd",
	} {
		if got := harmless(text); got != want {
			t.Errorf("harmless(%q) = %q, want %q", text, got, want)
		}
	}
}

// TestShown has the lines of what arrives and of what becomes of a message.
func TestShown(t *testing.T) {
	bob := proto.User{ID: 9, Name: "bo\x1bb"}
	result := func(o proto.Outcome, c proto.Code) client.Result { return client.Result{Outcome: o, Code: c} }
	for _, c := range []struct {
		show func(t *terminal)
		want string
	}{
		{func(t *terminal) { t.screen.message(client.Message{Sender: bob, Text: "hi\x07"}) }, "bo\ufffdb (9): hi\ufffd\n"},
		{
			func(t *terminal) { t.screen.message(client.Message{Sender: bob, Text: "hi", Offline: true}) },
			"bo\ufffdb (9) (while you were away): hi\n",
		},
		{func(t *terminal) { t.screen.state(client.StateReady, nil) }, "! connected again\n"},
		{func(t *terminal) { t.screen.state(client.StateReconnecting, io.EOF) }, "! connection lost, connecting again: EOF\n"},
		{func(t *terminal) { t.screen.state(client.StateClosed, io.EOF) }, ""},
		{func(t *terminal) { t.do(context.Background(), ":fo\x1bo") }, "unknown command :fo\ufffdo\n" + commands + "\n"},
		{func(t *terminal) { t.tell("9", result(proto.OutcomeDelivered, proto.CodeSuccess), nil) }, ""},
		{func(t *terminal) { t.tell("9", result(proto.OutcomeStored, proto.CodeOffline), nil) }, "! to 9: not online, kept for later\n"},
		{func(t *terminal) { t.tell("9", result(proto.OutcomeBusy, proto.CodeLimit), nil) }, "! to 9: not sent, the server is busy; try again\n"},
		{
			func(t *terminal) { t.tell("9", result(proto.OutcomeFailed, proto.CodeAccountMismatch), nil) },
			"! to 9: not sent: no such user\n",
		},
		{
			func(t *terminal) { t.tell("9", client.Result{}, fmt.Errorf("%w: x", client.ErrUnknown)) },
			"! to 9: the connection was lost, the message may have arrived or not\n",
		},
		{func(t *terminal) { t.tell("9", client.Result{}, client.ErrNotConnected) }, "! to 9: not sent, there is no connection\n"},
		{func(t *terminal) { t.tell("9", client.Result{}, errors.New("\x1bx")) }, "! to 9: not sent: \ufffdx\n"},
	} {
		var out bytes.Buffer
		c.show(&terminal{screen: &screen{out: &out}})
		if out.String() != c.want {
			t.Errorf("shown %q, want %q", out.String(), c.want)
		}
	}
}

// TestPlain says what another login of the same name brings about.
func TestPlain(t *testing.T) {
	other := &client.Refusal{Code: proto.CodeNoServer}
	for _, c := range []struct {
		err  error
		want string
	}{
		{&client.Ended{Reason: proto.ReasonReplaced}, "ann logged in elsewhere; this chat ends"},
		{&client.Ended{Reason: proto.ReasonEnded}, "the session of ann was ended; this chat ends"},
		{&client.Ended{Reason: proto.ReasonRepeatLogin}, "ann is already logged in elsewhere"},
		{errors.Join(&client.Refusal{Code: proto.CodeRepeatLogin}), "ann is already logged in elsewhere"},
		{other, other.Error()},
	} {
		if got := plain("ann", c.err); got == nil || got.Error() != c.want {
			t.Errorf("plain(%v) = %v, want %q", c.err, got, c.want)
		}
	}
	if err := plain("ann", nil); err != nil {
		t.Errorf("plain(nil) = %v", err)
	}
}

// TestScreenFault keeps the first error of the output and writes no more.
func TestScreenFault(t *testing.T) {
	r, w := io.Pipe()
	broken := errors.New("broken")
	if err := r.CloseWithError(broken); err != nil {
		t.Fatal(err)
	}
	s := &screen{out: w}
	s.line("one")
	s.line("two")
	if !errors.Is(s.fault(), broken) {
		t.Errorf("fault() = %v, want the output's", s.fault())
	}
}
