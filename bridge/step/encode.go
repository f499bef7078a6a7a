package step

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/record"
)

//go:embed encode.yaml
var encodeExample string

//go:embed decode.yaml
var decodeExample string

// Encode returns the connector encode, a step that puts another form of its bytes in place of a
// payload.
//
// # Settings
//
// as is the form, or several, one after the other; in place of the mapping, `encode: gzip` sets it.
// base64 is the standard alphabet with =, hex has small letters, and json is a JSON string.
//
// # Errors
//
// Bytes that are not UTF-8 have no form as json, and are refused.
func Encode() bridge.Connector {
	return bridge.Connector{
		Name:     "encode",
		Summary:  "writes payloads as base64, hex or a JSON string, or packs them by gzip or zstd",
		Delivery: "what has no such form is refused",
		Example:  encodeExample,
		Step:     bridge.NewOpener(encodeSettings{MaxSize: 16 << 20}, openEncode),
	}
}

// Decode returns the connector decode, a step that puts the bytes in place of a form of them: the
// inverse of [Encode].
//
// # Settings
//
// as is the form, or several, one after the other: `decode: [base64, gzip]`. base64 has either
// alphabet, with or without = at the end, and may be on several lines; hex has letters of either
// size.
//
// # Errors
//
// A payload that does not have the form is refused, and so is one that would become larger than
// max_size at any time, before it does.
func Decode() bridge.Connector {
	return bridge.Connector{
		Name:     "decode",
		Summary:  "reads payloads that are base64, hex or a JSON string, or unpacks gzip or zstd",
		Delivery: "what cannot be decoded is refused",
		Example:  decodeExample,
		Step:     bridge.NewOpener(decodeSettings{MaxSize: 16 << 20}, openDecode),
	}
}

type encodeSettings struct {
	As      []string    `yaml:"as,short,required" enum:"base64|hex|json|gzip|zstd" doc:"the form, or several, one after the other"`
	MaxSize bridge.Size `yaml:"max_size" doc:"what would become larger is refused"`
}

// Describe says that a message that comes again is the same one.
func (*encodeSettings) Describe() bridge.Description { return repeats() }

// Validate checks that there is a form, and that max_size allows something.
func (s encodeSettings) Validate() error {
	switch {
	case len(s.As) == 0:
		return bridge.KeyErrorf("as", "must name a form")
	case s.MaxSize < 1 || s.MaxSize > 1<<30:
		return bridge.KeyErrorf("max_size", "must be from 1 byte to 1GiB")
	}
	return nil
}

// decodeSettings are those of the inverse.
type decodeSettings encodeSettings

// Describe says that a message that comes again is the same one, and how much what is packed may
// become.
func (s *decodeSettings) Describe() bridge.Description {
	d := repeats()
	d.Grows = func(size int) int {
		for _, form := range s.As {
			switch form {
			case "gzip":
				size = min(size, 1<<20) * 1032 // a length of 258 takes two bits
			case "zstd":
				size = min(size, 1<<15) << 15 // a block of 128 KiB takes four bytes
			}
			size = min(size, int(s.MaxSize))
		}
		return size
	}
	return d
}

// Validate is that of the other.
func (s decodeSettings) Validate() error { return encodeSettings(s).Validate() }

// transform returns another form of bytes. It is called from one goroutine.
type transform func(in []byte) ([]byte, error)

func openEncode(_ context.Context, s *encodeSettings, _ bridge.Env) (bridge.Step, error) {
	var packed bytes.Buffer
	zipper := gzip.NewWriter(&packed)
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, bridge.Permanent(err)
	}
	return s.chain("encode", map[string]transform{
		"base64": func(in []byte) ([]byte, error) { return base64.StdEncoding.AppendEncode(nil, in), nil },
		"hex":    func(in []byte) ([]byte, error) { return hex.AppendEncode(nil, in), nil },
		"json":   func(in []byte) ([]byte, error) { return record.AppendText(nil, in) },
		"zstd":   func(in []byte) ([]byte, error) { return z.EncodeAll(in, nil), nil },
		"gzip": func(in []byte) ([]byte, error) {
			packed.Reset()
			zipper.Reset(&packed)
			_, err := zipper.Write(in)
			err = errors.Join(err, zipper.Close())
			return bytes.Clone(packed.Bytes()), err
		},
	}), nil
}

func openDecode(_ context.Context, s *decodeSettings, _ bridge.Env) (bridge.Step, error) {
	const window = 8 << 20 // who streams may choose one as large as that, however little comes, says RFC 8878
	most := int64(s.MaxSize)
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(max(most, window))),
		zstd.WithDecoderMaxWindow(uint64(min(max(most, window), zstd.MaxWindowSize))))
	if err != nil {
		return nil, bridge.Permanent(err)
	}
	var unzipper gzip.Reader
	return (*encodeSettings)(s).chain("decode", map[string]transform{
		"base64": unbase64,
		"hex": func(in []byte) ([]byte, error) {
			out, err := hex.AppendDecode(nil, bytes.TrimSpace(in))
			if err != nil {
				err = errors.New("it is not an even number of digits 0 to f") // err shows what is there
			}
			return out, err
		},
		"json": func(in []byte) ([]byte, error) {
			var text *string
			if json.Unmarshal(in, &text) != nil || text == nil || !utf8.Valid(in) {
				return nil, errors.New("it is not a JSON string")
			}
			return []byte(*text), nil
		},
		"zstd": func(in []byte) ([]byte, error) {
			out, err := z.DecodeAll(in, nil)
			switch {
			case errors.Is(err, zstd.ErrWindowSizeExceeded):
				err = errors.New("it was packed with a window that is larger than max_size")
			case errors.Is(err, zstd.ErrDecoderSizeExceeded):
				err = tooLarge(int(most))
			case len(in) == 0:
				err = io.ErrUnexpectedEOF
			}
			return out, err
		},
		"gzip": func(in []byte) ([]byte, error) {
			if err := unzipper.Reset(bytes.NewReader(in)); err != nil {
				return nil, err
			}
			return io.ReadAll(io.LimitReader(&unzipper, most+1))
		},
	}), nil
}

func unbase64(in []byte) ([]byte, error) {
	text := bytes.Map(func(r rune) rune {
		switch r {
		case ' ', '\t', '\r', '\n':
			return -1
		case '-':
			return '+'
		case '_':
			return '/'
		}
		return r
	}, in)
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte{'='}), []byte{'='})
	return base64.RawStdEncoding.AppendDecode(nil, text)
}

// chain returns a step that does one after the other.
func (s *encodeSettings) chain(name string, by map[string]transform) bridge.Step {
	return rewrite{name, func(dst []byte, m *bridge.Message) (text []byte, err error) {
		text = m.Payload
		for _, form := range s.As {
			if text, err = by[form](text); err == nil && len(text) > int(s.MaxSize) {
				err = tooLarge(int(s.MaxSize))
			}
			if err != nil {
				return dst, fmt.Errorf("%s: %w", form, err)
			}
		}
		return append(dst, text...), nil
	}, int(s.MaxSize)}
}
