package route

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"cim/internal/link"
	"cim/internal/metrics"
	"cim/proto"
	"cim/registry"
	"cim/store"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// fasthttp keeps one goroutine for the Date header for good.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		// It ends within pusherIdle.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner"))
}

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// world is a route with its fake servers.
type world struct {
	t        testing.TB
	route    *Route
	store    *hookedStore
	registry *registry.Memory
	metrics  *metrics.Set
	log      *bytes.Buffer // read after stop only
	servers  map[proto.Epoch]*fakeServer
	keeping  map[proto.Epoch]*keepingServer // of TestKeptTextsInterleaved, instead

	ungranted *fakeUngranted
	http      *http.Client
	stopped   bool
}

// hookedStore is a store in memory that a test may break or pause, with a
// cache that is as wrong as a cache may be. Hooks are set while the route is
// idle.
type hookedStore struct {
	*store.Memory
	before func(call string) error // nil: nothing; an error is the call's
	blind  atomic.Bool             // the cache is empty
	ready  error

	returns atomic.Pointer[error]         // what Return fails by
	block   atomic.Pointer[chan struct{}] // that Return waits for
	blocked atomic.Int64                  // Returns that wait

	mu     sync.Mutex
	cache  map[proto.UserID]store.Record // as old as a cache may be: renewed by fresh lookups only
	guests map[proto.UserID]store.Place  // users whose record names a guest
}

func (h *hookedStore) hook(call string) error {
	if h.before == nil {
		return nil
	}
	return h.before(call)
}

func (h *hookedStore) Ready(context.Context) error { return h.ready }

func (h *hookedStore) Register(ctx context.Context, name string) (proto.User, error) {
	if err := h.hook("Register"); err != nil {
		return proto.User{}, err
	}
	return h.Memory.Register(ctx, name)
}

func (h *hookedStore) Find(ctx context.Context, name string) (proto.User, bool, error) {
	if err := h.hook("Find"); err != nil {
		return proto.User{}, false, err
	}
	return h.Memory.Find(ctx, name)
}

func (h *hookedStore) Account(ctx context.Context, id proto.UserID) (string, bool, error) {
	if err := h.hook("Account"); err != nil {
		return "", false, err
	}
	return h.Memory.Account(ctx, id)
}

func (h *hookedStore) TokensRefusedBefore(ctx context.Context, id proto.UserID) (proto.UnixMilli, error) {
	if err := h.hook("TokensRefusedBefore"); err != nil {
		return 0, err
	}
	return h.Memory.TokensRefusedBefore(ctx, id)
}

func (h *hookedStore) Claim(ctx context.Context, user proto.UserID, place store.Place, seen proto.Generation) (proto.Generation, error) {
	if err := h.hook("Claim"); err != nil {
		return 0, err
	}
	return h.Memory.Claim(ctx, user, place, seen)
}

func (h *hookedStore) Confirm(ctx context.Context, user proto.UserID, generation proto.Generation) (bool, error) {
	if err := h.hook("Confirm"); err != nil {
		return false, err
	}
	return h.Memory.Confirm(ctx, user, generation)
}

func (h *hookedStore) Release(ctx context.Context, user proto.UserID, generation proto.Generation) (bool, error) {
	if err := h.hook("Release"); err != nil {
		return false, err
	}
	return h.Memory.Release(ctx, user, generation)
}

func (h *hookedStore) Restore(ctx context.Context, place store.Place, sessions []proto.Session) (store.Restored, error) {
	if err := h.hook("Restore"); err != nil {
		return store.Restored{}, err
	}
	return h.Memory.Restore(ctx, place, sessions)
}

func (h *hookedStore) Acquire(ctx context.Context, user proto.UserID, ttl time.Duration) (store.Lease, error) {
	if err := h.hook("Acquire"); err != nil {
		return 0, err
	}
	return h.Memory.Acquire(ctx, user, ttl)
}

func (h *hookedStore) Lookup(ctx context.Context, user proto.UserID, f store.Freshness) (store.Record, bool, error) {
	call := "Lookup cached"
	if f == store.Fresh {
		call = "Lookup fresh"
	}
	if err := h.hook(call); err != nil {
		return store.Record{}, false, err
	}
	if f == store.Cached && h.blind.Load() {
		return store.Record{}, false, nil
	}
	return h.lookup(ctx, user, f)
}

