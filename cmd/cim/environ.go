package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// What Kubernetes, and Docker before it, gives each process for a Service: of one
// named cim-route among others CIM_ROUTE_PORT, which is a setting's name too,
// with a URL where a setting has a number.
var (
	serviceURL  = regexp.MustCompile(`^(tcp|udp|sctp)://`)
	serviceName = regexp.MustCompile(`_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$`)
)

// isService reports whether a variable is of a Service.
func isService(variable, value string) bool {
	return serviceName.MatchString(variable) || strings.HasSuffix(variable, "_PORT") && serviceURL.MatchString(value)
}

// readEnviron returns the variable of each setting: CIM_HTTP_PORT gives http-port. Variables of no
// setting are noted: they may be meant for another process, and Kubernetes sets some for a Service.
func (s *settings) readEnviron(p *program) map[string]string {
	gives := map[string]string{}
	var services []string
	for _, entry := range p.environ {
		variable, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(variable, envPrefix) || variable == envConfig {
			continue
		}
		key := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(variable, envPrefix)), "_", "-")
		known := envName(key) == variable && p.isSetting(key)
		switch {
		case (!known || strings.HasSuffix(variable, "_PORT")) && isService(variable, value):
			services = append(services, variable)
		case known && value == "" && s.refusesEmpty(key):
			s.notes = append(s.notes, fmt.Sprintf("%s is empty, so it sets nothing", variable))
		case known:
			gives[variable] = key
		default:
			s.notes = append(s.notes, fmt.Sprintf("%s is no setting%s", variable, p.meantVariable(key)))
		}
	}
	slices.Sort(s.notes)
	if len(services) > 0 {
		slices.Sort(services)
		s.notes = append(s.notes, "no settings, but what Kubernetes sets for a Service: "+strings.Join(services, ", "))
	}
	return gives
}

// refusesEmpty reports whether the empty text is no value of a setting, such as a number. Then an
// empty variable, as a compose file writes for a missing one, sets nothing.
func (s *settings) refusesEmpty(key string) bool {
	f := s.typed.Lookup(key)
	if f == nil {
		return false
	}
	_, err := setValue(f.Value, "")
	return errors.Join(err, s.restore(f)) != nil
}

func (p *program) meantVariable(key string) string {
	meant := closest(key, p.names())
	if meant == "" {
		return ""
	}
	return "; did you mean " + envName(meant) + "?"
}

// envName is the variable of a setting.
func envName(key string) string {
	return envPrefix + strings.ReplaceAll(strings.ToUpper(key), "-", "_")
}
