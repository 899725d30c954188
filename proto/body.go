package proto

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// ErrSyntax is the error for a body that is not JSON: HTTP 400. Any other error of
// DecodeBody names an invalid member: code 3000.
var ErrSyntax = errors.New("the body is not a JSON object")

// bodyFault is an ErrSyntax with a more specific text.
type bodyFault string

// Error implements error.
func (f bodyFault) Error() string { return string(f) }

// Is makes errors.Is(f, ErrSyntax) true.
func (f bodyFault) Is(target error) bool { return target == ErrSyntax }

// byteOrderMark is a prefix that some editors and libraries of Windows write.
const byteOrderMark = "\uFEFF"

// DecodeBody decodes a JSON object into request, a pointer to one of the request
// types. It ignores unknown members, and null is absence.
//
// It accepts what the original's reader accepts, where that has one meaning only: a
// number or a boolean for a string, a string for a Number, a byte order mark, and
// half a surrogate pair, which becomes U+FFFD. A body that is not valid UTF-8 or
// has a member twice is a syntax error.
func DecodeBody(body []byte, request any) error {
	body = bytes.TrimPrefix(body, []byte(byteOrderMark))
	if plain, ok := request.(scannable); ok {
		if plain.scan(body) {
			return nil
		}
		reflect.ValueOf(request).Elem().SetZero() // reset what the scan has set
	}
	if jsontext.Value(body).Kind() != '{' {
		return ErrSyntax
	}
	if err := json.Unmarshal(body, request); err == nil {
		return nil
	}
	if !utf8.Valid(body) {
		return bodyFault("the body is not valid UTF-8")
	}
	reflect.ValueOf(request).Elem().SetZero() // reset what the first decoding has set
	err := json.Unmarshal(body, request, lenient)
	var semantic *json.SemanticError
	var syntactic *jsontext.SyntacticError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &semantic):
		return fmt.Errorf("%s: %s", memberName(semantic.JSONPointer), semanticProblem(semantic))
	case errors.Is(err, jsontext.ErrDuplicateName) && errors.As(err, &syntactic):
		return bodyFault("the member " + memberName(syntactic.JSONPointer) + " stands twice in the body")
	}
	return fmt.Errorf("%w: %w", ErrSyntax, err)
}

// lenient is used for the few bodies that fail without it, since it costs time.
var lenient = json.JoinOptions(
	jsontext.AllowInvalidUTF8(true), // half of a surrogate pair
	json.WithUnmarshalers(json.UnmarshalFromFunc(readScalar)),
)

// readScalar reads a number or a boolean as the text that it is written in.
func readScalar(from *jsontext.Decoder, text *string) error {
	switch from.PeekKind() {
	case '0', 't', 'f':
		value, err := from.ReadValue()
		*text = string(value)
		return err
	}
	return errors.ErrUnsupported // decode as usual
}

func memberName(at jsontext.Pointer) string { return strings.TrimPrefix(string(at), "/") }

func semanticProblem(err *json.SemanticError) string {
	if err.Err != nil {
		return err.Err.Error()
	}
	kind := map[jsontext.Kind]string{
		'{': "an object", '[': "a list", '"': "a string", '0': "a number", 't': "a boolean", 'f': "a boolean",
	}[err.JSONKind]
	return kind + " is of the wrong type"
}

// Number is an integer member of a request. Like the original's reader it accepts
// any spelling of a whole number (1.0, 1e3), and a JSON string of decimal digits
// with white space around them. An empty string is absence.
type Number int64

// UnmarshalJSON implements json.Unmarshaler. null does not change n.
func (n *Number) UnmarshalJSON(b []byte) error {
	s := string(b)
	switch jsontext.Value(b).Kind() {
	case 'n':
		return nil
	case '"':
		unquoted, _ := jsontext.AppendUnquote(nil, b) // the decoder has checked it
		if s = strings.TrimSpace(string(unquoted)); s == "" {
			return nil
		}
	case '0':
		if strings.ContainsAny(s, ".eE") {
			return n.setWhole(s)
		}
	}
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return notInteger(s)
	}
	*n = Number(v)
	return nil
}

func notInteger(s string) error { return fmt.Errorf("%q is not an integer of 64 bits", s) }

// wholeDigitsMax bounds the text of a number with a fraction or an exponent.
const wholeDigitsMax = 64

// setWhole reads a JSON number with a fraction or an exponent, which must have
// exactly the value of an integer.
func (n *Number) setWhole(s string) error {
	near, err := strconv.ParseFloat(s, 64)
	if err != nil || len(s) > wholeDigitsMax || near != math.Trunc(near) || math.Abs(near) > math.MaxInt64 {
		return notInteger(s)
	}
	if near == 0 { // the exponent of a big.Rat would have no bound
		*n = 0
		return nil
	}
	exact, ok := new(big.Rat).SetString(s)
	if !ok || !exact.IsInt() || !exact.Num().IsInt64() {
		return notInteger(s)
	}
	*n = Number(exact.Num().Int64())
	return nil
}
