package proto

import "strconv"

// Code is the outcome of an HTTP request, in the numbers of the contract.
type Code uint16

// The codes.
const (
	CodeSuccess         Code = 9000
	CodeFallBack        Code = 8000
	CodeInvalid         Code = 3000 // an argument is wrong; the message names the field
	CodeFailure         Code = 4000
	CodeRepeatLogin     Code = 5000
	CodeLimit           Code = 6000 // refused for load; nothing was kept
	CodeOffline         Code = 7000 // the receiver is offline; the message was stored
	CodeNoServer        Code = 7100
	CodeReconnectFail   Code = 7200
	CodeAccountMismatch Code = 9100
	CodeOfflineStore    Code = 9200
	CodeOfflineFetch    Code = 9201
	CodeOfflineDelete   Code = 9202
)

// String is the code in decimal, as the answer's member has it.
func (c Code) String() string { return strconv.Itoa(int(c)) }

// Message is the default text of an answer with this code.
func (c Code) Message() string {
	switch c {
	case CodeSuccess:
		return "Success"
	case CodeFallBack:
		return "FALL_BACK"
	case CodeInvalid:
		return "invalid argument"
	case CodeFailure:
		return "Failure"
	case CodeRepeatLogin:
		return "Repeat login, log out an account please!"
	case CodeLimit:
		return "request limit, try again later"
	case CodeOffline:
		return "the receiver is offline, the message was stored"
	case CodeNoServer:
		return "no cim server available, try again later"
	case CodeReconnectFail:
		return "reconnect fail"
	case CodeAccountMismatch:
		return "the account does not match"
	case CodeOfflineStore:
		return "the message could not be stored"
	case CodeOfflineFetch:
		return "the stored messages could not be fetched"
	case CodeOfflineDelete:
		return "the stored messages could not be deleted"
	}
	return "code " + c.String()
}
