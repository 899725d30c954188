package route

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cim/internal/token"
	"cim/proto"
	"cim/route/access"
)

// guarded is a world whose route asks for tokens.
type guarded struct {
	*world
	key token.Key
}

func newGuarded(t *testing.T, mode access.Mode) *guarded {
	t.Helper()
	return newGuardedOn(t, mode, &hookedStore{})
}

func newGuardedOn(t *testing.T, mode access.Mode, hooked *hookedStore) *guarded {
	t.Helper()
	file, err := token.Generate("k1", token.HS256)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := token.ParseKeys(file)
	if err != nil {
		t.Fatal(err)
	}
	config := testConfig()
	config.Access.Mode = mode
	config.Access.Origins = []string{"https://chat.example.com"}
	config.Access.KeyFile = filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(config.Access.KeyFile, file, 0o600); err != nil {
		t.Fatal(err)
	}
	g := &guarded{world: newWorldWith(t, 1, config, hooked)}
	g.key, _ = keys.Signing()
	return g
}

func (g *guarded) token(user proto.UserID, audiences ...string) string {
	g.t.Helper()
	return g.issue(token.Claims{User: int64(user), Audiences: audiences})
}

// issue signs a token that expires in an hour.
func (g *guarded) issue(claims token.Claims) string {
	g.t.Helper()
	claims.Expires = time.Now().Add(time.Hour)
	text, err := g.key.Issue(claims)
	if err != nil {
		g.t.Fatal(err)
	}
	return text
}

