package redis

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cim/internal/daemon"
	"cim/store"
)

// forwarder is an address that stays while what is behind it changes.
type forwarder struct {
	addr string

	mu     sync.Mutex
	behind string
	dials  int
	ends   sync.WaitGroup
}

func newForwarder(t *testing.T, behind string) *forwarder {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &forwarder{addr: listener.Addr().String(), behind: behind}
	t.Cleanup(func() {
		listener.Close()
		f.ends.Wait()
	})
	f.ends.Go(func() {
		for {
			front, err := listener.Accept()
			if err != nil {
				return
			}
			f.ends.Go(func() { f.pass(front) })
		}
	})
	return f
}

func (f *forwarder) pass(front net.Conn) {
	defer front.Close()
	f.mu.Lock()
	behind := f.behind
	f.dials++
	f.mu.Unlock()
	back, err := net.Dial("tcp", behind)
	if err != nil {
		return
	}
	f.ends.Go(func() {
		io.Copy(back, front)
		back.Close()
	})
	io.Copy(front, back)
}

func (f *forwarder) lead(behind string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.behind = behind
}

// TestFailoverBehindOneAddress lets another Redis take over behind an address
// that stays, while the old one lives on as its replica and keeps its
// connections, as behind a load balancer.
func TestFailoverBehindOneAddress(t *testing.T) {
	t.Parallel()
	a, b := own(t), own(t)
	f := newForwarder(t, a.Addr)
	s, log := openedLogged(t, Config{URLs: []string{"redis://" + f.addr}})
	serves(t, s)
	host, port, _ := net.SplitHostPort(b.Addr)
	said(t, a.Addr, "REPLICAOF", host, port)
	await(t, "the replica is not ready", func() bool {
		err := s.Ready(t.Context())
		return errors.Is(err, store.ErrAway) && strings.Contains(err.Error(), "is a replica and takes no writes") && strings.Contains(err.Error(), "READONLY")
	})
	await(t, "the log says so", func() bool { return log.count("cannot be used") == 1 })
	f.lead(b.Addr)
	await(t, "the master behind the same address", func() bool { return s.Ready(t.Context()) == nil })
	registered(t, s, "bob")
	if got := said(t, b.Addr, "EXISTS", "bob"); got != ":1\r\n" {
		t.Errorf("the account is not at the new master: %q", got)
	}
	await(t, "the log says so", func() bool { return log.count("can be used again") == 1 })
	if log.count("cannot be used") != 1 {
		t.Errorf("want it logged once: %s", log)
	}
}

// TestRefusesWrites goes through why a Redis refuses what is written: the store
// is not ready, says why, and is ready again when it takes writes.
func TestRefusesWrites(t *testing.T) {
	t.Parallel()
	var keep net.Conn // of the case of connections
	for name, c := range map[string]struct {
		args    []string
		on, off func(t *testing.T, d *daemon.Daemon)
		want    []string
	}{
		"Full": {
			on:   func(t *testing.T, d *daemon.Daemon) { said(t, d.Addr, "CONFIG", "SET", "maxmemory", "1mb") },
			off:  func(t *testing.T, d *daemon.Daemon) { said(t, d.Addr, "CONFIG", "SET", "maxmemory", "0") },
			want: []string{"is full (maxmemory)", "OOM"},
		},
		"Replica": {
			on:   func(t *testing.T, d *daemon.Daemon) { said(t, d.Addr, "REPLICAOF", "127.0.0.1", "1") },
			off:  func(t *testing.T, d *daemon.Daemon) { said(t, d.Addr, "REPLICAOF", "NO", "ONE") },
			want: []string{"is a replica", "READONLY"},
		},
		"Too few replicas": {
			on:   func(t *testing.T, d *daemon.Daemon) { said(t, d.Addr, "CONFIG", "SET", "min-replicas-to-write", "1") },
			off:  func(t *testing.T, d *daemon.Daemon) { said(t, d.Addr, "CONFIG", "SET", "min-replicas-to-write", "0") },
			want: []string{"too few replicas", "NOREPLICAS"},
		},
		"Disk": {
			args: []string{"--save", "3600 1"},
			on: func(t *testing.T, d *daemon.Daemon) {
				if err := os.Mkdir(filepath.Join(folderOf(t, d), "dump.rdb"), 0o700); err != nil {
					t.Fatal(err)
				}
				said(t, d.Addr, "BGSAVE")
			},
			off: func(t *testing.T, d *daemon.Daemon) {
				if err := os.Remove(filepath.Join(folderOf(t, d), "dump.rdb")); err != nil {
					t.Fatal(err)
				}
				said(t, d.Addr, "BGSAVE")
			},
			want: []string{"cannot save its data", "MISCONF"},
		},
		"Password": {
			on: func(t *testing.T, d *daemon.Daemon) {
				inTurn(t, d.Addr, "CONFIG SET requirepass pw", "AUTH pw", "CLIENT KILL TYPE normal SKIPME yes")
			},
			off: func(t *testing.T, d *daemon.Daemon) {
				inTurn(t, d.Addr, "AUTH pw", "CONFIG SET requirepass \"\"")
			},
			want: []string{"wants a password", "NOAUTH"},
		},
		"Connections": {
			on: func(t *testing.T, d *daemon.Daemon) {
				var err error
				if keep, err = net.Dial("tcp", d.Addr); err != nil {
					t.Fatal(err)
				}
				io.WriteString(keep, "CONFIG SET maxclients 1\r\nCLIENT KILL TYPE normal SKIPME yes\r\n")
				t.Cleanup(func() { keep.Close() })
			},
			off:  func(t *testing.T, d *daemon.Daemon) { io.WriteString(keep, "CONFIG SET maxclients 1000\r\n") },
			want: []string{"takes no more connections", "maxclients", "max number of clients"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := own(t, c.args...)
			s, log := openedLogged(t, Config{URLs: []string{"redis://" + d.Addr}})
			serves(t, s)
			c.on(t, d)
			var last error
			await(t, "it is not ready, and says why", func() bool {
				last = s.Ready(t.Context())
				if last == nil {
					return false
				}
				for _, want := range c.want {
					if !strings.Contains(last.Error(), want) {
						return false
					}
				}
				return true
			})
			t.Log(last)
			await(t, "the log says so", func() bool { return log.count(c.want[0]) == 1 })
			c.off(t, d)
			await(t, "it is ready again", func() bool { return s.Ready(t.Context()) == nil })
			await(t, "the log says so", func() bool { return log.count("can be used again") == 1 })
			loggedIn(t, s, registered(t, s, "bob"), 0)
		})
	}
}

