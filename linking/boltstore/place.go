package boltstore

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// mapSize is how much address space the mapping of the file begins with.
var mapSize = func() int {
	if runtime.GOOS == "windows" || strconv.IntSize < 64 { // there the file itself would be made that large
		return 0
	}
	return 1 << 30
}()

// place checks where the file is to live. It reports whether a refusal was
// overridden.
func (s *Store) place(dir string, allow bool) (overridden bool, err error) {
	w, err := where(dir)
	if err != nil {
		return false, fmt.Errorf("directory of the store cannot be looked at: %w", err)
	}
	var size uint64
	if info, err := os.Stat(s.path); err == nil {
		size = uint64(info.Size())
	}
	for _, refusal := range w.refusals(s.path, size) {
		if !allow {
			return false, fmt.Errorf("%s; or start with the override for unsafe stores, and lose what that costs", refusal)
		}
		s.log.Warn("a refusal of the store was overridden", "refusal", refusal)
		s.warnings = append(s.warnings, refusal)
		overridden = true
	}
	s.warnings = append(s.warnings, w.warnings(s.path)...)
	return overridden, nil
}

// whereabouts is what is known of a directory's file system.
type whereabouts struct {
	network string // kind of network file system; empty: local, or not known
	memory  bool   // gone with a restart of the machine
	ext4    bool
	kernel  string // release of the running kernel
	free    uint64 // bytes; only if sized
	sized   bool
}

func (w whereabouts) refusals(path string, size uint64) (out []string) {
	if w.network != "" {
		out = append(out, fmt.Sprintf("store %s is on a network file system (%s), whose locks and syncs cannot be relied on: move it to a local disk", path, w.network))
	}
	if w.sized && size > 0 && w.free < 2*size {
		out = append(out, fmt.Sprintf("store %s has %d MB and its disk has %d MB left, which is less than twice as much: make room or move it", path, size>>20, w.free>>20))
	}
	return out
}

func (w whereabouts) warnings(path string) (out []string) {
	if w.memory {
		out = append(out, fmt.Sprintf("store %s is in memory (tmpfs): a restart of the machine forgets everything", path))
	}
	if w.ext4 && fastCommitBroken(w.kernel) {
		out = append(out, fmt.Sprintf("Linux %s loses data of ext4 file systems that have fast_commit on (store %s): update the kernel, or switch fast_commit off", w.kernel, path))
	}
	return out
}

// fastCommitBroken reports whether a kernel has ext4's fast_commit without its
// mends. https://github.com/etcd-io/bbolt/issues/562: present since 5.10; mended
// in 5.10.94, 5.15.27 and 5.17.
func fastCommitBroken(release string) bool {
	var v [3]int
	for i, part := range strings.SplitN(release, ".", 3) {
		digits := part[:len(part)-len(strings.TrimLeft(part, "0123456789"))]
		v[i], _ = strconv.Atoi(digits)
	}
	switch {
	case v[0] != 5 || v[1] < 10 || v[1] > 16:
		return false
	case v[1] == 10:
		return v[2] < 94
	case v[1] == 15:
		return v[2] < 27
	}
	return true
}

// whole refuses a file that ends before its last page: reading there would end
// the process. It looks at the two pages in which bbolt says how long the file
// is, of which the newer intact one counts.
func whole(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return nil // there is none yet, or bbolt will say what is wrong
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil
	}
	var newest, need uint64
	for _, page := range []int64{0, int64(os.Getpagesize())} {
		// Page header 16, then magic 4, version 4, page size 4, flags 4, root bucket 16,
		// free list 8, number of pages 8, transaction 8, checksum of the 56 bytes before.
		b := make([]byte, 80)
		if _, err := f.ReadAt(b, page); err != nil {
			continue
		}
		sum := fnv.New64a()
		sum.Write(b[16:72])
		n := binary.NativeEndian
		if n.Uint32(b[16:]) != 0xED0CDAED || n.Uint64(b[72:]) != sum.Sum64() {
			continue
		}
		if tx := n.Uint64(b[64:]); tx >= newest {
			newest, need = tx, n.Uint64(b[56:])*uint64(n.Uint32(b[24:]))
		}
	}
	if size := uint64(info.Size()); size < need {
		return fmt.Errorf("store %s is cut short: %d of %d bytes are there; restore its backup", path, size, need)
	}
	return nil
}
