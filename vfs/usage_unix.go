//go:build linux || darwin || freebsd

package vfs

import "golang.org/x/sys/unix"

func (osFS) usage(path string) (Usage, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return Usage{}, err
	}
	size := uint64(st.Bsize)
	return Usage{
		Free: uint64(st.Bavail) * size, Total: uint64(st.Blocks) * size,
		FreeInodes: uint64(st.Ffree), TotalInodes: uint64(st.Files),
	}, nil
}
