package metrics

import "github.com/prometheus/procfs"

// usage returns the CPU time and the resident memory of a process.
func usage(pid int) (cpuSeconds, residentBytes float64, ok bool) {
	if pid <= 0 {
		return 0, 0, false
	}
	p, err := procfs.NewProc(pid)
	if err != nil {
		return 0, 0, false
	}
	s, err := p.Stat()
	if err != nil {
		return 0, 0, false
	}
	return s.CPUTime(), float64(s.ResidentMemory()), true
}
