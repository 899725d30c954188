package route

import (
	"fmt"
	"sync"

	"cim/internal/metrics"
	"cim/proto"
)

// counters are the route's metrics.
type counters struct {
	set *metrics.Set

	// asks are the records sent to servers, by kind and by what came back: a
	// verdict, or one of the names of a missing answer.
	asks [proto.RecordJoin + 1]*family[string]

	private      *family[proto.Code] // private messages, by the sender's answer
	broadcasts   *family[proto.Code] // group messages, by the sender's answer
	partsLost    *metrics.Counter    // parts of broadcasts that a live server did not take, or could not be sent
	stored       *metrics.Counter    // texts
	boxFull      *family[string]     // messages that were not stored, by the bound that was reached
	catchups     *family[string]     // by how they ended
	refused      *family[string]     // by the bound that was reached
	http         *family[int]        // requests that were none, by HTTP status
	acceptPauses *metrics.Counter    // of its port, for want of descriptors
	access       *family[string]     // requests that the caller may not make, by why
	limited      *family[string]     // requests above a limit of their user or address, by the limit
	anonymous    *metrics.Counter    // requests that mode check lets pass and mode require would refuse
	evicted      *metrics.Counter    // HTTP connections closed in favour of a newcomer

	onlineLists *metrics.Counter // of the connected users, that were made

	storeFaults  *family[string]  // calls of the store that failed: away, or for its own reasons
	lastKnown    *metrics.Counter // requests served from a cached record
	joins        *metrics.Counter // logins added to one whose client has not connected yet
	doubts       *metrics.Counter // requests refused since the server of a session was out of reach
	foreign      *metrics.Counter // members whose link has another version
	checked      *metrics.Counter // sessions of a server that were compared with the store
	checksFailed *metrics.Counter // tries to
	checksWaited *metrics.Counter // calls to that waited for others
	returned     *metrics.Counter // records that the store had lost and has again
	superseded   *metrics.Counter // sessions ended since their record had gone to another login

	receipts      *family[string]  // receipts from servers, by outcome
	returns       *family[string]  // returns of sessions, by the route's verdict
	textsReturned *metrics.Counter // texts that sessions had kept, back in the box
	textsAcked    *metrics.Counter // stored texts that were removed since their receiver has acknowledged them

	suspicions *metrics.Counter // times that a server became suspect
	linksShed  *metrics.Counter // ended since they held most of what connections may hold in memory
	paused     *metrics.Counter // times that a server said that its process stood still

	late    *metrics.Counter // answers that came too late or that nothing waits for
	unknown *metrics.Counter // records of a kind that no server sends
}

func newCounters(set *metrics.Set) *counters {
	c := &counters{
		set:          set,
		private:      newFamily[proto.Code](set, `cim_route_private_total{code="%v"}`),
		broadcasts:   newFamily[proto.Code](set, `cim_route_group_total{code="%v"}`),
		partsLost:    set.Counter("cim_route_group_parts_lost_total"),
		stored:       set.Counter("cim_route_stored_texts_total"),
		boxFull:      newFamily[string](set, `cim_route_box_full_total{bound="%v"}`),
		catchups:     newFamily[string](set, `cim_route_catchups_total{outcome="%v"}`),
		refused:      newFamily[string](set, `cim_route_refused_total{what="%v"}`),
		http:         newFamily[int](set, `cim_route_http_refused_total{status="%v"}`),
		acceptPauses: set.Counter(`cim_accept_pauses_total{port="route"}`),
		access:       newFamily[string](set, `cim_route_access_refused_total{why="%v"}`),
		limited:      newFamily[string](set, `cim_route_limited_total{what="%v"}`),
		anonymous:    set.Counter("cim_route_access_anonymous_total"),
		evicted:      set.Counter("cim_route_http_evicted_total"),

		onlineLists: set.Counter("cim_route_online_lists_total"),

		storeFaults:  newFamily[string](set, `cim_route_store_faults_total{kind="%v"}`),
		lastKnown:    set.Counter("cim_route_last_known_records_used_total"),
		joins:        set.Counter("cim_route_logins_joined_total"),
		doubts:       set.Counter("cim_route_requests_in_doubt_total"),
		foreign:      set.Counter("cim_route_members_of_another_version_total"),
		checked:      set.Counter("cim_route_sessions_checked_total"),
		checksFailed: set.Counter("cim_route_checks_failed_total"),
		checksWaited: set.Counter("cim_route_checks_waited_total"),
		returned:     set.Counter("cim_route_records_returned_total"),
		superseded:   set.Counter("cim_route_sessions_superseded_total"),

		receipts:      newFamily[string](set, `cim_route_receipts_total{outcome="%v"}`),
		returns:       newFamily[string](set, `cim_route_returns_total{verdict="%v"}`),
		textsReturned: set.Counter("cim_route_texts_returned_total"),
		textsAcked:    set.Counter("cim_route_texts_acknowledged_total"),

		suspicions: set.Counter("cim_route_suspicions_total"),
		linksShed:  set.Counter("cim_route_links_shed_total"),
		paused:     set.Counter("cim_route_servers_paused_total"),

		late:    set.Counter("cim_route_answers_late_total"),
		unknown: set.Counter("cim_route_records_unknown_total"),
	}
	for kind, name := range recordNames {
		if name == "" {
			continue // of a kind that is not asked
		}
		c.asks[kind] = newFamily[string](set, `cim_route_asks_total{record="`+name+`",reply="%v"}`)
	}
	return c
}

var recordNames = [...]string{
	0: "none", proto.RecordPush: "push", proto.RecordBroadcast: "broadcast", proto.RecordGrant: "grant",
	proto.RecordRevoke: "revoke", proto.RecordHold: "hold", proto.RecordResume: "resume",
	proto.RecordReturning: "returning", proto.RecordJoin: "join",
}

// family is a set of counters that differ in one label. The label has few values, all chosen by us.
type family[K comparable] struct {
	set    *metrics.Set
	format string // the name, with %v for the label's value

	mu       sync.RWMutex
	counters map[K]*metrics.Counter
}

func newFamily[K comparable](set *metrics.Set, format string) *family[K] {
	return &family[K]{set: set, format: format, counters: map[K]*metrics.Counter{}}
}

func (f *family[K]) inc(value K) {
	f.mu.RLock()
	counter := f.counters[value]
	f.mu.RUnlock()
	if counter == nil {
		counter = f.add(value)
	}
	counter.Inc()
}

func (f *family[K]) add(value K) *metrics.Counter {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counters[value] = f.set.Counter(fmt.Sprintf(f.format, value))
	return f.counters[value]
}

// each calls visit with each value that was counted, and its count.
func (f *family[K]) each(visit func(value K, count uint64)) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for value, counter := range f.counters {
		visit(value, counter.Get())
	}
}

func (f *family[K]) sum() (total uint64) {
	f.each(func(_ K, count uint64) { total += count })
	return total
}

// requestsTo counts the requests to one path by code.
func (c *counters) requestsTo(path string) *family[proto.Code] {
	return newFamily[proto.Code](c.set, `cim_route_requests_total{path="`+path+`",code="%v"}`)
}
