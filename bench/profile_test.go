package bench

import (
	"net/http"
	"net/http/httptest"
	"net/http/pprof"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

// fakeSystem is this process, with an admin listener.
type fakeSystem struct{ list []*process }

func (fakeSystem) target() []string       { return nil }
func (fakeSystem) pids() []int            { return nil }
func (s fakeSystem) profiled() []*process { return s.list }
func (fakeSystem) stop() error            { return nil }

// newFakeSystem answers profiles after no time at all, as handler does the
// rest.
func newFakeSystem(t *testing.T, handler http.HandlerFunc) fakeSystem {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(func() { http.DefaultClient.CloseIdleConnections(); server.Close() })
	log, err := os.Create(filepath.Join(t.TempDir(), "1-standalone.log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	return fakeSystem{[]*process{{Addresses: Addresses{Admin: server.Listener.Addr().String()}, name: "standalone", log: log}}}
}

// TestProfiles keeps all kinds of profiles, put together from slices, and a
// flame graph.
func TestProfiles(t *testing.T) {
	asked := make(chan string, 1000)
	cfg := Config{Out: t.TempDir(), Profile: true}
	p := startProfiles(t.Context(), cfg, newFakeSystem(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		name := filepath.Base(r.URL.Path)
		if name == "profile" {
			name = "goroutine" // as good as one of CPU time, and there at once
		}
		r.URL.RawQuery = ""
		pprof.Handler(name).ServeHTTP(w, r)
	}))
	for seen := map[string]int{}; seen["/debug/pprof/profile"] < 2; {
		seen[<-asked]++
	}
	if err := p.finish(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cpu", "heap", "mutex", "block"} {
		f, err := os.Open(filepath.Join(cfg.Out, "profiles", "1-standalone-"+name+".pb.gz"))
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := profile.Parse(f); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if svg, err := os.ReadFile(filepath.Join(cfg.Out, "profiles", "1-standalone-cpu.svg")); err != nil || !strings.Contains(string(svg), "CPU time of 1-standalone") {
		t.Errorf("flame graph: %v", err)
	}
}

// TestProfilesFail: a process that gives none is named, and without --profile
// none is asked.
func TestProfilesFail(t *testing.T) {
	s := newFakeSystem(t, http.NotFound)
	p := startProfiles(t.Context(), Config{Out: t.TempDir(), Profile: true}, s)
	if err := p.finish(); err == nil || !strings.Contains(err.Error(), "standalone") {
		t.Errorf("error %v", err)
	}
	cfg := Config{Out: t.TempDir()}
	if err := startProfiles(t.Context(), cfg, s).finish(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(cfg.Out, "profiles")); err == nil {
		t.Error("profiles that were not asked for")
	}
}