// send posts body to path with headers, each "Name: value".
func (g *guarded) send(method, path, body string, headers ...string) (*http.Response, proto.Answer) {
	g.t.Helper()
	request, err := http.NewRequest(method, "http://"+g.route.Addr()+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Set(name, value)
	}
	response, err := g.http.Do(request)
	if err != nil {
		g.t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	if response.StatusCode == http.StatusNoContent {
		return response, proto.Answer{}
	}
	a, err := readAnswer(response.Header, raw)
	if err != nil {
		g.t.Fatal(err)
	}
	return response, a
}

// TestRequestsIdentifyTheCaller: in mode require a user speaks for no other, in the
// header and in the path; refusals have the API's form; no token is logged.
func TestRequestsIdentifyTheCaller(t *testing.T) {
	g := newGuarded(t, access.Require)
	ann, ben := g.account("ann"), g.account("ben")
	header := "Authorization: Bearer " + g.token(ann.ID)
	path := "/t/" + g.token(ann.ID, token.AudiencePath)
	message := func(from proto.User) string {
		return fmt.Sprintf(`{"userId":%d,"receiveUserId":%d,"msg":"x"}`, from.ID, ben.ID)
	}
	for name, c := range map[string]struct {
		path, body, header string
		status             int
		code               proto.Code
	}{
		"no token":                {proto.PathPrivate, message(ann), "X: y", 401, proto.CodeInvalid},
		"a token that is none":    {proto.PathPrivate, message(ann), "Authorization: Bearer x", 401, proto.CodeInvalid},
		"another user's name":     {proto.PathPrivate, message(ben), header, 403, proto.CodeInvalid},
		"the user's own":          {proto.PathPrivate, message(ann), header, 200, proto.CodeOffline},
		"the user's own, by path": {path + proto.PathPrivate, message(ann), "X: y", 200, proto.CodeOffline},
		"another's, by path":      {path + proto.PathPrivate, message(ben), "X: y", 403, proto.CodeInvalid},
		"a path that is no call":  {path + "/metrics", message(ann), "X: y", 404, proto.CodeInvalid},
		"half a path":             {path, message(ann), "X: y", 404, proto.CodeInvalid},
	} {
		response, a := g.send(http.MethodPost, c.path, c.body, c.header)
		if response.StatusCode != c.status || a.Code != proto.Number(c.code) {
			t.Errorf("%s: HTTP %d, code %d %q, want %d and %d", name, response.StatusCode, a.Code, a.Message, c.status, c.code)
		}
		if asks := response.Header.Get("WWW-Authenticate"); (asks == "Bearer") != (c.status == 401) {
			t.Errorf("%s: WWW-Authenticate %q", name, asks)
		}
	}
	if response, _ := g.send(http.MethodGet, proto.PathOnlineUser, ""); response.StatusCode != 401 {
		t.Errorf("who is online, without a token: HTTP %d, want 401", response.StatusCode)
	}
	g.stop() // the log is read
	if want := "its caller may not make it\" left_out=0 why="; !strings.Contains(g.log.String(), want) {
		t.Errorf("the log does not say why requests are refused:\n%s", g.log.String())
	}
	if log := g.log.String(); strings.Contains(log, strings.Fields(header)[2]) || strings.Contains(log, strings.TrimPrefix(path, "/t/")) {
		t.Errorf("the log has a token:\n%s", log)
	}
}

// TestUncheckedTokenIsNotWrong: a client ends when its token is wrong, and comes
// back when a route is busy. A token that the route had no time for is not wrong.
func TestUncheckedTokenIsNotWrong(t *testing.T) {
	if a := forbidden(&access.Refusal{Status: 401, Fault: "f", Text: "t"}); a.status != 401 || a.code != proto.CodeInvalid || a.refused != "f" {
		t.Errorf("a wrong token: %+v", a)
	}
	if a := forbidden(&access.Refusal{Fault: "f", Text: "t"}); a.status != 0 || a.code != proto.CodeLimit || a.refused != "f" || a.message != "t" {
		t.Errorf("a token that was not checked: %+v", a)
	}
}

// TestCheckCountsAnonymousRequests: the count shows an operator when mode require is safe. Calls
// that stay open to all callers are not counted, since new users would hide the others.
func TestCheckCountsAnonymousRequests(t *testing.T) {
	g := newGuarded(t, access.Check)
	ann := g.account("ann")
	body := fmt.Sprintf(`{"userId":%d,"msg":"x"}`, ann.ID)
	before := g.counter("cim_route_access_anonymous_total")
	g.send(http.MethodPost, proto.PathGroup, body, "Authorization: Bearer "+g.token(ann.ID))
	if now := g.counter("cim_route_access_anonymous_total"); now != before {
		t.Errorf("a request with a token was counted: %s, before %s", now, before)
	}
	if response, _ := g.send(http.MethodPost, proto.PathRegister, `{"userName":"ben"}`); response.StatusCode != 200 {
		t.Errorf("register without a token: HTTP %d, want 200", response.StatusCode)
	}
	if now := g.counter("cim_route_access_anonymous_total"); now != before {
		t.Errorf("a registration, which is open, was counted: %s, before %s", now, before)
	}
	g.send(http.MethodPost, proto.PathRegister, `{"userName":"ben","find":1}`)
	g.send(http.MethodGet, proto.PathOnlineUser, "")
	if now := g.counter("cim_route_access_anonymous_total"); now != "2" {
		t.Errorf("%s requests without a token were counted, want 2: a search and a list", now)
	}
	if response, _ := g.send(http.MethodPost, proto.PathGroup, body); response.StatusCode != 200 {
		t.Errorf("without a token: HTTP %d, want 200", response.StatusCode)
	}
	if now := g.counter("cim_route_access_anonymous_total"); now != "3" {
		t.Errorf("%s requests without a token were counted, want 3", now)
	}
	cem := g.online("cem", true)
	before = g.counter("cim_route_access_anonymous_total")
	if _, a := g.send(http.MethodPost, proto.PathPrivate, privateRequest(ann.ID, cem.ID, "x")); a.Code != proto.Number(proto.CodeSuccess) {
		t.Errorf("a private message without a token: code %d, want %d", a.Code, proto.CodeSuccess)
	}
	if now := g.counter("cim_route_access_anonymous_total"); now == before {
		t.Errorf("a private message that was pushed was not counted: %s", now)
	}
	if response, _ := g.send(http.MethodPost, proto.PathGroup, body, "Authorization: Bearer x"); response.StatusCode != 401 {
		t.Errorf("with a wrong token: HTTP %d, want 401", response.StatusCode)
	}
	if got := g.counter(`cim_route_access_refused_total{why="malformed"}`); got != "1" {
		t.Errorf("%s refusals counted, want 1", got)
	}
	g.stop() // the log is read
	if want := `without a token, which --auth require would refuse" left_out=0 path=/registerAccount from=127.0.0.1`; !strings.Contains(g.log.String(), want) {
		t.Errorf("the log does not say who shows no token:\n%s", g.log.String())
	}
}

// TestPagesOfOtherOrigins: a page that a user visits sends nothing in that
// user's name, and a listed one gets the headers of CORS.
func TestPagesOfOtherOrigins(t *testing.T) {
	g := newGuarded(t, access.Off)
	ann := g.account("ann")
	body := fmt.Sprintf(`{"userId":%d,"msg":"x"}`, ann.ID)
	for _, path := range postPaths {
		if response, _ := g.send(http.MethodPost, path, body, "Origin: http://attacker.example", "Content-Type: text/plain"); response.StatusCode != 403 {
			t.Errorf("%s by a foreign page: HTTP %d, want 403", path, response.StatusCode)
		}
	}
	response, _ := g.send(http.MethodPost, proto.PathGroup, body, "Origin: https://chat.example.com")
	if allowed := response.Header.Get("Access-Control-Allow-Origin"); response.StatusCode != 200 || allowed != "https://chat.example.com" {
		t.Errorf("a listed page: HTTP %d, allowed %q", response.StatusCode, allowed)
	}
	response, _ = g.send(http.MethodOptions, proto.PathGroup, "", "Origin: https://chat.example.com", "Access-Control-Request-Method: POST")
	if response.StatusCode != 204 || response.Header.Get("Access-Control-Allow-Methods") != "POST" ||
		!strings.Contains(response.Header.Get("Access-Control-Allow-Headers"), "authorization") {
		t.Errorf("a listed page's question: HTTP %d, %v", response.StatusCode, response.Header)
	}
	response, _ = g.send(http.MethodOptions, proto.PathGroup, "", "Origin: http://attacker.example", "Access-Control-Request-Method: POST")
	if response.StatusCode != 403 || response.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("a foreign page's question: HTTP %d, %v", response.StatusCode, response.Header)
	}
	if response, _ := g.send(http.MethodPost, proto.PathGroup, body, "Origin: http://"+g.route.Addr()); response.StatusCode != 200 {
		t.Errorf("a page of the route's own: HTTP %d, want 200", response.StatusCode)
	}
}
