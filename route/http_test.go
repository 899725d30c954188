package route

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"cim/internal/httpserve"
	"cim/proto"
)

var postPaths = []string{
	proto.PathRegister, proto.PathLogin, proto.PathOffLine, proto.PathGroup, proto.PathPrivate, proto.PathFetchOffline,
}

// TestNoRequest: a malformed request gets its HTTP status, and the usual JSON.
func TestNoRequest(t *testing.T) {
	w := newWorld(t, 0)
	type fault struct {
		method, path, body string
		status             int
	}
	faults := []fault{
		{http.MethodPost, "/", "{}", 404},
		{http.MethodPost, "/login//x", "{}", 404},
		{http.MethodGet, "/favicon.ico", "", 404},
		{http.MethodPut, proto.PathOnlineUser, "", 405},
	}
	for _, path := range postPaths {
		faults = append(faults, fault{http.MethodGet, path, "", 405}, fault{http.MethodDelete, path, "", 405})
		for _, body := range []string{"", "null", "[]", `"x"`, "{", "{}x", `{"userId":1,}`, "{\"userName\":\"\xff\"}", `{"userId":1,"userId":2}`} {
			faults = append(faults, fault{http.MethodPost, path, body, 400})
		}
	}
	for _, f := range faults {
		status, a := w.request(f.method, f.path, f.body)
		if status != f.status || a.Code != proto.Number(proto.CodeInvalid) || a.Message == "" {
			t.Errorf("%s %s %q: HTTP %d, code %d %q, want %d", f.method, f.path, f.body, status, a.Code, a.Message, f.status)
		}
	}
	if got := w.counter(`cim_route_http_refused_total{status="404"}`); got != "3" {
		t.Errorf("%s times 404 counted, want 3", got)
	}
}

// TestAllow: 405 names the allowed methods.
func TestAllow(t *testing.T) {
	w := newWorld(t, 0)
	for path, want := range map[string]string{proto.PathLogin: "POST", proto.PathOnlineUser: "GET, HEAD, POST"} {
		request, err := http.NewRequest(http.MethodPut, "http://"+w.route.Addr()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := w.http.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if got := response.Header.Get("Allow"); got != want {
			t.Errorf("%s: Allow %q, want %q", path, got, want)
		}
	}
}

// TestBodyMax: a body of the bound is read, one byte more is 413, even if the
// client sends far more before it looks.
func TestBodyMax(t *testing.T) {
	w := newWorld(t, 0)
	body := func(size int) string {
		head, tail := `{"userName":"ann","x":"`, `"}`
		return head + strings.Repeat("x", size-len(head)-len(tail)) + tail
	}
	w.want(proto.CodeSuccess, proto.PathRegister, body(proto.BodyMax))
	for _, size := range []int{proto.BodyMax + 1, 2 * proto.BodyMax} {
		status, a := w.post(proto.PathRegister, body(size))
		if status != http.StatusRequestEntityTooLarge || a.Code != proto.Number(proto.CodeInvalid) {
			t.Errorf("%d bytes: HTTP %d, code %d", size, status, a.Code)
		}
	}
}

// TestBodyMaxChunked: a body without a length has the same bound.
func TestBodyMaxChunked(t *testing.T) {
	w := newWorld(t, 0)
	body := io.MultiReader(strings.NewReader(`{"x":"`), strings.NewReader(strings.Repeat("x", proto.BodyMax)))
	response, err := w.http.Post("http://"+w.route.Addr()+proto.PathRegister, "", body)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("HTTP %d, want 413", response.StatusCode)
	}
}

