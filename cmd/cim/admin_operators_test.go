package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"cim/client"
	"cim/internal/metrics"
	"cim/proto"
	"cim/server"
)

const (
	adminSecret = "a link secret of a test"
	elsewhere   = "192.0.2.7:4711"
	here        = "127.0.0.1:4711"
)

// operatorsOf is what answers for a node, without its listener.
func operatorsOf(o operated, log *bytes.Buffer) http.Handler {
	mux := http.NewServeMux()
	newOperators(adminDeps{
		ready: func() []notReady { return nil }, metrics: metrics.NewSet(), operated: o, log: slog.New(slog.NewTextHandler(log, nil)),
	}).handle(mux)
	return mux
}

// operatorRequest is a request to an admin listener. Empty fields are those of cim admin.
type operatorRequest struct {
	method, uri, body string
	from, host        string // here; 127.0.0.1:9100
	proof             string // no header
	kind              string // application/json
	noHeader          bool
}

func (r operatorRequest) ask(t *testing.T, handler http.Handler) (int, string) {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), r.method, r.uri, strings.NewReader(r.body))
	request.RemoteAddr, request.Host = r.from, r.host
	if r.from == "" {
		request.RemoteAddr = here
	}
	if r.host == "" {
		request.Host = "127.0.0.1:9100"
	}
	if r.proof != "" {
		request.Header.Set("Authorization", r.proof)
	}
	if r.kind == "" {
		r.kind = "application/json"
	}
	request.Header.Set("Content-Type", r.kind)
	if !r.noHeader {
		request.Header.Set(headerKick, "1")
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return recorder.Code, recorder.Body.String()
}

// TestOperatorsAdmit answers loopback under loopback's name, and proofs; each of
// the three paths, and each asker.
func TestOperatorsAdmit(t *testing.T) {
	n, s := startedNode(t)
	uris := map[string]string{http.MethodGet: pathState, http.MethodPost: pathKick}
	body := `{"userId":77}`
	now := time.Now()
	for method, uri := range uris {
		good := func(secret, method, uri, body string, at time.Time) string {
			return prove(secret, method, uri, []byte(body), at)
		}
		if method == http.MethodGet {
			body = ""
		} else {
			body = `{"userId":77}`
		}
		proof := good(adminSecret, method, uri, body, now)
		for name, test := range map[string]struct {
			secret  string
			request operatorRequest
			want    string // "": admitted
		}{
			"loopback":               {adminSecret, operatorRequest{}, ""},
			"loopback, no secret":    {"", operatorRequest{}, ""},
			"loopback of IPv6":       {"", operatorRequest{from: "[::1]:9", host: "[::1]:9100"}, ""},
			"loopback in IPv6":       {"", operatorRequest{from: "[::ffff:127.0.0.1]:9"}, ""},
			"another of loopback":    {"", operatorRequest{from: "127.9.9.9:9", host: "127.9.9.9"}, ""},
			"localhost":              {"", operatorRequest{host: "LocalHost:9100"}, ""},
			"a browser led here":     {"", operatorRequest{host: "evil.example:9100"}, errHostName.Error()},
			"the same with a secret": {adminSecret, operatorRequest{host: "evil.example:9100"}, errHostName.Error()},
			"localhost in a name":    {"", operatorRequest{host: "localhost.evil.example"}, errHostName.Error()},
			"an address in a name":   {"", operatorRequest{host: "127.0.0.1.evil.example"}, errHostName.Error()},
			"no host":                {"", operatorRequest{host: " "}, errHostName.Error()},
			"elsewhere":              {adminSecret, operatorRequest{from: elsewhere}, errNotLoopback.Error()},
			"elsewhere, no secret":   {"", operatorRequest{from: elsewhere}, errNoSecret.Error()},
			"elsewhere, empty proof": {"", operatorRequest{from: elsewhere, proof: good("", method, uri, body, now)}, errNoSecret.Error()},
			"proved":                 {adminSecret, operatorRequest{from: elsewhere, proof: proof}, ""},
			"proved, by a name":      {adminSecret, operatorRequest{from: here, host: "server.example:9100", proof: proof}, ""},
			"another secret":         {adminSecret, operatorRequest{from: elsewhere, proof: good("another", method, uri, body, now)}, errProofWrong.Error()},
			"another method":         {adminSecret, operatorRequest{from: elsewhere, proof: good(adminSecret, "PUT", uri, body, now)}, errProofWrong.Error()},
			"another path":           {adminSecret, operatorRequest{from: elsewhere, proof: good(adminSecret, method, "/admin/other", body, now)}, errProofWrong.Error()},
			"another body":           {adminSecret, operatorRequest{from: elsewhere, proof: good(adminSecret, method, uri, body+" ", now)}, errProofWrong.Error()},
			"another time":           {adminSecret, operatorRequest{from: elsewhere, proof: later(t, proof)}, errProofWrong.Error()},
			"no time":                {adminSecret, operatorRequest{from: elsewhere, proof: "cim x " + strings.Split(proof, " ")[2]}, errProofForm.Error()},
			"no proof":               {adminSecret, operatorRequest{from: elsewhere, proof: "cim 1"}, errProofForm.Error()},
			"another scheme":         {adminSecret, operatorRequest{from: elsewhere, proof: "Bearer " + adminSecret}, errProofForm.Error()},
			"old":                    {adminSecret, operatorRequest{from: elsewhere, proof: good(adminSecret, method, uri, body, now.Add(-proofLife-5*time.Second))}, "want at most 30s"},
			"of the future":          {adminSecret, operatorRequest{from: elsewhere, proof: good(adminSecret, method, uri, body, now.Add(proofLife+5*time.Second))}, "want at most 30s"},
			"as old as may be":       {adminSecret, operatorRequest{from: elsewhere, proof: good(adminSecret, method, uri, body, now.Add(-proofLife+10*time.Second))}, ""},
		} {
			t.Run(method+" "+name, func(t *testing.T) {
				test.request.method, test.request.uri, test.request.body = method, uri, body
				status, answer := test.request.ask(t, operatorsOf(operated{server: s, secret: test.secret}, n))
				admitted := http.StatusOK
				if method == http.MethodPost {
					admitted = http.StatusNotFound // no session is kicked, but one is looked for
				}
				switch {
				case test.want == "" && status != admitted:
					t.Errorf("HTTP %d: %s", status, answer)
				case test.want != "" && (status != http.StatusForbidden || !strings.Contains(answer, test.want)):
					t.Errorf("HTTP %d: %s, want %s", status, answer, test.want)
				case strings.Contains(answer, adminSecret):
					t.Errorf("the answer has the secret: %s", answer)
				}
			})
		}
	}
}

