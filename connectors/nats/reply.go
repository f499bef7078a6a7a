package nats

import (
	"strconv"
	"strings"
)

// A message's reply subject is
// $JS.ACK.[DOMAIN.ACCOUNT.]STREAM.CONSUMER.DELIVERED.SEQUENCE.CONSUMERSEQUENCE.TIME.PENDING[.TOKEN].

// fromDelivered returns a reply subject from DELIVERED on.
func fromDelivered(reply string) string {
	skip := 4
	if strings.Count(reply, ".") > 8 {
		skip = 6
	}
	for range skip {
		_, reply, _ = strings.Cut(reply, ".")
	}
	return reply
}

// delivery returns the sequence number of a message, and when the stream got it in nanoseconds,
// which both stay the same when it is delivered again; nth counts the deliveries of the consumer.
func delivery(reply string) (number, stamp, nth string) {
	_, reply, _ = strings.Cut(fromDelivered(reply), ".")
	number, reply, _ = strings.Cut(reply, ".")
	nth, reply, _ = strings.Cut(reply, ".")
	stamp, _, _ = strings.Cut(reply, ".")
	return number, stamp, nth
}

// sequence returns the sequence number of a message.
func sequence(reply string) uint64 {
	number, _, _ := delivery(reply)
	return parse(number)
}

func parse(number string) uint64 {
	n, _ := strconv.ParseUint(number, 10, 64)
	return n
}
