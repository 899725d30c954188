package faults

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"cim/internal/ledger"
)

// promised is how many messages a row of TestPromises sends at least, to and
// from clients of ours, in all wants.
func promised() int { return pick(100_000, 400) }

// pledged is the size of a row.
func pledged() size {
	return size{
		users: pick(500, 48), ours: 1, private: pick(1000, 96), over: 2, duration: pick(15*time.Minute, 3*time.Minute),
		wants: []ledger.Want{ledger.Taken, ledger.Received, ledger.StoredFirst},
	}
}

// damage is what a row has done so far, as the verdict must know it.
type damage struct {
	crowd     *crowd
	load      *load
	receivers *receivers // nil: all receive in the test's own process
	crashes   []crash
	out       []span // while texts of a server that could not be reached were overtaken
}

// span is a time of the run.
type span struct{ from, to int64 }

// crash is a kill -9 of a server.
type crash struct {
	span
	victims users
}

// row is one fault under which the promises are looked at.
type row struct {
	name   string
	quick  bool // runs without -faults too
	needs  needs
	change func(*size) // of what pledged says; nil: nothing
	befall func(*damage)
}

var rows = []row{
	{name: "server killed", quick: true, befall: (*damage).killServer},
	{name: "route killed", quick: true, befall: (*damage).killRoute},
	{name: "server and route killed", befall: (*damage).killBoth},
	{name: "Redis killed", quick: true, needs: needs{durable: true}, befall: (*damage).killRedis},
	{name: "Redis stands still", befall: (*damage).stallRedis},
	{name: "slow readers", quick: true, change: fewReceivers, befall: (*damage).slow},
	{name: "slow readers and Redis stands still", change: fewReceivers, befall: (*damage).slowStalled},
	{name: "slow readers and their server killed", change: fewReceivers, befall: (*damage).slowKilled},
	{name: "cable cut", needs: needs{namespaces: true}, befall: (*damage).pullCable},
	{name: "rolling restart", befall: (*damage).roll},
	{name: "receiver killed", quick: true, change: leaveReceivers, befall: (*damage).killReceiver},
	{name: "sender killed", quick: true, change: leaveSome, befall: (*damage).killSender},
}

// TestPromises has each row befall a crowd that sends texts of all wants. Of
// wants 1 and 2 no text is lost, whatever befalls; of want 0 what a dead server
// was answered for just before. No text comes twice to one process, and texts of
// a pair keep their order while the server that had them can be reached.
func TestPromises(t *testing.T) {
	for _, one := range rows {
		t.Run(one.name, func(t *testing.T) {
			if !one.quick {
				wholeOnly(t)
			}
			share(t)
			one.run(t)
		})
	}
}

func (r row) run(t *testing.T) {
	s := startSystem(t, r.needs)
	size := pledged()
	if r.change != nil {
		r.change(&size)
	}
	c := gather(s, size)
	d := &damage{crowd: c}
	if size.hearing {
		d.receivers = c.newReceivers()
	}
	d.load = c.send()
	quiet := c.quiet(nil)
	fault := c.meter.begin("fault", c.now(), nil)
	r.befall(d)
	pass(t, pick(5*time.Second, 500*time.Millisecond))
	within(size.duration, func() bool { return d.load.sent() >= promised() })

	d.load.stop()
	d.out = append(d.out, s.silences(c.began)...)
	v := c.finish(d.load, d.excuses)
	c.report(v, c.meter.figures(quiet), c.meter.figures(fault))
	for _, kind := range []ledger.Kind{ledger.Lost, ledger.Reordered} {
		for _, f := range v.ExcusedSome[kind] {
			t.Log("counted apart:", f)
		}
	}
	for _, kind := range []ledger.Kind{ledger.Reordered, ledger.Doubled} {
		c.trails(v.Examples[kind])
	}
	c.wantNone(v, ledger.Lost, ledger.Doubled, ledger.Misdelivered, ledger.Reordered, ledger.RefusedArrived, ledger.Early)
	for want, of := range v.ByWant {
		if done := of.Outcomes[ledger.Delivered] + of.Outcomes[ledger.Stored] + of.Outcomes[ledger.Acknowledged]; done == 0 {
			t.Errorf("no message of want %d was taken", want)
		}
	}
}

