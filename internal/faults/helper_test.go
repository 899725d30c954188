package faults

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"cim/internal/child"
)

// helper is a process of this program that plays an application, which the test
// kills. It is told what to do by an environment variable, and says lines of JSON.
type helper struct {
	t     *testing.T
	run   *child.Child
	input io.WriteCloser
	read  chan struct{} // closed when all that it said has been heard
}

// helperLineMax bounds a line of a helper.
const helperLineMax = 64 << 10

// startHelper starts one; hear gets each of its lines, and may answer. The test's
// end kills it.
func startHelper(t *testing.T, variable string, order any, hear func(line []byte, answer io.Writer)) *helper {
	t.Helper()
	text, err := json.Marshal(order)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(cmd.Environ(), variable+"="+string(text))
	cmd.Stderr = os.Stderr
	h := &helper{t: t, read: make(chan struct{})}
	if h.input, err = cmd.StdinPipe(); err != nil {
		stop()
		t.Fatal(err)
	}
	said, write := io.Pipe()
	cmd.Stdout = write
	if h.run, err = child.Start(cmd); err != nil {
		stop()
		t.Fatal(err)
	}
	go func() {
		<-h.run.Ended()
		stop()
		_ = write.Close() // the hearing ends with it
	}()
	go func() {
		defer close(h.read)
		lines := bufio.NewScanner(said)
		lines.Buffer(nil, helperLineMax)
		for lines.Scan() {
			hear(lines.Bytes(), h.input)
		}
	}()
	t.Cleanup(h.kill)
	return h
}

// kill kills the process, and returns when all that it said has been heard.
func (h *helper) kill() {
	_ = h.run.Signal(syscall.SIGKILL) // it may have ended
	<-h.run.Ended()
	<-h.read
}

// end lets the process come to its end by itself.
func (h *helper) end(most time.Duration) {
	h.t.Helper()
	_ = h.input.Close() // it may have ended
	timeout := time.NewTimer(most)
	defer timeout.Stop()
	select {
	case <-h.run.Ended():
	case <-timeout.C:
		h.t.Errorf("a helper did not end within %v", most)
	}
	h.kill()
}

// sayer writes the lines of a helper.
func sayer() func(word any) {
	one := make(chan struct{}, 1)
	return func(word any) {
		line, err := json.Marshal(word)
		if err != nil {
			panic(err) // a type of ours
		}
		one <- struct{}{}
		defer func() { <-one }()
		_, _ = os.Stdout.Write(append(line, '\n')) // who listens has gone: then we are killed
	}
}
