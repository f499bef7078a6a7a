//go:build unix

package bridgetest

import "syscall"

// Pause stops the broker without closing its connections (SIGSTOP): its port
// accepts, and nothing answers.
func (m *Mosquitto) Pause() { m.t.Helper(); m.signal(syscall.SIGSTOP) }

// Continue ends a Pause.
func (m *Mosquitto) Continue() { m.t.Helper(); m.signal(syscall.SIGCONT) }

func (m *Mosquitto) signal(sig syscall.Signal) {
	m.t.Helper()
	if err := m.proc.Signal(sig); err != nil {
		m.t.Fatalf("signal mosquitto: %v", err)
	}
}