// silentFor is how long before and behind a route's word that a server stood still
// texts may be out of order: that server could not be reached.
const silentFor = 2 * time.Second

// silences are when routes say that a server did not answer in time.
func (s *system) silences(began time.Time) (all []span) {
	s.t.Helper()
	for _, p := range s.routes {
		text, err := os.ReadFile(p.log)
		if err != nil {
			s.t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if !strings.Contains(line, stoodStill) && !strings.Contains(line, "server suspect") {
				continue
			}
			stamp, _, _ := strings.Cut(strings.TrimPrefix(line, "time="), " ")
			at, err := time.Parse(time.RFC3339, stamp)
			if err != nil {
				s.t.Fatalf("%s: %v", p.name, err)
			}
			all = append(all, span{int64(at.Add(-silentFor).Sub(began)), int64(at.Add(silentFor).Sub(began))})
		}
	}
	return all
}

// trails prints what came before and after some faults, one of each pair.
func (c *crowd) trails(faults []ledger.Fault) {
	c.t.Helper()
	seen := map[ledger.User]bool{}
	for _, f := range faults {
		if seen[f.Receiver] || f.To == ledger.Everyone {
			continue
		}
		seen[f.Receiver] = true
		c.mu.Lock()
		m := c.members[f.Receiver]
		c.t.Logf("user %d, %s: sessions began %v, ended %v, moved %v; from user %d:%s", m.number, m.user.Name, seconds(m.begins), seconds(m.ends), seconds(m.moves),
			f.From, c.book.Trail(f.From, f.To, f.Seq, 12))
		c.mu.Unlock()
	}
}

// seconds are times of the run.
func seconds(times []int64) (s []float64) {
	for _, at := range times {
		s = append(s, float64(at/1e6)/1e3)
	}
	return s
}

// excuses reports whether a fault is within the promises: of want 0 a text that a server had taken
// just before it died, and the order of texts of which some were at a server that could not be
// reached, since it was dead or did not answer in time.
func (d *damage) excuses(f ledger.Fault) bool {
	switch f.Kind {
	case ledger.Early:
		return d.receivers != nil // another process says, through a pipe, what it has
	case ledger.Lost:
		return f.Want == ledger.Taken && f.Outcome == ledger.Delivered && d.crashed(f)
	case ledger.Reordered:
		for _, out := range d.out {
			if f.Due <= out.to && f.Arrived >= out.from {
				return true
			}
		}
	}
	return false
}

// crashed reports whether the receiver's server died within the time in which it
// may have had the text.
func (d *damage) crashed(f ledger.Fault) bool {
	for _, one := range d.crashes {
		if one.victims[f.Receiver] && f.Due <= one.to && f.Answered >= one.from-int64(patient(takenMax)) {
			return true
		}
	}
	return false
}

// lastFor lets the fault go on for a while.
func (d *damage) lastFor(real, small time.Duration) {
	d.crowd.t.Helper()
	pass(d.crowd.t, pick(real, small))
}

// crash kills the first server. It returns once its users are somewhere else.
func (d *damage) crash(also func()) {
	d.crowd.t.Helper()
	c := d.crowd
	victims := c.at(0)
	from := c.now()
	c.system.servers[0].kill()
	also()
	one := crash{span{from, c.now()}, victims}
	d.crashes = append(d.crashes, one)
	back := c.awaitBack(victims, from, 2*patient(returnMax))
	c.t.Logf("killed with %d users, back %v", len(victims), back)
	d.out = append(d.out, span{from - int64(patient(takenMax)), c.now()})
}

