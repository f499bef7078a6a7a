// Package pluginpb is the wire contract between the bridge and connector plugins: connector.proto, the code
// generated from it, and what both sides need to turn batches and errors into messages and back.
package pluginpb

//go:generate sh -c "protoc --plugin=protoc-gen-go=$DOLLAR(go tool -n protoc-gen-go) --plugin=protoc-gen-go-grpc=$DOLLAR(go tool -n protoc-gen-go-grpc) --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative connector.proto"
