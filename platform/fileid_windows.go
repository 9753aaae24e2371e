package platform

import (
	"os"

	"golang.org/x/sys/windows"
)

// FileIDOf returns the identity of an open file.
func FileIDOf(f *os.File) (FileID, error) {
	var info windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(windows.Handle(f.Fd()), &info); err != nil {
		return FileID{}, &os.PathError{Op: "identify", Path: f.Name(), Err: err}
	}
	return FileID{
		Volume: uint64(info.VolumeSerialNumber),
		Index:  uint64(info.FileIndexHigh)<<32 | uint64(info.FileIndexLow),
	}, nil
}

// FileIDAt returns the identity of the file at path, behind symbolic links.
func FileIDAt(path string) (FileID, error) {
	f, err := OpenShared(path)
	if err != nil {
		return FileID{}, err
	}
	defer f.Close()
	return FileIDOf(f)
}

// OpenShared opens a file for reading without keeping others from renaming
// or deleting it, which os.Open does on Windows.
func OpenShared(path string) (*os.File, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	h, err := windows.CreateFile(name, windows.GENERIC_READ,
		windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE, nil,
		windows.OPEN_EXISTING, windows.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(h), path), nil
}
