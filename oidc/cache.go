package oidc

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"gatehouse"
)

// A cache keeps what the store said, for a few seconds. When the store is away
// it goes on answering with what it has, so that discovery and keys stay
// readable; whatever changes state asks the store itself. The zero value is
// ready.
type cache[V any] struct {
	mu      sync.Mutex
	entries map[string]entry[V]
	loads   singleflight.Group
}

type entry[V any] struct {
	value V
	// The value is good from one to the other: not before it was loaded, for a
	// clock that was set back would keep it.
	loaded, expires time.Time
}

func (e entry[V]) isFresh(now time.Time) bool {
	return !now.Before(e.loaded) && now.Before(e.expires)
}

const (
	cacheAge     = 5 * time.Second // how soon another process's change is seen
	cacheRetry   = 1 * time.Second // how often an absent store is asked
	cacheEntries = 10_000
)

// get returns the value of key, loading it when there is none or it is old.
// Concurrent callers share one load.
func (c *cache[V]) get(ctx context.Context, key string, now time.Time, load func(context.Context) (V, error)) (V, error) {
	c.mu.Lock()
	old, found := c.entries[key]
	c.mu.Unlock()
	if found && old.isFresh(now) {
		return old.value, nil
	}
	loaded, err, _ := c.loads.Do(key, func() (any, error) {
		// The load serves every caller that waits, so it outlives the one that
		// began it; a caller with something to fall back on does not wait long.
		patience := requestDeadline / 2
		if found {
			patience = cacheRetry / 2
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		return load(ctx)
	})
	switch {
	case err == nil:
		c.put(key, entry[V]{loaded.(V), now, now.Add(cacheAge)})
		return loaded.(V), nil
	case errors.Is(err, gatehouse.ErrNotFound):
		c.forget(key)
	case found:
		c.put(key, entry[V]{old.value, now, now.Add(cacheRetry)})
		return old.value, nil
	}
	var none V
	return none, err
}

// forget drops a value that this process has just changed.
func (c *cache[V]) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.entries, key)
}

// doubt makes a value old, or all of them when key is empty: another process
// may have changed it. It stays as what can be served while the store is away.
func (c *cache[V]) doubt(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, e := range c.entries {
		if key == "" || k == key {
			c.entries[k] = entry[V]{value: e.value}
		}
	}
}

func (c *cache[V]) put(key string, e entry[V]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.entries = map[string]entry[V]{}
	}
	if _, known := c.entries[key]; !known && len(c.entries) >= cacheEntries {
		for other := range c.entries { // any will do
			delete(c.entries, other)
			break
		}
	}
	c.entries[key] = e
}
