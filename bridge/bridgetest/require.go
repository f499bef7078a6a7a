package bridgetest

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Program returns the path of an outside program that the test needs. If it is
// not installed the test is skipped, or fails if the comma-separated list
// XRTCBRIDGE_REQUIRE names the program.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		// Debian puts daemons where an ordinary user's PATH does not look.
		path, err = exec.LookPath("/usr/sbin/" + name)
	}
	if err == nil {
		return path
	}
	Missing(t, name)
	return ""
}

// Missing skips a test for want of something outside, or fails it if
// XRTCBRIDGE_REQUIRE names that.
func Missing(t testing.TB, name string) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("XRTCBRIDGE_REQUIRE"), ","), name) {
		t.Fatalf("XRTCBRIDGE_REQUIRE names %s, which is not here", name)
	}
	t.Skipf("needs %s, which is not here", name)
}

// Root skips a test that needs to be the user root, or fails it if XRTCBRIDGE_REQUIRE names root.
func Root(t testing.TB, why string) {
	t.Helper()
	switch {
	case os.Geteuid() == 0:
	case slices.Contains(strings.Split(os.Getenv("XRTCBRIDGE_REQUIRE"), ","), "root"):
		t.Fatalf("XRTCBRIDGE_REQUIRE names root, and this is user %d", os.Geteuid())
	default:
		t.Skipf("needs to be root %s", why)
	}
}
