package step

// Number is number, for tests.
var Number = number
