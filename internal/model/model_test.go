package model

import (
	"context"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestModel runs schedules without a planted fault.
func TestModel(t *testing.T) {
	drawn := schedules()
	var failing []event
	t.Cleanup(func() {
		if failing != nil {
			short, err := shorten(context.Background(), failing, faultNone)
			t.Logf("in short: %v\nends in: %v", short, err)
		}
	})
	rapid.Check(t, func(rt *rapid.T) {
		schedule := drawn.Draw(rt, "schedule")
		if err := run(t.Context(), schedule, faultNone); err != nil {
			failing = schedule
			rt.Fatal(err)
		}
	})
}

// TestPlanted finds each planted fault.
func TestPlanted(t *testing.T) {
	const most = 20_000
	drawn := schedules()
	for name, planted := range map[string]fault{
		"an ACK one too high":            faultAckMore,
		"removal by serial":              faultRemoveUpTo,
		"a return behind a newer text":   faultReturnBehind,
		"an id window shared by senders": faultSharedWindow,
		"a return that is tried once":    faultReturnOnce,
		"a text stored without a hold":   faultNoHold,
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range most {
				schedule := drawn.Example(seed)
				if run(t.Context(), schedule, planted) == nil {
					continue
				}
				short, err := shorten(t.Context(), schedule, planted)
				if err2 := run(t.Context(), short, faultNone); err2 != nil {
					t.Fatalf("schedule %d fails without the fault: %v: %v", seed, err2, short)
				}
				t.Logf("schedule %d, in short: %v\nends in: %v", seed, short, err)
				return
			}
			t.Errorf("%d schedules do not find it", most)
		})
	}
}

// shorten removes from a failing schedule the events that the failure does not
// need.
func shorten(ctx context.Context, schedule []event, planted fault) (short []event, err error) {
	short, err = schedule, errors.New("it does not fail")
	for size := len(short); size > 0; size /= 2 {
		for at := 0; at < len(short); {
			without := slices.Delete(slices.Clone(short), at, min(at+size, len(short)))
			if fails := run(ctx, without, planted); fails != nil {
				short, err = without, fails
			} else {
				at += size
			}
		}
	}
	return short, err
}
