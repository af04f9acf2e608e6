package linking

// Launch lets a test run background work in an order of its own.
func (s *Service) Launch(f func(func())) { s.launch, s.oneHand = f, true }

// Forget drops what the service remembers, as a new process would have.
func (s *Service) Forget() {
	s.rings.init(s.rings.life, s.rings.most)
	s.merchants.init(s.merchants.life, s.merchants.most)
}
