package route

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cim/internal/httpserve"
	"cim/proto"
	"cim/route/access"
)

// TestConfigCheck: the defaults pass, each bound holds at its edge, and all
// faults are reported at once, each with its value.
func TestConfigCheck(t *testing.T) {
	if err := DefaultConfig().Check(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	for _, c := range []struct {
		change func(*Config)
		says   string // "": no fault
	}{
		{func(c *Config) { c.Port = 0 }, ""},
		{func(c *Config) { c.Port = 65535 }, ""},
		{func(c *Config) { c.Port = 65536 }, "65536"},
		{func(c *Config) { c.Port = -1 }, "-1"},
		{func(c *Config) { c.Bind = "" }, `bind ""`},
		{func(c *Config) { c.ServerChoice = ChoiceRoundRobin }, ""},
		{func(c *Config) { c.ServerChoice = ChoiceRandom }, ""},
		{func(c *Config) { c.ServerChoice = "best" }, `"best"`},
		{func(c *Config) { c.RepeatLogin = RepeatReplace }, ""},
		{func(c *Config) { c.RepeatLogin = "allow" }, `"allow"`},
		{func(c *Config) { c.Addresses.Share = 0 }, "address-share 0 "},
		{func(c *Config) { c.HTTPIdle = httpserve.IdleTimeoutMin }, ""},
		{func(c *Config) { c.HTTPIdle = httpserve.IdleTimeoutMin - 1 }, "http-idle-timeout 999.999999ms"},
		{func(c *Config) { c.HTTPIdle = httpserve.IdleTimeoutMax + 1 }, "http-idle-timeout 1h0m0.000000001s"},
		{func(c *Config) { c.HTTPConnsMax = 1 }, ""},
		{func(c *Config) { c.HTTPConnsMax = 0 }, "connections 0"},
		{func(c *Config) { c.HTTPConnsMax = httpConnsLimit }, ""},
		{func(c *Config) { c.HTTPConnsMax = httpConnsLimit + 1 }, "100001"},
	} {
		config := DefaultConfig()
		c.change(&config)
		err := config.Check()
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want it to say %q", config, err, c.says)
		}
	}
	all := Config{Port: -1, ServerChoice: "a", RepeatLogin: "b", LoginAddress: "c"}.Check().Error()
	if n := len(strings.Split(all, "\n")); n != 10 {
		t.Errorf("%d faults reported, want 10: %s", n, all)
	}
}

// TestStartFails: a wrong setting, and an address that is taken, are errors
// that name it.
func TestStartFails(t *testing.T) {
	if _, err := Start(Config{}, Deps{}); err == nil {
		t.Error("an empty configuration was taken")
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	config := testConfig()
	config.Port = taken.Addr().(*net.TCPAddr).Port
	if _, err := Start(config, Deps{}); err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("a taken address: %v", err)
	}
}

// TestReady names each part that is not ready.
func TestReady(t *testing.T) {
	hooked := &hookedStore{}
	w := newWorldWith(t, 1, testConfig(), hooked)
	if err := w.route.Ready(); err != nil {
		t.Errorf("ready: %v", err)
	}
	hooked.ready = errors.New("disk full")
	if err := w.route.Ready(); err == nil || !strings.Contains(err.Error(), "store: disk full") {
		t.Errorf("store: %v", err)
	}
	hooked.ready = nil
	w.deregister(1)
	if err := w.route.Ready(); err == nil || !strings.Contains(err.Error(), "no live server") {
		t.Errorf("no server: %v", err)
	}
	w.stop()
	if err := w.route.Ready(); !errors.Is(err, errDraining) {
		t.Errorf("after the drain: %v", err)
	}
}

