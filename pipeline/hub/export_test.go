package hub

// LoadFS is Load for a file system that a test makes up.
var LoadFS = load

// Bound sets the bytes that a data file may have.
func (f *Files) Bound(n int64) { f.most = n }
