package expr

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
)

// appendValue appends the text of a value to b. An error does not show the value.
func appendValue(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case string:
		return append(b, v...), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case int:
		return strconv.AppendInt(b, int64(v), 10), nil
	case int64:
		return strconv.AppendInt(b, v, 10), nil
	case uint64:
		return strconv.AppendUint(b, v, 10), nil
	case float64:
		return appendFloat(b, v)
	case time.Time:
		return v.AppendFormat(b, time.RFC3339Nano), nil
	case time.Duration:
		return append(b, v.String()...), nil
	case fmt.Stringer: // time.Month, time.Weekday, json.Number
		return append(b, v.String()...), nil
	case []byte:
		return append(b, v...), nil
	case nil:
		return nil, reason(`the value is nil; write (… ?? "text") if it may be missing`)
	}
	return appendJSON(b, v)
}

const errNotFinite = reason("the value is not a finite number, as after a division by 0")

// appendFloat writes no exponent where a person would not.
func appendFloat(b []byte, f float64) ([]byte, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, errNotFinite
	}
	format := byte('f')
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'g'
	}
	return strconv.AppendFloat(b, f, format, -1, 64), nil
}

func appendJSON(b []byte, v any) ([]byte, error) {
	out := bytes.NewBuffer(b)
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, reason("the value cannot be written as text")
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}
