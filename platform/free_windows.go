package platform

import "golang.org/x/sys/windows"

// Free returns how many bytes can still be written to the file system of a
// directory.
func Free(dir string) (free uint64, err error) {
	name, err := windows.UTF16PtrFromString(dir)
	if err == nil {
		err = windows.GetDiskFreeSpaceEx(name, &free, nil, nil)
	}
	return free, err
}
