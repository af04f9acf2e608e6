package redisstore_test

import (
	"sync"
	"testing"

	"placard/linking"
	"placard/linking/redisstore"
	"placard/linking/storetest"
)

// opener opens the store at a URL, and empties it at the first call of a test.
func opener(o redisstore.Options, empty func(t *testing.T) (url string)) storetest.Open {
	var mu sync.Mutex
	urls := map[string]string{}
	return func(t *testing.T) linking.Store {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if urls[t.Name()] == "" {
			urls[t.Name()] = empty(t)
		}
		s, err := redisstore.Open(t.Context(), urls[t.Name()], o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
}

func oneServer(t *testing.T) string { return storetest.Redis(t).URL() }

func threeMasters(t *testing.T) string { return storetest.ClusterURL(storetest.RedisCluster(t)) }

func TestConformance(t *testing.T) { storetest.Run(t, opener(redisstore.Options{}, oneServer)) }

func TestConformanceWithoutWatch(t *testing.T) {
	storetest.Run(t, opener(redisstore.Options{NoWatch: true}, oneServer), storetest.WatchOff)
}

func TestConformanceOnCluster(t *testing.T) {
	storetest.Run(t, opener(redisstore.Options{}, threeMasters))
}
