package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/pluginpb"
)

// Serve serves the connectors to the bridge that started this process, and exits with it. It must
// be the first thing that main does: whatever is printed before it breaks the handshake. Started by
// anybody else, it says how a plugin is used and exits with 2. It panics if two connectors have one
// name or a name is malformed.
func Serve(connectors ...bridge.Connector) {
	handshake := pluginpb.Handshake()
	if os.Getenv(handshake.MagicCookieKey) != handshake.MagicCookieValue {
		fmt.Fprintf(os.Stderr, "%s is a plugin of xrtcbridge, which starts it: name its path under plugins: "+
			"in the YAML, or try\n"+
			"  xrtcbridge plugins check %s\n", os.Args[0], os.Args[0])
		os.Exit(2)
	}
	ignoreSignals()
	exitWithHost()
	// The bridge reads these lines. Later, go-plugin puts another in the place of os.Stderr.
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	limit := limitFromEnv()
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: handshake,
		Plugins: plugin.PluginSet{"connector": service{server: newServer(bridge.NewRegistry(connectors...),
			log, limit)}},
		GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(opts, grpc.MaxRecvMsgSize(limit+pluginpb.Overhead),
				grpc.MaxSendMsgSize(limit+pluginpb.Overhead))...)
		},
		Logger: hclog.New(&hclog.LoggerOptions{Output: os.Stderr, Level: hclog.Error}),
	})
}

// exitWithHost ends this process when the other end of standard input is closed, which happens
// when the host ends in any way, and leaves connectors an empty standard input.
func exitWithHost() {
	host := os.Stdin
	if null, err := os.Open(os.DevNull); err == nil {
		os.Stdin = null
	}
	go func() {
		_, _ = io.Copy(io.Discard, host)
		exit()
	}()
}

// service is how go-plugin wants a gRPC service.
type service struct {
	plugin.NetRPCUnsupportedPlugin
	server *server
}

func (s service) GRPCServer(_ *plugin.GRPCBroker, to *grpc.Server) error {
	pluginpb.RegisterConnectorServer(to, s.server)
	return nil
}

func (s service) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("this is the plugin")
}
