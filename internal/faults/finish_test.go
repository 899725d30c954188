package faults

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"cim/internal/ledger"
	"cim/proto"
)

const (
	// settleMax bounds the wait for what was promised, after the load.
	settleMax = 20 * time.Second
	// backMax bounds the wait until the whole crowd is in again, after the load.
	backMax = 40 * time.Second
	// doublesMax is how long after the last message doubles are waited for.
	doublesMax = time.Second
	// ghostAge is for how long a user must have been away to count as a ghost.
	ghostAge = time.Second
)

// finish ends the load, waits until all that was promised has arrived, and
// closes the book.
func (c *crowd) finish(l *load, excuse func(ledger.Fault) bool) *ledger.Verdict {
	c.t.Helper()
	l.stop()
	c.letIn()
	c.awaitAll(backMax)
	c.settle(excuse)
	pass(c.t, doublesMax)
	v := c.judge(excuse)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.skipped > 0 || l.fault != nil {
		c.t.Errorf("the load was not kept up: %d messages skipped, %v", l.skipped, l.fault)
	}
	if stranger := c.counts().stranger; stranger != nil {
		c.t.Errorf("a text that was not sent arrived: %v", stranger)
	}
	return v
}

// settle waits until nothing is lost. It looks now and then only: the book of a
// long run takes a while to judge.
func (c *crowd) settle(excuse func(ledger.Fault) bool) {
	c.t.Helper()
	for deadline := time.Now().Add(settleMax); c.judge(excuse).Count(ledger.Lost) > 0 && time.Now().Before(deadline); {
		pass(c.t, 500*time.Millisecond)
	}
}

// stoodStill is in a route's log if a server's process stood still. Group messages on their way to
// its users are lost then, or answered as failed and delivered all the same. On a busy machine that
// happens without a fault of ours.
const stoodStill = "stood still"

// stood counts how often a server stood still.
func (s *system) stood() (times int) {
	s.t.Helper()
	for _, p := range s.routes {
		text, err := os.ReadFile(p.log)
		if err != nil {
			s.t.Fatal(err)
		}
		times += strings.Count(string(text), stoodStill)
	}
	return times
}

// busy reports whether a server stood still in a quick test, which is the fault
// of a machine that other tests keep busy.
func (c *crowd) busy() bool {
	c.t.Helper()
	return !*whole && c.system.stood() > 0
}

// judge closes the book, and excuses what a busy machine has done.
func (c *crowd) judge(given func(ledger.Fault) bool) *ledger.Verdict {
	c.t.Helper()
	busy := c.busy()
	c.losses = map[string]*loss{}
	excuse := func(f ledger.Fault) bool {
		if f.Kind == ledger.Lost {
			c.noteLoss(f)
		}
		late := f.Kind == ledger.Lost || f.Kind == ledger.FailedArrived
		return given != nil && given(f) || busy && late && f.To == ledger.Everyone
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.book.Judge(excuse)
}

// loss is a group message that some have not got, or private ones of a second.
type loss struct{ ours, originals int }

// noteLoss counts a loss, excused or not, by what was lost.
func (c *crowd) noteLoss(f ledger.Fault) {
	key := fmt.Sprintf("private messages due in second %d", f.Due/int64(time.Second))
	if f.To == ledger.Everyone {
		key = fmt.Sprintf("group message due at %.3fs, answered at %.3fs", float64(f.Due)/1e9, float64(f.Answered)/1e9)
	}
	l := c.losses[key]
	if l == nil {
		l = &loss{}
		c.losses[key] = l
	}
	if c.members[f.Receiver].ours {
		l.ours++
	} else {
		l.originals++
	}
}

// mayComeTwice excuses what comes twice to a client of the original, which knows
// no ids: a server that did not answer in time had it, and so had the store; or
// its sender's client sent it again. Clients of ours drop the second.
func (c *crowd) mayComeTwice(f ledger.Fault) bool {
	return f.Kind == ledger.Doubled && !c.members[f.Receiver].ours && (f.Outcome == ledger.Stored || c.maySendAgain(f))
}

// againMin is the shortest pause in which a client of ours sends a message again
// whose outcome is unknown.
const againMin = 50 * time.Millisecond

// maySendAgain reports whether the sender's client had the time to send the
// message again, under its id, before it knew the outcome.
func (c *crowd) maySendAgain(f ledger.Fault) bool {
	return c.members[f.From].sendsOver() && f.Answered-f.Due >= int64(againMin)
}

// wantNone demands that a verdict has none of these.
func (c *crowd) wantNone(v *ledger.Verdict, kinds ...ledger.Kind) {
	c.t.Helper()
	for _, k := range kinds {
		if n := v.Count(k); n > 0 {
			c.t.Errorf("%s: %d", k, n)
		}
	}
}

// inSince is since when each of some members has been logged in, in ns from the start of
// the run.
func (c *crowd) inSince(some users) map[ledger.User]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	since := make(map[ledger.User]int64, len(some))
	for number := range some {
		since[number] = int64(c.members[number].since.Sub(c.began))
	}
	return since
}

