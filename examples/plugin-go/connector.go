package main

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"strings"

	_ "modernc.org/sqlite" // the driver, without cgo

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

//go:embed example.yaml
var example string

// Connector describes sqlite: rows as messages, and messages as rows.
func Connector() bridge.Connector {
	return bridge.Connector{
		Name:     "sqlite",
		Summary:  "rows of a table in a SQLite database",
		Delivery: "each message is one row, however often it comes; rows are read on from the last one acknowledged",
		Example:  example,
		Source:   bridge.NewOpener(defaultSource, openSource),
		Sink:     bridge.NewOpener(SinkSettings{Table: "messages"}, openSink),
	}
}

// open opens the database file. Several processes may use one: a writer waits for another up to five seconds.
func open(ctx context.Context, path string) (*sql.DB, error) {
	db, err := sql.Open("sqlite",
		"file:"+path+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err == nil {
		err = db.PingContext(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	return db, nil
}

// quote makes an SQL identifier of a name.
func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
