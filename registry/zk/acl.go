package zk

import (
	"errors"
	"strings"

	"github.com/go-zookeeper/zk"
)

// world lets everybody do everything, as the original does.
var world = zk.WorldACL(zk.PermAll)

// nodeACL is who may do what with a member's node. Everybody reads it: routes of
// the original too, and it has no secret.
func (c Config) nodeACL() []zk.ACL { return c.owned(zk.PermRead) }

// rootACL is that of the root and of what is above it: who may make nodes there
// enters servers.
func (c Config) rootACL() []zk.ACL {
	if c.Open {
		return c.owned(zk.PermRead | zk.PermCreate)
	}
	return c.owned(zk.PermRead)
}

// owned gives our user all rights, and everybody some; without a user everybody
// has all.
func (c Config) owned(everybody int32) []zk.ACL {
	user, password, found := strings.Cut(c.Auth, ":")
	if !found {
		return world
	}
	return append(zk.DigestACL(zk.PermAll, user, password), zk.WorldACL(everybody)...)
}

// authenticate says who we are, if that is configured, and warns once of a root
// that everybody may change all the same: it was made before.
func (r *Registry) authenticate(s *session) {
	if r.config.Auth == "" {
		return
	}
	err := s.do("authenticate", func() error { return s.conn.AddAuth("digest", []byte(r.config.Auth)) })
	if err != nil {
		s.end(err)
		return
	}
	acl, err := call(s, "read the ACL of "+s.root, func() ([]zk.ACL, error) {
		acl, _, err := s.conn.GetACL(s.root)
		return acl, err
	})
	if err != nil && !errors.Is(err, zk.ErrNoNode) {
		r.config.Log.Warn("the rights at the root are not known", "root", s.root, "error", err)
	}
	if !r.warned && !r.config.Open && changeable(acl) {
		r.warned = true
		r.config.Log.Warn("everybody may enter and remove servers in ZooKeeper, although zk-auth is set: the root was made without; setAcl changes that",
			"root", s.root)
	}
}

// changeable reports whether everybody may make or remove nodes.
func changeable(acl []zk.ACL) bool {
	for _, a := range acl {
		if a.Scheme == "world" && a.Perms&(zk.PermCreate|zk.PermDelete|zk.PermAdmin) != 0 {
			return true
		}
	}
	return false
}
