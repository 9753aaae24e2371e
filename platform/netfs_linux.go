package platform

import "golang.org/x/sys/unix"

// NetworkFS tells whether changes at path may be made by another host, so
// that the kernel can't announce them and the file must be polled.
func NetworkFS(path string) bool {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return false
	}
	switch uint32(st.Type) { // statfs(2) and linux/magic.h
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC,
		unix.V9FS_MAGIC, unix.FUSE_SUPER_MAGIC, unix.CEPH_SUPER_MAGIC, unix.AFS_SUPER_MAGIC,
		unix.CODA_SUPER_MAGIC, 0x0bd00bd0 /* Lustre */, 0x786f4256 /* VirtualBox */, 0xbacbacbc /* VMware */ :
		return true
	}
	return false
}
