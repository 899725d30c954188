package faults

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cim/client"
	"cim/internal/ledger"
	"cim/proto"
)

// size is how many users a crowd has and what they send.
type size struct {
	users    int
	ours     int           // of them, every so many has a client of ours; 0: none
	absent   int           // of them, every so many comes in at the end only; 0: none
	private  int           // messages a second
	group    int           // messages a second
	duration time.Duration // the longest that the load may last

	wants   []ledger.Want // of the private lanes, in turn; nil: Taken
	remote  int           // so many, the first ones, are left to a process that sends for them
	hearing bool          // that process receives for them, from the others
	targets int           // how many receive private messages; 0: all
	over    int           // every so many sends over its own connection; 0: overEvery
}

// usual is the size of the table, or a small one.
func usual() size {
	return size{users: pick(2000, 200), ours: 4, absent: 21, private: pick(1000, 100), group: 2, duration: pick(15*time.Minute, 3*time.Minute)}
}

// crowd is users that keep themselves logged in, and the book of what they
// send and receive.
type crowd struct {
	t       *testing.T
	system  *system
	size    size
	random  *rand.Rand // of the test's goroutine
	began   time.Time
	members []*member
	client  *http.Client // of all but the senders
	meter   *meter
	pings   pings

	opened  chan struct{} // closed when the absent ones come in
	open    func()
	ctx     context.Context // ends with the crowd
	stop    context.CancelFunc
	running sync.WaitGroup

	mu   sync.Mutex
	book *ledger.Ledger
	seen counts

	losses map[string]*loss // of the last verdict; of the test's goroutine

	// dwell is how long the function of a client of ours takes for a text, in
	// nanoseconds.
	dwell atomic.Int64
}

// counts are what the members met besides messages.
type counts struct {
	entered   int                // logins that succeeded
	ended     int                // sessions that ended without having been asked to
	moved     int                // sessions that went over to another server as their own asked
	why       []string           // of some sessions that ended
	lockedOut int                // of the original, refused with 5000 as it came back: it gives up
	refused   map[proto.Code]int // logins that were refused
	failed    int                // logins that ended otherwise
	codes     map[string]int     // of calls that were refused or failed
	doubles   int                // second arrivals that clients of ours dropped
	stranger  error              // the first text without a tag of this run
}

// member is one user, whatever the client.
type member struct {
	crowd  *crowd
	number ledger.User
	user   proto.User
	ours   bool

	// Guarded by crowd.mu.
	absent  bool // until the crowd is opened
	in      bool
	since   time.Time        // of the last change of in
	server  string           // of the original's: where it is connected
	out     bool             // locked out for good
	clients []*client.Client // of ours, one for each time that it was dialed
	moves   []int64          // times of the moves of a client of ours
	begins  []int64          // times at which it saw a session start
	ends    []int64          // and end
}

// joinMax bounds the time in which the crowd comes in.
const joinMax = time.Minute

// gather registers the crowd and waits until all are in.
func gather(s *system, size size) *crowd {
	s.t.Helper()
	c := &crowd{
		t: s.t, system: s, size: size, began: time.Now(), meter: newMeter(),
		random: rand.New(rand.NewPCG(*seed, 1)),
		client: &http.Client{Timeout: callMax, Transport: &http.Transport{MaxIdleConnsPerHost: 32, MaxConnsPerHost: 64}},
		book: ledger.New(ledger.Config{
			Users: size.users, PrivateMax: size.private * int(size.duration/time.Second), GroupMax: size.group * int(size.duration/time.Second),
		}),
	}
	c.opened = make(chan struct{})
	c.open = sync.OnceFunc(func() { close(c.opened) })
	c.seen.refused, c.seen.codes = map[proto.Code]int{}, map[string]int{}
	c.ctx, c.stop = context.WithCancel(context.Background())
	s.t.Cleanup(c.disperse)
	c.register()
	for _, m := range c.members[size.remote:] {
		c.running.Go(func() { m.live() })
	}
	c.running.Go(c.ping)
	c.awaitAll(joinMax)
	return c
}

// register gives each member an account.
func (c *crowd) register() {
	c.t.Helper()
	for i := range c.size.users {
		m := &member{
			crowd: c, number: ledger.User(i),
			ours: c.size.ours > 0 && i%c.size.ours == 0, absent: c.size.absent > 0 && i%c.size.absent == 0,
		}
		m.user.Name = fmt.Sprintf("%s-%d", c.system.run, i)
		c.members = append(c.members, m)
	}
	const atOnce = 16
	next, faults := make(chan *member), make(chan error, atOnce)
	for range atOnce {
		go func() {
			var fault error
			for m := range next {
				fault = errors.Join(fault, m.register())
			}
			faults <- fault
		}()
	}
	for _, m := range c.members {
		next <- m
	}
	close(next)
	for range atOnce {
		if err := <-faults; err != nil {
			c.t.Fatal(err)
		}
	}
}