func folderOf(t *testing.T, d *daemon.Daemon) string {
	t.Helper()
	return strings.Split(said(t, d.Addr, "CONFIG", "GET", "dir"), "\r\n")[4]
}

// inTurn sends inline commands on one connection.
func inTurn(t *testing.T, addr string, commands ...string) {
	t.Helper()
	conn, err := dialRaw(t.Context(), addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, command := range commands {
		io.WriteString(conn, command+"\r\n")
		if _, err := conn.read(0); err != nil {
			t.Fatalf("%s: %v", command, err)
		}
	}
}

// TestWrongAddress goes through what may be at an address that is no Redis to
// work with: the error says it.
func TestWrongAddress(t *testing.T) {
	plain := own(t)
	certificate, key := certificates(t)
	secure := own(t, "--tls-port", "0", "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate, "--tls-auth-clients", "no")
	said(t, secure.Addr, "CONFIG", "SET", "tls-port", freePort(t))
	tlsPort := strings.Split(said(t, secure.Addr, "CONFIG", "GET", "tls-port"), "\r\n")[4]
	sentinel, err := daemon.Sentinel(t.Context(), filepath.Join(t.TempDir(), "sentinel"), "cim", "127.0.0.1", 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sentinel.Stop() })
	for name, c := range map[string]struct{ url, want string }{
		"TLS wanted":      {"redis://127.0.0.1:" + tlsPort, "wants TLS: rediss://"},
		"TLS not wanted":  {"rediss://" + plain.Addr, "speaks no TLS"},
		"not trusted":     {"rediss://127.0.0.1:" + tlsPort, "not trusted"},
		"Sentinel":        {"redis://" + sentinel.Addr, "master_set=NAME belongs behind the URL"},
		"no Sentinel":     {"redis://" + plain.Addr + "?master_set=cim", "is no Sentinel: leave out master_set"},
		"master away":     {"redis://" + sentinel.Addr + "?master_set=cim", "names 127.0.0.1:1 as master: 127.0.0.1:1 refuses connections"},
		"HTTP":            {"redis://" + talker(t, "HTTP/1.1 400 Bad Request\r\n\r\n"), "is no Redis"},
		"says nothing":    {"redis://" + talker(t, ""), "does not answer in time"},
		"nobody":          {"redis://" + closedAddr(t), "refuses connections"},
		"no such host":    {"redis://none.invalid", "cannot be found"},
		"password unused": {"redis://:pw@" + plain.Addr, "has no password, and the URL has one"},
		"old":             {"redis://" + talker(t, "+PONG\r\n-ERR unknown command 'HELLO'\r\n*2\r\n$1\r\n0\r\n*0\r\n$27\r\n# Server\r\nredis_version:3.2\r\n"), "is Redis 3.2, which is too old: cim needs 5.0"},
		"protected":       {"redis://" + talker(t, "-DENIED Redis is running in protected mode because\r\n"), "protected mode"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := Open(t.Context(), Config{URLs: []string{c.url}})
			if err == nil {
				defer s.Close()
				err = s.Ready(t.Context())
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q in it", err, c.want)
			}
		})
	}
}

