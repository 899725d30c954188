package route

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"cim/proto"
	"cim/store"
)

// onlineList is the list of connected users at one time.
type onlineList struct {
	made  time.Time
	users []proto.UserBody // in the order of their ids
	whole []byte           // the answer that lists all
}

// onlineBuild is a list that is being made. Its result stands once done is
// closed.
type onlineBuild struct {
	done chan struct{}
	list *onlineList
	err  error
}

// online keeps the last list of the connected users, and has one request at a
// time make the next.
type online struct {
	pages chan struct{} // of pagesMax: pages that are being written

	mu       sync.Mutex
	last     *onlineList  // nil: none was made
	building *onlineBuild // nil: none is being made
}

// onlineUser lists the connected users whose server is live, or a page of them. Any body is
// accepted: old clients send none, or unknown members.
func (r *Route) onlineUser(ctx context.Context, body []byte) answer {
	var page proto.OnlineUserRequest
	if err := proto.DecodeBody(body, &page); err != nil && !errors.Is(err, proto.ErrSyntax) {
		return invalid(err)
	}
	if page.Limit < 0 || page.Limit > proto.OnlinePageMax || page.After < 0 || page.After > 0 && page.Limit == 0 {
		return invalid(fmt.Errorf("limit %d and after %d: want a limit from 1 to %d and an id, or neither for all users",
			page.Limit, page.After, proto.OnlinePageMax))
	}
	list, err := r.currentOnline(ctx)
	switch {
	case err != nil:
		return r.storeFailed("list the connected users", err)
	case page.Limit == 0:
		return answer{code: proto.CodeSuccess, whole: list.whole}
	}
	select {
	case r.online.pages <- struct{}{}:
		defer func() { <-r.online.pages }()
	case <-ctx.Done():
		return r.storeFailed("list the connected users", ctx.Err())
	}
	return answer{code: proto.CodeSuccess, body: proto.Body(list.page(proto.UserID(page.After), int(page.Limit)))}
}

// pagesMax bounds the pages that are written at once: a page takes some 300 KiB
// until it is an answer, and more at once than processors are no sooner ready.
const pagesMax = 4

// page is the first limit users with an id above after.
func (l *onlineList) page(after proto.UserID, limit int) []proto.UserBody {
	from, found := slices.BinarySearchFunc(l.users, after, func(u proto.UserBody, id proto.UserID) int { return cmp.Compare(u.UserID, id) })
	if found {
		from++
	}
	return l.users[from:min(from+limit, len(l.users))]
}

// currentOnline returns a list that is at most Config.OnlineAge old. Requests that need a
// new one wait for the same.
func (r *Route) currentOnline(ctx context.Context) (*onlineList, error) {
	o := &r.online
	o.mu.Lock()
	if o.last != nil && time.Since(o.last.made) < r.config.OnlineAge {
		defer o.mu.Unlock()
		return o.last, nil
	}
	making := o.building
	if making == nil {
		making = &onlineBuild{done: make(chan struct{})}
		o.building = making
		o.mu.Unlock()
		r.buildOnline(ctx, making)
		return making.list, making.err
	}
	o.mu.Unlock()
	select {
	case <-making.done:
		return making.list, making.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// buildOnline makes the list that others wait for.
func (r *Route) buildOnline(ctx context.Context, making *onlineBuild) {
	making.list, making.err = r.readOnline(ctx)
	r.counters.onlineLists.Inc()
	r.online.mu.Lock()
	defer r.online.mu.Unlock()
	r.online.building = nil
	if making.err == nil {
		r.online.last = making.list
	}
	close(making.done)
}

func (r *Route) readOnline(ctx context.Context) (*onlineList, error) {
	present, err := r.connected(ctx)
	if err != nil {
		return nil, err
	}
	users := make([]proto.UserBody, 0, len(present))
	for _, p := range present {
		if r.cluster.server(p.Record.Place.Epoch) != nil {
			users = append(users, proto.UserBody{UserID: p.User.ID, UserName: p.User.Name})
		}
	}
	slices.SortFunc(users, func(a, b proto.UserBody) int { return cmp.Compare(a.UserID, b.UserID) })
	return &onlineList{
		made: time.Now(), users: users,
		whole: proto.AppendAnswer(nil, proto.CodeSuccess, "", proto.Body(users)),
	}, nil
}

// connected lists the connected users. That may take long, so it first checks whether the store is
// there.
func (r *Route) connected(ctx context.Context) ([]store.Present, error) {
	work, stop := context.WithTimeout(ctx, storeTimeout)
	defer stop()
	if err := r.store.Ready(work); err != nil {
		return nil, err
	}
	return r.store.Connected(ctx)
}
