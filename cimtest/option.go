package cimtest

import (
	"log/slog"
	"strings"
	"sync"
	"time"

	"cim/route"
	"cim/server"
)

// Option changes how a system is started.
type Option func(*System)

// WithLog has the system's log written by t.Logf, from level on.
func WithLog(level slog.Level) Option {
	return func(s *System) { s.log.level = level }
}

// WithHeartbeat sets the silence after which the server ends a session, 1 s to
// 1 h. Default 30 s.
func WithHeartbeat(silence time.Duration) Option {
	return func(s *System) { s.config.Server.Heartbeat = silence }
}

// WithOfflineTTL sets how long a message is stored for a user who is away.
// Default 72 h.
func WithOfflineTTL(ttl time.Duration) Option {
	return func(s *System) { s.config.Store.OfflineTTL = ttl }
}

// WithReplacedLogins lets a second login of a user end the first one. Default:
// the second one is refused with client.ErrRepeatLogin.
func WithReplacedLogins() Option {
	return func(s *System) {
		s.config.Server.RepeatLogin, s.config.Route.RepeatLogin = server.RepeatReplace, route.RepeatReplace
	}
}

// logNothing is a level above all that is logged.
const logNothing = slog.Level(127)

// testLog is an io.Writer of log lines for a test, until close: a line after
// the test's end would be a panic.
type testLog struct {
	t     TB
	level slog.Level

	mu     sync.Mutex
	closed bool
}

func (l *testLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.t.Logf("%s", strings.TrimSuffix(string(line), "\n"))
	}
	return len(line), nil
}

func (l *testLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
}
