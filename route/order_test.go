package route

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"cim/proto"
)

// leftoverMax bounds how long a user who is connected may have something left
// in the store. It is promised to be 2 s where nothing else keeps the machine
// busy.
const leftoverMax = 10 * time.Second

// TestStoreAndLoginInterleaved: senders send one message after the other, over two routes, while
// their receivers come and go at two servers. Nothing is lost, nothing arrives twice, each sender's
// messages arrive in order, and a user who stays has no text left in the store. UP is not repeated
// for held sessions: the catch-ups must do without it.
func TestStoreAndLoginInterleaved(t *testing.T) {
	const seed = 20240607
	const receivers, senders, each = 4, 6, 60
	t.Logf("seed %d", seed)
	config := testConfig()
	config.ServerChoice = ChoiceRoundRobin
	w := newWorldWith(t, 2, config, &hookedStore{})
	arrived := newArrivals()
	for _, f := range w.servers {
		f.arrived = arrived
	}
	routes := []*world{w, w.another()}
	var to []proto.User
	for i := range receivers {
		to = append(to, w.account(fmt.Sprintf("receiver%d", i)))
	}
	sent := make(chan struct{})
	var sending, moving sync.WaitGroup
	for i := range senders {
		from := w.account(fmt.Sprintf("s%d", i))
		sending.Go(func() { sendTo(t, routes[i%len(routes)], from, to, each) })
	}
	for i, user := range to {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		moving.Go(func() { w.comeAndGo(user, random, sent) })
	}
	sending.Wait()
	close(sent)
	moving.Wait()
	for _, user := range to {
		w.checkArrived(user, arrived, senders, each)
	}
}

// another starts a second route beside w's, on the same store and servers.
func (w *world) another() *world {
	more := *w
	var err error
	deps := w.deps()
	deps.Log = w.route.log // one handler writes to the buffer
	more.route, err = Start(w.route.config, deps)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(more.stop)
	w.eventually("links of the other route up", func() bool {
		return len(more.route.cluster.servers().linked()) == len(w.servers)+len(w.keeping)
	})
	return &more
}

// sendTo sends each receiver numbered texts, each after the answer to the one before.
func sendTo(t *testing.T, w *world, from proto.User, to []proto.User, each int) {
	for n := range each {
		for _, user := range to {
			status, a, err := w.try(http.MethodPost, proto.PathPrivate, privateRequest(from.ID, user.ID, strconv.Itoa(n)))
			if err != nil || status != http.StatusOK || a.Code != 9000 && a.Code != 7000 {
				t.Errorf("%s to %s: HTTP %d, code %d, %v", from.Name, user.Name, status, a.Code, err)
				return
			}
		}
	}
}

// comeAndGo logs user in and out until all is sent, and then in for good.
func (w *world) comeAndGo(user proto.User, random *rand.Rand, sent <-chan struct{}) {
	for {
		w.login(user, "")
		f := w.serverOf(user.ID)
		f.connect(user.ID, false)
		stay := time.NewTimer(time.Duration(random.IntN(8000)) * time.Microsecond)
		select {
		case <-sent:
			stay.Stop()
			return
		case <-stay.C:
		}
		f.disconnect(user.ID)
	}
}

func (w *world) checkArrived(user proto.User, arrived *arrivals, senders, each int) {
	w.t.Helper()
	began := time.Now()
	w.eventually("nothing left in the store of "+user.Name, func() bool { return len(w.boxed(user.ID)) == 0 })
	if took := time.Since(began); took > leftoverMax {
		w.t.Errorf("%s had something left for %v", user.Name, took)
	}
	w.eventually(user.Name+" is not held", func() bool {
		s, found := w.serverOf(user.ID).session(user.ID)
		return found && !s.held
	})
	got := map[string][]string{}
	offline := 0
	for _, d := range arrived.of(user.ID) {
		got[d.sender] = append(got[d.sender], d.text)
		if d.command == proto.CommandOffline {
			offline++
		}
	}
	var want []string
	for n := range each {
		want = append(want, strconv.Itoa(n))
	}
	for sender := range senders {
		if texts := got[fmt.Sprintf("s%d", sender)]; !slices.Equal(texts, want) {
			w.t.Errorf("%s got from s%d: %v", user.Name, sender, texts)
		}
	}
	if all := senders * each; offline == 0 || offline == all {
		w.t.Errorf("%d of %d texts came by catch-up: the test shows less than it says", offline, all)
	}
}
