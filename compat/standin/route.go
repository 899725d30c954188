package standin

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
)

// RouteConfig is what a route of the original is told.
type RouteConfig struct {
	ZK, Root string // host:port, and the folder of the members
	Redis    string // host:port
	// Released has it store as the releases 2.1.x do: a hash for each text, and ids
	// as JSON strings. It fails on a text in master's form, as a route without it
	// does on a hash.
	Released bool
}

// Route is a route of the original.
type Route struct {
	config RouteConfig
	http   *listener
	zk     *zk.Conn
	redis  *redis
	caller *caller

	mu      sync.Mutex
	last    int64 // the last id that was given; the original may give one twice
	message int64 // the last stored message's
}

// checkMax bounds the connect that checks a server.
const checkMax = time.Second

// StartRoute starts a route.
func StartRoute(config RouteConfig) (*Route, error) {
	r := &Route{config: config, redis: &redis{addr: config.Redis}, caller: newCaller()}
	var err error
	if r.zk, err = connectZK(config.ZK); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /registerAccount", handle(r.register))
	mux.HandleFunc("POST /login", handle(r.login))
	mux.HandleFunc("POST /offLine", handle(r.offLine))
	mux.HandleFunc("POST /groupRoute", handle(r.group))
	mux.HandleFunc("POST /p2pRoute", handle(r.private))
	mux.HandleFunc("POST /fetchOfflineMsgs", handle(r.fetch))
	mux.HandleFunc("GET /onlineUser", func(w http.ResponseWriter, _ *http.Request) { reply(w, r.online()) })
	if r.http, err = listen(0, mux); err != nil {
		r.zk.Close()
		return nil, err
	}
	return r, nil
}

// URL is where clients and servers find it.
func (r *Route) URL() string { return "http://" + r.http.addr.String() }

// Stop ends the route.
func (r *Route) Stop() {
	r.http.close()
	r.zk.Close()
	r.redis.close()
	r.caller.close()
}

// Keys of Redis.
const (
	accountPrefix = "cim-account:"
	routePrefix   = "cim-route:"
	loginStatus   = "login-status"
)

func key(prefix string, user int64) string { return prefix + strconv.FormatInt(user, 10) }

type account struct {
	UserID   int64  `json:"userId"`
	UserName string `json:"userName"`
}

func (r *Route) register(_ context.Context, request account) answer {
	known, found, err := r.redis.get(request.UserName)
	if err != nil {
		return answered(CodeFailure, nil)
	}
	if found {
		id, _ := strconv.ParseInt(strings.TrimPrefix(known, accountPrefix), 10, 64)
		return answered(CodeSuccess, account{id, request.UserName})
	}
	id := r.nextUser()
	for _, pair := range [][2]string{{key(accountPrefix, id), request.UserName}, {request.UserName, key(accountPrefix, id)}} {
		if _, err := r.redis.do("SET", pair[0], pair[1]); err != nil {
			return answered(CodeFailure, nil)
		}
	}
	return answered(CodeSuccess, account{id, request.UserName})
}

// nextUser is the time in milliseconds.
func (r *Route) nextUser() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = max(r.last+1, time.Now().UnixMilli())
	return r.last
}

// place is the dataBody of a login.
type place struct {
	IP            string `json:"ip"`
	CIMServerPort int    `json:"cimServerPort"`
	HTTPPort      int    `json:"httpPort"`
}

// parsePlace reads the first three parts of a record, or a member's name.
func parsePlace(text string) (place, bool) {
	parts := strings.Split(text, ":")
	if len(parts) < 3 {
		return place{}, false
	}
	cim, err1 := strconv.Atoi(parts[1])
	port, err2 := strconv.Atoi(parts[2])
	return place{parts[0], cim, port}, err1 == nil && err2 == nil
}

func (r *Route) login(_ context.Context, request account) answer {
	name, found, err := r.redis.get(key(accountPrefix, request.UserID))
	switch {
	case err != nil:
		return answered(CodeFailure, nil)
	case !found || name != request.UserName:
		return answered(CodeMismatch, nil)
	}
	added, err := r.redis.do("SADD", loginStatus, fmt.Sprint(request.UserID))
	switch {
	case err != nil:
		return answered(CodeFailure, nil)
	case added == int64(0):
		return answered(CodeRepeat, nil)
	}
	server, at, ok := r.pick(request.UserID)
	if !ok {
		_, _ = r.redis.do("SREM", loginStatus, fmt.Sprint(request.UserID))
		return answered(CodeNoServer, nil)
	}
	if _, err := r.redis.do("SET", key(routePrefix, request.UserID), server); err != nil {
		return answered(CodeFailure, nil)
	}
	return answered(CodeSuccess, at)
}

