package access

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"cim/internal/token"
	"cim/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noon is the time of all tests.
var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

const (
	ann proto.UserID = 7
	ben proto.UserID = 8
)

// world is a gate with its key.
type world struct {
	t    *testing.T
	gate *Gate
	key  token.Key
	log  bytes.Buffer
}

func newWorld(t *testing.T, algorithm token.Algorithm, change func(*Config)) *world {
	t.Helper()
	w := &world{t: t}
	file, err := token.Generate("k1", algorithm)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := token.ParseKeys(file)
	if err != nil {
		t.Fatal(err)
	}
	w.key, _ = keys.Signing()
	config := DefaultConfig()
	config.KeyFile = filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(config.KeyFile, file, 0o600); err != nil {
		t.Fatal(err)
	}
	change(&config)
	if w.gate, err = Open(config, slog.New(slog.NewTextHandler(&w.log, nil))); err != nil {
		t.Fatal(err)
	}
	w.log.Reset() // what Open has said has a test of its own
	return w
}

func mode(m Mode) func(*Config) { return func(c *Config) { c.Mode = m } }

func (w *world) token(claims token.Claims) string {
	w.t.Helper()
	if claims.Expires.IsZero() {
		claims.Expires = noon.Add(time.Hour)
	}
	text, err := w.key.Issue(claims)
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

// later stands for a refusal that says to ask again later.
const later = -1

// ask is the status that a call gets: 0 if it is served.
func (w *world) ask(shown Credential, call Call, subject proto.UserID) int {
	caller, refusal := w.gate.Identify(shown, noon)
	if refusal == nil {
		refusal = caller.May(call, subject)
	}
	if refusal == nil {
		return 0
	}
	if refusal.Fault == "" || refusal.Text == "" {
		w.t.Errorf("%+v names no fault or says nothing", refusal)
	}
	if refusal.Status == 0 {
		return later
	}
	return refusal.Status
}

func bearer(text string) Credential { return Credential{Header: "Bearer " + text} }

// TestEveryCell checks each call by each kind of caller in each mode.
func TestEveryCell(t *testing.T) {
	calls := []Call{Register, Find, Login, OffLine, Private, Group, FetchOffline, OnlineUser}
	if len(calls) != int(callCount) {
		t.Fatalf("%d calls here, %d in the table", len(calls), callCount)
	}
	// One row a caller; a column a call, in the order of calls. All requests
	// are in ann's name.
	for _, c := range []struct {
		mode     Mode
		register Registration
		caller   string
		want     [8]int
	}{
		{Off, RegisterOpen, "none", [8]int{}},
		{Off, RegisterService, "none", [8]int{}},
		{Off, RegisterOpen, "wrong", [8]int{}},
		{Check, RegisterOpen, "none", [8]int{}},
		{Check, RegisterService, "none", [8]int{}},
		{Check, RegisterOpen, "wrong", [8]int{401, 401, 401, 401, 401, 401, 401, 401}},
		{Check, RegisterOpen, "ann", [8]int{}},
		{Check, RegisterOpen, "ben", [8]int{0, 0, 403, 403, 403, 403, 403, 0}},
		{Check, RegisterService, "ann", [8]int{403, 0, 0, 0, 0, 0, 0, 0}},
		{Check, RegisterService, "service", [8]int{}},
		{Check, RegisterOpen, "ann's path", [8]int{0, 403, 0, 0, 0, 0, 0, 403}},
		{Require, RegisterOpen, "none", [8]int{0, 401, 401, 401, 401, 401, 401, 401}},
		{Require, RegisterService, "none", [8]int{401, 401, 401, 401, 401, 401, 401, 401}},
		{Require, RegisterOpen, "wrong", [8]int{401, 401, 401, 401, 401, 401, 401, 401}},
		{Require, RegisterOpen, "ann", [8]int{}},
		{Require, RegisterOpen, "ben", [8]int{0, 0, 403, 403, 403, 403, 403, 0}},
		{Require, RegisterService, "ann", [8]int{403, 0, 0, 0, 0, 0, 0, 0}},
		{Require, RegisterOpen, "service", [8]int{}},
		{Require, RegisterService, "service", [8]int{}},
		{Require, RegisterService, "ann's path", [8]int{403, 403, 0, 0, 0, 0, 0, 403}},
		{Require, RegisterOpen, "ben's path", [8]int{0, 403, 403, 403, 403, 403, 403, 403}},
	} {
		t.Run(fmt.Sprint(c.mode, c.register, c.caller), func(t *testing.T) {
			w := newWorld(t, token.HS256, func(config *Config) { config.Mode, config.Register = c.mode, c.register })
			path := func(user proto.UserID) Credential {
				return Credential{Path: w.token(token.Claims{User: int64(user), Audiences: []string{token.AudiencePath}, Expires: noon.Add(7 * 24 * time.Hour)})}
			}
			shown := map[string]Credential{
				"none": {}, "wrong": bearer("x"),
				"ann": bearer(w.token(token.Claims{User: int64(ann)})), "ben": bearer(w.token(token.Claims{User: int64(ben)})),
				"service":    bearer(w.token(token.Claims{Service: true})),
				"ann's path": path(ann), "ben's path": path(ben),
			}[c.caller]
			for i, call := range calls {
				if got := w.ask(shown, call, ann); got != c.want[i] {
					t.Errorf("call %d: %d, want %d", call, got, c.want[i])
				}
			}
			if w.log.Len() > 0 {
				t.Errorf("logged: %s", &w.log)
			}
		})
	}
}

// TestKindsOfTokensKeepApart: a token counts only where it is meant for.
func TestKindsOfTokensKeepApart(t *testing.T) {
	week := noon.Add(7 * 24 * time.Hour)
	path := []string{token.AudiencePath}
	w := newWorld(t, token.HS256, func(c *Config) { c.Mode, c.PathDays = Require, 7 })
	strict := newWorld(t, token.HS256, func(c *Config) { c.Mode, c.PathDays, c.Audience = Require, 0, "chat" })
	for name, c := range map[string]struct {
		world *world
		shown Credential
		want  int
	}{
		"a path's token in the header":        {w, bearer(w.token(token.Claims{User: int64(ann), Audiences: path})), 401},
		"a header's token in the path":        {w, Credential{Path: w.token(token.Claims{User: int64(ann)})}, 401},
		"a week in the header":                {w, bearer(w.token(token.Claims{User: int64(ann), Expires: week})), 401},
		"a week in the path":                  {w, Credential{Path: w.token(token.Claims{User: int64(ann), Audiences: path, Expires: week})}, 0},
		"longer than the path allows":         {w, Credential{Path: w.token(token.Claims{User: int64(ann), Audiences: path, Expires: week.Add(2 * time.Minute)})}, 401},
		"a service in the path":               {w, Credential{Path: w.token(token.Claims{Service: true, Audiences: path})}, 401},
		"a path's token where none are taken": {strict, Credential{Path: strict.token(token.Claims{User: int64(ann), Audiences: path})}, 401},
		"the audience":                        {strict, bearer(strict.token(token.Claims{User: int64(ann), Audiences: []string{"chat"}})), 0},
		"another audience":                    {strict, bearer(strict.token(token.Claims{User: int64(ann), Audiences: []string{"shop"}})), 401},
		"another scheme":                      {w, Credential{Header: "Basic " + w.token(token.Claims{User: int64(ann)})}, 401},
		"no token after the scheme":           {w, Credential{Header: "Bearer "}, 401},
		"the scheme in small letters":         {w, Credential{Header: "bearer  " + w.token(token.Claims{User: int64(ann)})}, 0},
		"a header that is wrong, a path that is right": {
			w, Credential{Header: "Bearer x", Path: w.token(token.Claims{User: int64(ann), Audiences: path})}, 401,
		},
	} {
		if got := c.world.ask(c.shown, Login, ann); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// TestEd25519ChecksArePaidFor: one address has its bucket, another its own, and
// neither HS256 nor a token that was right before takes anything from it.
func TestEd25519ChecksArePaidFor(t *testing.T) {
	w, other := newWorld(t, token.EdDSA, mode(Require)), newWorld(t, token.EdDSA, mode(Require))
	known, fresh := bearer(w.token(token.Claims{User: int64(ann)})), bearer(w.token(token.Claims{User: int64(ben)}))
	wrong := bearer(other.token(token.Claims{User: int64(ann)}))
	known.From = netip.MustParseAddr("2001:db8::1")
	wrong.From, fresh.From = known.From, netip.MustParseAddr("2001:db8::2") // of the same 64 bits
	for i := range 2 * checksBurst {
		if got := w.ask(known, Login, ann); got != 0 {
			t.Fatalf("request %d with one token: %d, want it served", i, got)
		}
	}
	for range checksBurst - 1 {
		if got := w.ask(wrong, Login, ann); got != 401 {
			t.Fatalf("a token of another key: %d, want 401", got)
		}
	}
	if got := w.ask(fresh, Login, ben); got != later {
		t.Errorf("one check past the bucket: %d, want %d", got, later)
	}
	if got := w.ask(known, Login, ann); got != 0 {
		t.Errorf("a token that was right before, past the bucket: %d, want it served", got)
	}
	fresh.From = netip.MustParseAddr("2001:db8:0:1::1")
	if got := w.ask(fresh, Login, ben); got != 0 {
		t.Errorf("another address: %d, want it served", got)
	}
	w = newWorld(t, token.HS256, mode(Require))
	shown := bearer(w.token(token.Claims{User: int64(ann)}))
	for range checksBurst + 1 {
		if got := w.ask(shown, Login, ann); got != 0 {
			t.Fatalf("HS256: %d, want it served", got)
		}
	}
}

// TestKeysWithoutAMode: the log warns of keys without a mode.
func TestKeysWithoutAMode(t *testing.T) {
	for file, want := range map[string]bool{"": false, "keys.json": true} {
		var log bytes.Buffer
		config := DefaultConfig()
		config.KeyFile = file
		if _, err := Open(config, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
			t.Fatal(err)
		}
		if told := strings.Contains(log.String(), "auth is off"); told != want {
			t.Errorf("auth-keys %q: logged %q", file, &log)
		}
	}
}

// TestOrigins: pages of all other origins are foreign.
func TestOrigins(t *testing.T) {
	w := newWorld(t, token.HS256, func(c *Config) { c.Origins = []string{"https://chat.example.com", "http://localhost:3000"} })
	for _, c := range []struct {
		page Origin
		want Verdict
	}{
		{Origin{Host: "route:8083"}, NoPage},
		{Origin{Host: "route:8083", Site: "none"}, NoPage},
		{Origin{Host: "route:8083", Site: "same-origin"}, NoPage},
		{Origin{Host: "route:8083", Site: "cross-site"}, Foreign},
		{Origin{Host: "route:8083", Site: "same-site"}, Foreign},
		{Origin{Host: "route:8083", Origin: "http://route:8083"}, NoPage},
		{Origin{Host: "route:8083", Origin: "https://route:8083"}, NoPage},
		{Origin{Host: "route:8083", Origin: "http://route"}, Foreign},
		{Origin{Host: "route:8083", Origin: "null"}, Foreign},
		{Origin{Host: "route:8083", Origin: "https://chat.example.com", Site: "cross-site"}, Listed},
		{Origin{Host: "route:8083", Origin: "http://localhost:3000"}, Listed},
		{Origin{Host: "route:8083", Origin: "http://chat.example.com"}, Foreign},
		{Origin{Host: "route:8083", Origin: "https://chat.example.com.attacker.example"}, Foreign},
		{Origin{Host: "route:8083", Origin: "https://chat.example.com:443"}, Foreign},
	} {
		if got := w.gate.Judge(c.page); got != c.want {
			t.Errorf("%+v: %d, want %d", c.page, got, c.want)
		}
	}
}

// TestSplitPath takes tokens out of paths.
func TestSplitPath(t *testing.T) {
	for path, want := range map[string][2]string{
		"/login":         {"", "/login"},
		"/t/abc/login":   {"abc", "/login"},
		"/t/a.b-c/x/y":   {"a.b-c", "/x/y"},
		"/t//login":      {"", "/t//login"},
		"/t/abc":         {"", "/t/abc"},
		"/t/":            {"", "/t/"},
		"/t/abc/":        {"abc", "/"},
		"/tt/abc/login":  {"", "/tt/abc/login"},
		"":               {"", ""},
		"/t/a/t/b/login": {"a", "/t/b/login"},
	} {
		if text, call := SplitPath(path); text != want[0] || call != want[1] {
			t.Errorf("%q: %q, %q, want %q", path, text, call, want)
		}
	}
}

// TestConfigIsChecked: each fault is named with its value.
func TestConfigIsChecked(t *testing.T) {
	good := DefaultConfig()
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Config){
		`auth "yes"`:               func(c *Config) { c.Mode = "yes" },
		"auth require needs":       func(c *Config) { c.Mode = Require },
		"auth check needs":         func(c *Config) { c.Mode = Check },
		`auth-register "all"`:      func(c *Config) { c.Register = "all" },
		"auth-path-days -1":        func(c *Config) { c.PathDays = -1 },
		"auth-path-days 367":       func(c *Config) { c.PathDays = PathDaysMax + 1 },
		`allow-origin "*"`:         func(c *Config) { c.Origins = []string{"*"} },
		`allow-origin "https://A"`: func(c *Config) { c.Origins = []string{"https://A"} },
		`"https://a/"`:             func(c *Config) { c.Origins = []string{"https://a/"} },
		`"ftp://a"`:                func(c *Config) { c.Origins = []string{"ftp://a"} },
		"65 origins":               func(c *Config) { c.Origins = make([]string, OriginsMax+1) },
	} {
		c := DefaultConfig()
		change(&c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	c := DefaultConfig()
	c.Mode, c.KeyFile = Require, filepath.Join(t.TempDir(), "none.json")
	if _, err := Open(c, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "none.json") {
		t.Errorf("a key file that is not there: %v", err)
	}
}

// TestKeysChange: the log has no key's secret.
func TestKeysChange(t *testing.T) {
	w := newWorld(t, token.HS256, mode(Require))
	old := bearer(w.token(token.Claims{User: int64(ann)}))
	file, err := token.Generate("k2", token.HS256)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.ask(old, Login, ann); got != 0 {
		t.Fatalf("%d, want it served", got)
	}
	if err := os.WriteFile(w.gate.config.KeyFile, file, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, refusal := w.gate.Identify(old, noon.Add(2*time.Second)); refusal == nil || refusal.Fault != token.UnknownKey.String() {
		t.Errorf("the old key's token: %+v, want an unknown key", refusal)
	}
	if !strings.Contains(w.log.String(), "read again") {
		t.Errorf("logged: %q", &w.log)
	}
}

// TestLifetime: a session lasts until the token of its login expires.
func TestLifetime(t *testing.T) {
	w := newWorld(t, token.HS256, mode(Require))
	for name, c := range map[string]struct {
		ahead, want time.Duration
		audience    []string
	}{
		"an hour":                     {time.Hour, time.Hour, nil},
		"a week, in the path":         {7 * 24 * time.Hour, 7 * 24 * time.Hour, []string{token.AudiencePath}},
		"expired, and clocks differ":  {-token.Leeway / 2, token.Leeway / 2, nil},
		"expires now":                 {0, token.Leeway, nil},
		"counts for one more second":  {-token.Leeway + time.Second, time.Second, nil},
		"counts no more when granted": {-token.Leeway, time.Millisecond, nil},
	} {
		shown := bearer(w.token(token.Claims{User: int64(ann), Expires: noon.Add(c.ahead), Audiences: c.audience}))
		if c.audience != nil {
			shown = Credential{Path: strings.TrimPrefix(shown.Header, "Bearer ")}
		}
		caller, refusal := w.gate.Identify(shown, noon.Add(-time.Second))
		if refusal != nil {
			t.Fatalf("%s: %+v", name, refusal)
		}
		if got := caller.Lifetime(noon); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	check := newWorld(t, token.HS256, mode(Check))
	if caller, refusal := check.gate.Identify(Credential{}, noon); refusal != nil || caller.Lifetime(noon) != 0 {
		t.Errorf("without a token: %v, %+v, want no bound", caller.Lifetime(noon), refusal)
	}
}
