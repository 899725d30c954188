package route

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"cim/proto"
)

// granted returns the grants that the servers were sent for user.
func (w *world) granted(user proto.UserID) []proto.Grant {
	w.t.Helper()
	var grants []proto.Grant
	for _, f := range w.servers {
		f.mu.Lock()
		for _, r := range f.asked {
			if r.Kind != proto.RecordGrant || r.User != user {
				continue
			}
			g, ok := proto.ParseGrant(r.Body)
			if !ok {
				w.t.Errorf("a grant of %d bytes", len(r.Body))
			}
			grants = append(grants, g)
		}
		f.mu.Unlock()
	}
	return grants
}

// TestGrantCarriesTheAddress: a grant has the address of the login's connection,
// and the forwarded one only if the connection is a trusted proxy's.
func TestGrantCarriesTheAddress(t *testing.T) {
	for name, c := range map[string]struct{ trusted, want string }{
		"no proxy":        {"10.0.0.0/8", "127.0.0.1"},
		"a trusted proxy": {"127.0.0.0/8", "198.51.100.7"},
	} {
		t.Run(name, func(t *testing.T) {
			config := testConfig()
			config.Addresses.Trusted = []netip.Prefix{netip.MustParsePrefix(c.trusted)}
			w := newWorldWith(t, 1, config, &hookedStore{})
			ann := w.account("ann")
			request, err := http.NewRequest(http.MethodPost, "http://"+w.route.Addr()+proto.PathLogin, strings.NewReader(loginRequest(ann, ourClient)))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("X-Forwarded-For", "192.0.2.1, 198.51.100.7")
			response, err := w.http.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			grants := w.granted(ann.ID)
			if len(grants) != 1 {
				t.Fatalf("%d grants, want one", len(grants))
			}
			if want := netip.MustParseAddr(c.want); grants[0].From != want {
				t.Errorf("the grant is of %v, want %v", grants[0].From, want)
			}
		})
	}
}
