package jose

// Settle waits for the fetches that run.
func (f *Fetcher) Settle() { f.fetches.Wait() }
