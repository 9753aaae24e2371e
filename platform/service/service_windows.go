package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/eventlog"
	"golang.org/x/sys/windows/svc/mgr"
)

const (
	// stopTimeout is how long we wait for a service to stop.
	stopTimeout = 20 * time.Second
	// restartAfter is when the system starts a service again that has failed.
	restartAfter = 10 * time.Second
	// eventID is the number of an event of the level 0, panic; that of the level 6, trace, is 306.
	eventID = 300
)

// NeedsRun: the program must call Run to be a service.
const NeedsRun = true

// Install is Register, and starts it.
func Install(ctx context.Context, s *Spec) error {
	if err := Register(ctx, s); err != nil {
		return err
	}
	return Start(s.Name)
}

// Register makes the service, and sets that it is started at boot and after
// failures. One that is there already is stopped and gets the new command line.
func Register(ctx context.Context, s *Spec) error {
	if err := s.Check(); err != nil {
		return err
	}
	m, err := mgr.Connect()
	if err != nil {
		return fmt.Errorf("cannot install service %s: %w", s.Name, err)
	}
	defer m.Disconnect()
	if err := install(ctx, m, s); err != nil {
		return fmt.Errorf("cannot install service %s: %w", s.Name, err)
	}
	return nil
}

// Start starts a service; one that runs is left alone.
func Start(name string) error {
	return with(name, "start", func(v *mgr.Service) error {
		if err := v.Start(); !errors.Is(err, windows.ERROR_SERVICE_ALREADY_RUNNING) {
			return err
		}
		return nil
	})
}

// Stop stops a service, unless it has.
func Stop(ctx context.Context, name string) error {
	return with(name, "stop", func(v *mgr.Service) error { return stop(ctx, v) })
}

// with does something with a service.
func with(name, verb string, do func(*mgr.Service) error) error {
	m, err := mgr.Connect()
	if err != nil {
		return fmt.Errorf("cannot %s service %s: %w", verb, name, err)
	}
	defer m.Disconnect()
	v, err := m.OpenService(name)
	if err == nil {
		defer v.Close()
		err = do(v)
	}
	if err != nil {
		return fmt.Errorf("cannot %s service %s: %w", verb, name, err)
	}
	return nil
}

func install(ctx context.Context, m *mgr.Mgr, s *Spec) error {
	cfg := mgr.Config{
		StartType: mgr.StartAutomatic, DisplayName: s.Name, Description: s.Description,
		ErrorControl: mgr.ErrorNormal,
	}
	if bfe, err := m.OpenService("BFE"); err == nil { // the filtering engine, without which nothing can be blocked
		bfe.Close()
		cfg.Dependencies = []string{"BFE"}
	}
	v, err := m.OpenService(s.Name)
	switch {
	case errors.Is(err, windows.ERROR_SERVICE_DOES_NOT_EXIST):
		v, err = m.CreateService(s.Name, s.Program, cfg, s.Args...)
	case err == nil:
		if err = stop(ctx, v); err == nil {
			err = setCommandLine(v, windows.ComposeCommandLine(append([]string{s.Program}, s.Args...)))
		}
	}
	if err != nil {
		return err
	}
	defer v.Close()
	again := mgr.RecoveryAction{Type: mgr.ServiceRestart, Delay: restartAfter}
	if err := v.SetRecoveryActions([]mgr.RecoveryAction{again, again, again}, 24*60*60); err != nil {
		return err
	}
	// A source of events that is there from before is fine.
	_ = eventlog.Remove(s.Name)
	if err := eventlog.InstallAsEventCreate(s.Name, eventlog.Info|eventlog.Warning|eventlog.Error); err != nil {
		return fmt.Errorf("cannot add it to the event log: %w", err)
	}
	return nil
}

// setCommandLine changes what a service runs, and nothing else.
func setCommandLine(v *mgr.Service, line string) error {
	text, err := windows.UTF16PtrFromString(line)
	if err != nil {
		return err
	}
	const same = windows.SERVICE_NO_CHANGE
	return windows.ChangeServiceConfig(v.Handle, same, windows.SERVICE_AUTO_START, same, text, nil, nil, nil, nil, nil, nil)
}