// talker answers each connection with the same, whatever it is asked, until the
// other end closes.
func talker(t *testing.T, answer string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() {
		listener.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				io.WriteString(conn, answer)
				io.Copy(io.Discard, conn)
			})
		}
	})
	return listener.Addr().String()
}

// certificates writes a certificate that signs itself, and its key.
func certificates(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	body, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, bytes []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", body), write("key.pem", "EC PRIVATE KEY", secret)
}

// TestSpreadKeys looks at the keys that a Redis Cluster is probed with: one in
// each part of the slots, by slots that a Redis knows.
func TestSpreadKeys(t *testing.T) {
	for key, want := range map[string]int{"123456789": 0x31c3, "foo": 12182, "": 0} {
		if got := slotOf(key); got != want {
			t.Errorf("slot of %q: %d, want %d", key, got, want)
		}
	}
	parts := map[int]bool{}
	for _, key := range spreadKeys() {
		parts[slotOf(strings.Trim(key, "{}"))*clusterProbes/clusterSlots] = true
	}
	if len(parts) != clusterProbes {
		t.Errorf("%d parts have a key, want %d", len(parts), clusterProbes)
	}
}

// TestOpenRefusedForNow opens while the Redis takes no connection, with an answer
// that will change: the store says why, and works as soon as it may.
func TestOpenRefusedForNow(t *testing.T) {
	d := own(t)
	keep, err := net.Dial("tcp", d.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer keep.Close()
	say := func(command string) {
		t.Helper()
		if _, err := io.WriteString(keep, command+"\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := keep.Read(make([]byte, 64)); err != nil {
			t.Fatal(err)
		}
	}
	say("CONFIG SET maxclients 1")
	s, log := openedLogged(t, Config{URLs: []string{"redis://" + d.Addr}})
	for range 3 {
		s.health.lookNow()
		err := s.Ready(t.Context())
		if err == nil || strings.Count(err.Error(), "takes no more connections") != 1 || strings.Contains(err.Error(), "not connected yet") {
			t.Fatalf("Ready: %v", err)
		}
		if _, _, err := s.Find(t.Context(), "ann"); err == nil || strings.Count(err.Error(), "not connected yet") != 1 {
			t.Fatalf("Find: %v", err)
		}
	}
	say("CONFIG SET maxclients 1000")
	await(t, "it is ready", func() bool { return s.Ready(t.Context()) == nil })
	serves(t, s)
	if log.count("cannot be used") != 1 {
		t.Errorf("want it logged once: %s", log)
	}
}

// TestReadyExplainsBetweenLooks asks whether a Redis can be used that has ended its
// connections since the last look and takes no more: the answer says that, though
// the client library knows of the end only.
func TestReadyExplainsBetweenLooks(t *testing.T) {
	t.Parallel()
	d := own(t)
	s := opened(t, Config{URLs: []string{"redis://" + d.Addr}})
	serves(t, s)
	s.stop()
	s.done.Wait() // no look from now on
	keep, err := dialRaw(t.Context(), d.Addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer keep.Close()
	for _, command := range [][]string{{"CONFIG", "SET", "maxclients", "1"}, {"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"}} {
		if _, err := keep.ask(command...); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if err := s.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "takes no more connections") {
			t.Errorf("Ready: %v", err)
		}
	}
}

// TestUnknownCommandWhileConnecting: what a Redis says of a command that the client
// library connects with is explained without a guess at the cause, since the library
// does not say which command it sent.
func TestUnknownCommandWhileConnecting(t *testing.T) {
	t.Parallel()
	a, b := own(t, "--rename-command", "CLUSTER", ""), own(t, "--rename-command", "CLUSTER", "")
	s, _ := openedLogged(t, Config{URLs: []string{"redis://" + a.Addr, "redis://" + b.Addr}}) // two are a Redis Cluster
	err := s.Ready(t.Context())
	if err == nil || !strings.Contains(err.Error(), "does not know a command that cim needs (unknown command 'CLUSTER')") {
		t.Errorf("Ready: %v", err)
	}
}
