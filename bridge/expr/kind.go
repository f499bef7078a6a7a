package expr

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"

	"github.com/xrtcbridge/xrtcbridge/bridge/suggest"
)

// Kinds returns what type() may say of a value.
func Kinds() []string {
	return []string{"nil", "bool", "number", "string", "bytes", "array", "map", "time", "duration"}
}

// otherKinds says how kinds with another name elsewhere are called here.
func otherKinds() map[string]string {
	return map[string]string{
		"int": "number", "uint": "number", "float": "number", "integer": "number", "text": "string", "list": "array",
		"object": "map", "null": "nil", "boolean": "bool",
	}
}

// typeOf says what a value is, in the words of the language and not of Go.
func typeOf(a ...any) (any, error) {
	switch a[0].(type) {
	case nil:
		return "nil", nil
	case json.Number:
		return "number", nil
	case []byte:
		return "bytes", nil
	case time.Time:
		return "time", nil
	case time.Duration:
		return "duration", nil
	}
	switch v := reflect.ValueOf(a[0]); {
	case v.Kind() == reflect.Bool, v.Kind() == reflect.String, v.Kind() == reflect.Map:
		return v.Kind().String(), nil
	case v.Kind() == reflect.Slice:
		return "array", nil
	case v.CanInt(), v.CanUint(), v.CanFloat():
		return "number", nil
	}
	return "any", nil
}

// checkKinds returns an error for type() compared with a text that it never says.
func checkKinds(tree *ast.Node) (err error) {
	ast.Walk(tree, visitor(func(node *ast.Node) {
		n, is := (*node).(*ast.BinaryNode)
		if !is || err != nil || n.Operator != "==" && n.Operator != "!=" {
			return
		}
		for _, sides := range [][2]ast.Node{{n.Left, n.Right}, {n.Right, n.Left}} {
			text, is := sides[1].(*ast.StringNode)
			if !is || !callsType(sides[0]) || slices.Contains(Kinds(), text.Value) {
				continue
			}
			why := fmt.Sprintf("type() never says %q; ", text.Value)
			if near := cmp.Or(otherKinds()[text.Value], suggest.Within(text.Value, Kinds(), 1)); near != "" {
				why += "did you mean " + near + "? "
			}
			err = &file.Error{Location: text.Location(), Message: why + "it says " + strings.Join(Kinds(), ", ")}
		}
	}))
	return err
}

func callsType(n ast.Node) bool {
	call, is := n.(*ast.CallNode)
	if !is {
		return false
	}
	id, is := call.Callee.(*ast.IdentifierNode)
	return is && id.Value == "type"
}
