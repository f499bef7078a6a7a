package bridgetest

import (
	"testing"
	"time"
)

// Patient are the tests of a package that are over when left finds nothing, or after [Timeout]. On
// a busy machine goroutines end later than goleak waits for:
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(bridgetest.Patient(m, goleak.Find)) }
func Patient[Option any](m *testing.M, left func(...Option) error) interface{ Run() int } {
	return patient(func() int {
		code := m.Run()
		for end := time.Now().Add(Timeout); code == 0 && left() != nil && time.Now().Before(end); {
			continue // left has waited
		}
		return code
	})
}

type patient func() int

func (p patient) Run() int { return p() }
