package compat

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"cim/internal/link"
	"cim/internal/metrics"
	"cim/proto"
	"cim/registry"
	"cim/route"
	"cim/store"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// fasthttp keeps one goroutine for the Date header, for ever.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		// gnet's pool of workers, and the keepers of idle connections, which end by
		// themselves.
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner"))
}

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// world is a route beside the original, with servers of both.
type world struct {
	t        testing.TB
	route    *route.Route
	adapter  *Adapter
	store    *sharedMemory
	registry *registry.Memory
	metrics  *metrics.Set
	log      *bytes.Buffer // read after stop only
	servers  map[proto.Epoch]*fakeServer
	http     *http.Client
	stopped  bool
}

// newWorld starts a route with so many servers of ours, whose epochs count from 1.
func newWorld(t testing.TB, ours int) *world { return newWorldWith(t, ours, Config{Servers: true}) }

func newWorldWith(t testing.TB, ours int, config Config) *world {
	w := &world{
		t: t, store: newSharedMemory(), registry: registry.NewMemory(), metrics: metrics.NewSet(),
		log: &bytes.Buffer{}, servers: map[proto.Epoch]*fakeServer{},
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 2 * patience},
	}
	for i := range ours {
		w.add(proto.Epoch(i+1), fmt.Sprintf("10.0.0.%d:11211:8081", i+1), nil)
	}
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w.adapter = New(config, Deps{Store: w.store, Registry: w.registry, Dial: w.dial, Log: log, Metrics: w.metrics})
	own := route.DefaultConfig()
	own.Port = 0
	var err error
	w.route, err = route.Start(own, route.Deps{
		Store: w.adapter.Store(), Registry: w.adapter, Ungranted: w.adapter, Dial: w.adapter.Dial, Log: log, Metrics: w.metrics,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.adapter.Attach(w.route)
	t.Cleanup(w.stop)
	w.eventually("all links up", func() bool { return w.in(route.MemberLinked) == ours })
	return w
}

// add registers a server of ours.
func (w *world) add(epoch proto.Epoch, name string, change func(m *proto.Member)) *fakeServer {
	w.t.Helper()
	f := newFakeServer(w.t, name, epoch)
	if change != nil {
		change(&f.member)
	}
	w.servers[epoch] = f
	if err := w.registry.Register(context.Background(), f.member); err != nil {
		w.t.Fatal(err)
	}
	return f
}

// remove ends a server of ours.
func (w *world) remove(epoch proto.Epoch) {
	w.t.Helper()
	f := w.servers[epoch]
	f.end()
	if err := w.registry.Deregister(context.Background(), f.member); err != nil {
		w.t.Fatal(err)
	}
	w.eventually("server dropped", func() bool { _, there := w.member(f.member.Name()); return !there })
}

func (w *world) dial(_ context.Context, m proto.Member) (*link.Conn, error) {
	return w.servers[m.Epoch].dial()
}

// in is how many members are so.
func (w *world) in(state string) (n int) {
	for _, m := range w.route.State().Members {
		if m.State == state {
			n++
		}
	}
	return n
}

func (w *world) member(name string) (route.MemberState, bool) {
	for _, m := range w.route.State().Members {
		if m.Name == name {
			return m, true
		}
	}
	return route.MemberState{}, false
}

// home is the place of a server of ours.
func (w *world) home(epoch proto.Epoch) store.Place {
	m := w.servers[epoch].member
	return store.Place{Host: m.Host, CIMPort: m.CIMPort, HTTPPort: m.HTTPPort, Epoch: epoch}
}

func (w *world) stop() {
	if w.stopped {
		return
	}
	w.stopped = true
	w.http.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.route.Drain(ctx); err != nil {
		w.t.Errorf("drain: %v", err)
	}
	w.adapter.Close()
}

// eventually waits until is says true.
func (w *world) eventually(what string, is func() bool) {
	w.t.Helper()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	late := time.NewTimer(patience)
	defer late.Stop()
	for !is() {
		select {
		case <-look.C:
		case <-late.C:
			w.t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}

// try posts body to path. Any goroutine may call it.
func (w *world) try(path, body string) (a proto.Answer, err error) {
	response, err := w.http.Post("http://"+w.route.Addr()+path, "application/json", strings.NewReader(body))
	if err != nil {
		return a, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return a, err
	}
	if a, err = proto.ParseAnswer(raw); err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("HTTP %d", response.StatusCode)
	}
	return a, err
}

// want posts and checks the code.
func (w *world) want(code proto.Code, path, body string) proto.Answer {
	w.t.Helper()
	a, err := w.try(path, body)
	if err != nil || a.Code != proto.Number(code) {
		w.t.Fatalf("%s %s: code %d %q (%v), want %d", path, body, a.Code, a.Message, err, code)
	}
	return a
}

// ask posts a request beside the test, and returns where its code comes.
func (w *world) ask(path, body string) <-chan proto.Code {
	code := make(chan proto.Code, 1)
	go func() {
		a, err := w.try(path, body)
		if err != nil {
			w.t.Errorf("%s: %v", path, err)
		}
		code <- proto.Code(a.Code)
	}()
	return code
}

func (w *world) wantCode(what string, code <-chan proto.Code, want proto.Code) {
	w.t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case got := <-code:
		if got != want {
			w.t.Errorf("%s: code %v, want %v", what, got, want)
		}
	case <-late.C:
		w.t.Fatalf("%s: no answer", what)
	}
}

// outcome waits for the outcome of a SEND.
func (w *world) outcome() proto.Record {
	w.t.Helper()
	select {
	case got := <-w.servers[1].outcomes:
		return got
	case <-time.After(patience):
		w.t.Fatal("no outcome")
		return proto.Record{}
	}
}

// account registers name.
func (w *world) account(name string) proto.User {
	w.t.Helper()
	a := w.want(proto.CodeSuccess, proto.PathRegister, fmt.Sprintf(`{"userName":%q}`, name))
	var body proto.UserBody
	if err := json.Unmarshal(a.DataBody, &body); err != nil {
		w.t.Fatal(err)
	}
	return proto.User{ID: body.UserID, Name: body.UserName}
}

// login logs user in over HTTP and returns the answer.
func (w *world) login(user proto.User, more string) proto.LoginBody {
	w.t.Helper()
	a := w.want(proto.CodeSuccess, proto.PathLogin, loginRequest(user, more))
	var body proto.LoginBody
	if err := json.Unmarshal(a.DataBody, &body); err != nil {
		w.t.Fatal(err)
	}
	return body
}

func loginRequest(user proto.User, more string) string {
	return fmt.Sprintf(`{"userId":%d,"userName":%q%s}`, user.ID, user.Name, more)
}

const ourClient = `,"client":1`

// online registers name and brings it to server 1, caught up. It is called before
// there is another server.
func (w *world) online(name string) proto.User {
	w.t.Helper()
	user := w.account(name)
	w.login(user, ourClient)
	w.servers[1].connect(user.ID)
	w.eventually("caught up", func() bool { return !w.servers[1].session(user.ID).held })
	return user
}

// boxed returns the texts that wait for user.
func (w *world) boxed(user proto.UserID) []string {
	w.t.Helper()
	page, err := w.store.Memory.Page(context.Background(), user, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	var texts []string
	for _, m := range page {
		texts = append(texts, m.Text)
	}
	return texts
}

// put stores a text for receiver behind the route's back.
func (w *world) put(sender proto.User, receiver proto.UserID, texts ...string) {
	w.t.Helper()
	if err := w.store.Memory.Append(context.Background(), receiver, sender, 0, 0, texts); err != nil {
		w.t.Fatal(err)
	}
}

func privateRequest(sender, receiver proto.UserID, text string) string {
	return fmt.Sprintf(`{"userId":%d,"receiveUserId":%d,"msg":%q}`, sender, receiver, text)
}

func groupRequest(sender proto.UserID, text string) string {
	return fmt.Sprintf(`{"userId":%d,"msg":%q}`, sender, text)
}

// counter reads one line of the metrics.
func (w *world) counter(name string) string {
	var out bytes.Buffer
	w.metrics.Write(&out)
	for _, line := range strings.Split(out.String(), "\n") {
		if value, found := strings.CutPrefix(line, name+" "); found {
			return value
		}
	}
	return "0"
}
