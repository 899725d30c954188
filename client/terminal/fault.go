package terminal

import (
	"errors"
	"fmt"

	"cim/client"
	"cim/proto"
)

// plain says the ends and refusals that another login of name brings about as
// a person would; any other error stays.
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
	case proto.ReasonRepeatLogin:
		return fmt.Errorf("%s is already logged in elsewhere", name)
	}
	return ended
}
