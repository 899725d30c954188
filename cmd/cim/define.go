package main

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/pflag"

	"cim/internal/admission"
	"cim/internal/budget"
	"cim/internal/httpserve"
	"cim/internal/limit"
	"cim/internal/metrics"
	"cim/route"
	"cim/route/access"
	"cim/server"
)

// The settings that more than one command has: the same names, defaults and
// words everywhere.

func defineServer(flags *pflag.FlagSet, c *server.Config) {
	flags.StringVar(&c.Advertise, "advertise", c.Advertise,
		"host for clients, if it is not that of --bind; a --bind that is a wildcard, or of IPv6, demands it")
	numberVar(flags, &c.CIMPort, "cim-port", 0, portMax, "port of the clients' long connections; 0 takes a free one")
	numberVar(flags, &c.HTTPPort, "http-port", 0, portMax, "port of the server's /sendMsg, on 127.0.0.1 unless --bind is another loopback address or --sendmsg-anywhere is set; 0 takes a free one")
	flags.DurationVar(&c.Heartbeat, "heartbeat", c.Heartbeat, "silence after which a session ends")
	choiceVar(flags, &c.Login, "login", "which clients may log in: those that a route announced, or any",
		server.LoginGranted, server.LoginOpen)
	flags.IntVar(&c.SessionsMax, "max-sessions", c.SessionsMax,
		"most connections of clients; 0 is what the limit of descriptors leaves")
	flags.IntVar(&c.Loops, "loops", c.Loops, "event loops; 0 is half of the cores that the process may use, at least one; a CPU quota counts")
	choiceVar(flags, &c.EventWait, "event-wait",
		"how event loops wait for events: direct, in the kernel as soon as one is dealt with; or plain, as their library does by itself",
		server.WaitDirect, server.WaitPlain)
	bytesVar(flags, &c.KeptBudget, "kept-budget", server.KeptBudgetMin, server.KeptBudgetMax,
		"bytes of messages, as 256MiB, that are kept until clients have acknowledged them; past it messages are stored, not delivered at once")
	durationVar(flags, &c.StuckAfter, "stuck-after", server.StuckAfterMin, server.StuckAfterMax,
		"time after which what comes for a client that cannot acknowledge texts is stored if its network takes nothing of what it was sent")
	flags.BoolVar(&c.SendMsgAnywhere, "sendmsg-anywhere", c.SendMsgAnywhere,
		"let /sendMsg answer to others than loopback; who reaches it can name any sender")
}

func defineRoute(flags *pflag.FlagSet, c *route.Config) {
	numberVar(flags, &c.Port, "route-port", 0, portMax, "port of the route's HTTP API; 0 takes a free one")
	choiceVar(flags, &c.LoginAddress, "login-address",
		"where a client of the original, which shows no ticket, must connect from: the same address as over HTTP; any; "+
			"or auto, the same with --auth require and while others guess at its login",
		route.LoginAddressAuto, route.LoginAddressSame, route.LoginAddressAny)
	choiceVar(flags, &c.ServerChoice, "server-choice", "how a login's server is picked",
		route.ChoiceHash, route.ChoiceRoundRobin, route.ChoiceRandom)
}

// defineAccess adds the settings for which callers may make which requests.
func defineAccess(flags *pflag.FlagSet, c *access.Config) {
	choiceVar(flags, &c.Mode, settingAuth,
		"whether requests must show a token: off; check, so that those without are served and counted; require. A --bind beyond loopback demands that it is given",
		access.Off, access.Check, access.Require)
	flags.StringVar(&c.KeyFile, "auth-keys", c.KeyFile, "file with the keys of tokens, a JSON Web Key Set; read again when it changes")
	flags.StringVar(&c.Audience, "auth-audience", c.Audience, "audience that tokens must name; none: any")
	choiceVar(flags, &c.Register, "auth-register", "which callers may register accounts: all, or service tokens only",
		access.RegisterOpen, access.RegisterService)
	numberVar(flags, &c.PathDays, "auth-path-days", 0, access.PathDaysMax, "longest life of a token in the path of an old client's address, in days; 0 takes none")
	flags.Var(texts{&c.Origins}, "allow-origin", "web origins whose pages may use the route, such as https://chat.example.com, separated by commas")
}

const settingAuth = "auth"

// checkExposed refuses a route that other machines can reach, if --auth was left at its
// default.
func checkExposed(bind string, s *settings) error {
	host, err := netip.ParseAddr(bind)
	if err == nil && host.IsLoopback() || s.source[settingAuth] != fromDefault {
		return nil
	}
	return fmt.Errorf("auth is not given, and --bind %s lets others than this machine ask: give --auth require with --auth-keys, "+
		"--auth check to find the clients without a token, or --auth off if only trusted clients reach it", bind)
}

