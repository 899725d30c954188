package loadgen

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"

	"cim/internal/child"
)

// workerGroup is the workers of a run, in their parent process. One goroutine owns it; each worker
// has another one that reads its messages.
type workerGroup struct {
	cfg      Config
	clock    *clock
	progress io.Writer
	members  []*member
	messages chan memberMessage // of all members

	shared  shared // what the first worker said there
	left    []int  // members that have ended, the first one first
	senders int    // of group messages, of the fleet
	fleet   int    // fleets started
	trials  []*observed
	all     sync.WaitGroup
}

// member is one worker process.
type member struct {
	process *child.Child
	in      *os.File
	gate    gate // at which it waits; empty: at none
	report  *partReport
}

// memberMessage is a message of a member; err: it was the last one.
type memberMessage struct {
	member  int
	message workerMessage
	err     error
}

// observed is what the starter itself sees of a trial: the processes under test.
type observed struct {
	ready chan struct{} // closed when all fields below are set
	used  usage
	cores []float64 // of each second, of all processes under test
	rss   []int64   // mode Idle only: grown by so much
	err   error

	seconds [][]partSecond // by second, of the members so far
	join    *join          // of the members' receipts; nil: they share no messages
	owed    int            // group messages
}

// runWorkers is Run over cfg.Procs worker processes.
func runWorkers(asked context.Context, cfg Config, progress io.Writer) (r Report, err error) {
	clock, err := newClock()
	if err != nil {
		return Report{}, err
	}
	if err := warn(cfg, progress); err != nil {
		return Report{}, err
	}
	ctx, cancel := context.WithCancelCause(asked)
	defer cancel(nil)
	c := &workerGroup{cfg: cfg, clock: clock, progress: progress, messages: make(chan memberMessage)}
	for i := range cfg.Procs {
		if err := c.start(ctx, i); err != nil {
			cancel(err)
			return Report{}, errors.Join(err, c.discard())
		}
	}
	printProgress(progress, "%d worker processes", cfg.Procs)
	if err := c.attend(ctx, cancel); err != nil {
		return Report{}, fmt.Errorf("loadgen: nothing was measured: %w", err)
	}
	c.all.Wait()
	r, err = c.merge()
	if asked.Err() != nil && r.Stopped != "" {
		r.Stopped = context.Cause(asked).Error() // which the workers know as a signal of ours
	}
	return r, err
}

// start starts one worker and a goroutine that reads it to its end. The pipes
// are ours: those of exec.Cmd close when the process ends, read or not.
func (c *workerGroup) start(ctx context.Context, number int) (err error) {
	cmd := c.cfg.Spawn(ctx, number, c.cfg.Procs)
	theirIn, in, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("loadgen: worker %d: %w", number, err)
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		return errors.Join(fmt.Errorf("loadgen: worker %d: %w", number, err), theirIn.Close(), in.Close())
	}
	cmd.Stdin, cmd.Stdout = theirIn, theirOut
	process, err := child.Start(cmd)
	if err = errors.Join(err, theirIn.Close(), theirOut.Close()); err != nil {
		return errors.Join(fmt.Errorf("loadgen: worker %d: %w", number, err), in.Close(), out.Close())
	}
	c.members = append(c.members, &member{process: process, in: in})
	c.all.Go(func() { c.readMessages(number, out) })
	return nil
}

func (c *workerGroup) readMessages(number int, out *os.File) {
	defer out.Close() // read only
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, messageMax)
	for lines.Scan() {
		var w workerMessage
		if err := json.Unmarshal(lines.Bytes(), &w); err != nil {
			c.messages <- memberMessage{number, workerMessage{}, fmt.Errorf("loadgen: worker %d said %.80q: %w", number, lines.Text(), err)}
			return
		}
		c.messages <- memberMessage{member: number, message: w}
	}
	c.messages <- memberMessage{number, workerMessage{}, errors.Join(io.EOF, lines.Err())}
}

// discard reads the members to their end.
func (c *workerGroup) discard() (err error) {
	for left := len(c.members); left > 0; {
		if s := <-c.messages; s.err != nil {
			left--
			err = errors.Join(err, c.members[s.member].leave())
		}
	}
	return err
}

// attend handles messages of the members until all have ended. The first one that ends without a
// report ends the others.
func (c *workerGroup) attend(ctx context.Context, cancel context.CancelCauseFunc) (failure error) {
	for len(c.left) < len(c.members) {
		s := <-c.messages
		m := c.members[s.member]
		var err error
		switch {
		case s.err != nil:
			c.left, m.gate = append(c.left, s.member), ""
			failure = errors.Join(failure, m.leave())
			if m.report == nil && failure == nil {
				failure = fmt.Errorf("worker %d ended without a report: %w", s.member, orEnd(context.Cause(ctx), s.err))
				cancel(failure)
			}
		case s.message.Gate != "":
			c.arrived(m, s.message)
		case s.message.Second != nil:
			c.second(*s.message.Second)
		case s.message.Receipts != nil:
			err = c.joinReceipts(*s.message.Receipts)
		case s.message.Report != nil:
			m.report = s.message.Report
		}
		if err = errors.Join(err, c.open(ctx, cancel)); err != nil && failure == nil {
			failure = err
			cancel(failure)
		}
	}
	return failure
}

// leave waits for the end of a member that has said its last. How it ended does
// not matter: its report does.
func (m *member) leave() error {
	err := m.in.Close()
	<-m.process.Ended()
	return err
}

func orEnd(cause, end error) error {
	if cause != nil {
		return cause
	}
	return end
}

