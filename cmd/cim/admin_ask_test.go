package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
)

// TestAskListeners: the fault of each listener that gives no proper answer within the time of one.
func TestAskListeners(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	answers := map[string]func(http.ResponseWriter, *http.Request){
		"the answer cannot be read": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
		"the answer has more than 4194304 bytes": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat(" ", askBytesMax+1))
		},
		"HTTP 403: no \uFFFD[31mentry": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"error":"no \u001b[31mentry"}`)
		},
		"HTTP 500: not an admin listener of this release": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"it leads elsewhere":                              func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) },
		"":                                                func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"kind":"server"}`) },
	}
	wants, urls := []string{"no answer within 2s"}, []string{"http://" + silent.Addr().String()}
	for want, answer := range answers {
		s := httptest.NewServer(http.HandlerFunc(answer))
		defer s.Close()
		wants, urls = append(wants, want), append(urls, s.URL)
	}
	began := time.Now()
	all := askStates(t.Context(), newListeners(urls, ""))
	if took := time.Since(began); took > waitMax/2 {
		t.Errorf("took %v: each was waited for by itself", took)
	}
	for i, told := range all {
		if want := wants[i]; want == "" && (told.err != nil || told.state.Kind != "server") {
			t.Errorf("%+v, want an answer", told)
		} else if want != "" && (told.err == nil || !strings.Contains(told.err.Error(), want)) {
			t.Errorf("%v, want %q", told.err, want)
		}
	}
}

// TestEndlessSessions gives up a list that never ends.
func TestEndlessSessions(t *testing.T) {
	pages := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		pages++
		_, _ = io.WriteString(w, `{"sessions":[],"next":"0-1"}`)
	}))
	defer s.Close()
	err := newListeners([]string{s.URL}, "")[0].eachSession(t.Context(), 0, nil)
	if err == nil || !strings.Contains(err.Error(), "has no end") || pages != pagesMax {
		t.Errorf("after %d pages: %v", pages, err)
	}
}

// TestAskBound reads an answer of the largest size.
func TestAskBound(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "{}"+strings.Repeat(" ", askBytesMax-2))
	}))
	defer s.Close()
	var err error
	for range 10 { // a busy machine may take more than its time
		if err = newListeners([]string{s.URL}, "")[0].get(t.Context(), pathState, &processState{}); err == nil {
			return
		}
	}
	t.Error(err)
}

func TestListenerURLs(t *testing.T) {
	for _, good := range []string{"http://127.0.0.1:9100", "http://127.0.0.1:9100/", "https://server.example", "http://[::1]:9100"} {
		if err := checkListenerURL(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{
		"", "127.0.0.1:9100", "http://", "ftp://127.0.0.1", "http://a:b@127.0.0.1", "http://127.0.0.1/metrics", "http://127.0.0.1?x=1",
		"http://127.0.0.1#x", "http://127.0.0.1:x", "http://a b",
	} {
		if err := checkListenerURL(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	a := adminCommand{urls: slices.Repeat([]string{"http://127.0.0.1:9100"}, listenersMax)}
	if err := a.check(); err != nil {
		t.Error(err)
	}
	a.urls = append(a.urls, a.urls[0])
	if err := a.check(); err == nil {
		t.Errorf("%d listeners are taken", len(a.urls))
	}
}

// FuzzListenerAnswer shows any answer of a listener: a terminal takes none of it for a command.
func FuzzListenerAnswer(f *testing.F) {
	for _, seed := range []string{
		"", "{}", "null", "[]", `{"kind":"a\u001b[2J","notReady":["\u0007"],"server":{"sessions":-1,"loops":[{}],"links":[{}]}}`,
		`{"route":{"address":"\u202e","members":[{"name":"\t\n","epoch":"1","unlinkedSeconds":1e300,"waitingBytes":-1}],"storeFaults":{"\u009b":1}}}`,
		`{"server":{"epoch":"18446744073709551615"},"uptimeSeconds":-1e308,"residentBytes":18446744073709551615}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var state processState
		if json.Unmarshal(body, &state) != nil {
			return
		}
		all := []listenerAnswer{{from: adminListener{url: "http://a"}, state: state}}
		shown := strings.Join(topLines(processRows(all, map[string]totals{"http://a": {}}), ""), "\n")
		for _, row := range memberRows(all) {
			shown += memberText(row)
		}
		for _, row := range routeRows(all) {
			shown += routeText(row)
		}
		for _, r := range shown {
			if r != '\t' && r != '\n' && r != '\u200d' && !unicode.IsPrint(r) {
				t.Fatalf("%q is shown: %q", r, shown)
			}
		}
	})
}
