package boltstore

import (
	"strings"
	"syscall"
)

// Numbers of file systems, from linux/magic.h and the file systems' own sources.
const (
	ext4Magic  = 0xEF53
	tmpfsMagic = 0x01021994
	ramfsMagic = 0x858458F6
)

var networkMagics = map[uint32]string{
	0x6969:     "NFS",
	0x517B:     "SMB",
	0xFE534D42: "SMB2",
	0xFF534D42: "CIFS",
	0x65735546: "FUSE",
	0x01021997: "9P",
	0x00C36400: "Ceph",
	0x5346414F: "AFS",
	0x6B414653: "AFS",
	0x0BD00BD0: "Lustre",
	0x01161970: "GFS2",
	0x7461636F: "OCFS2",
	0x47504653: "GPFS",
	0x73757245: "Coda",
	0x564C:     "NCP",
	0x786F4256: "VirtualBox share",
}

func where(dir string) (w whereabouts, err error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return w, err
	}
	magic := uint32(fs.Type)
	w.network = networkMagics[magic]
	w.memory = magic == tmpfsMagic || magic == ramfsMagic
	w.ext4 = magic == ext4Magic
	w.free, w.sized = fs.Bavail*uint64(fs.Bsize), true
	var u syscall.Utsname
	if syscall.Uname(&u) == nil {
		var b strings.Builder
		for _, c := range u.Release {
			if c == 0 {
				break
			}
			b.WriteByte(byte(c))
		}
		w.kernel = b.String()
	}
	return w, nil
}
