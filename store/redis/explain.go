package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/redis/rueidis"
)

// errWantsTLS says that the other end speaks TLS and the URL does not, errNoTLS
// the reverse.
var (
	errWantsTLS = errors.New("it wants TLS")
	errNoTLS    = errors.New("it speaks no TLS")
)

// answerMax bounds the bytes of an answer that stand behind its explanation.
const answerMax = 120

// explained is a fault in a user's words. What it says has no password.
type explained struct {
	words string
	cause error
}

func (e *explained) Error() string { return e.words }
func (e *explained) Unwrap() error { return e.cause }

// fault says what went wrong at e when command was sent.
func (e endpoint) fault(command string, err error) error {
	return &explained{words: e.addr + " " + words(command, err), cause: err}
}

// explanation is what an answer that begins with code means.
type explanation struct{ code, words string }

// explanations are by the beginnings of answers; the first one that fits counts.
var explanations = []explanation{
	{"WRONGPASS", "does not take the user or the password of the URL"},
	{"NOAUTH", "wants a password: redis://USER:PASSWORD@HOST:PORT, or :PASSWORD without a user"},
	{"ERR invalid password", "does not take the password of the URL"},
	{"ERR AUTH <password> called without any password", "has no password, and the URL has one"},
	{"ERR Client sent AUTH, but no password is set", "has no password, and the URL has one"},
	{"ERR wrong number of arguments for 'auth'", "is too old for users: give the password alone, redis://:PASSWORD@HOST:PORT"},
	{"ERR max number of clients", "takes no more connections: raise maxclients of the Redis, or end other clients"},
	{"ERR max clients", "takes no more connections: raise maxclients of the Redis, or end other clients"},
	{"DENIED", "is in protected mode and takes connections of its own machine only: give it a password, or protected-mode no"},
	{"ERR DB index", "does not have the database that the URL names: raise databases of the Redis, or name a smaller one"},
	{"ERR invalid DB index", "does not have the database that the URL names"},
	{"ERR SELECT is not allowed in cluster mode", "is a Redis Cluster, which has database 0 only: the URL must name no other"},
	{"READONLY", "is a replica and takes no writes: the URL must lead to the master"},
	{"OOM", "is full (maxmemory) and takes no writes: raise maxmemory, or take out data"},
	{"MISCONF", "takes no writes, since it cannot save its data: look at its disk and its log"},
	{"ERR MISCONF", "takes no writes, since it cannot save its data: look at its disk and its log"},
	{"NOREPLICAS", "takes no writes, since too few replicas are connected (min-replicas-to-write)"},
	{"LOADING", "is loading its data"},
	{"MASTERDOWN", "is a replica that has lost its master"},
	{"CLUSTERDOWN", "is a Redis Cluster that does not serve all slots"},
	{"BUSY ", "is held up by a script that runs for too long"},
}

// words say what a fault of command means, and what to do.
func words(command string, err error) string {
	if code := codeOf(err); code != "" {
		return answerWords(command, code)
	}
	return connectionWords(err)
}

// answerWords explain an answer. The answer itself stands behind them, without
// the arguments that a Redis may quote.
func answerWords(command, answer string) string {
	if said, _, found := strings.Cut(answer, ", with args"); found {
		answer = said
	}
	full := answer
	if len(answer) > answerMax {
		answer = strings.ToValidUTF8(answer[:answerMax], "") + "..."
	}
	for _, e := range explanations {
		if strings.HasPrefix(full, e.code) || strings.HasPrefix("ERR "+full, e.code) {
			return e.words + " (" + answer + ")"
		}
	}
	switch {
	case strings.HasPrefix(answer, "NOPERM"):
		return "does not let our user do all that is needed, " + command + ": " + aclAdvice + " (" + answer + ")"
	case command == "SENTINEL" && strings.Contains(answer, "unknown command"):
		return "is no Sentinel: leave out master_set, or name a Sentinel's port (" + answer + ")"
	case strings.Contains(answer, "unknown command") && command == "connect":
		return "does not know a command that cim needs (" + answer + ")"
	case strings.Contains(answer, "unknown command") && command != "AUTH":
		return "does not know the command " + command + ", which cim needs; is it a Sentinel? Then master_set=NAME belongs behind the URL (" + answer + ")"
	}
	return "answers " + command + " with: " + answer
}

func connectionWords(err error) string {
	var record tls.RecordHeaderError
	var authority x509.UnknownAuthorityError
	var certificate *tls.CertificateVerificationError
	var dns *net.DNSError
	switch {
	case errors.Is(err, errWantsTLS):
		return "wants TLS: rediss:// in the place of redis://, or another port"
	case errors.Is(err, errNoTLS), errors.As(err, &record):
		return "speaks no TLS: redis:// in the place of rediss://, or another port"
	case errors.As(err, &authority), errors.As(err, &certificate):
		return fmt.Sprintf("shows a certificate that is not trusted (%v); SSL_CERT_FILE names a file of authorities", err)
	case errors.As(err, new(tls.AlertError)):
		return fmt.Sprintf("ends the TLS handshake (%v); if it wants a certificate of its clients: tls-auth-clients no", err)
	case errors.As(err, &dns):
		return fmt.Sprintf("cannot be found: %v", dns)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refuses connections: is it running, and is the port right?"
	case errors.Is(err, errNotRESP):
		return "answers, but is no Redis: look at the port"
	case closed(err):
		return "closes connections at once"
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return "does not answer in time"
	}
	return fmt.Sprintf("cannot be used: %v", err)
}

// closed reports whether err is that the other end has closed a connection.
func closed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// codeOf is the answer that err is of a Redis; "": it is none.
func codeOf(err error) string {
	var answer answerError
	if errors.As(err, &answer) {
		return string(answer)
	}
	var said *rueidis.RedisError
	if errors.As(err, &said) && !said.IsNil() {
		return said.Error()
	}
	return ""
}

// refusedAuth reports whether err is that the user or password is wrong or
// missing.
func refusedAuth(err error) bool {
	for _, code := range []string{"WRONGPASS", "NOAUTH", "ERR invalid password", "ERR AUTH", "ERR Client sent AUTH", "ERR wrong number of arguments for 'auth'"} {
		if strings.HasPrefix(codeOf(err), code) {
			return true
		}
	}
	return false
}

// permanent reports whether err is an answer that waiting does not change:
// user, password or database.
func permanent(err error) bool {
	code := codeOf(err)
	return refusedAuth(err) || strings.HasPrefix(code, "ERR DB index") || strings.HasPrefix(code, "ERR invalid DB index") ||
		strings.HasPrefix(code, "ERR SELECT is not allowed")
}

func loading(err error) bool { return strings.HasPrefix(codeOf(err), "LOADING") }

// deniedCommand reports whether err is that a command is unknown or not allowed.
func deniedCommand(err error, _ string) bool {
	code := codeOf(err)
	return strings.HasPrefix(code, "NOPERM") || strings.HasPrefix(code, "ERR unknown command")
}