func (h *hookedStore) lookup(ctx context.Context, user proto.UserID, f store.Freshness) (store.Record, bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if place, found := h.guests[user]; found {
		return store.Record{Place: place, Connected: true}, true, nil
	}
	if record, found := h.cache[user]; found && f == store.Cached {
		return record, true, nil
	}
	record, found, err := h.Memory.Lookup(ctx, user, f)
	if found {
		h.cache[user] = record
	}
	return record, found, err
}

func (h *hookedStore) Append(ctx context.Context, receiver proto.UserID, sender proto.User, id proto.TextID, at proto.UnixMilli, texts []string) error {
	if err := h.hook("Append"); err != nil {
		return err
	}
	return h.Memory.Append(ctx, receiver, sender, id, at, texts)
}

func (h *hookedStore) Page(ctx context.Context, user proto.UserID, after uint64) ([]store.OfflineMessage, error) {
	if err := h.hook("Page"); err != nil {
		return nil, err
	}
	return h.Memory.Page(ctx, user, after)
}

func (h *hookedStore) Remove(ctx context.Context, user proto.UserID, keys []store.TextKey) error {
	if err := h.hook("Remove"); err != nil {
		return err
	}
	return h.Memory.Remove(ctx, user, keys)
}

func (h *hookedStore) ReleaseIfEmpty(ctx context.Context, user proto.UserID, lease store.Lease, after uint64) (bool, error) {
	if err := h.hook("ReleaseIfEmpty"); err != nil {
		return false, err
	}
	return h.Memory.ReleaseIfEmpty(ctx, user, lease, after)
}

func (h *hookedStore) Connected(ctx context.Context) ([]store.Present, error) {
	if err := h.hook("Connected"); err != nil {
		return nil, err
	}
	return h.Memory.Connected(ctx)
}

// testConfig is the defaults on a free port.
func testConfig() Config {
	c := DefaultConfig()
	c.Port = 0
	return c
}

// newWorld starts a route with n servers, whose epochs count from 1.
func newWorld(t testing.TB, n int) *world { return newWorldWith(t, n, testConfig(), &hookedStore{}) }

func newWorldWith(t testing.TB, n int, config Config, hooked *hookedStore) *world {
	hooked.Memory = store.NewMemory(store.Config{})
	hooked.cache, hooked.guests = map[proto.UserID]store.Record{}, map[proto.UserID]store.Place{}
	w := &world{
		t: t, store: hooked, registry: registry.NewMemory(), metrics: metrics.NewSet(),
		log: &bytes.Buffer{}, servers: map[proto.Epoch]*fakeServer{}, ungranted: newFakeUngranted(),
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 2 * patience},
	}
	for i := range n {
		epoch := proto.Epoch(i + 1)
		w.servers[epoch] = newFakeServer(t, fmt.Sprintf("10.0.0.%d:11211:8081", i+1), epoch)
		w.register(epoch)
	}
	var err error
	w.route, err = Start(config, w.deps())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.stop)
	w.eventually("all links up", func() bool { return len(w.route.cluster.servers().linked()) == n })
	return w
}