// about describes a member, to explain a fault.
func (c *crowd) about(number ledger.User) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.members[number]
	return fmt.Sprintf("user %d is %s, ours %t, in %t since %.3fs", number, m.user.Name, m.ours, m.in, m.since.Sub(c.began).Seconds())
}

// report prints the figures of a test on one line.
func (c *crowd) report(v *ledger.Verdict, figures ...any) {
	c.t.Helper()
	seen := c.counts()
	line := fmt.Sprintf("%s: seed %d users %d: %v; sessions %d ended %d moved %d locked out %d logins refused %v failed %d dropped doubles %d; answers %v; servers stood still %d; ",
		c.t.Name(), *seed, len(c.members), v, seen.entered, seen.ended, seen.moved, seen.lockedOut, seen.refused, seen.failed, seen.doubles, seen.codes, c.system.stood())
	line = fmt.Sprintf("began %s: ", c.began.Format("15:04:05.000")) + line
	line += strings.TrimSuffix(fmt.Sprintln(figures...), "\n")
	c.t.Log(line)
	const lossesMax = 40
	for i, key := range slices.Sorted(maps.Keys(c.losses)) {
		if i < lossesMax {
			c.t.Logf("lost to %d clients of ours and %d of the original: %s", c.losses[key].ours, c.losses[key].originals, key)
		}
	}
	for _, why := range seen.why {
		c.t.Log("session ended:", why)
	}
	c.printFaults(v)
}

// printFaults prints some faults of each kind.
func (c *crowd) printFaults(v *ledger.Verdict) {
	c.t.Helper()
	for k := range ledger.Kinds {
		for _, f := range v.Examples[k] {
			c.t.Logf("%v; %s", f, c.about(f.Receiver))
		}
	}
}

// listAge is how old a route's list of the connected users may be.
const listAge = time.Second

// online asks each route for the online users, by id.
func (c *crowd) online() ([]map[proto.UserID]bool, error) {
	var all []map[proto.UserID]bool
	for _, url := range c.system.routeURLs() {
		a, err := call(c.t.Context(), c.client, url+proto.PathOnlineUser, nil)
		if err != nil {
			return nil, err
		}
		var listed []proto.UserBody
		if err := json.Unmarshal(a.body, &listed); err != nil || a.code != proto.CodeSuccess {
			return nil, fmt.Errorf("onlineUser: code %s, %w", a.code, err)
		}
		online := map[proto.UserID]bool{}
		for _, one := range listed {
			online[one.UserID] = true
		}
		all = append(all, online)
	}
	return all, nil
}

// ghosts are the members that a route lists as online and that have not been so for ghostAge;
// hidden are those that a route does not list, though they have been online for that long.
func (c *crowd) ghosts() (ghosts, hidden []*member, err error) {
	asked := time.Now().Add(-listAge)
	online, err := c.online()
	if err != nil {
		return nil, nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.members {
		if asked.Sub(m.since) < ghostAge {
			continue
		}
		listed := func(o map[proto.UserID]bool) bool { return o[m.user.ID] }
		switch {
		case !m.in && slices.ContainsFunc(online, listed):
			ghosts = append(ghosts, m)
		case m.in && !slices.ContainsFunc(online, listed):
			hidden = append(hidden, m)
		}
	}
	return ghosts, hidden, nil
}

// cpu is processor time.
type cpu struct {
	at                  time.Time
	busy, all, ownTicks int64
}

// readCPU reads what the machine, and this process of it, has used so far.
func readCPU() (cpu, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return cpu{}, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	c := cpu{at: time.Now()}
	const idle, ioWait, guest = 3, 4, 8
	for i, field := range strings.Fields(line)[1:] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return cpu{}, err
		}
		if i >= guest {
			break // counted in user time too
		}
		c.all += n
		if i != idle && i != ioWait {
			c.busy += n
		}
	}
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return cpu{}, err
	}
	c.ownTicks = used.Utime.Nano() + used.Stime.Nano()
	return c, nil
}

// usage is the share of the machine that was used since, in text.
func (c *crowd) usage(since cpu) string {
	c.t.Helper()
	now := c.cpu()
	cores := float64(now.ownTicks-since.ownTicks) / float64(now.at.Sub(since.at))
	return fmt.Sprintf("machine %.0f%% busy, of it the test %.2f cores", 100*float64(now.busy-since.busy)/float64(max(1, now.all-since.all)), cores)
}

func (c *crowd) cpu() cpu {
	c.t.Helper()
	now, err := readCPU()
	if err != nil {
		c.t.Fatal(err)
	}
	return now
}