// awaitAll waits until every member that should be connected is connected, or locked out.
func (c *crowd) awaitAll(most time.Duration) time.Duration {
	c.t.Helper()
	began := time.Now()
	if !within(most, func() bool { return len(c.missing()) == 0 }) {
		missing := c.missing()
		c.t.Errorf("%d of %d users are not in after %v: %s and others; %+v", len(missing), len(c.members), most, missing[0].user.Name, c.counts())
	}
	return time.Since(began)
}

// missing are the members that should be connected, and are not.
func (c *crowd) missing() []*member {
	c.mu.Lock()
	defer c.mu.Unlock()
	var missing []*member
	for _, m := range c.members {
		if !m.in && !m.out && !m.absent && int(m.number) >= c.size.remote {
			missing = append(missing, m)
		}
	}
	return missing
}

func (c *crowd) counts() counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := c.seen
	for _, m := range c.members {
		for _, one := range m.clients {
			seen.doubles += int(one.Duplicates())
		}
	}
	seen.refused, seen.codes = maps.Clone(seen.refused), maps.Clone(seen.codes)
	return seen
}

// note changes the counts.
func (c *crowd) note(change func(*counts)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.seen)
}

// now is the time of the run, as the book has it.
func (c *crowd) now() int64 { return int64(time.Since(c.began)) }

// ids are the users' ids, by number.
func (c *crowd) ids() []proto.UserID {
	ids := make([]proto.UserID, len(c.members))
	for i, m := range c.members {
		ids[i] = m.user.ID
	}
	return ids
}

// live keeps the member logged in until the crowd disperses.
func (m *member) live() {
	if m.away() {
		select {
		case <-m.crowd.opened:
		case <-m.crowd.ctx.Done():
			return
		}
	}
	if m.ours {
		m.liveOurs()
	} else {
		m.liveOriginal()
	}
}

// away reports whether the member is to come in at the end only.
func (m *member) away() bool {
	m.crowd.mu.Lock()
	defer m.crowd.mu.Unlock()
	return m.absent
}

// letIn makes the absent members log in.
func (c *crowd) letIn() {
	c.mu.Lock()
	for _, m := range c.members {
		m.absent = false
	}
	c.mu.Unlock()
	c.open()
}

// entered notes that a session has begun.
func (m *member) entered(server string) {
	c := m.crowd
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.in {
		return
	}
	m.in, m.since, m.server = true, time.Now(), server
	m.begins = append(m.begins, c.now())
	c.seen.entered++
	c.book.Connected(m.number)
}

// left notes that the session has ended, and why.
func (m *member) left(why error) {
	c := m.crowd
	c.mu.Lock()
	defer c.mu.Unlock()
	if !m.in {
		return
	}
	m.in, m.since = false, time.Now()
	c.book.Disconnected(m.number)
	m.ends = append(m.ends, c.now())
	if c.ctx.Err() == nil {
		c.seen.ended++
		c.seen.why = keepSome(c.seen.why, fmt.Sprintf("%s at %.3fs: %v", m.user.Name, time.Since(c.began).Seconds(), why))
	}
}

// keepSome adds one of a few examples.
func keepSome(examples []string, one string) []string {
	const most = 5
	if len(examples) < most {
		examples = append(examples, one)
	}
	return examples
}

// received books a text.
func (m *member) received(from proto.User, text string, stored bool) {
	c := m.crowd
	tag, err := ledger.ParseTag(text)
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && tag.Run != c.system.run {
		err = fmt.Errorf("a text of run %s", tag.Run)
	}
	if err != nil {
		c.seen.stranger = errors.Join(c.seen.stranger, err)
		return
	}
	due, first := c.book.Arrive(ledger.Arrival{Receiver: m.number, From: c.numberOf(from), Tag: tag, At: now})
	if first && !stored && tag.To != ledger.Everyone {
		c.meter.delivered(tag.From, m.number, due, now)
	}
}

// numberOf is the number of the user that the system names as a sender: both its id and its name
// must be that user's.
func (c *crowd) numberOf(u proto.User) ledger.User {
	var number int
	if _, err := fmt.Sscanf(u.Name, c.system.run+"-%d", &number); err != nil || number < 0 || number >= len(c.members) ||
		c.members[number].user != u {
		return ledger.Everyone // no member sends in this name
	}
	return ledger.User(number)
}

// disperse ends all clients, which say goodbye.
func (c *crowd) disperse() {
	c.stop()
	c.running.Wait()
	c.client.CloseIdleConnections()
}
