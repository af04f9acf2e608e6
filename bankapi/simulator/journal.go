package simulator

import (
	"maps"
	"net/http"
	"sync"
	"time"
)

// Call is one call the bank got.
type Call struct {
	Route     string    `json:"route"`
	Method    string    `json:"method"`
	Path      string    `json:"path"`
	RequestID string    `json:"request_id,omitempty"`
	Status    int       `json:"status"` // 0: not answered, or not yet
	At        time.Time `json:"at"`
}

// maxCalls bounds the journal's memory; its counts go on.
const maxCalls = 10_000

// journal remembers which calls the bank got, so that a test can say which were
// made, and that no other was.
type journal struct {
	mu     sync.Mutex
	now    func() time.Time
	calls  []*Call
	counts map[string]int
}

// note writes a call down as it comes in, before anybody can learn of its fate.
func (j *journal) note(route, requestID string, r *http.Request) *Call {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.calls) >= maxCalls {
		j.calls = append(j.calls[:0], j.calls[maxCalls/10:]...)
	}
	c := &Call{Route: route, Method: r.Method, Path: r.URL.Path, RequestID: requestID, At: j.now().UTC()}
	j.calls = append(j.calls, c)
	j.counts[route]++
	return c
}

func (j *journal) answered(c *Call, status int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	c.Status = status
}

// list returns the calls about one request, or all of them for "", and how many
// there were of each route among them.
func (j *journal) list(requestID string) ([]Call, map[string]int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	calls, counts := []Call{}, map[string]int{}
	for _, c := range j.calls {
		if requestID == "" || c.RequestID == requestID {
			calls = append(calls, *c)
			counts[c.Route]++
		}
	}
	if requestID == "" {
		maps.Copy(counts, j.counts) // those forgotten too
	}
	return calls, counts
}
