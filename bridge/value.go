package bridge

// Value is a value of any type that may depend on a message. Settings structs hold it where YAML
// has a number, a text, true or false, null, a list or a mapping, with {{ }} in texts at any depth.
// A text that is one {{ expression }} alone has the type of the expression; with text around it, it
// is a text. An error is about the message, not the value. Methods may be called from several
// goroutines at once.
type Value interface {
	// AppendJSON appends the value for m as JSON. A field of the payload keeps its digits and the
	// order of its keys.
	AppendJSON(b []byte, m *Message) ([]byte, error)

	// AppendText appends the text of the value for m: a text as it is, anything else as JSON has
	// it.
	AppendText(b []byte, m *Message) ([]byte, error)

	// Eval returns the value for m: nil, bool, string, int, uint64, float64, []any, map[string]any,
	// or another type that an expression can have. It holds nothing of the payload.
	Eval(m *Message) (any, error)
}

// Fields are values by names, in the order of the file. Settings structs hold it where the names of
// a mapping are the user's own and their order matters.
type Fields []Field

// Field is one of [Fields].
type Field struct {
	Name  string
	Value Value
}