// TestDrainFinishes: a request in flight is answered with Connection: close; new ones are not
// accepted.
func TestDrainFinishes(t *testing.T) {
	hooked := &hookedStore{}
	w := newWorldWith(t, 1, testConfig(), hooked)
	ann, ben := w.account("ann"), w.account("ben")
	began, goOn := make(chan struct{}), make(chan struct{})
	hooked.before = func(call string) error {
		if call == "Append" {
			close(began)
			<-goOn
		}
		return nil
	}
	answered := make(chan error, 1)
	go func() {
		status, a, err := w.try(http.MethodPost, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "x"))
		if err == nil && (status != http.StatusOK || a.Code != proto.Number(proto.CodeOffline)) {
			err = fmt.Errorf("HTTP %d, code %d", status, a.Code)
		}
		answered <- err
	}()
	<-began
	drained := make(chan struct{})
	go func() { w.stop(); close(drained) }()
	w.eventually("nothing more accepted", func() bool {
		conn, err := net.Dial("tcp", w.route.Addr())
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	close(goOn)
	if err := <-answered; err != nil {
		t.Errorf("request in flight: %v", err)
	}
	<-drained
	select {
	case err := <-w.route.Done():
		t.Errorf("a drain is an end that was asked for, and Done says %v", err)
	default:
	}
	if !slices.Equal(w.boxed(ben.ID), []string{"x"}) {
		t.Errorf("stored %q", w.boxed(ben.ID))
	}
}

// TestDrainForced: when the time is over nothing in flight is waited for.
func TestDrainForced(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.online("ann", false)
	w.servers[1].follow(func(r *proto.Record) (*proto.Record, bool) { return nil, true })
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		_, _, _ = w.try(http.MethodPost, proto.PathGroup, groupRequest(ann.ID, "no answer"))
	}()
	w.eventually("the broadcast", func() bool { return w.servers[1].askedFor(proto.RecordBroadcast) == 1 })
	w.stopped = true
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := w.route.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("drain: %v", err)
	}
	if took := time.Since(began); took >= broadcastTimeout {
		t.Errorf("took %v", took)
	}
	<-asked
	w.http.CloseIdleConnections()
}

// TestDrainSlowReader: a catch-up that waits for a slow reader does not delay the drain beyond its
// grace, and its last texts stay stored.
func TestDrainSlowReader(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.account("ann"), w.account("ben")
	w.put(ann, ben.ID, "x")
	w.servers[1].follow(verdictTo(proto.RecordPush, 0))
	w.login(ben, "")
	w.servers[1].connect(ben.ID, false)
	w.eventually("the page", func() bool { return w.servers[1].askedFor(proto.RecordPush) == 1 })
	began := time.Now()
	w.stop()
	if took := time.Since(began); took < catchupGrace || took > 10*catchupGrace {
		t.Errorf("took %v, want %v", took, catchupGrace)
	}
	if !slices.Equal(w.boxed(ben.ID), []string{"x"}) {
		t.Errorf("stored %q", w.boxed(ben.ID))
	}
}

// brokenListener fails as a listener does whose socket is gone, after temporary errors.
type brokenListener struct {
	net.Listener
	errs chan error
}

func (b brokenListener) Accept() (net.Conn, error) { return nil, <-b.errs }

// TestDone: a temporary error passes, and any other end of the listener is reported.
func TestDone(t *testing.T) {
	w := newWorld(t, 0)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	broken := brokenListener{inner, make(chan error, 2)}
	gone := errors.New("socket gone")
	broken.errs <- fmt.Errorf("accept: %w", syscall.EMFILE)
	broken.errs <- gone
	deps := w.deps()
	deps.Log = w.route.log
	r := newRoute(testConfig(), deps, &access.Gate{}, broken)
	if err := <-r.Done(); !errors.Is(err, gone) {
		t.Errorf("done: %v", err)
	}
	if err := r.Drain(t.Context()); err != nil {
		t.Errorf("drain: %v", err)
	}
}

// TestUnknownRecord: a record that no server sends is counted and harms
// nothing.
func TestUnknownRecord(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.online("ann", false)
	f := w.servers[1]
	f.mu.Lock()
	f.sendUnsolicited(&proto.Record{Kind: 99})
	f.sendUnsolicited(&proto.Record{Kind: proto.RecordAnswer, ID: 1 << 60})
	f.mu.Unlock()
	w.want(proto.CodeSuccess, proto.PathPrivate, privateRequest(ann.ID, ann.ID, "x"))
	for _, name := range []string{"cim_route_records_unknown_total", "cim_route_answers_late_total"} {
		if got := w.counter(name); got != "1" {
			t.Errorf("%s is %s, want 1", name, got)
		}
	}
}
