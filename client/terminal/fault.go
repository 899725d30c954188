package terminal

import (
	"errors"
	"fmt"
	"io"

	"cim/client"
	"cim/proto"
)

// plain says as a person would what ends or refuses name's session for good;
// any other error stays.
func plain(name string, err error) error {
	var ended *client.Ended
	var refusal *client.Refusal
	switch {
	case errors.As(err, &ended):
		return plainEnd(name, ended)
	case errors.As(err, &refusal) && refusal.Code == proto.CodeRepeatLogin:
		return fmt.Errorf("%s is already logged in elsewhere", name)
	case errors.Is(err, client.ErrNoSuchUser):
		return fmt.Errorf("no account has this id and the name %s", name)
	}
	return err
}

func plainEnd(name string, ended *client.Ended) error {
	switch ended.Reason {
	case proto.ReasonReplaced:
		return fmt.Errorf("%s logged in elsewhere; this chat ends", name)
	case proto.ReasonEnded:
		return fmt.Errorf("the session of %s was ended; this chat ends", name)
	case proto.ReasonKicked:
		return fmt.Errorf("an operator has ended the session of %s; this chat ends", name)
	case proto.ReasonRepeatLogin:
		return fmt.Errorf("%s is already logged in elsewhere", name)
	}
	return ended
}

// lost is why a lost connection ended, while the client logs in again.
func lost(err error) string {
	var ended *client.Ended
	switch {
	case errors.As(err, &ended) && ended.Reason == proto.ReasonDraining:
		return "the server is going down"
	case errors.Is(err, io.EOF):
		return "the server has closed it"
	}
	return reason(err)
}
