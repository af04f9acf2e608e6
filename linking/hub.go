package linking

import "sync"

// Hub wakes the watchers of one process. Stores use it to implement Watch.
type Hub struct {
	mu       sync.Mutex
	watchers map[Topic]map[*Watcher]struct{}
}

// Watcher is woken through C. A wake that nobody took yet stands for all later ones.
type Watcher struct {
	C      chan struct{}
	hub    *Hub
	topics []Topic
	call   func()
}

// Call makes wakes call f instead, for watchers by the thousand that have no
// goroutine each. f must not block.
func (w *Watcher) Call(f func()) {
	w.hub.mu.Lock()
	w.call = f
	w.hub.mu.Unlock()
}

// Watch implements Store.Watch within this process.
func (h *Hub) Watch(topics ...Topic) *Watcher {
	w := &Watcher{C: make(chan struct{}, 1), hub: h, topics: topics}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watchers == nil {
		h.watchers = map[Topic]map[*Watcher]struct{}{}
	}
	for _, t := range topics {
		set := h.watchers[t]
		if set == nil {
			set = map[*Watcher]struct{}{}
			h.watchers[t] = set
		}
		set[w] = struct{}{}
	}
	return w
}

// Close ends the watch. C is not closed.
func (w *Watcher) Close() {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	for _, t := range w.topics {
		set := w.hub.watchers[t]
		delete(set, w)
		if len(set) == 0 {
			delete(w.hub.watchers, t)
		}
	}
	w.topics = nil
}

func (w *Watcher) wake() {
	if w.call != nil {
		w.call()
		return
	}
	select {
	case w.C <- struct{}{}:
	default:
	}
}

// Wake wakes whoever watches one of topics.
func (h *Hub) Wake(topics ...Topic) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range topics {
		for w := range h.watchers[t] {
			w.wake()
		}
	}
}

// WakeAll wakes everybody, for use after wakes may have been lost.
func (h *Hub) WakeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, set := range h.watchers {
		for w := range set {
			w.wake()
		}
	}
}
