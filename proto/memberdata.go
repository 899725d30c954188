package proto

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// MemberDataMax bounds the data of a member's node, in bytes.
const MemberDataMax = 1 << 10

// AppendMemberData appends the data of m's node, which lacks the name.
func AppendMemberData(dst []byte, m Member) ([]byte, error) {
	data, err := json.Marshal(m)
	if err != nil {
		return dst, fmt.Errorf("data of member %s: %w", m.Name(), err)
	}
	if len(data) > MemberDataMax {
		return dst, fmt.Errorf("data of member %s has %d bytes, want at most %d", m.Name(), len(data), MemberDataMax)
	}
	return append(dst, data...), nil
}

// ParseMemberData parses what AppendMemberData writes into a copy of m, which has
// its name already. It ignores unknown JSON members. Without data the member is the
// original's, whose Epoch is 0; on an error the result is the same.
func ParseMemberData(m Member, data []byte) (Member, error) {
	named := Member{Host: m.Host, CIMPort: m.CIMPort, HTTPPort: m.HTTPPort}
	switch {
	case len(data) == 0:
		return named, nil
	case len(data) > MemberDataMax:
		return named, fmt.Errorf("data of member %s has %d bytes, want at most %d", m.Name(), len(data), MemberDataMax)
	case jsontext.Value(data).Kind() != '{':
		return named, fmt.Errorf("data of member %s is no JSON object", m.Name())
	}
	read := named
	if err := json.Unmarshal(data, &read); err != nil {
		return named, fmt.Errorf("data of member %s: %w", m.Name(), err)
	}
	return read, nil
}
