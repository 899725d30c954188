package route

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cim/proto"
)

// TestOnlineOnce: requests for the list that come together are answered from
// one look at the store, and so are those of the next second.
func TestOnlineOnce(t *testing.T) {
	const requests = 20
	started, release := make(chan struct{}, requests), make(chan struct{})
	hooked := &hookedStore{before: func(call string) error {
		if call == "Connected" {
			started <- struct{}{}
			<-release
		}
		return nil
	}}
	w := newWorldWith(t, 1, testConfig(), hooked)
	ann := w.online("ann", false)
	want := proto.Body([]proto.UserBody{{UserID: ann.ID, UserName: "ann"}})
	var asking sync.WaitGroup
	var right atomic.Int64
	for i := range requests {
		asking.Go(func() {
			status, a, err := w.try([]string{http.MethodGet, http.MethodPost}[i%2], proto.PathOnlineUser, "")
			if err == nil && status == http.StatusOK && string(a.DataBody) == want {
				right.Add(1)
			}
		})
	}
	<-started
	began := time.Now()
	close(release)
	asking.Wait()
	_, a := w.request(http.MethodGet, proto.PathOnlineUser, "")
	if right.Load() != requests || string(a.DataBody) != want {
		t.Errorf("%d of %d answered right, then %s", right.Load(), requests, a.DataBody)
	}
	if got := w.counter("cim_route_online_lists_total"); got != "1" && time.Since(began) < DefaultConfig().OnlineAge {
		t.Errorf("%s lists were made, want 1", got)
	}
	ben := w.online("ben", false)
	w.eventually("a list with ben", func() bool {
		return strings.Contains(w.onlineUsers(http.MethodGet), fmt.Sprintf("%d ben,", ben.ID))
	})
	if took := time.Since(began); took < DefaultConfig().OnlineAge {
		t.Errorf("another list after %v, want %v", took, DefaultConfig().OnlineAge)
	}
}

// TestOnlineFails: if the list cannot be made, all requests that wait for it fail, and the next
// request tries again.
func TestOnlineFails(t *testing.T) {
	var fails atomic.Bool
	fails.Store(true)
	w := newWorldWith(t, 1, testConfig(), &hookedStore{before: func(call string) error {
		if call == "Connected" && fails.Load() {
			return fmt.Errorf("broken")
		}
		return nil
	}})
	w.want(proto.CodeFailure, proto.PathOnlineUser, "")
	fails.Store(false)
	w.want(proto.CodeSuccess, proto.PathOnlineUser, "")
}

// TestOnlinePages reads all users in pages by GET and by POST, and finds each
// once; what an old client posts gets the whole list.
func TestOnlinePages(t *testing.T) {
	w := newWorld(t, 1)
	var all []string
	for i := range 7 {
		all = append(all, fmt.Sprint(w.online(fmt.Sprint("user", i), false).ID))
	}
	slices.SortFunc(all, func(a, b string) int { return strings.Compare(fmt.Sprintf("%20s", a), fmt.Sprintf("%20s", b)) })
	ids := func(method, path, body string) []string {
		t.Helper()
		_, a := w.request(method, path, body)
		var users []proto.UserBody
		if err := json.Unmarshal(a.DataBody, &users); err != nil || users == nil || a.Code != proto.Number(proto.CodeSuccess) {
			t.Fatalf("%s %s %s: code %d, %s, %v", method, path, body, a.Code, a.DataBody, err)
		}
		list := []string{}
		for _, u := range users {
			list = append(list, fmt.Sprint(u.UserID))
		}
		return list
	}
	for _, size := range []int{1, 3, 7, 8, proto.OnlinePageMax} {
		var byGet, byPost []string
		for after := "0"; ; after = byGet[len(byGet)-1] {
			page := ids(http.MethodGet, fmt.Sprintf("%s?limit=%d&after=%s", proto.PathOnlineUser, size, after), "")
			byGet = append(byGet, page...)
			byPost = append(byPost, ids(http.MethodPost, proto.PathOnlineUser, fmt.Sprintf(`{"limit":%d,"after":"%s"}`, size, after))...)
			if len(page) < size {
				break
			}
		}
		if !slices.Equal(byGet, all) || !slices.Equal(byPost, all) {
			t.Errorf("pages of %d: %v and %v, want %v", size, byGet, byPost, all)
		}
	}
	for _, body := range []string{"", "{}", "null", "rubbish", `{"reqNo":"1","timeStamp":2}`, `{"limit":0}`, `{"limit":null}`} {
		if got := ids(http.MethodPost, proto.PathOnlineUser, body); !slices.Equal(got, all) {
			t.Errorf("POST %q: %v, want all", body, got)
		}
	}
	for _, query := range []string{"limit=1025", "limit=-1", "limit=x", "after=5", "limit=1&after=-1", "limit=1.5"} {
		if _, a := w.request(http.MethodGet, proto.PathOnlineUser+"?"+query, ""); a.Code != proto.Number(proto.CodeInvalid) || a.Message == "" {
			t.Errorf("%s: code %d %q, want 3000", query, a.Code, a.Message)
		}
	}
}
