package platform

// Modes are not kept on Windows: access follows the directory's list.
const canChmod = false

// syncDir does nothing: NTFS journals its directory entries.
func syncDir(string) error { return nil }
