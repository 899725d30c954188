package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// standaloneKey is where a script's standalone is kept.
type standaloneKey struct{}

// running is what a script has started.
type running struct {
	standalone *serviceProcess
	log        string // of the one before
}

// TestScript runs testdata/script. Besides testscript's commands there are:
//
//	exits N command...     the command ends with that exit status
//	standalone args...     starts cim standalone; sets ROUTE, ADMIN and SENDMSG, and
//	                       ROUTE_PORT and ADMIN_PORT
//	drained                ends it by SIGTERM; it must exit with 0
//	logged pattern         the log of the one that was drained has the pattern
//	get N url file         GET is answered with status N; the body goes to file
//	online name...         waits until they are; TOKEN_FILE has the token, if any
//	idof VARIABLE name     sets it to the id of that account, likewise
//	closed address         nothing listens there
//	nextsecond             waits until the clock shows another second, since tokens
//	                       say no more of when they were issued
//
// The condition ipv6 is that this machine has it.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", raceOptions)
			r := &running{}
			env.Values[standaloneKey{}] = r
			env.Defer(func() {
				if r.standalone != nil {
					_ = r.standalone.kill() // the script has failed before drained
					_ = r.standalone.cmd.Wait()
				}
			})
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": cmdExits, "standalone": cmdStandalone, "drained": cmdDrained, "logged": cmdLogged, "get": cmdGet,
			"online": cmdOnline, "closed": cmdClosed, "nextsecond": cmdNextSecond, "idof": cmdIDOf,
		},
		Condition: func(name string) (bool, error) {
			if name != "ipv6" {
				return false, fmt.Errorf("no condition %q", name)
			}
			l, err := net.Listen("tcp6", "[::1]:0")
			if err != nil {
				return false, nil
			}
			return true, l.Close()
		},
	})
}

func cmdExits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

func cmdStandalone(ts *testscript.TestScript, _ bool, args []string) {
	s, err := startStandalone(ts.MkAbs("."), args...)
	ts.Check(err)
	ts.Value(standaloneKey{}).(*running).standalone = s
	ts.Setenv("ROUTE", "http://"+s.Route)
	ts.Setenv("ADMIN", "http://"+s.Admin)
	ts.Setenv("ROUTE_PORT", portOf(s.Route))
	ts.Setenv("ADMIN_PORT", portOf(s.Admin))
	ts.Setenv("SENDMSG", "http://"+s.HTTP)
}

func cmdDrained(ts *testscript.TestScript, _ bool, _ []string) {
	r := ts.Value(standaloneKey{}).(*running)
	s := r.standalone
	r.standalone = nil
	ts.Check(s.stop())
	r.log = s.log.String()
	ts.Logf("%s", r.log)
}

func cmdLogged(ts *testscript.TestScript, neg bool, args []string) {
	log := ts.Value(standaloneKey{}).(*running).log
	if has := regexp.MustCompile(args[0]).MatchString(log); has == neg {
		ts.Fatalf("the log has %s: %t", args[0], has)
	}
}

func cmdGet(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, args[1], nil)
	ts.Check(err)
	response, err := http.DefaultClient.Do(request)
	ts.Check(err)
	body, err := io.ReadAll(response.Body)
	ts.Check(errors.Join(err, response.Body.Close()))
	if want := args[0]; strconv.Itoa(response.StatusCode) != want {
		ts.Fatalf("GET %s: status %d, want %s: %s", args[1], response.StatusCode, want, body)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), body, 0o600))
}

// TestSecondSignal ends a process at once that has only started to drain.
func TestSecondSignal(t *testing.T) {
	s, err := startStandalone(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	slow, err := net.Dial("tcp", s.Route) // a request in progress, which the drain waits for
	if err == nil {
		_, err = io.WriteString(slow, "POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	for _, signal := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		if err := s.cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
	}
	var exit *exec.ExitError
	if err := s.wait(); !errors.As(err, &exit) || exit.ExitCode() != exitInterrupted {
		t.Errorf("ended with %v, want exit status %d", err, exitInterrupted)
	}
}