func (w *world) deps() Deps {
	return Deps{
		Store: w.store, Registry: w.registry, Ungranted: w.ungranted, Dial: w.dial, Metrics: w.metrics,
		Log: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

func (w *world) dial(_ context.Context, m proto.Member) (*link.Conn, error) {
	if s := w.keeping[m.Epoch]; s != nil {
		return s.dial(), nil
	}
	f := w.servers[m.Epoch]
	if f == nil || f.unreachable.Load() {
		return nil, errors.New("there is no such server")
	}
	if f.crashed.Load() {
		return nil, syscall.ECONNREFUSED
	}
	return f.dial(), nil
}

func (w *world) register(epoch proto.Epoch) {
	if err := w.registry.Register(context.Background(), w.servers[epoch].member); err != nil {
		w.t.Fatal(err)
	}
}

// deregister ends a server for the route: its links too.
func (w *world) deregister(epoch proto.Epoch) {
	w.servers[epoch].unreachable.Store(true)
	defer w.servers[epoch].unreachable.Store(false)
	w.servers[epoch].cutAll()
	if err := w.registry.Deregister(context.Background(), w.servers[epoch].member); err != nil {
		w.t.Fatal(err)
	}
	w.eventually("server dropped", func() bool { return w.route.cluster.server(epoch) == nil })
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
}

// eventually waits until is says true.
func (w *world) eventually(what string, is func() bool) {
	w.t.Helper()
	eventually(w.t, what, is)
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	late := time.NewTimer(patience)
	defer late.Stop()
	for !is() {
		select {
		case <-look.C:
		case <-late.C:
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}

// post sends body to path, checks the form of the answer and returns it.
func (w *world) post(path, body string) (status int, a proto.Answer) {
	w.t.Helper()
	return w.request(http.MethodPost, path, body)
}

func (w *world) request(method, path, body string) (status int, a proto.Answer) {
	w.t.Helper()
	status, a, err := w.try(method, path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	return status, a
}

// try may be called by any goroutine.
func (w *world) try(method, path, body string) (status int, a proto.Answer, err error) {
	request, err := http.NewRequest(method, "http://"+w.route.Addr()+path, strings.NewReader(body))
	if err != nil {
		return 0, a, err
	}
	response, err := w.http.Do(request)
	if err != nil {
		return 0, a, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, a, err
	}
	a, err = readAnswer(response.Header, raw)
	return response.StatusCode, a, err
}

// readAnswer checks that an answer has exactly the members of the contract: old clients break on
// others.
func readAnswer(header http.Header, raw []byte) (proto.Answer, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return proto.Answer{}, fmt.Errorf("answer %q: %w", raw, err)
	}
	for _, name := range []string{"code", "message", "reqNo", "dataBody"} {
		if _, found := members[name]; !found {
			return proto.Answer{}, fmt.Errorf("answer %q lacks %s", raw, name)
		}
	}
	if len(members) != 4 {
		return proto.Answer{}, fmt.Errorf("answer %q has members that the contract does not name", raw)
	}
	if kind, server := header.Get("Content-Type"), header.Get("Server"); kind != "application/json" || server != "" {
		return proto.Answer{}, fmt.Errorf("answer of type %q by server %q", kind, server)
	}
	return proto.ParseAnswer(raw)
}

// want posts and checks the code.
func (w *world) want(code proto.Code, path, body string) proto.Answer {
	w.t.Helper()
	status, a := w.post(path, body)
	if status != http.StatusOK || a.Code != proto.Number(code) {
		w.t.Fatalf("%s %s: HTTP %d, code %d %q, want %d", path, body, status, a.Code, a.Message, code)
	}
	return a
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

// login logs user in over HTTP and returns the answer's body.
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

// online registers name and logs it in at server 1, caught up.
func (w *world) online(name string, ours bool) proto.User {
	w.t.Helper()
	user := w.account(name)
	w.connect(user, ours)
	return user
}

func (w *world) connect(user proto.User, ours bool) proto.LoginBody {
	w.t.Helper()
	more := ""
	if ours {
		more = ourClient
	}
	body := w.login(user, more)
	server := w.serverOf(user.ID)
	server.connect(user.ID, ours)
	w.eventually("caught up", func() bool {
		s, found := server.session(user.ID)
		return found && !s.held
	})
	w.eventually("lease given back", func() bool { return w.idle(user.ID) })
	return body
}

// idle reports whether no catch-up of user runs or waits.
func (w *world) idle(user proto.UserID) bool {
	q := w.route.catchups
	q.mu.Lock()
	defer q.mu.Unlock()
	_, busy := q.users[user]
	return !busy
}

func (w *world) serverOf(user proto.UserID) *fakeServer {
	w.t.Helper()
	record := w.record(user)
	f := w.servers[record.Place.Epoch]
	if f == nil {
		w.t.Fatalf("user %d has record %+v", user, record)
	}
	return f
}

func (w *world) record(user proto.UserID) store.Record {
	w.t.Helper()
	record, _, err := w.store.Memory.Lookup(context.Background(), user, store.Fresh)
	if err != nil {
		w.t.Fatal(err)
	}
	return record
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
