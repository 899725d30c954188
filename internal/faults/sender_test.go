package faults

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"cim/client"
	"cim/internal/ledger"
	"cim/proto"
)

// senderOrder is the variable that makes this program a sender: an application
// that keeps its ids and what it knows of its messages over its own death. It says
// a senderTask.
const senderOrder = "CIM_FAULTS_SENDER"

// senderTask is what a sender does: of each lane it sends message after message,
// the first one under the id that it had if it was sent before.
type senderTask struct {
	Run    string
	Routes []string
	Base   uint64 // added to a message's number it is its id
	Pause  time.Duration
	Lanes  []senderLane
}

// senderLane is one sender's messages to one receiver.
type senderLane struct {
	Name     string
	From, To ledger.User
	Receiver proto.UserID
	Want     ledger.Want
	Next     int
}

// senderWord is a line of a sender: a message is about to be sent, which waits
// for a line with the number of its lane, or was answered.
type senderWord struct {
	Lane, Seq int
	Answered  bool
	Outcome   ledger.Outcome
}

// runSender is that process. It ends well once its standard input has ended and its messages are
// answered.
func runSender(order string) (status int) {
	var task senderTask
	if err := json.Unmarshal([]byte(order), &task); err != nil {
		fmt.Fprintln(os.Stderr, "sender:", err)
		return 2
	}
	ctx, stop := context.WithCancel(context.Background())
	booked := make([]chan struct{}, len(task.Lanes))
	for i := range booked {
		booked[i] = make(chan struct{}, 1)
	}
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			lane, _ := strconv.Atoi(lines.Text())
			booked[lane] <- struct{}{}
		}
		stop()
	}()
	say := sayer()
	var all sync.WaitGroup
	for i := range task.Lanes {
		all.Go(func() { task.run(ctx, i, say, booked[i]) })
	}
	all.Wait()
	return 0
}

// run sends the messages of a lane until ctx ends.
func (task *senderTask) run(ctx context.Context, lane int, say func(any), booked <-chan struct{}) {
	of := task.Lanes[lane]
	var one *client.Client
	var err error
	for one == nil && ctx.Err() == nil {
		if one, err = client.Dial(ctx, client.Config{Routes: task.Routes, Name: of.Name}); err != nil {
			fmt.Fprintln(os.Stderr, "sender:", err)
		}
	}
	if one == nil {
		return
	}
	pause := time.NewTicker(task.Pause)
	defer pause.Stop()
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), callMax)
		defer cancel()
		_ = one.Close(ctx) // a goodbye that no route takes
	}()
	for seq := of.Next; ctx.Err() == nil; seq++ {
		say(senderWord{Lane: lane, Seq: seq})
		select {
		case <-booked:
		case <-ctx.Done():
			return
		}
		say(senderWord{Lane: lane, Seq: seq, Answered: true, Outcome: task.send(one, of, seq)})
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
}

func (task *senderTask) send(one *client.Client, of senderLane, seq int) ledger.Outcome {
	ctx, cancel := context.WithTimeout(context.Background(), wantedMax)
	defer cancel()
	text := ledger.Tag{Run: task.Run, From: of.From, To: of.To, Seq: seq}.Text(textSize)
	for {
		result, err := one.SendWith(ctx, of.Receiver, text, client.SendOptions{ID: proto.TextID(task.Base + uint64(seq)), Want: wantOf(of.Want)})
		if errors.Is(err, client.ErrNotConnected) && ctx.Err() == nil {
			wait, stop := context.WithTimeout(ctx, 100*time.Millisecond)
			<-wait.Done()
			stop()
			continue
		}
		return outcomeOfSend(result, err)
	}
}

// senders are the members of a crowd that a process of their own sends for.
type senders struct {
	crowd *crowd
	task  senderTask
	actor *actor

	// Guarded by crowd.mu.
	answered int
	killed   [2]int // messages under way at a kill, and lanes without one
	fault    error
}

// newSenders lets a process send for the members that the size leaves to it, each
// to a member of the others.
func (c *crowd) newSenders() *senders {
	c.t.Helper()
	s := &senders{crowd: c, task: senderTask{Run: c.system.run, Routes: c.system.routeURLs(), Base: *seed | 1<<40, Pause: 100 * time.Millisecond}}
	for i, from := range c.members[:c.size.remote] {
		to := c.members[c.size.remote+i%(len(c.members)-c.size.remote)]
		s.task.Lanes = append(s.task.Lanes, senderLane{
			Name: from.user.Name, From: from.number, To: to.number, Receiver: to.user.ID, Want: c.size.wants[i%len(c.size.wants)],
		})
	}
	s.start()
	return s
}

// start starts the process, which first sends again what it may have sent.
func (s *senders) start() {
	s.crowd.t.Helper()
	s.actor = startActor(s.crowd.t, senderOrder, s.task, func(line []byte, answer io.Writer) {
		var w senderWord
		if json.Unmarshal(line, &w) != nil {
			return // it was killed in the middle of a line
		}
		if s.book(w); !w.Answered {
			_, _ = fmt.Fprintln(answer, w.Lane) // it may have been killed meanwhile
		}
	})
}

// book books what the process said.
func (s *senders) book(w senderWord) {
	c := s.crowd
	of := &s.task.Lanes[w.Lane]
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.Answered {
		s.answered++
		of.Next = w.Seq + 1
		c.book.Answer(of.From, of.To, w.Seq, w.Outcome, now)
		return
	}
	if w.Seq < c.book.Sent(of.From, of.To) {
		return // it comes again
	}
	if _, err := c.book.Begin(of.From, of.To, of.Want, now); err != nil {
		s.fault = errors.Join(s.fault, err)
	}
}

// kill kills the process, and lets another go on. Of some lanes a message was
// under way, which is sent again; of the others the last one was answered, and
// some of these are sent again too, as by an application that died before it had
// noted the answer.
func (s *senders) kill() {
	c := s.crowd
	c.t.Helper()
	s.actor.kill()
	c.mu.Lock()
	for i := range s.task.Lanes {
		of := &s.task.Lanes[i]
		switch {
		case of.Next < c.book.Sent(of.From, of.To):
			s.killed[0]++
		case of.Next > 0:
			s.killed[1]++
			if i%2 == 0 {
				of.Next--
			}
		}
	}
	c.mu.Unlock()
	s.start()
}

// stop lets the process come to its end.
func (s *senders) stop() {
	c := s.crowd
	c.t.Helper()
	s.actor.end(2 * wantedMax)
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.fault != nil || s.killed[0] == 0 || s.killed[1] == 0 {
		c.t.Errorf("senders: %v; killed with a message under way %d times, without %d times, want some of both", s.fault, s.killed[0], s.killed[1])
	}
	c.t.Logf("senders: %d answers; killed with a message under way %d times, without %d times", s.answered, s.killed[0], s.killed[1])
}

// count is how many answers there were.
func (s *senders) count() int {
	s.crowd.mu.Lock()
	defer s.crowd.mu.Unlock()
	return s.answered
}

// killSender kills the process that sends for some, again and again.
func (d *damage) killSender() {
	s := d.crowd.newSenders()
	for range pick(20, 3) {
		before := s.count()
		within(waitMax, func() bool { return s.count() > before+len(s.task.Lanes) })
		pass(d.crowd.t, time.Duration(d.crowd.random.Int64N(int64(pick(2*time.Second, 300*time.Millisecond)))))
		s.kill()
	}
	before := s.count()
	within(waitMax, func() bool { return s.count() > before+len(s.task.Lanes) })
	s.stop()
}
