package loadgen

import "fmt"

// loginRequests are the HTTP requests at the start of each login of another system, if
// Config.LoginURL is set. Otherwise there are none.
type loginRequests []*caller // of each worker

func newLoginRequests(cfg Config) (loginRequests, error) {
	if cfg.LoginURL == "" {
		return nil, nil
	}
	var requests loginRequests
	for range cfg.LoginsAtOnce {
		c, err := newCaller(cfg.LoginURL, "", cfg.Drain)
		if err != nil {
			return nil, err
		}
		requests = append(requests, c)
	}
	return requests, nil
}

// ask makes a worker's request.
func (r loginRequests) ask(worker int) error {
	if r == nil {
		return nil
	}
	status, _, err := r[worker].exchange("", nil)
	if err == nil && status != statusOK {
		err = fmt.Errorf("HTTP status %d", status)
	}
	if err != nil {
		return fmt.Errorf("POST %s: %w", r[worker].base, err)
	}
	return nil
}

// settled lets go of the connections until they are needed again.
func (r loginRequests) settled() { closeCallers(r) }
