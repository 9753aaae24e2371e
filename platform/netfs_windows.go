package platform

import (
	"path/filepath"

	"golang.org/x/sys/windows"
)

// NetworkFS tells whether changes at path may be made by another host, so
// that the kernel can't announce them and the file must be polled.
func NetworkFS(path string) bool {
	abs, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	root, err := windows.UTF16PtrFromString(filepath.VolumeName(abs) + `\`)
	return err == nil && windows.GetDriveType(root) == windows.DRIVE_REMOTE
}
