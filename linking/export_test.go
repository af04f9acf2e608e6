package linking

import "time"

// Launch lets a test run background work in an order of its own.
func (s *Service) Launch(f func(func())) { s.launch, s.oneHand = f, true }

// Forget drops what the service remembers, as a new process would have.
func (s *Service) Forget() {
	s.rings.init(s.rings.life, s.rings.most)
	s.merchants.init(s.merchants.life, s.merchants.most)
}

// RequestRecord is a request as a store keeps it.
func RequestRecord(r *Request) Write {
	b, err := encodeRecord(r, nil)
	if err != nil {
		panic(err)
	}
	return Write{Key: requestKey(r.ID), Data: b, Owner: string(r.Merchant)}
}

// EventRecord is an event as a log keeps it.
func EventRecord(e *Event) []byte {
	b, err := encodeRecord(e, nil)
	if err != nil {
		panic(err)
	}
	return b
}

// NewRequestID is an id as a request made at that time gets one.
func NewRequestID(s Shard, at time.Time) RequestID { return newRequestID(s, at) }

// NumbersSeen is what a device's record holds after all that f says was seen.
func NumbersSeen(f func(saw func(uint64))) [][2]uint64 {
	var a agentRecord
	f(a.saw)
	return a.Seen
}
