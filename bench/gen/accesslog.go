package gen

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// AccessLog returns real web access lines if they are at hand (CS_SHARED), else
// the sample that the repository carries, and the file they are from. It looks
// from the root of the repository.
func AccessLog() (lines []string, path string, err error) {
	shared := os.Getenv("CS_SHARED")
	if shared == "" {
		shared = "../shared"
	}
	for _, path = range []string{filepath.Join(shared, "logs", "web-access.log"), "testdata/logs/web-access.log"} {
		text, err := os.ReadFile(path)
		if err == nil {
			return strings.Split(strings.TrimRight(string(text), "\n"), "\n"), path, nil
		}
	}
	return nil, "", errors.New("cannot find a web access log: run this in the root of the repository")
}
