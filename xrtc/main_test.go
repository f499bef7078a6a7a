package xrtc_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(bridgetest.Patient(m, goleak.Find)) }