func defineHTTPIdle(flags *pflag.FlagSet, target *time.Duration) {
	durationVar(flags, target, "http-idle-timeout", httpserve.IdleTimeoutMin, httpserve.IdleTimeoutMax,
		"time that an HTTP connection may wait for its next request; more than a proxy in front keeps it")
}

// defineAddresses adds what bounds each address, at all ports.
func defineAddresses(flags *pflag.FlagSet, p *admission.Policy) {
	fractionVar(flags, &p.Share, "address-share", admission.ShareMin, admission.ShareMax,
		"part of a port's connections that those of one address that idle or have proved nothing may be, once the port is full")
	flags.Var(prefixes{&p.Trusted}, "trusted-proxy",
		"addresses of proxies, 192.0.2.1 or 192.0.2.0/24 separated by commas: --address-share does not bound them, "+
			"and a route takes the client's address from their X-Forwarded-For or Forwarded")
}

// defineLimits adds how often one user or one address may ask a route.
func defineLimits(flags *pflag.FlagSet, c *limit.Config) {
	rateVar(flags, &c.Registrations, limit.AutoRegistrations, "limit-registrations", "most requests to register of one address")
	rateVar(flags, &c.Logins, limit.AutoLogins, "limit-logins", "most logins of one address without a token")
	rateVar(flags, &c.UserLogins, limit.AutoUserLogins, "limit-user-logins", "most logins of one user")
	rateVar(flags, &c.Messages, limit.AutoMessages, "limit-messages", "most messages over HTTP of one address without a token")
	defineSendLimits(flags, c)
}

// defineSendLimits adds how often one user may send: over HTTP where a route reads
// them, over each connection where a server does.
func defineSendLimits(flags *pflag.FlagSet, c *limit.Config) {
	rateVar(flags, &c.UserMessages, limit.AutoUserMessages, "limit-user-messages", "most messages of one sender")
	rateVar(flags, &c.GroupMessages, limit.AutoGroupMessages, "limit-group-messages", "most group messages of one sender")
	rateVar(flags, &c.GroupBytes, limit.AutoGroupBytes, "limit-group-bytes", "most bytes of one sender's group messages")
}

func rateVar(flags *pflag.FlagSet, target *limit.Rate, auto limit.Rate, name, what string) {
	flags.Var(rate{target}, name, fmt.Sprintf("%s a second; 0 is no limit; auto is %d for clients of other machines", what, auto))
}

// defineMemory adds the bound of what connections hold in memory.
func defineMemory(flags *pflag.FlagSet, target *int64) {
	bytesVar(flags, target, "memory-budget", budget.LimitMin, budget.LimitMax,
		"bytes that all connections may hold in memory together, as 256MiB, by not reading or by sending in part; "+
			"past it those that hold most are closed; 0 is a quarter of the memory, from 32MiB to 1GiB; "+
			"the memory limit of the process follows it unless GOMEMLIMIT is set")
}

// newBudget is the budget of a process. limit 0 stands for the default. The
// runtime's memory limit follows it unless the user has set that himself.
func newBudget(limit int64, log *slog.Logger, set *metrics.Set) *budget.Budget {
	if limit == 0 {
		limit = budget.Default()
	}
	b := budget.New(limit, log)
	if os.Getenv("GOMEMLIMIT") == "" {
		b.LimitProcess()
	}
	set.Gauge("cim_memory_budget_bytes", func() float64 { return float64(b.Limit()) })
	set.Gauge("cim_memory_held_bytes", func() float64 { return float64(b.Held()) })
	return b
}

func defineRepeatLogin[T ~string](flags *pflag.FlagSet, target *T) {
	choiceVar(flags, target, "repeat-login", "what to do with a login whose user has a live session",
		T(server.RepeatRefuse), T(server.RepeatReplace))
}

func defineOfflineTTL(flags *pflag.FlagSet, target *time.Duration) {
	flags.DurationVar(target, "offline-ttl", *target, "age at which a stored message is dropped")
}

// offlineTTLMin is the least age bound that makes sense.
const offlineTTLMin = time.Second

func checkOfflineTTL(ttl time.Duration) error {
	if ttl < offlineTTLMin {
		return fmt.Errorf("offline-ttl %v is not at least %v", ttl, offlineTTLMin)
	}
	return nil
}
