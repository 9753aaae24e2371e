//go:build !unix || !(amd64 || arm64 || riscv64 || ppc64le || s390x || loong64 || mips64le)

package bolt

// mapAhead is how much of the address space is set aside for the file: none
// where that is scarce, and on Windows, where the file would become as long.
const mapAhead = 0
