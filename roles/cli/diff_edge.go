//go:build edge

package cli

// unified has no differences to show in a small build, only both texts.
func unified(oldName string, old []byte, newName string, new []byte) []byte {
	return []byte("--- " + oldName + "\n" + string(old) + "+++ " + newName + "\n" + string(new))
}
