package redisstore

// LookNow reads settings, health and identity of Redis at once, which a store
// does by itself every ten seconds.
func (s *Store) LookNow() { s.lookNow() }
