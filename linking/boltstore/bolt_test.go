package boltstore_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"

	"placard/linking"
	"placard/linking/boltstore"
	"placard/linking/storetest"
)

// opener opens one file a test, and the same file again while the test runs.
func opener(o boltstore.Options) storetest.Open {
	var mu sync.Mutex
	files, held := map[string]string{}, map[string]*boltstore.Store{}
	return func(t *testing.T) linking.Store {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		path := files[t.Name()]
		if path == "" {
			path = filepath.Join(t.TempDir(), "store.db")
			files[t.Name()] = path
		}
		if s := held[t.Name()]; s != nil && s.Health(t.Context()).Ready {
			return nil
		}
		s, err := boltstore.Open(path, o)
		if err != nil {
			t.Fatal(err)
		}
		held[t.Name()] = s
		t.Cleanup(func() {
			s.Close()
			again, err := boltstore.Open(path, o)
			if err != nil {
				t.Errorf("after the test: %v", err)
				return
			}
			defer again.Close()
			if err := again.Check(context.Background()); err != nil {
				t.Errorf("after the test the file is damaged: %v", err)
			}
		})
		return s
	}
}

func TestConformance(t *testing.T) { storetest.Run(t, opener(boltstore.Options{})) }

func TestConformanceWithoutWatch(t *testing.T) {
	storetest.Run(t, opener(boltstore.Options{NoWatch: true}), storetest.WatchOff)
}
