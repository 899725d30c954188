package daemon

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
)

// Redis starts a redis-server with its data in dir. Without args it stores nothing
// on the disk; args are options of redis-server, "--appendonly", "yes" for example,
// and override the defaults.
func Redis(ctx context.Context, dir string, args ...string) (*Daemon, error) {
	return RedisAt(ctx, Place{}, dir, args...)
}

// RedisAt is Redis at a place. It has no password: any process that reaches the
// place may use it.
func RedisAt(ctx context.Context, place Place, dir string, args ...string) (*Daemon, error) {
	return start(ctx, spec{
		name: "redis", dir: dir, place: place,
		command: func(dir string, port int) (*exec.Cmd, error) {
			return program("redis-server", append([]string{
				"--port", strconv.Itoa(port), "--bind", place.host(), "--protected-mode", "no", "--dir", dir,
				"--save", "", "--appendonly", "no", "--daemonize", "no", "--loglevel", "warning",
			}, args...)...)
		},
		answers: serves,
	})
}

// Sentinel starts a Redis Sentinel that watches the master at addr under name, and
// considers it dead after a second without answer. quorum Sentinels must agree.
// lines are added to its configuration.
func Sentinel(ctx context.Context, dir, name, host string, port, quorum int, lines ...string) (*Daemon, error) {
	return start(ctx, spec{
		name: "sentinel", dir: dir,
		command: func(dir string, own int) (*exec.Cmd, error) {
			return sentinelCommand(dir, own, name, host, port, quorum, lines)
		},
		answers: serves,
	})
}

// serves checks that a Redis serves, which it does not while it loads its data, and
// that it is ours: another process may have taken the port first.
func serves(ctx context.Context, d *Daemon) error {
	// A Redis that demands a password serves too.
	if said, err := ask(ctx, d.Addr, "PING\r\n", "+PONG"); strings.HasPrefix(said, "-NOAUTH") {
		return nil
	} else if err != nil {
		return err
	}
	_, err := ask(ctx, d.Addr, "INFO server\r\n", "process_id:"+strconv.Itoa(d.PID())+"\r\n")
	return err
}

// debianPackage is the package that a program comes in.
func debianPackage(name string) string {
	if name == "java" {
		return "default-jre-headless"
	}
	return name
}

// program finds an executable, also in the folders of Debian for daemons, which are
// in the path of root only.
func program(name string, args ...string) (*exec.Cmd, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + name)
	}
	if err != nil {
		return nil, missing(name, debianPackage(name))
	}
	return exec.Command(path, args...), nil
}
