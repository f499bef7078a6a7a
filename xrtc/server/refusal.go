package server

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc/internal/wire"
)

// Error codes and groups of the API.
const (
	codeInternal       = 10
	codeParse          = 20
	codeArguments      = 30
	codeEmail          = 32
	codeToken          = 33
	codeWrongCode      = 34
	codeCredentials    = 35
	codeRegistrations  = 40
	codeSends          = 41
	codeTries          = 42
	codeTimeout        = 43
	codeFrequentLogin  = 45
	codeRate           = 46
	codeQuota          = 47
	codeSession        = 10011
	groupSystem        = 2
	groupRegistration  = 3
	groupLogin         = 4
	groupApplication   = 6
	mostRetryAfterSecs = 31 * 24 * 3600
)

// refusal is an error that the client is told.
type refusal struct {
	status      int // of HTTP; 0: 400
	group, code int
	text        string
	retryAfter  time.Duration // 0: none is told
}

func (r *refusal) Error() string { return r.text }

var errNoSession = &refusal{
	status: http.StatusUnauthorized, group: groupSystem, code: codeSession,
	text: "Server session denied",
}

// errGone says that the client has hung up.
var errGone = errors.New("the client is gone")

// mistake turns what package wire dislikes about a set or get into a refusal.
func mistake(err error) error {
	code := codeParse
	if wire.IsValue(err) {
		code = codeArguments
	}
	return &refusal{group: groupApplication, code: code, text: err.Error()}
}

func refuse(w http.ResponseWriter, r *refusal) {
	if r.retryAfter > 0 {
		seconds := min(int64((r.retryAfter+time.Second-1)/time.Second), mostRetryAfterSecs)
		w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
	}
	answerJSON(w, cmp.Or(r.status, http.StatusBadRequest),
		map[string]wire.Failure{"error": {Group: r.group, Code: r.code, Message: r.text}})
}

// jsonType is shared by all answers and never changed.
var jsonType = []string{"application/json"}

func answer(w http.ResponseWriter, status int, body []byte) {
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that is gone needs no answer
}

// answerJSON answers with what encoding/json makes of v: for what is seldom.
func answerJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // v cannot be written
	}
	answer(w, status, body)
}
