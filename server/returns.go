package server

import (
	"slices"
	"sync"
	"sync/atomic"

	"cim/proto"
	"cim/server/shard"
)

const (
	// returnsUnderWay bounds the records that are sent and not answered: enough to
	// keep a store busy whose calls take milliseconds.
	returnsUnderWay = 64
	// returnPause is the time between two tries while the store is away or no link
	// is up, 1 s. Then one record is tried, and after its success all continue.
	returnPause shard.Tick = 1_000 / shard.TickMillis
	// returnTicks is how long a route may take for an answer, 10 s: longer than its
	// own deadlines. Then the record goes to the next link; the box stores it once
	// even if both arrive.
	returnTicks shard.Tick = 10_000 / shard.TickMillis
)

// returns are the texts that sessions have kept and that are on their way into
// their users' boxes: from ended sessions, and from flushes of live ones. While a
// user has some, a push that would be stored is answered VerdictReturning, so that
// nothing is stored in front of them.
//
// One record of each user is under way at a time, so order holds. Any goroutine may
// call the methods. Under the lock, the only calls outside are sends to links,
// which do not block.
type returns struct {
	server *Server
	active atomic.Int64 // users with returns, so that the usual check takes no lock
	bytes  atomic.Int64 // of the records that wait or are under way
	texts  atomic.Int64 // in them; a message of several texts counts once

	mu       sync.Mutex
	users    map[proto.UserID]*userReturns
	waiting  []*userReturns          // users whose next record can be sent; oldest first
	underWay map[uint64]*userReturns // by the record's id; <= returnsUnderWay
	last     uint64                  // id of the newest record
	turn     uint64                  // moves on to the next link after a missing answer
	away     bool                    // the last try failed: one record at a time
	resumeAt shard.Tick              // time of the next try, while away
}

// userReturns are the returns of one user.
type userReturns struct {
	user     proto.UserID
	expected int         // sessions that must end, and that their event loops have not ended yet
	jobs     []returnJob // oldest first
	queued   bool        // is in waiting
	waiters  []func(returned bool)
	settling int // answers whose sessions are being notified

	id   uint64     // of the record under way; 0: none
	link *linkEnd   // the link that has the record
	due  shard.Tick // when its answer is due
}

func (r *returns) start(s *Server) {
	r.server = s
	r.users = make(map[proto.UserID]*userReturns)
	r.underWay = make(map[uint64]*userReturns)
}

// has reports whether texts of user are on their way into the box, or may soon be.
func (r *returns) has(user proto.UserID) bool {
	if r.active.Load() == 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.users[user] != nil
}

// blocksPush reports whether no message may reach user's session now: an older
// session of the user returns texts, or may soon. A flush of the session itself
// blocks nothing: the session takes what comes after it, unless it is held.
func (r *returns) blocksPush(user proto.UserID) bool {
	if r.active.Load() == 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	u := r.users[user]
	return u != nil && (u.expected > 0 || slices.ContainsFunc(u.jobs, func(j returnJob) bool { return j.end }))
}

// returning is has for sessions up to a generation.
func (r *returns) returning(user proto.UserID, upTo proto.Generation) bool {
	if r.active.Load() == 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	u := r.users[user]
	if u == nil {
		return false
	}
	for i := range u.jobs {
		if u.jobs[i].generation <= upTo {
			return true
		}
	}
	return u.expected > 0
}

// expect is called before another goroutine than the session's event loop may take
// a session of user out of the directory. Until arrived is called the user counts
// as returning.
func (r *returns) expect(user proto.UserID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ensure(user).expected++
}

// arrived is called when the session's event loop has ended it and has added its
// kept texts, or when there was no session.
func (r *returns) arrived(user proto.UserID) {
	r.mu.Lock()
	u := r.ensure(user)
	u.expected--
	done := r.finish(u)
	r.mu.Unlock()
	call(done, true)
}

