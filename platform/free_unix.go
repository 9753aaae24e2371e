//go:build linux || freebsd || darwin

package platform

import "golang.org/x/sys/unix"

// Free returns how many bytes can still be written to the file system of a
// directory.
func Free(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return uint64(max(st.Bavail, 0)) * uint64(st.Bsize), nil
}
