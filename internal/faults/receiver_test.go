package faults

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"cim/client"
	"cim/proto"
)

// receiverOrder is the variable that makes this program a receiver: an application
// that knows over its own death which texts it is done with. It says a
// receiverTask.
const receiverOrder = "CIM_FAULTS_RECEIVER"

// receiverTask is what a receiver does: it says each text that it gets, and is
// done with it then.
type receiverTask struct {
	Routes []string
	Names  []string // of its users
	Done   string   // file of what was said before, a doneText a line
}

// doneText is a text that one of the users was brought.
type doneText struct {
	User   int
	Sender proto.UserID
	ID     proto.TextID
}

// receiverWord is a line of a receiver.
type receiverWord struct {
	doneText
	SenderName string
	Text       string
	Offline    bool
}

// runReceiver is that process. It ends well with its standard input.
func runReceiver(order string) (status int) {
	var task receiverTask
	err := json.Unmarshal([]byte(order), &task)
	var done map[doneText]bool
	if err == nil {
		done, err = readDone(task.Done)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "receiver:", err)
		return 2
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // its end is what counts
		stop()
	}()
	say := sayer()
	var all sync.WaitGroup
	for i, name := range task.Names {
		all.Go(func() {
			receive(ctx, client.Config{
				Routes: task.Routes, Name: name,
				Seen: func(sender proto.UserID, id proto.TextID) bool { return done[doneText{i, sender, id}] },
				OnMessage: func(m client.Message) {
					say(receiverWord{doneText{i, m.Sender.ID, m.ID}, m.Sender.Name, m.Text, m.Offline})
				},
			})
		})
	}
	all.Wait()
	return 0
}

func readDone(path string) (map[doneText]bool, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	done := map[doneText]bool{}
	for in := json.NewDecoder(bufio.NewReader(file)); in.More(); {
		var one doneText
		if err := in.Decode(&one); err != nil {
			return nil, err
		}
		done[one] = true
	}
	return done, nil
}

// receive keeps a user logged in until ctx ends.
func receive(ctx context.Context, config client.Config) {
	for ctx.Err() == nil {
		one, err := client.Dial(ctx, config)
		if err != nil {
			continue
		}
		select {
		case <-ctx.Done():
		case <-one.Done():
		}
		last, cancel := context.WithTimeout(context.Background(), callMax)
		_ = one.Close(last) // a goodbye that no route takes
		cancel()
	}
}

// receivers are the members of a crowd that receive in a process of their own.
type receivers struct {
	crowd *crowd
	task  receiverTask
	actor *actor

	// Guarded by crowd.mu.
	done  []doneText
	known map[doneText]bool
	twice int // said again: not even the same process may
}

// newReceivers lets a process receive for the members that the size leaves to it.
func (c *crowd) newReceivers() *receivers {
	c.t.Helper()
	r := &receivers{crowd: c, known: map[doneText]bool{}}
	r.task = receiverTask{Routes: c.system.routeURLs(), Done: filepath.Join(c.system.folder, "done")}
	for _, m := range c.members[:c.size.remote] {
		r.task.Names = append(r.task.Names, m.user.Name)
	}
	r.start()
	return r
}

func (r *receivers) start() {
	c := r.crowd
	c.t.Helper()
	file, err := os.Create(r.task.Done)
	if err != nil {
		c.t.Fatal(err)
	}
	out := bufio.NewWriter(file)
	for _, one := range r.done {
		line, err := json.Marshal(one)
		if err != nil {
			c.t.Fatal(err)
		}
		_, _ = out.Write(append(line, '\n')) // Flush reports an error
	}
	if err := out.Flush(); err != nil {
		c.t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		c.t.Fatal(err)
	}
	r.actor = startActor(c.t, receiverOrder, r.task, func(line []byte, _ io.Writer) {
		var w receiverWord
		if json.Unmarshal(line, &w) == nil { // else it was killed in the middle of a line: it was not done
			r.book(w)
		}
	})
}

func (r *receivers) book(w receiverWord) {
	c := r.crowd
	c.mu.Lock()
	r.done = append(r.done, w.doneText)
	if r.known[w.doneText] {
		r.twice++
	}
	r.known[w.doneText] = true
	c.mu.Unlock()
	c.members[w.User].received(proto.User{ID: w.Sender, Name: w.SenderName}, w.Text, w.Offline)
}

func (r *receivers) count() int {
	r.crowd.mu.Lock()
	defer r.crowd.mu.Unlock()
	return len(r.done)
}

// killReceiver kills the process that receives for some, again and again. What it
// was done with comes to none of its later ones.
func (d *damage) killReceiver() {
	c := d.crowd
	r := d.receivers
	for range pick(15, 3) {
		before := r.count()
		within(waitMax, func() bool { return r.count() > before+len(r.task.Names) })
		pass(c.t, time.Duration(c.random.Int64N(int64(pick(3*time.Second, 300*time.Millisecond)))))
		r.actor.kill()
		r.start()
	}
	before := r.count()
	within(waitMax, func() bool { return r.count() > before })
	c.t.Logf("receivers: %d texts, %d of them again", r.count(), r.twice)
}
