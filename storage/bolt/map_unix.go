//go:build unix && (amd64 || arm64 || riscv64 || ppc64le || s390x || loong64 || mips64le)

package bolt

// mapAhead is how much of the address space is set aside for the file. When a
// file outgrows its map bbolt copies all that a transaction has touched, which
// took a quarter of the time of an import. It costs no memory.
const mapAhead = 1 << 30