// add takes over the return of a session, and reports whether there was room. The
// return of an ended session replaces its own flush that has not been sent.
func (r *returns) add(user proto.UserID, job returnJob) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.isFull(&job) {
		return false
	}
	u := r.ensure(user)
	if n := len(u.jobs); n > 0 && !u.jobs[n-1].end && u.jobs[n-1].ref == job.ref && (u.id == 0 || n > 1) {
		r.count(&u.jobs[n-1], -1)
		u.jobs = u.jobs[:n-1]
	}
	u.jobs = append(u.jobs, job)
	r.count(&job, 1)
	r.queue(u)
	r.sendWaiting()
	return true
}

// isFull reports whether there is no room for job. Flushes, whose sessions still
// have the texts, may take half of it.
func (r *returns) isFull(job *returnJob) bool {
	most := r.server.config.KeptBudget / 2
	if !job.end {
		most /= 2
	}
	return r.bytes.Load()+job.bytes() > most
}

// wait has do called when all present returns of user are in the box, or with false
// when they could not be put there. If there is nothing to wait for, it reports
// false and does not call do.
func (r *returns) wait(user proto.UserID, do func(returned bool)) bool {
	if r.active.Load() == 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	u := r.users[user]
	if u == nil {
		return false
	}
	u.waiters = append(u.waiters, do)
	return true
}

// answered is the route's answer to the record of id. The user counts as returning
// until the session has been notified of the end of its flush: an event loop that
// finds nothing returning has that letter in its mailbox.
func (r *returns) answered(id uint64, verdict proto.Verdict) {
	r.mu.Lock()
	u := r.underWay[id]
	if u == nil {
		r.mu.Unlock()
		return // the answer was late
	}
	r.release(u)
	var settled []returnRecord
	switch verdict {
	case proto.VerdictTaken:
		r.away = false
		settled = r.recordDone(u)
	case proto.VerdictRefused:
		r.away = false
		settled = r.giveUp(u)
	default:
		r.backOff()
		r.dropFlush(u)
	}
	flushed, kept := r.removeDone(u)
	r.queue(u)
	r.sendWaiting()
	u.settling++
	r.mu.Unlock()
	for _, record := range settled {
		r.server.settleReturned(u.user, record, verdict == proto.VerdictTaken)
	}
	for i := range flushed {
		r.server.notifyFlushed(&flushed[i])
	}
	r.mu.Lock()
	u.settling--
	done := r.finish(u)
	r.mu.Unlock()
	call(done, !kept)
}

// linkDown sends the records of an ended link to other links.
func (r *returns) linkDown(l *linkEnd) {
	r.resend(func(u *userReturns) bool { return u.link == l })
}

// linkUp sends at once what waits for a link.
func (r *returns) linkUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resumeAt = 0
	r.sendWaiting()
}

// tick gives up late answers, and retries what waits.
func (r *returns) tick(now shard.Tick) {
	if r.active.Load() > 0 {
		r.resend(func(u *userReturns) bool { return u.due <= now })
	}
}

// resend sends matching records that are under way to the next link.
func (r *returns) resend(matches func(*userReturns) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range r.underWay {
		if matches(u) {
			r.turn++
			r.release(u)
			r.dropFlush(u)
			r.queue(u)
		}
	}
	r.sendWaiting()
}

// outstanding is the number of users with returns, and of their texts.
func (r *returns) outstanding() (users, texts int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range r.users {
		if len(u.jobs) > 0 {
			users++
		}
	}
	return users, int(r.texts.Load())
}

// The caller of the methods below holds mu.

func (r *returns) ensure(user proto.UserID) *userReturns {
	u := r.users[user]
	if u == nil {
		u = &userReturns{user: user}
		r.users[user] = u
		r.active.Add(1)
	}
	return u
}

// finish removes u if nothing of it is left, and returns the functions that waited
// for that.
func (r *returns) finish(u *userReturns) (done []func(bool)) {
	if u.expected > 0 || u.settling > 0 || len(u.jobs) > 0 {
		return nil
	}
	delete(r.users, u.user)
	r.active.Add(-1)
	return u.waiters
}

func (r *returns) queue(u *userReturns) {
	if !u.queued && u.id == 0 && len(u.jobs) > 0 {
		u.queued = true
		r.waiting = append(r.waiting, u)
	}
}