// arrived notes that a member has come to a gate.
func (c *workerGroup) arrived(m *member, said workerMessage) {
	m.gate = said.Gate
	if said.Senders != nil || said.Sent != nil {
		c.shared = said.shared
	}
	if said.Senders != nil {
		c.senders = len(said.Senders)
	}
	for _, b := range said.Sent {
		c.trials[len(c.trials)-1].owed += planeOf(b.Promised).count(0, b.Sent)
	}
}

// open opens the gate when the last member has come to it. If a member has left, the others finish
// the trial that they have started, but start nothing new: then all end.
func (c *workerGroup) open(ctx context.Context, cancel context.CancelCauseFunc) error {
	g := c.waitedFor()
	if g == "" {
		return nil
	}
	if len(c.left) > 0 && g != gateSent {
		cancel(fmt.Errorf("worker %d has left", c.left[0]))
		return nil
	}
	o := order{At: c.clock.now() + int64(leadTime), shared: c.shared}
	c.shared = shared{}
	if err := c.prepare(ctx, g, o.At); err != nil {
		return err
	}
	for i, m := range c.members {
		if slices.Contains(c.left, i) {
			continue
		}
		m.gate = ""
		if err := m.send(o); err != nil {
			return fmt.Errorf("loadgen: worker %d: %w", i, err)
		}
	}
	return nil
}

// orderMax bounds the wait for a worker to take an order; the longest orders have many MB.
const orderMax = time.Minute

func (m *member) send(o order) error {
	return errors.Join(m.in.SetWriteDeadline(time.Now().Add(orderMax)), json.NewEncoder(m.in).Encode(o))
}

// joinReceipts takes a member's receipts, and gives the first one credits for
// the messages of a window that have reached all.
func (c *workerGroup) joinReceipts(p partReceipts) error {
	given := partCredits{Trial: p.Trial}
	for _, r := range p.Receipts {
		if last, whole := c.trials[p.Trial].join.add(r); whole {
			given.Credits = append(given.Credits, credit{r.Slot, r.Sequence, last})
		}
	}
	if len(given.Credits) == 0 || c.loadOf(p.Trial).window == 0 || slices.Contains(c.left, 0) {
		return nil
	}
	err := c.members[0].send(order{Credits: &given})
	if err != nil && !errors.Is(err, syscall.EPIPE) { // the end of its own pipe reports a worker that has gone
		return fmt.Errorf("loadgen: worker 0: %w", err)
	}
	return nil
}

// loadOf is that of a trial of the run.
func (c *workerGroup) loadOf(trial int) load {
	loads := c.cfg.loads()
	return loads[trial%len(loads)]
}

// waitedFor is the gate at which all members are that have not left; empty: none.
func (c *workerGroup) waitedFor() (g gate) {
	for i, m := range c.members {
		if slices.Contains(c.left, i) {
			continue
		}
		if m.gate == "" {
			return ""
		}
		g = m.gate
	}
	return g
}

// prepare does the parent's work at a gate.
func (c *workerGroup) prepare(ctx context.Context, g gate, at int64) (err error) {
	switch g {
	case gateLogin:
		printProgress(c.progress, "%d clients log in", c.cfg.Conns[c.fleet])
		c.fleet++
	case gateTrial:
		o := &observed{ready: make(chan struct{})}
		if c.cfg.shares() {
			o.join = newJoin(c.senders, c.cfg.Conns[c.fleet-1]-1)
		}
		c.trials = append(c.trials, o)
		begin := at + int64(leadTime) + int64(c.cfg.Warmup)
		c.all.Go(func() { o.observe(ctx, c.clock, c.cfg, begin) })
	case gateIdle:
		o := &observed{ready: make(chan struct{})}
		c.trials = append(c.trials, o)
		o.rss, err = memoryOf(c.cfg.ServerPIDs)
		for i := range o.rss {
			o.rss[i] -= c.cfg.rssBefore[i]
		}
		close(o.ready)
	}
	return err
}

// observe measures the processes under test from begin on.
func (o *observed) observe(ctx context.Context, clock *clock, cfg Config, begin int64) {
	defer close(o.ready)
	if clock.wait(ctx, begin) != nil {
		return
	}
	before, err := usageOf(cfg.ServerPIDs)
	if err != nil {
		o.err = err
		return
	}
	for last, end := before, begin+int64(cfg.Duration); ; {
		from := clock.now()
		stopped := clock.wait(ctx, min(begin+int64(len(o.cores)+1)*int64(time.Second), end)) // its end is the end of the measured time
		now, err := usageOf(cfg.ServerPIDs)
		if err != nil {
			o.err = err
			return
		}
		o.cores = append(o.cores, now.since(last).strain(time.Duration(clock.now()-from).Seconds()).servers)
		last, o.used = now, now.since(before)
		if stopped != nil || clock.now() >= end {
			return
		}
	}
}

// second files a second of one member, and shows it once it is whole.
func (c *workerGroup) second(p partSecond) {
	o := c.trials[p.Trial]
	for len(o.seconds) <= p.Second.Second {
		o.seconds = append(o.seconds, nil)
	}
	o.seconds[p.Second.Second] = append(o.seconds[p.Second.Second], p)
	if whole := o.seconds[p.Second.Second]; len(whole) == len(c.members) && c.cfg.Watch != nil {
		c.cfg.Watch(Moment{
			Conns: c.cfg.Conns[c.fleet-1], Load: fmt.Sprintf("%s, %d worker processes", c.loadOf(p.Trial), len(c.members)),
			Elapsed: time.Duration(p.Second.Second+1) * time.Second, Duration: c.cfg.Duration, Second: mergeSecond(whole),
		})
	}
}

// Spawn makes the command of a worker process, which must call Work.
type Spawn func(ctx context.Context, number, of int) *exec.Cmd
