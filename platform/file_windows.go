package platform

// Modes are not kept on Windows: access follows the directory's list.
const canChmod = false

// SyncDir does nothing: NTFS journals its directory entries.
func SyncDir(string) error { return nil }
