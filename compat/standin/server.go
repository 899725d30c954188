package standin

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-zookeeper/zk"
)

// ServerConfig is what a server of the original is told.
type ServerConfig struct {
	ZK, Root string // host:port, and the folder of the members
	RouteURL string // of the route that hears of those who have gone
	// Heartbeat is after how much silence a client is closed; 0: 30 s.
	Heartbeat time.Duration
	// Warmup is how long its first /sendMsg takes, as in a Java process that has
	// just started; those that come meanwhile wait for it.
	Warmup time.Duration
}

// Server is a server of the original.
type Server struct {
	config ServerConfig
	cim    net.Listener
	http   *listener
	zk     *zk.Conn
	caller *caller

	channels channels
	running  sync.WaitGroup
	dead     atomic.Bool
	warm     sync.Once
}

// channels are the connections, and whose they are.
type channels struct {
	mu    sync.Mutex
	open  map[*channel]bool
	users map[int64]*channel
	names map[int64]string
}

// channel is one client's connection.
type channel struct {
	conn net.Conn
	user int64 // of its last login, 0 before

	mu sync.Mutex // of writes
}

func (c *channel) write(f frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.conn.SetWriteDeadline(time.Now().Add(requestMax)); err != nil {
		return err
	}
	_, err := c.conn.Write(f.append(nil))
	return err
}

// StartServer starts a server and registers it.
func StartServer(config ServerConfig) (*Server, error) {
	if config.Heartbeat == 0 {
		config.Heartbeat = 30 * time.Second
	}
	s := &Server{config: config, caller: newCaller()}
	s.channels = channels{open: map[*channel]bool{}, users: map[int64]*channel{}, names: map[int64]string{}}
	var err error
	if s.cim, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("original: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /sendMsg", handle(s.sendMsg))
	if s.http, err = listen(0, mux); err != nil {
		s.cim.Close()
		return nil, err
	}
	s.running.Go(s.accept)
	if s.zk, err = connectZK(config.ZK); err == nil {
		err = registerZK(s.zk, config.Root, s.Name())
	}
	if err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// CIMPort is the port of the clients' long connections.
func (s *Server) CIMPort() int { return s.cim.Addr().(*net.TCPAddr).Port }

// HTTPPort is the port of /sendMsg.
func (s *Server) HTTPPort() int { return s.http.addr.Port }

// Name is the name of its node.
func (s *Server) Name() string { return fmt.Sprintf("127.0.0.1:%d:%d", s.CIMPort(), s.HTTPPort()) }

// Users is how many users have a channel.
func (s *Server) Users() int {
	s.channels.mu.Lock()
	defer s.channels.mu.Unlock()
	return len(s.channels.users)
}

// Left reports whether all channels of a user have ended and the route has been
// told. The end of one takes a newer one with it.
func (s *Server) Left(user int64) bool {
	s.channels.mu.Lock()
	defer s.channels.mu.Unlock()
	for c := range s.channels.open {
		if c.user == user {
			return false
		}
	}
	return true
}

// Die ends the doors and channels of the server, of which it tells nobody, and
// leaves its node: a process that was killed is such until its session with
// ZooKeeper ends.
func (s *Server) Die() {
	s.dead.Store(true)
	s.cim.Close()
	s.http.close()
	s.channels.mu.Lock()
	defer s.channels.mu.Unlock()
	for c := range s.channels.open {
		c.conn.Close()
	}
}

// Stop ends the server: its node, its doors, and then its channels, each of
// which it tells its route of.
func (s *Server) Stop() {
	if s.zk != nil {
		s.zk.Close()
	}
	s.cim.Close()
	s.channels.mu.Lock()
	for c := range s.channels.open {
		c.conn.Close()
	}
	s.channels.mu.Unlock()
	s.running.Wait()
	s.http.close()
	s.caller.close()
}

func (s *Server) accept() {
	for {
		conn, err := s.cim.Accept()
		if err != nil {
			return // closed
		}
		c := &channel{conn: conn}
		s.channels.mu.Lock()
		s.channels.open[c] = true
		s.channels.mu.Unlock()
		s.running.Go(func() { s.serve(c) })
	}
}

// serve reads one client until it ends or is silent.
func (s *Server) serve(c *channel) {
	reader := bufio.NewReader(c.conn)
	for {
		if err := c.conn.SetReadDeadline(time.Now().Add(s.config.Heartbeat)); err != nil {
			break
		}
		f, err := readFrame(reader)
		if err != nil || s.take(c, f) != nil {
			break
		}
	}
	c.conn.Close()
	if user, name, found := s.channels.end(c); found && !s.dead.Load() {
		s.tellRoute(user, name)
	}
	s.channels.forget(c)
}

func (s *Server) take(c *channel, f frame) error {
	switch f.cmd {
	case cmdLogin:
		s.channels.login(c, f.id, f.text)
	case cmdPing:
		return c.write(frame{text: "pong", cmd: cmdPing})
	}
	return nil
}

// login is a client's word, which nobody checks. An earlier channel of the same
// user is not closed.
func (cs *channels) login(c *channel, user int64, name string) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c.user = user
	cs.users[user], cs.names[user] = c, name
}

// end removes a channel, and its user, whosever channel he has by now.
func (cs *channels) end(c *channel) (user int64, name string, found bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c.user == 0 {
		return 0, "", false
	}
	name, found = cs.names[c.user]
	delete(cs.users, c.user)
	delete(cs.names, c.user)
	return c.user, name, found
}

func (cs *channels) forget(c *channel) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	delete(cs.open, c)
}

func (cs *channels) find(user int64) *channel {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.users[user]
}

// tellRoute says that a user has gone. Nobody tries again if it fails.
func (s *Server) tellRoute(user int64, name string) {
	ctx, stop := context.WithTimeout(context.Background(), requestMax)
	defer stop()
	_, _ = s.caller.post(ctx, s.config.RouteURL+"/offLine", goodbye{UserID: user, Msg: name}, nil)
}

// sendMsg writes a message to its receiver. It is answered with success
// whether he is there or not.
func (s *Server) sendMsg(_ context.Context, request sendMsg) answer {
	s.warm.Do(func() { time.Sleep(s.config.Warmup) })
	f := frame{id: request.UserID, cmd: cmdMessage, properties: request.Properties, batch: request.BatchMsg}
	if request.Cmd == "OFFLINE" {
		f.cmd = cmdOffline
	}
	if request.Msg != nil {
		f.text = *request.Msg
	}
	if c := s.channels.find(request.UserID); c != nil {
		_ = c.write(f) // nobody looks
	}
	return answered(CodeSuccess, map[string]string{"msg": "OK"})
}
