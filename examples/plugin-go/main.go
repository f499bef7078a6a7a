// Command xrtcbridge-sqlite is a connector plugin of xrtcbridge for tables of SQLite databases.
package main

import "github.com/xrtcbridge/xrtcbridge/connectors/plugin"

func main() { plugin.Serve(Connector()) }