// later says that a proof was made a second later.
func later(t *testing.T, proof string) string {
	words := strings.Split(proof, " ")
	at, err := strconv.ParseInt(words[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s %d %s", words[0], at+1, words[2])
}

// startedNode is a standalone's server, and a log.
func startedNode(t *testing.T) (*bytes.Buffer, *server.Server) {
	t.Helper()
	return new(bytes.Buffer), newNode(t).system.Server
}

func newNode(t *testing.T) *standaloneNode {
	t.Helper()
	n, err := startNode(nodeConfig(t), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.drain(); err != nil {
			t.Error(err)
		}
	})
	if err := n.awaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestKickRefused refuses requests that a page of another site can make a browser send, and
// malformed ones.
func TestKickRefused(t *testing.T) {
	log, s := startedNode(t)
	handler := operatorsOf(operated{server: s}, log)
	epoch := uint64(s.Member().Epoch)
	for name, test := range map[string]struct {
		request operatorRequest
		status  int
	}{
		"a form":              {operatorRequest{kind: "application/x-www-form-urlencoded"}, http.StatusUnsupportedMediaType},
		"plain text":          {operatorRequest{kind: "text/plain"}, http.StatusUnsupportedMediaType},
		"JSON in a parameter": {operatorRequest{kind: "text/plain; application/json"}, http.StatusUnsupportedMediaType},
		"without its header":  {operatorRequest{noHeader: true}, http.StatusForbidden},
		"GET":                 {operatorRequest{method: http.MethodGet}, http.StatusMethodNotAllowed},
		"what a page asks":    {operatorRequest{method: http.MethodOptions}, http.StatusMethodNotAllowed},
		"nothing":             {operatorRequest{body: " "}, http.StatusBadRequest},
		"no user":             {operatorRequest{body: `{}`}, http.StatusBadRequest},
		"user 0":              {operatorRequest{body: `{"userId":0}`}, http.StatusBadRequest},
		"a name":              {operatorRequest{body: `{"userId":"ann"}`}, http.StatusBadRequest},
		"an unknown member":   {operatorRequest{body: `{"userId":77,"all":true}`}, http.StatusBadRequest},
		"two":                 {operatorRequest{body: `{"userId":77}{"userId":78}`}, http.StatusBadRequest},
		"another run":         {operatorRequest{body: fmt.Sprintf(`{"userId":77,"epoch":"%d"}`, epoch+1)}, http.StatusConflict},
		"this run":            {operatorRequest{body: fmt.Sprintf(`{"userId":77,"epoch":"%d"}`, epoch)}, http.StatusNotFound},
		"a body at the bound": {operatorRequest{body: `{"userId":77}` + strings.Repeat(" ", operatorBodyMax-13)}, http.StatusNotFound},
		"a body past it":      {operatorRequest{body: `{"userId":77}` + strings.Repeat(" ", operatorBodyMax-12)}, http.StatusBadRequest},
	} {
		r := test.request
		r.uri = pathKick
		if r.method == "" {
			r.method = http.MethodPost
		}
		if r.body == "" {
			r.body = `{"userId":77}`
		}
		if status, answer := r.ask(t, handler); status != test.status {
			t.Errorf("%s: HTTP %d: %s, want %d", name, status, answer, test.status)
		}
	}
	alone := operatorsOf(operated{kind: "route"}, log)
	if status, answer := (operatorRequest{method: http.MethodPost, uri: pathKick, body: `{"userId":77}`}).ask(t, alone); status != http.StatusNotFound {
		t.Errorf("at a route: HTTP %d: %s", status, answer)
	}
	if strings.Contains(log.String(), "kicked") {
		t.Errorf("log: %s", log)
	}
}

// TestRefuseTokensRefused: as TestKickRefused, at a route.
func TestRefuseTokensRefused(t *testing.T) {
	n := newNode(t) // with --auth off
	log := new(bytes.Buffer)
	handler := operatorsOf(operated{server: n.system.Server, route: n.system.Route, secret: adminSecret}, log)
	for name, test := range map[string]struct {
		request operatorRequest
		status  int
	}{
		"a form":             {operatorRequest{kind: "application/x-www-form-urlencoded"}, http.StatusUnsupportedMediaType},
		"without its header": {operatorRequest{noHeader: true}, http.StatusForbidden},
		"GET":                {operatorRequest{method: http.MethodGet}, http.StatusMethodNotAllowed},
		"elsewhere":          {operatorRequest{from: elsewhere}, http.StatusForbidden},
		"nothing":            {operatorRequest{body: " "}, http.StatusBadRequest},
		"user 0":             {operatorRequest{body: `{"userId":0}`}, http.StatusBadRequest},
		"a session":          {operatorRequest{body: `{"userId":77,"session":"0-0-1"}`}, http.StatusBadRequest},
		"auth off":           {operatorRequest{}, http.StatusConflict},
	} {
		r := test.request
		r.uri = pathRefuseTokens
		if r.method == "" {
			r.method = http.MethodPost
		}
		if r.body == "" {
			r.body = `{"userId":77}`
		}
		if status, answer := r.ask(t, handler); status != test.status {
			t.Errorf("%s: HTTP %d: %s, want %d", name, status, answer, test.status)
		}
	}
	server := operatorsOf(operated{kind: "server", server: n.system.Server}, log)
	if status, answer := (operatorRequest{method: http.MethodPost, uri: pathRefuseTokens, body: `{"userId":77}`}).ask(t, server); status != http.StatusNotFound {
		t.Errorf("at a server: HTTP %d: %s", status, answer)
	}
	if strings.Contains(log.String(), "tokens refused") {
		t.Errorf("log: %s", log)
	}
}

// TestKickOver ends the session that was named once: the same request again
// finds the next one of the user, and leaves it.
func TestKickOver(t *testing.T) {
	n := newNode(t)
	log := new(bytes.Buffer)
	handler := operatorsOf(operated{server: n.system.Server, secret: adminSecret}, log)
	ann := connectedClient(t, n)
	id := ann.User().ID
	status, answer := operatorRequest{method: http.MethodGet, uri: pathSessions + "?user=" + strconv.Itoa(int(id))}.ask(t, handler)
	var page sessionsPage
	if err := json.Unmarshal([]byte(answer), &page); err != nil || status != http.StatusOK || len(page.Sessions) != 1 {
		t.Fatalf("HTTP %d: %s: %v", status, answer, err)
	}
	body, err := json.Marshal(kickRequest{id, page.Sessions[0].ID, page.Epoch})
	if err != nil {
		t.Fatal(err)
	}
	kick := operatorRequest{
		method: http.MethodPost, uri: pathKick, body: string(body),
		from: elsewhere, proof: prove(adminSecret, http.MethodPost, pathKick, body, time.Now()),
	}
	if status, answer := kick.ask(t, handler); status != http.StatusOK {
		t.Fatalf("HTTP %d: %s", status, answer)
	}
	<-ann.Done()
	if err := ann.Err(); err == nil || !strings.Contains(err.Error(), proto.ReasonKicked.String()) {
		t.Errorf("the client ended with %v", err)
	}
	again := connectedClient(t, n)
	if status, answer := kick.ask(t, handler); status != http.StatusNotFound {
		t.Errorf("the same again: HTTP %d: %s", status, answer)
	}
	if s, err := n.system.Server.SessionOf(t.Context(), again.User().ID); err != nil || len(s) != 1 {
		t.Errorf("the next session is gone: %v, %v", s, err)
	}
	want := fmt.Sprintf(`level=WARN msg="session kicked" user=%d by=%s`, id, regexp.QuoteMeta(elsewhere))
	if found := regexp.MustCompile(want).FindAllString(log.String(), -1); len(found) != 1 {
		t.Errorf("log: %s, want %s once", log, want)
	}
	if strings.Contains(log.String(), adminSecret) || strings.Contains(log.String(), kick.proof) {
		t.Errorf("log has the secret or a proof: %s", log)
	}
}

func connectedClient(t *testing.T, n *standaloneNode) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), client.Config{Routes: []string{"http://" + n.system.Route.Addr()}, Name: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(t.Context()) })
	return c
}

