//go:build linux

package main

import (
	"bytes"
	"context"
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestWindows runs the build for Windows under Wine.
func TestWindows(t *testing.T) {
	if testing.Short() {
		t.Skip("makes a Wine prefix")
	}
	if runtime.GOARCH != "amd64" {
		t.Skip("Wine runs amd64 programs on amd64 only")
	}
	t.Parallel()
	wine := startWine(t)
	bin, err := build("", []string{"GOOS=windows", "GOARCH=amd64"})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var log strings.Builder
	for i := range 6 {
		fmt.Fprintf(&log, "Nov 22 10:00:%02d host sshd[%d]: Failed password for root from 203.0.113.9 port %d ssh2\r\n", i, 100+i, 40000+i)
	}
	if err := os.WriteFile(filepath.Join(dir, "auth.log"), []byte(log.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	cs := func(args ...string) *exec.Cmd {
		cmd := wine(append([]string{bin}, args...)...)
		cmd.Dir = dir
		return cmd
	}
	// Into files: what Wine starts beside a program keeps its pipes open.
	create := func(name string) *os.File {
		t.Helper()
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	finish := func(cmd *exec.Cmd) (stdout, stderr string) {
		t.Helper()
		args := cmd.Args
		cmd.Stdout, cmd.Stderr = create("out"), create("err")
		if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
			t.Fatalf("%v: %v", args, err)
		}
		return read("out"), read("err")
	}
	run := func(args ...string) (stdout, stderr string) {
		t.Helper()
		return finish(cs(args...))
	}

	out, errs := run("version")
	if !strings.Contains(out, "v0.0.0-test") || !strings.Contains(out, "windows") {
		t.Fatalf("version printed %q, %q", out, errs)
	}
	out, errs = run("agent", "--replay", "--dry-run", "--log", "auth.log", "--type", "syslog", "--data-dir", "none")
	if !strings.HasPrefix(out, "Ip 203.0.113.9 performed 'cs/ssh-bf' (6 events over 5s)") {
		t.Fatalf("the replay printed %q, %q", out, errs)
	}
	out, errs = run("bouncer-firewall", "--api-key", "key", "--data-dir", "none")
	if !strings.HasPrefix(errs, "Error: cs bouncer-firewall: cannot open wfp: cannot open the Windows Filtering Platform: this system has no filtering engine") || strings.Count(errs, "\n") != 1 {
		t.Fatalf("the bouncer printed %q, %q", out, errs)
	}

	testPackage(t, wine, "./remediate/wfp")
	testPackage(t, wine, "./pipeline/source/winevent")

	// All roles in one: the agent detects and the LAPI decides without a bouncer.
	data := filepath.Join(dir, "data")
	all := cs("run", "--data-dir", "data", "--listen", freeAddr(t), "--log", "auth.log", "--type", "syslog", "--from-start")
	all.Stderr = create("run.log")
	if err := all.Start(); err != nil {
		t.Fatal(err)
	}
	const ready, alert = "cs is ready", "scenario=cs/ssh-bf source=203.0.113.9"
	text := ""
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(text, ready) || !strings.Contains(text, alert); text = read("run.log") {
		if time.Now().After(deadline) {
			t.Fatalf("cs run does not get ready and detect:\n%s", text)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if strings.Count(text, "service=bouncer") != 1 || strings.Count(text, "level=error") != 1 {
		t.Errorf("the lack of a firewall is not told once:\n%s", text)
	}
	// While a program runs: Wine ends its services with the last one.
	testService(t, run)
	daemon := filepath.Join(dir, "crowdsec.exe")
	if err := os.Link(bin, daemon); err != nil {
		t.Fatal(err)
	}
	testDaemonService(t, dir, func(args ...string) string {
		cmd := wine(append([]string{daemon}, args...)...)
		cmd.Dir = dir
		_, errs := finish(cmd)
		return errs
	})
	// Wine gives the directory the mode that says of its access list what a mode can say.
	if fi, err := os.Stat(data); err != nil || fi.Mode().Perm()&0o007 != 0 {
		t.Errorf("the data directory is for everybody: %v, %v", fi, err)
	}
	// While it runs its store is its own; what is in it outlives a kill.
	if out, errs = run("machines", "list", "--data-dir", "data"); !strings.Contains(errs, "stop it first") {
		t.Errorf("machines list printed %q, %q", out, errs)
	}
	all.Process.Kill()
	all.Wait()
	if out, errs = run("machines", "list", "--data-dir", "data", "-o", "raw"); !strings.Contains(out, "localhost") {
		t.Errorf("after the kill, machines list printed %q, %q", out, errs)
	}
}

// testService runs all roles as a Windows service.
func testService(t *testing.T, run func(args ...string) (stdout, stderr string)) {
	t.Helper()
	addr := freeAddr(t)
	serves := func(want bool) {
		t.Helper()
		awaitService(t, addr, want)
	}
	const installed = "service cs-test is installed and runs"
	install := func() {
		t.Helper()
		if out, errs := run("service", "install", "--name", "cs-test", "--data-dir", "service", "--", "run", "--no-agent", "--listen", addr); !strings.Contains(errs, installed) {
			t.Fatalf("service install printed %q, %q", out, errs)
		}
		serves(true)
	}
	install()
	install() // again: it is stopped and gets the new command line
	if out, errs := run("service", "uninstall", "--name", "cs-test", "--data-dir", "service"); !strings.Contains(errs, "service cs-test is uninstalled") || strings.Contains(errs, "Error") {
		t.Fatalf("service uninstall printed %q, %q", out, errs)
	}
	serves(false)
	if out, errs := run("service", "uninstall", "--name", "cs-test"); !strings.Contains(errs, "cannot uninstall service cs-test") {
		t.Errorf("what is not there: service uninstall printed %q, %q", out, errs)
	}
}

// awaitService waits until a service listens, or no longer.
func awaitService(t *testing.T, addr string, want bool) {
	t.Helper()
	for deadline := time.Now().Add(90 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			c.Close()
		}
		if (err == nil) == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the service serves: %v, %v", !want, err)
		}
	}
}

// testDaemonService has upstream's flag control the service of upstream's daemon.
func testDaemonService(t *testing.T, dir string, crowdsec func(args ...string) (stderr string)) {
	t.Helper()
	addr := freeAddr(t)
	text := fmt.Sprintf("config_paths: {data_dir: '%s'}\ncrowdsec_service: {enable: false}\napi: {server: {listen_uri: '%s'}}\n", `Z:`+filepath.Join(dir, "daemon"), addr)
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	do := func(what, want string) {
		t.Helper()
		if errs := crowdsec("-c", "config.yaml", "-winsvc", what); want == "" && strings.Contains(errs, "Error") || !strings.Contains(errs, want) {
			t.Fatalf("-winsvc %s printed %q, want %q", what, errs, want)
		}
	}
	do("Start", "cannot start service CrowdSec")
	do("Install", "")
	do("Start", "")
	awaitService(t, addr, true)
	do("Start", "") // it runs
	do("Stop", "")
	awaitService(t, addr, false)
	do("Stop", "")
	do("Remove", "")
	do("Remove", "cannot uninstall service CrowdSec")
	do("Pause", "invalid value for -winsvc: Pause")
}

// testPackage runs the tests of a package.
func testPackage(t *testing.T, wine func(args ...string) *exec.Cmd, pkg string) {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, "package.test.exe")
	cmd := exec.Command("go", "test", "-c", "-o", bin, pkg)
	cmd.Env = append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot compile the tests of %s: %v\n%s", pkg, err, out)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd = wine(bin)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	err = cmd.Run()
	if text, _ := os.ReadFile(log.Name()); err != nil || !bytes.Contains(text, []byte("PASS")) {
		t.Errorf("%s: %v\n%s", pkg, err, text)
	}
}

// startWine makes a Wine prefix of the test's own and returns what makes a
// command in it, of a program and its arguments. It skips the test where there is no Wine.
func startWine(t *testing.T) func(args ...string) *exec.Cmd {
	t.Helper()
	wine, err := wineTool("wine64")
	if err != nil {
		wine, err = wineTool("wine")
	}
	if err != nil {
		t.Skipf("no Wine: %v", err)
	}
	server, err := wineTool("wineserver")
	if err != nil {
		t.Skipf("no Wine: %v", err)
	}
	prefix := t.TempDir()
	env := append(os.Environ(), "WINEPREFIX="+prefix, "WINEDEBUG=-all", "DISPLAY=", "WAYLAND_DISPLAY=",
		"WINEDLLOVERRIDES=mscoree=;mshtml=;winemenubuilder.exe=") // no offers to download things, no menus
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	command := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, wine, args...)
		cmd.Env = env
		return cmd
	}
	t.Cleanup(func() {
		cancel()
		for _, arg := range []string{"-k", "-w"} { // kill all of this prefix, wait for the end
			cmd := exec.Command(server, arg)
			cmd.Env = env
			cmd.Run() // an error says that nothing runs any more
		}
	})
	if err := command("wineboot", "--init").Run(); err != nil {
		t.Fatalf("cannot make a Wine prefix: %v", err)
	}
	// Go programs take their random numbers from a library that Wine has since 9.0.
	const library = "bcryptprimitives.dll"
	path := filepath.Join(prefix, "drive_c/windows/system32", library)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := os.WriteFile(path, forwardingDLL(t, library, "ProcessPrng", "ADVAPI32.SystemFunction036"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return command
}

// wineTool finds a program of Wine, also where Debian's package wine64 keeps it.
func wineTool(name string) (string, error) {
	if path, err := exec.LookPath(filepath.Join("/usr/lib/wine", name)); err == nil {
		return path, nil
	}
	return exec.LookPath(name)
}

// forwardingDLL returns a library without code, whose only function is that
// of another library under another name (PE format: export forwarder).
func forwardingDLL(t *testing.T, library, function, target string) []byte {
	t.Helper()
	const (
		sector  = 0x200  // in the file: headers, then the only section
		page    = 0x1000 // in memory: the same
		strings = 52     // begin behind the tables
	)
	tables := struct {
		Flags, Time                           uint32
		Major, Minor                          uint16
		Library, FirstOrdinal                 uint32
		Functions, Names                      uint32
		FunctionTable, NameTable, OrdinalList uint32
		Function, Name                        uint32 // tables with one entry
		Ordinal, _                            uint16
	}{
		FirstOrdinal: 1, Functions: 1, Names: 1,
		FunctionTable: page + 40, NameTable: page + 44, OrdinalList: page + 48,
	}
	var text []byte
	add := func(s string) (address uint32) {
		address = page + strings + uint32(len(text))
		text = append(text, s+"\x00"...)
		return address
	}
	tables.Library, tables.Name = add(library), add(function)
	tables.Function = add(target) // an address among the exports is a name to forward to
	size := strings + uint32(len(text))

	var b bytes.Buffer
	write := func(parts ...any) {
		t.Helper()
		for _, part := range parts {
			if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
				t.Fatal(err)
			}
		}
	}
	write([]byte("MZ"), [29]uint16{}, uint32(64), []byte("PE\x00\x00")) // at 60: where the rest begins
	write(pe.FileHeader{
		Machine: pe.IMAGE_FILE_MACHINE_AMD64, NumberOfSections: 1,
		SizeOfOptionalHeader: uint16(binary.Size(pe.OptionalHeader64{})),
		Characteristics:      pe.IMAGE_FILE_EXECUTABLE_IMAGE | pe.IMAGE_FILE_LARGE_ADDRESS_AWARE | pe.IMAGE_FILE_DLL,
	}, pe.OptionalHeader64{
		Magic: 0x20b, ImageBase: 1 << 32, SectionAlignment: page, FileAlignment: sector,
		MajorOperatingSystemVersion: 6, MajorSubsystemVersion: 6, Subsystem: pe.IMAGE_SUBSYSTEM_WINDOWS_CUI,
		SizeOfImage: 2 * page, SizeOfHeaders: sector,
		NumberOfRvaAndSizes: 16, DataDirectory: [16]pe.DataDirectory{{VirtualAddress: page, Size: size}},
	}, pe.SectionHeader32{
		Name: [8]uint8([]byte(".edata\x00\x00")), VirtualSize: size, VirtualAddress: page, SizeOfRawData: sector, PointerToRawData: sector,
		Characteristics: pe.IMAGE_SCN_CNT_INITIALIZED_DATA | pe.IMAGE_SCN_MEM_READ,
	})
	b.Write(make([]byte, sector-b.Len()))
	write(tables, text)
	b.Write(make([]byte, 2*sector-b.Len()))
	return b.Bytes()
}
