package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"cim/internal/child"
)

const (
	// startMax bounds the start of a process: a ZooKeeper on a busy machine takes
	// seconds.
	startMax = time.Minute
	// portTries bounds the tries of another port when one is taken.
	portTries = 5
	// probePause is the time between two probes of a starting process.
	probePause = 10 * time.Millisecond
	// probeMax bounds one probe.
	probeMax = time.Second
	// answerMax bounds the bytes that are read of an answer.
	answerMax = 64 << 10
)

// ErrMissing: a program is not installed.
var ErrMissing = errors.New("not installed")

// missing names the missing program, and how to install it.
func missing(what, debianPackage string) error {
	return fmt.Errorf("%s: %w; on Debian: apt-get install -y --no-install-recommends %s", what, ErrMissing, debianPackage)
}

// errPortTaken has another port tried.
var errPortTaken = errors.New("the port is taken")

// Daemon is one running process that answers at Addr. Its folder stays when it
// ends, and Restart uses the same address again.
type Daemon struct {
	Addr string // host:port

	spec spec
	port int
	run  *child.Child
	stop context.CancelFunc
}

// Place is where a daemon runs. The zero Place is this network namespace, on
// loopback.
type Place struct {
	// Host is the address that it listens on; "": loopback's.
	Host string
	// Within is a command that runs another command at the place, and is replaced
	// by it: ip netns exec NAME for a network namespace; none: here.
	Within []string
}

func (p Place) host() string {
	if p.Host == "" {
		return "127.0.0.1"
	}
	return p.Host
}

// spec is what differs between kinds of daemons.
type spec struct {
	name    string
	dir     string
	place   Place
	command func(dir string, port int) (*exec.Cmd, error) // made anew at each start
	answers func(ctx context.Context, d *Daemon) error    // nil when it serves
}

// start starts a daemon at a free port.
func start(ctx context.Context, s spec) (*Daemon, error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("daemon: %s: %w", s.name, err)
	}
	var err error
	for range portTries {
		d := &Daemon{spec: s}
		if d.port, err = freePort(); err != nil {
			break
		}
		if err = d.Restart(ctx); err == nil {
			return d, nil
		}
		if !errors.Is(err, errPortTaken) {
			break
		}
	}
	return nil, err
}

// Restart starts the daemon again at its address, with its data. It must have
// ended.
func (d *Daemon) Restart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startMax)
	defer cancel()
	if err := d.launch(ctx); err != nil {
		return fmt.Errorf("daemon: start %s at port %d: %w", d.spec.name, d.port, err)
	}
	return nil
}

func (d *Daemon) launch(ctx context.Context) error {
	made, err := d.spec.command(d.spec.dir, d.port)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(d.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own descriptor
	own, stop := context.WithCancel(context.WithoutCancel(ctx))
	line := slices.Concat(d.spec.place.Within, []string{made.Path}, made.Args[1:])
	cmd := exec.CommandContext(own, line[0], line[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = d.spec.dir, log, log
	d.Addr, d.stop = net.JoinHostPort(d.spec.place.host(), strconv.Itoa(d.port)), stop
	if d.run, err = child.Start(cmd); err != nil {
		stop()
		return err
	}
	if err := d.awaitAnswer(ctx); err != nil {
		return errors.Join(err, d.Stop())
	}
	return nil
}

func (d *Daemon) awaitAnswer(ctx context.Context) error {
	poll := time.NewTicker(probePause)
	defer poll.Stop()
	for {
		probe, cancel := context.WithTimeout(ctx, probeMax)
		err := d.spec.answers(probe, d)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-d.run.Ended():
			return d.died()
		case <-ctx.Done():
			return fmt.Errorf("%w: %w; it said last: %s; its log is %s", context.Cause(ctx), err, child.LastLine(d.logPath()), d.logPath())
		case <-poll.C:
		}
	}
}

// died explains why the process has ended before it answered.
func (d *Daemon) died() error {
	said, err := os.ReadFile(d.logPath())
	if err == nil && (bytes.Contains(said, []byte("ddress already in use")) || bytes.Contains(said, []byte("BindException"))) {
		return errPortTaken
	}
	return fmt.Errorf("it ended by itself: %w; it said last: %s; its log is %s", d.run.Wait(), child.LastLine(d.logPath()), d.logPath())
}

func (d *Daemon) logPath() string { return filepath.Join(d.spec.dir, d.spec.name+".log") }

// Log is the path of its log.
func (d *Daemon) Log() string { return d.logPath() }

// PID is the process's id.
func (d *Daemon) PID() int { return d.run.PID() }

// Kill ends the process at once, as a crash does.
func (d *Daemon) Kill() error {
	err := d.run.Signal(syscall.SIGKILL)
	<-d.run.Ended()
	d.stop()
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Signal sends the process a signal, SIGSTOP for example.
func (d *Daemon) Signal(s syscall.Signal) error { return d.run.Signal(s) }

// Ended is closed when the present run of the process has ended.
func (d *Daemon) Ended() <-chan struct{} { return d.run.Ended() }

// Stop asks the process to end and waits for it, and kills it if it must. Its exit
// status does not matter.
func (d *Daemon) Stop() error {
	d.stop()
	<-d.run.Ended()
	return nil
}

// freePort is a port that was free a moment ago.
func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// ask sends request and returns the answer up to the peer's close, or up to want.
func ask(ctx context.Context, addr, request, want string) (string, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return "", err
		}
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return "", err
	}
	var said bytes.Buffer
	buf := make([]byte, 4<<10)
	for {
		n, err := conn.Read(buf)
		said.Write(buf[:n])
		switch {
		case bytes.Contains(said.Bytes(), []byte(want)):
			return said.String(), nil
		case err != nil || said.Len() > answerMax:
			return said.String(), fmt.Errorf("it said %q: %w", said.String(), errors.Join(err, errUnexpected))
		}
	}
}

var errUnexpected = errors.New("not the answer of one that serves")