// TestSessionsQuery keeps a page to its bounds.
func TestSessionsQuery(t *testing.T) {
	log, s := startedNode(t)
	handler := operatorsOf(operated{server: s}, log)
	for query, want := range map[string]int{
		"": 200, "?limit=1": 200, "?limit=1024": 200, "?limit=0": 400, "?limit=1025": 400, "?limit=x": 400, "?limit=-1": 400,
		"?user=1": 200, "?user=0": 400, "?user=x": 400, "?user=9223372036854775807": 200, "?user=9223372036854775808": 400,
		"?after=0-0": 200, "?after=99-0": 200, "?after=0-4294967295": 200, "?after=0": 400, "?after=-1-0": 400, "?after=0-4294967296": 400,
	} {
		if status, answer := (operatorRequest{method: http.MethodGet, uri: pathSessions + query}).ask(t, handler); status != want {
			t.Errorf("%s: HTTP %d: %s, want %d", query, status, answer, want)
		}
	}
	route := operatorsOf(operated{kind: "route"}, log)
	status, answer := operatorRequest{method: http.MethodGet, uri: pathSessions}.ask(t, route)
	if want := `{"server":"","epoch":"0","sessions":[]}` + "\n"; status != http.StatusOK || answer != want {
		t.Errorf("at a route: HTTP %d: %s, want %s", status, answer, want)
	}
}