// restart starts a process that was killed.
func (d *damage) restart(some ...*process) {
	d.crowd.t.Helper()
	for _, p := range some {
		p.start()
	}
	d.crowd.system.awaitLinked(waitMax)
}

func (d *damage) killServer() {
	d.crash(func() {})
	d.lastFor(5*time.Second, 0)
	d.restart(d.crowd.system.servers[0])
}

func (d *damage) killRoute() {
	route := d.crowd.system.routes[1]
	route.kill()
	d.lastFor(20*time.Second, 2*time.Second)
	d.restart(route)
}

func (d *damage) killBoth() {
	s := d.crowd.system
	d.crash(s.routes[1].kill)
	d.lastFor(5*time.Second, time.Second)
	d.restart(s.servers[0], s.routes[1])
}

func (d *damage) killRedis() {
	c := d.crowd
	if err := c.system.redis.Kill(); err != nil {
		c.t.Fatal(err)
	}
	d.lastFor(10*time.Second, 2*time.Second)
	if err := c.system.redis.Restart(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	d.lastFor(10*time.Second, time.Second)
}

// stallRedis stops Redis for longer than a route waits for it, again and again:
// what it was asked for meanwhile it does, and answers in vain.
func (d *damage) stallRedis() {
	c := d.crowd
	signal := func(s syscall.Signal) {
		if err := c.system.redis.Signal(s); err != nil {
			c.t.Fatal(err)
		}
	}
	for range pick(6, 2) {
		signal(syscall.SIGSTOP)
		d.lastFor(4*time.Second, 3*time.Second)
		signal(syscall.SIGCONT)
		d.lastFor(5*time.Second, 2*time.Second)
	}
}

// fewReceivers makes all send to a few, which then have much to read.
func fewReceivers(of *size) { of.targets = pick(40, 6) }

// leaveSome leaves some to a process that sends for them; the others send less.
func leaveSome(of *size) {
	of.remote = pick(100, 12)
	of.private = pick(of.private/2, of.private)
}

// leaveReceivers leaves some to a process that receives for them.
func leaveReceivers(of *size) {
	of.remote, of.hearing = pick(100, 12), true
}

// slowFor is how long a slow reader takes for a text: less than half of what
// comes to it is read.
const slowFor = 100 * time.Millisecond

// slow has the readers take their time, and then none again.
func (d *damage) slow() {
	d.crowd.dwell.Store(int64(slowFor))
	d.lastFor(40*time.Second, 4*time.Second)
	d.crowd.dwell.Store(0)
}

// slowKilled kills a server whose readers lag.
func (d *damage) slowKilled() {
	d.crowd.dwell.Store(int64(slowFor))
	d.lastFor(10*time.Second, 2*time.Second)
	d.killServer()
	d.lastFor(10*time.Second, time.Second)
	d.crowd.dwell.Store(0)
}

// slowStalled has Redis stand still while readers lag.
func (d *damage) slowStalled() {
	d.crowd.dwell.Store(int64(slowFor))
	d.stallRedis()
	d.crowd.dwell.Store(0)
}

// pullCable cuts the clients of a server off from it for longer than any client waits. Routes and
// servers reach each other.
func (d *damage) pullCable() {
	c := d.crowd
	network := c.system.network
	network.pull(c.system.servers[0].name)
	d.lastFor(45*time.Second, 20*time.Second)
	network.plug(c.system.servers[0].name)
	d.lastFor(10*time.Second, time.Second)
	c.awaitAll(2 * patient(returnMax))
}

// roll drains and restarts every process in turn.
func (d *damage) roll() {
	c := d.crowd
	s := c.system
	for _, p := range pick(s.processes(), []*process{s.servers[0], s.routes[0]}) {
		if took := p.drain(); took > exitMax {
			c.t.Errorf("%s took %v to end, want at most %v", p.name, took, exitMax)
		}
		p.start()
		s.awaitLinked(waitMax)
		c.awaitAll(2 * patient(returnMax))
	}
}