// raw sends bytes as they are on a connection of its own, and reads the
// response. It returns how long that took.
func (w *world) raw(request string) (*http.Response, []byte, time.Duration) {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.route.Addr())
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	began := time.Now()
	if err := conn.SetDeadline(began.Add(2 * patience)); err != nil {
		w.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		w.t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		w.t.Fatalf("%.60q: %v", request, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return response, body, time.Since(began)
}

// TestUnreadable: bytes that are no HTTP request get a status too.
func TestUnreadable(t *testing.T) {
	w := newWorld(t, 0)
	for _, c := range []struct {
		request string
		status  int
	}{
		{"rubbish\r\n\r\n", 400},
		{"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400},
		{"GET /onlineUser HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", httpserve.HeaderMax) + "\r\n\r\n", 431},
	} {
		response, body, _ := w.raw(c.request)
		if _, err := readAnswer(response.Header, body); err != nil || response.StatusCode != c.status {
			t.Errorf("%.40q: HTTP %d, want %d; %v", c.request, response.StatusCode, c.status, err)
		}
	}
}

// TestSlowRequest: a client that does not send its whole request in time gets 408, wherever it
// stopped.
func TestSlowRequest(t *testing.T) {
	w := newWorld(t, 0)
	for _, request := range []string{
		"POST /login HT",
		"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
	} {
		t.Run(fmt.Sprintf("%.20q", request), func(t *testing.T) {
			t.Parallel()
			slow := *w
			slow.t = t
			response, body, took := slow.raw(request)
			_, err := readAnswer(response.Header, body)
			if err != nil || response.StatusCode != http.StatusRequestTimeout {
				t.Errorf("HTTP %d, want 408; %v", response.StatusCode, err)
			}
			if took < httpserve.SendTimeout-100*time.Millisecond || took > httpserve.SendTimeout+10*time.Second {
				t.Errorf("answered after %v, want %v", took, httpserve.SendTimeout)
			}
		})
	}
}

// TestConnsMax: connections up to the cap are served; one more takes the place of the one that has
// been idle longest, and is served.
func TestConnsMax(t *testing.T) {
	config := testConfig()
	config.HTTPConnsMax = 3
	w := newWorldWith(t, 0, config, &hookedStore{})
	var conns []*http.Client
	for i := range config.HTTPConnsMax {
		one := &http.Client{Transport: &http.Transport{}}
		conns = append(conns, one)
		w.http = one
		w.account(fmt.Sprintf("u%d", i))
	}
	response, body, _ := w.raw("POST /registerAccount HTTP/1.1\r\nHost: x\r\nContent-Length: 18\r\n\r\n{\"userName\":\"one\"}")
	a, err := readAnswer(response.Header, body)
	if err != nil || response.StatusCode != http.StatusOK || a.Code != proto.Number(proto.CodeSuccess) {
		t.Errorf("one too many: HTTP %d, code %d; %v", response.StatusCode, a.Code, err)
	}
	w.http = conns[2]
	w.account("still served")
	if got := w.counter("cim_route_http_evicted_total"); got != "1" {
		t.Errorf("%s evicted, want 1", got)
	}
	for _, one := range conns {
		one.CloseIdleConnections()
	}
	if got := w.counter(`cim_route_http_refused_total{status="429"}`); got != "0" && got != "" {
		t.Errorf("%s refusals counted, want none", got)
	}
}

// TestLogHasNoText: neither the text of a message nor a ticket is ever logged.
func TestLogHasNoText(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.account("ann")
	ticket := w.connect(ann, true).Ticket
	const secret = "attack-at-dawn"
	long := strings.Repeat(secret, proto.TextMax/len(secret)+1)
	w.want(proto.CodeSuccess, proto.PathPrivate, privateRequest(ann.ID, ann.ID, secret))
	w.want(proto.CodeInvalid, proto.PathPrivate, privateRequest(ann.ID, ann.ID, long))
	w.post(proto.PathPrivate, `{"msg":"`+secret)
	w.post(proto.PathPrivate, fmt.Sprintf(`{"userId":%d,"receiveUserId":"%s","msg":"x"}`, ann.ID, secret))
	w.servers[1].follow(verdictTo(proto.RecordPush, proto.VerdictBusy))
	w.want(proto.CodeLimit, proto.PathPrivate, privateRequest(ann.ID, ann.ID, secret))
	w.servers[1].follow(verdictTo(proto.RecordBroadcast, proto.VerdictBusy))
	w.want(proto.CodeLimit, proto.PathGroup, groupRequest(ann.ID, secret))
	w.want(proto.CodeRepeatLogin, proto.PathLogin, loginRequest(ann, ourClient))
	w.raw("POST /" + secret + " HTTP/1.1\r\nHost: x\r\n: " + secret + "\r\n\r\n")
	w.stop()
	log := w.log.String()
	if !strings.Contains(log, "request refused") {
		t.Error("the log has no refusal: the test shows nothing")
	}
	for _, word := range []string{secret, ticket} {
		if strings.Contains(log, word) {
			t.Errorf("the log has %q: %s", word, log)
		}
	}
}

// TestMessageMax: an answer quotes no more of a request than its bound.
func TestMessageMax(t *testing.T) {
	w := newWorld(t, 0)
	_, a := w.post(proto.PathLogin, `{"userId":"`+strings.Repeat("ü", 1000)+`"}`)
	const messageMax = 256 + len("\uFFFD") // a cut letter is replaced
	if len(a.Message) > messageMax || !strings.HasPrefix(a.Message, "userId") {
		t.Errorf("message of %d bytes: %.40s", len(a.Message), a.Message)
	}
}

// FuzzBodies: every body gets a status and a code of the API, in its one form, and breaks nothing.
func FuzzBodies(f *testing.F) {
	for i := range postPaths {
		for _, body := range []string{
			`{"userName":"ann"}`, `{"userId":1,"userName":"ann","client":1,"ticket":"00112233445566778899aabbccddeeff"}`,
			`{"userId":1,"msg":"offLine"}`, `{"userId":1,"receiveUserId":1,"msg":"x"}`, `{"userId":"1","batchMsg":["a",null]}`,
			`{"userId":9223372036854775807,"receiveUserId":-1}`, `{"receiveUserId":1.5}`, `{"msg":{}}`, `null`, `{`, "",
		} {
			f.Add(i, []byte(body))
		}
	}
	w := newWorld(f, 1)
	w.online("ann", false)
	codes := []proto.Number{3000, 4000, 5000, 6000, 7000, 7100, 9000, 9100, 9200, 9201}
	f.Fuzz(func(t *testing.T, path int, body []byte) {
		path = int(uint(path) % uint(len(postPaths)))
		status, a, err := w.try(http.MethodPost, postPaths[path], string(body))
		switch {
		case err != nil:
			t.Fatal(err)
		case status == http.StatusRequestEntityTooLarge && len(body) > proto.BodyMax:
		case status != http.StatusOK && status != http.StatusBadRequest:
			t.Errorf("%s %q: HTTP %d", postPaths[path], body, status)
		case status == http.StatusBadRequest && a.Code != proto.Number(proto.CodeInvalid):
			t.Errorf("%s %q: 400 with code %d", postPaths[path], body, a.Code)
		case !slices.Contains(codes, a.Code):
			t.Errorf("%s %q: code %d", postPaths[path], body, a.Code)
		}
	})
}
