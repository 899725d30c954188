package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"testing"
	"time"

	"cim/client"
	"cim/proto"
)

// clientLine is one line of docs/client.py: a message, a change of state or, as a list, an outcome.
type clientLine struct {
	State   string       `json:"state"`
	ID      proto.TextID `json:"id"`
	Name    string       `json:"name"`
	Text    string       `json:"text"`
	Offline bool         `json:"offline"`
}

// TestClients lets the SDK and the client of docs/client.py talk to each other:
// what one calls a message, the other does.
func TestClients(t *testing.T) {
	t.Parallel()
	if exec.Command("python3", "-c", "import asyncio; asyncio.timeout").Run() != nil {
		t.Skip("python3 of 3.11 or later is not installed: docs/client.py is not tested")
	}
	sys := startSystem(t)
	got := make(chan client.Message, 10)
	ann, err := client.Dial(t.Context(), client.Config{Routes: sys.routes, Name: "ann", Messages: got})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := ann.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	bob, err := ann.Register(t.Context(), "bob")
	if err != nil {
		t.Fatal(err)
	}
	stored, err := ann.Send(t.Context(), bob.ID, "before")
	if err != nil || stored.Outcome != proto.OutcomeStored || stored.ID == 0 {
		t.Fatalf("to a user who is away: %+v, %v", stored, err)
	}
	cmd := exec.CommandContext(t.Context(), "python3", append([]string{"../../docs/client.py", "bob"}, sys.routes...)...)
	in, _ := cmd.StdinPipe()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	next := func(into any) {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("the script ended: %v", lines.Err())
		}
		if err := json.Unmarshal(lines.Bytes(), into); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
	}
	var ready, late, live clientLine
	next(&ready)
	next(&late)
	if want := (clientLine{"", stored.ID, "ann", "before", true}); ready.State != "ready" || late != want {
		t.Fatalf("it wrote %+v, %+v, want %+v", ready, late, want)
	}
	sent, err := ann.Send(t.Context(), bob.ID, "now")
	if err != nil {
		t.Fatal(err)
	}
	next(&live)
	if want := (clientLine{"", sent.ID, "ann", "now", false}); live != want {
		t.Fatalf("it wrote %+v, want %+v", live, want)
	}
	for _, line := range []string{"to all", fmt.Sprintf("%d;;to ann", ann.User().ID)} {
		if _, err := io.WriteString(in, line+"\n"); err != nil {
			t.Fatal(err)
		}
		outcome := []any{new(string), new(int), new(proto.TextID)}
		next(&outcome)
		m := await(t, got)
		if id := *outcome[2].(*proto.TextID); *outcome[0].(*string) != "delivered" || m.ID != id || m.Sender != bob {
			t.Errorf("it wrote %v; ann got %+v", outcome, m)
		}
	}
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the script ended: %v", err)
	}
}

// await is the next message.
func await(t *testing.T, got <-chan client.Message) client.Message {
	t.Helper()
	late := time.NewTimer(waitMax)
	defer late.Stop()
	select {
	case m := <-got:
		return m
	case <-late.C:
		t.Fatalf("no message within %v", waitMax)
		panic("unreachable")
	}
}
