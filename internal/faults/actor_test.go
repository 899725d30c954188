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

// actor is a process of this program that plays an application, which the test kills. It gets its
// task in an environment variable, and writes lines of JSON.
type actor struct {
	t     *testing.T
	run   *child.Child
	input io.WriteCloser
	read  chan struct{} // closed when all that it said has been heard
}

// actorLineMax bounds a line of an actor.
const actorLineMax = 64 << 10

// startActor starts one; hear gets each of its lines, and may answer. The test's
// end kills it.
func startActor(t *testing.T, variable string, order any, hear func(line []byte, answer io.Writer)) *actor {
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
	a := &actor{t: t, read: make(chan struct{})}
	if a.input, err = cmd.StdinPipe(); err != nil {
		stop()
		t.Fatal(err)
	}
	said, write := io.Pipe()
	cmd.Stdout = write
	if a.run, err = child.Start(cmd); err != nil {
		stop()
		t.Fatal(err)
	}
	go func() {
		<-a.run.Ended()
		stop()
		_ = write.Close() // the hearing ends with it
	}()
	go func() {
		defer close(a.read)
		lines := bufio.NewScanner(said)
		lines.Buffer(nil, actorLineMax)
		for lines.Scan() {
			hear(lines.Bytes(), a.input)
		}
	}()
	t.Cleanup(a.kill)
	return a
}

// kill kills the process, and returns when all that it said has been heard.
func (a *actor) kill() {
	_ = a.run.Signal(syscall.SIGKILL) // it may have ended
	<-a.run.Ended()
	<-a.read
}

// end waits until the process ends by itself.
func (a *actor) end(most time.Duration) {
	a.t.Helper()
	_ = a.input.Close() // it may have ended
	timeout := time.NewTimer(most)
	defer timeout.Stop()
	select {
	case <-a.run.Ended():
	case <-timeout.C:
		a.t.Errorf("an actor did not end within %v", most)
	}
	a.kill()
}

// sayer writes the lines of an actor.
func sayer() func(word any) {
	one := make(chan struct{}, 1)
	return func(word any) {
		line, err := json.Marshal(word)
		if err != nil {
			panic(err) // a type of ours
		}
		one <- struct{}{}
		defer func() { <-one }()
		_, _ = os.Stdout.Write(append(line, '\n')) // the reader has gone: then this process is killed
	}
}
