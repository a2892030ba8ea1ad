package jose

import "net"

// SetResolver has names looked up by r.
func (f *Fetcher) SetResolver(r *net.Resolver) { f.resolver = r }

// Settle waits for the fetches that run.
func (f *Fetcher) Settle() { f.fetches.Wait() }