// Uninstall stops a service and removes it.
func Uninstall(ctx context.Context, name string) error {
	m, err := mgr.Connect()
	if err != nil {
		return fmt.Errorf("cannot uninstall service %s: %w", name, err)
	}
	defer m.Disconnect()
	v, err := m.OpenService(name)
	if err != nil {
		return fmt.Errorf("cannot uninstall service %s: %w", name, err)
	}
	defer v.Close()
	err = stop(ctx, v)
	if derr := v.Delete(); derr != nil {
		return fmt.Errorf("cannot uninstall service %s: %w", name, errors.Join(err, derr))
	}
	if rerr := eventlog.Remove(name); rerr != nil && !errors.Is(rerr, registry.ErrNotExist) {
		err = errors.Join(err, fmt.Errorf("cannot remove %s from the event log: %w", name, rerr))
	}
	return err
}

// stop stops a service and waits until it has.
func stop(ctx context.Context, v *mgr.Service) error {
	status, err := v.Control(svc.Stop)
	if errors.Is(err, windows.ERROR_SERVICE_NOT_ACTIVE) {
		return nil
	}
	for deadline := time.Now().Add(stopTimeout); err == nil && status.State != svc.Stopped; status, err = v.Query() {
		if time.Now().After(deadline) {
			return errors.New("it does not stop")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	if err != nil {
		return fmt.Errorf("cannot stop it: %w", err)
	}
	return nil
}

// Run runs what the service does, and tells the service manager, if it was that
// which started us. main ends soon after its context; it writes its log, a line at a time, to log, which is the
// event log, or nil when nobody started us as a service.
func Run(ctx context.Context, name string, main func(ctx context.Context, log io.Writer) int) (code int, err error) {
	events, err := eventlog.Open(name)
	if err != nil {
		return 1, fmt.Errorf("cannot open the event log: %w", err)
	}
	defer events.Close()
	h := &handler{ctx: ctx, log: &eventWriter{events}, main: main}
	err = svc.Run(name, h)
	if errors.Is(err, windows.ERROR_FAILED_SERVICE_CONTROLLER_CONNECT) { // started by hand
		return main(ctx, nil), nil
	}
	if err != nil {
		return 1, fmt.Errorf("cannot run as service %s: %w", name, err)
	}
	return h.code, nil
}

// handler is our side of the talk with the service manager.
type handler struct {
	ctx  context.Context
	log  io.Writer
	main func(ctx context.Context, log io.Writer) int
	code int
}

// Execute implements svc.Handler.
func (h *handler) Execute(_ []string, requests <-chan svc.ChangeRequest, status chan<- svc.Status) (specific bool, code uint32) {
	ctx, stop := context.WithCancel(h.ctx)
	defer stop()
	done := make(chan int, 1)
	status <- svc.Status{State: svc.StartPending}
	go func() { done <- h.main(ctx, h.log) }()
	status <- svc.Status{State: svc.Running, Accepts: svc.AcceptStop | svc.AcceptShutdown}
	for {
		select {
		case h.code = <-done:
			// By itself: with a code, the service manager takes it for a failure and starts us again.
			return h.code != 0, uint32(h.code)
		case r := <-requests:
			switch r.Cmd {
			case svc.Interrogate:
				status <- r.CurrentStatus
			case svc.Stop, svc.Shutdown:
				status <- svc.Status{State: svc.StopPending, WaitHint: uint32(stopTimeout.Milliseconds())}
				stop()
				h.code = <-done
				return false, 0
			}
		}
	}
}

// eventWriter makes an event of each line of a log in slog's text format.
type eventWriter struct{ log *eventlog.Log }

// Write takes one or more lines.
func (w *eventWriter) Write(b []byte) (int, error) {
	for _, line := range slices.Collect(bytes.Lines(b)) {
		text := string(bytes.TrimRight(line, "\r\n"))
		if text == "" {
			continue
		}
		level := severity(text)
		report := w.log.Info
		switch level {
		case warning:
			report = w.log.Warning
		case failure:
			report = w.log.Error
		}
		if err := report(eventID+uint32(level), text); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}