// pick picks a server that answers: it connects, and closes at once. Where its
// first choice does not answer it picks another one, and returns the name of the
// first with the place of the other.
func (r *Route) pick(user int64) (first string, at place, ok bool) {
	servers, _, err := r.zk.Children(r.config.Root)
	if err != nil {
		return "", place{}, false
	}
	for len(servers) > 0 {
		name := pick(servers, user)
		if first == "" {
			first = name
		}
		if at, ok = parsePlace(name); ok && r.answers(at) {
			return first, at, true
		}
		servers = slices.DeleteFunc(servers, func(other string) bool { return other == name })
	}
	return "", place{}, false
}

func (r *Route) answers(at place) bool {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("%s:%d", at.IP, at.CIMServerPort), checkMax)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// offLine removes whatever login the user has.
func (r *Route) offLine(_ context.Context, request goodbye) answer {
	if _, err := r.redis.do("DEL", key(routePrefix, request.UserID)); err != nil {
		return answered(CodeFailure, nil)
	}
	if _, err := r.redis.do("SREM", loginStatus, fmt.Sprint(request.UserID)); err != nil {
		return answered(CodeFailure, nil)
	}
	return answered(CodeSuccess, nil)
}

func (r *Route) online() answer {
	members, err := r.redis.strings("SMEMBERS", loginStatus)
	if err != nil {
		return answered(CodeFailure, nil)
	}
	users := []account{}
	for _, member := range members {
		id, _ := strconv.ParseInt(member, 10, 64)
		name, _, err := r.redis.get(key(accountPrefix, id))
		if err != nil {
			return answered(CodeFailure, nil)
		}
		users = append(users, account{id, name})
	}
	return answered(CodeSuccess, users)
}

// message is the body of groupRoute and p2pRoute.
type message struct {
	UserID        int64    `json:"userId"`
	ReceiveUserID int64    `json:"receiveUserId,omitempty"`
	Msg           *string  `json:"msg,omitempty"`
	BatchMsg      []string `json:"batchMsg,omitempty"`
}

// push sends a message to one receiver's server.
func (r *Route) push(ctx context.Context, at place, m message, cmd string, properties map[string]string) error {
	url := fmt.Sprintf("http://%s:%d/sendMsg", at.IP, at.HTTPPort)
	var body struct {
		Msg string `json:"msg"`
	}
	request := sendMsg{UserID: m.ReceiveUserID, Msg: m.Msg, BatchMsg: m.BatchMsg, Cmd: cmd, Properties: properties}
	_, err := r.caller.post(ctx, url, request, &body)
	return err
}

// properties are those of a message to one receiver.
func (r *Route) properties(sender, receiver int64) (map[string]string, error) {
	name, found, err := r.redis.get(key(accountPrefix, sender))
	if !found {
		name = "unLoginUser"
	}
	return map[string]string{
		"sendUserId": fmt.Sprint(sender), "sendUserName": name, "receiveUserId": fmt.Sprint(receiver),
	}, err
}

// group sends to everybody online, one after the other. The first failure ends
// it.
func (r *Route) group(ctx context.Context, request message) answer {
	keys, err := r.redis.scan(routePrefix + "*")
	if err != nil {
		return answered(CodeFailure, nil)
	}
	for _, record := range keys {
		user, err := strconv.ParseInt(strings.TrimPrefix(record, routePrefix), 10, 64)
		if err != nil || user == request.UserID {
			continue
		}
		if !r.groupOne(ctx, request, user) {
			return answered(CodeFailure, nil)
		}
	}
	return answered(CodeSuccess, nil)
}

func (r *Route) groupOne(ctx context.Context, request message, user int64) bool {
	at, found, err := r.find(user)
	if err != nil || !found {
		return err == nil // he left meanwhile
	}
	properties, err := r.properties(request.UserID, user)
	request.ReceiveUserID = user
	return err == nil && r.push(ctx, at, request, "MESSAGE", properties) == nil
}

func (r *Route) find(user int64) (place, bool, error) {
	value, found, err := r.redis.get(key(routePrefix, user))
	if err != nil || !found {
		return place{}, false, err
	}
	at, ok := parsePlace(value)
	return at, ok, nil
}

// private sends to one user, or keeps for later.
func (r *Route) private(ctx context.Context, request message) answer {
	at, found, err := r.find(request.ReceiveUserID)
	if err != nil {
		return answered(CodeFailure, nil)
	}
	properties, err := r.properties(request.UserID, request.ReceiveUserID)
	switch {
	case err != nil:
		return answered(CodeFailure, nil)
	case !found && r.store(request, properties) == nil:
		return answered(CodeOffline, nil)
	case !found:
		return answered(CodeFailure, nil)
	case r.push(ctx, at, request, "MESSAGE", properties) != nil:
		return answered(CodeFailure, nil)
	}
	return answered(CodeSuccess, nil)
}
