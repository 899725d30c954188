package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/google/pprof/profile"

	"cim/bench/flame"
)

const (
	// sliceSeconds is the length of one profile. When the load ends, the present one is waited for.
	sliceSeconds = 2
	// slicesMax bounds the profiles of one process that are put together.
	slicesMax = 600
)

// sliced are the profiles that are taken for a time, and put together.
var sliced = map[string]string{"cpu": "profile", "mutex": "mutex", "block": "block"}

// profilesIn is the folder of the profiles within one of results.
func profilesIn(folder string) string { return filepath.Join(folder, "profiles") }

// profiles collects what the processes of a system spend their time on.
type profiles struct {
	folder string
	done   chan struct{} // closed: the load has ended
	all    sync.WaitGroup

	mu     sync.Mutex
	faults []error
}

// startProfiles starts taking profiles, if cfg wants them. finish ends it.
func startProfiles(ctx context.Context, cfg Config, tested system) *profiles {
	p := &profiles{folder: profilesIn(cfg.Out), done: make(chan struct{})}
	if !cfg.Profile {
		return p
	}
	if err := os.MkdirAll(p.folder, 0o755); err != nil {
		p.failed(fmt.Errorf("bench: profiles: %w", err))
		return p
	}
	for _, one := range tested.profiled() {
		for name, path := range sliced {
			p.all.Go(func() { p.failed(p.keep(ctx, one, name, path)) })
		}
		p.all.Go(func() { p.failed(p.keepHeap(ctx, one)) })
	}
	return p
}

// finish waits for the profiles that are under way, and returns what went
// wrong with any.
func (p *profiles) finish() error {
	close(p.done)
	p.all.Wait()
	return errors.Join(p.faults...)
}

func (p *profiles) failed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, err)
}

// keep takes one slice after the other until the load has ended, and writes
// them as one profile.
func (p *profiles) keep(ctx context.Context, of *process, name, path string) error {
	var slices []*profile.Profile
	for len(slices) < slicesMax {
		text, err := of.admin(ctx, fmt.Sprintf("/debug/pprof/%s?seconds=%d", path, sliceSeconds))
		if err != nil {
			return fmt.Errorf("bench: profile: %w", err)
		}
		one, err := profile.ParseData([]byte(text))
		if err != nil {
			return fmt.Errorf("bench: profile %s of %s: %w", name, of.label(), err)
		}
		slices = append(slices, one)
		if isClosed(p.done) {
			break
		}
	}
	merged, err := profile.Merge(slices)
	if err != nil {
		return fmt.Errorf("bench: profile %s of %s: %w", name, of.label(), err)
	}
	return errors.Join(p.write(merged, of, name), p.draw(merged, of, name))
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// keepHeap takes the heap profile at the end of the load.
func (p *profiles) keepHeap(ctx context.Context, of *process) error {
	select {
	case <-p.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	text, err := of.admin(ctx, "/debug/pprof/heap")
	if err != nil {
		return fmt.Errorf("bench: profile: %w", err)
	}
	heap, err := profile.ParseData([]byte(text))
	if err != nil {
		return fmt.Errorf("bench: profile heap of %s: %w", of.label(), err)
	}
	return p.write(heap, of, "heap")
}

// write writes what go tool pprof reads.
func (p *profiles) write(one *profile.Profile, of *process, name string) error {
	f, err := os.Create(filepath.Join(p.folder, of.label()+"-"+name+".pb.gz"))
	if err != nil {
		return fmt.Errorf("bench: profile: %w", err)
	}
	return errors.Join(one.Write(f), f.Close())
}

// draw writes the flame graph of a CPU profile.
func (p *profiles) draw(one *profile.Profile, of *process, name string) error {
	if name != "cpu" {
		return nil
	}
	svg, err := flame.SVG(one, "CPU time of "+of.label())
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.folder, of.label()+"-cpu.svg"), svg, 0o644)
}

// label names the process as its log does: no other one of the run has it.
func (p *process) label() string {
	return strings.TrimSuffix(filepath.Base(p.log.Name()), ".log")
}