// sendWaiting sends waiting records, as far as the window and the links allow.
func (r *returns) sendWaiting() {
	now := r.server.now()
	for len(r.waiting) > 0 {
		window := returnsUnderWay
		if r.away {
			window = 1
		}
		if len(r.underWay) >= window || r.away && now < r.resumeAt {
			return
		}
		u := r.waiting[0]
		r.waiting = r.waiting[1:]
		u.queued = false
		if !r.send(u, now) {
			r.backOff()
			r.queue(u)
		}
	}
}

// backOff delays the next try.
func (r *returns) backOff() {
	r.away, r.resumeAt = true, r.server.now()+returnPause
}

// send sends u's first record on the link of the user's SENDs, or on the next one
// that has room.
func (r *returns) send(u *userReturns, now shard.Tick) bool {
	job := &u.jobs[0]
	record := proto.Record{
		Kind: proto.RecordReturn, ID: r.last + 1, User: u.user, Generation: job.generation, Body: job.records[0].body,
	}
	l := r.server.links.sendVia(&record, r.turn)
	if l == nil {
		return false
	}
	r.last++
	u.id, u.link, u.due = r.last, l, now+returnTicks
	r.underWay[u.id] = u
	return true
}

// release takes u's record back from its link.
func (r *returns) release(u *userReturns) {
	delete(r.underWay, u.id)
	u.id, u.link = 0, nil
}

// recordDone removes u's first record, which is in the box, and returns the records
// that are settled by it.
func (r *returns) recordDone(u *userReturns) (settled []returnRecord) {
	job := &u.jobs[0]
	first := job.records[0]
	r.server.metrics.returned.Add(first.texts)
	if r.flushIsOverdue(u) {
		settled = r.forgetDone(&u.jobs[1], first.body)
	}
	r.count(job, -1)
	job.records = job.records[1:]
	r.count(job, 1)
	return append(settled, first)
}

// forgetDone removes messages that are in the box already from the job of an ended
// session, and returns the records that become empty.
func (r *returns) forgetDone(job *returnJob, done []byte) (settled []returnRecord) {
	r.count(job, -1)
	kept := job.records[:0]
	for _, record := range job.records {
		if record.forget(done); record.texts == 0 {
			settled = append(settled, record)
		} else {
			kept = append(kept, record)
		}
	}
	job.records = kept
	r.count(job, 1)
	return settled
}

// giveUp is called when the box has no room for u's first record. A live session
// keeps its texts; those of an ended session are lost, and returned.
func (r *returns) giveUp(u *userReturns) (lost []returnRecord) {
	job := &u.jobs[0]
	job.refused = true
	n := len(job.records)
	if job.end {
		n = 1
		lost = job.records[:1:1]
	}
	r.count(job, -1)
	job.records = job.records[n:]
	r.count(job, 1)
	return lost
}

// removeDone removes the jobs without records, and returns the flushes among them.
// kept: one had no room, and its session still has the texts.
func (r *returns) removeDone(u *userReturns) (flushed []returnJob, kept bool) {
	left := u.jobs[:0]
	for _, job := range u.jobs {
		switch {
		case len(job.records) > 0:
			left = append(left, job)
		case !job.end:
			flushed = append(flushed, job)
			kept = kept || job.refused
		}
	}
	clear(u.jobs[len(left):])
	u.jobs = left
	return flushed, kept
}

// flushIsOverdue reports whether u's first job is the flush of a session that has
// ended since: the next job has all its texts.
func (r *returns) flushIsOverdue(u *userReturns) bool {
	return len(u.jobs) > 1 && !u.jobs[0].end && u.jobs[1].ref == u.jobs[0].ref
}

// dropFlush removes such a flush, which must not be under way.
func (r *returns) dropFlush(u *userReturns) {
	if r.flushIsOverdue(u) {
		r.count(&u.jobs[0], -1)
		u.jobs = u.jobs[1:]
	}
}

// count adds a job to the gauges, or removes it, by sign.
func (r *returns) count(job *returnJob, sign int64) {
	r.bytes.Add(sign * job.bytes())
	for _, record := range job.records {
		r.texts.Add(sign * int64(record.texts))
	}
}

func call(waited []func(bool), returned bool) {
	for _, do := range waited {
		do(returned)
	}
}