// TestRefusalsLogged logs one refusal a second at most, and counts all.
func TestRefusalsLogged(t *testing.T) {
	log := new(bytes.Buffer)
	o := newOperators(adminDeps{metrics: metrics.NewSet(), log: slog.New(slog.NewTextHandler(log, nil))})
	mux := http.NewServeMux()
	o.handle(mux)
	began := time.Now()
	for range 50 {
		operatorRequest{method: http.MethodGet, uri: pathState, from: elsewhere}.ask(t, mux)
	}
	seconds := int(time.Since(began).Seconds()) + 2
	if lines := strings.Count(log.String(), "admin request refused"); lines < 1 || lines > seconds || o.refused.Get() != 50 {
		t.Errorf("%d lines in %d seconds, %d counted", lines, seconds, o.refused.Get())
	}
}

func FuzzCheckProof(f *testing.F) {
	at := time.Unix(1_700_000_000, 0)
	good := prove(adminSecret, "GET", pathState, nil, at)
	for _, seed := range []string{good, "", "cim", "cim 1 2 3", "cim 1700000000 zz", "cim -1 00", strings.ToUpper(good)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		err := checkProof(adminSecret, header, "GET", pathState, nil, at)
		if err == nil && !strings.EqualFold(header, good) {
			t.Errorf("%q is believed", header)
		}
	})
}

// FuzzOperatorRequest takes any query and body.
func FuzzOperatorRequest(f *testing.F) {
	f.Add("user=1&limit=3&after=0-0", `{"userId":1,"session":"0-0-1","epoch":"7"}`)
	f.Add("user=-1", `{"userId":1e99}`)
	f.Add("%zz&limit=1&limit=2", `[1]`)
	o := newOperators(adminDeps{metrics: metrics.NewSet(), log: slog.New(slog.DiscardHandler)})
	f.Fuzz(func(t *testing.T, query, body string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, pathKick, nil)
		r.URL.RawQuery = query
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set(headerKick, "1")
		if ask, err := readSessionsAsk(r); err == nil && (ask.user < 0 || ask.limit < 1 || ask.limit > server.SessionsMax || ask.after.Loop < 0) {
			t.Errorf("query %q is read as %+v", query, ask)
		}
		if ask, err := o.readKick(r, []byte(body)); err == nil {
			t.Errorf("a process without a server takes %+v", ask)
		}
	})
}
