//go:build freebsd || darwin

package platform

import "golang.org/x/sys/unix"

// NetworkFS tells whether changes at path may be made by another host, so
// that the kernel can't announce them and the file must be polled.
func NetworkFS(path string) bool {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return false
	}
	return st.Flags&unix.MNT_LOCAL == 0
}
