package host

// programSuffixes are what the name of a program may end with.
var programSuffixes = []string{".exe"}
