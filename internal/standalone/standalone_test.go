package standalone

import (
	"context"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

// waitMax bounds every wait of a test.
const waitMax = 30 * time.Second

// freeConfig is a standalone on free ports.
func freeConfig(t *testing.T) Config {
	t.Helper()
	c := DefaultConfig()
	c.Folder = t.TempDir()
	c.Server.CIMPort, c.Server.HTTPPort, c.Route.Port = 0, 0, 0
	return c
}

// TestWithoutDeps starts two systems in one process without a log and metrics, and
// ends one as a crash does: the other goes on.
func TestWithoutDeps(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), waitMax)
	defer cancel()
	first, err := Start(freeConfig(t), Deps{})
	if err != nil {
		t.Fatal(err)
	}
	second, err := Start(freeConfig(t), Deps{})
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Abort(ctx); err != nil {
		t.Error(err)
	}
	for second.Server.Ready() != nil || second.Route.Ready() != nil {
		if ctx.Err() != nil {
			t.Fatalf("the second is not ready: %v, %v", second.Server.Ready(), second.Route.Ready())
		}
		time.Sleep(time.Millisecond)
	}
	if err := second.Drain(ctx); err != nil {
		t.Error(err)
	}
}

// TestPortTaken: a start that fails names the port, and leaves neither the durable
// file nor another port in use.
func TestPortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c := freeConfig(t)
	c.Route.Port = taken.Addr().(*net.TCPAddr).Port
	if _, err := Start(c, Deps{}); err == nil || !strings.Contains(err.Error(), "route-port "+strconv.Itoa(c.Route.Port)) {
		t.Errorf("error %v, want one that names the port", err)
	}
	c.Route.Port = 0
	s, err := Start(c, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), waitMax)
	defer cancel()
	if err := s.Drain(ctx); err != nil {
		t.Error(err)
	}
}
