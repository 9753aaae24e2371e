package platform

// FileID names a file of this host, whatever its path, for as long as the
// file exists: device and inode, or volume and index. After that the system
// may give the same ID to another file.
type FileID struct {
	Volume uint64 `json:"volume"`
	Index  uint64 `json:"index"`
}
