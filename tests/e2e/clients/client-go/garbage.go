// What is refused: the same in both encodings, and broken messages in upstream's words.
package main

import (
	"encoding/json"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// statuses compares refusals, and asks what garbage is told.
func (e *encoder) statuses() error {
	maps := "/api/v1/namespaces/" + e.h.ns + "/configmaps"
	for _, ask := range []struct{ method, path, body string }{
		{"GET", maps + "/missing", ""}, {"GET", maps + "?limit=x", ""}, {"GET", maps + "?continue=forged", ""},
		{"POST", maps, `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"No"}}`},
		{"POST", maps, `{"kind":"Secret","apiVersion":"v1"}`}, {"GET", "/apis/apps/v1/nothing", ""},
		{"POST", "/api/v1/namespaces/gone/configmaps", `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"no"}}`},
	} {
		var body []byte
		if ask.body != "" {
			body = []byte(ask.body)
		}
		one, two := e.send(ask.method, ask.path, jsonType, body, jsonType), e.send(ask.method, ask.path, jsonType, body, protoType)
		if one.status < 400 || one.status != two.status {
			return fmt.Errorf("%s %s: %d %s and %d", ask.method, ask.path, one.status, one.body, two.status)
		}
		if two.kind != protoType {
			// a plain text
			continue
		}
		e.both(ask.method+" "+ask.path, one.body, two.body, false)
	}
	if e.differences == 0 {
		fact("refusals are the same in both encodings")
	}
	return e.garbage(maps)
}

// garbage is refused in upstream's words.
func (e *encoder) garbage(maps string) error {
	good, err := message(typed(configMap("garbage", "")))
	if err != nil {
		return err
	}
	unrecognized, unhandled := "the object provided is unrecognized (must be of type ConfigMap): ", `ConfigMap in version "v1" cannot be handled as a ConfigMap: `
	// the envelope of a ConfigMap around a message
	around := func(raw ...byte) []byte {
		head := []byte("k8s\x00\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12")
		return append(append(head, byte(len(raw))), raw...)
	}
	for _, ask := range []struct {
		body []byte
		said string
	}{
		{good[4:], unrecognized + "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"},
		{[]byte("k8s\x00"), unrecognized + "empty body (6b387300)"},
		{good[:12], unrecognized + "unexpected EOF"},
		{[]byte("k8s\x00\x02"), unrecognized + "proto: Unknown: illegal tag 0 (wire type 2) (6b38730002)"},
		{around(0x0a, 0x05, 0x0a), unhandled + "unexpected EOF"},
		{around(0x08, 0x05), unhandled + "proto: wrong wireType = 0 for field ObjectMeta"},
		{around(0x4f), unhandled + "proto: illegal wireType 7"},
		{around(0x9c, 0x06), unhandled + "proto: ConfigMap: wiretype end group for non-group"},
		{around(0x02, 0x01, 0x61), unhandled + "proto: ConfigMap: illegal tag 0 (wire type 2)"},
	} {
		got := e.send("POST", maps, protoType, ask.body, jsonType)
		var status metav1.Status
		if err := json.Unmarshal(got.body, &status); err != nil || got.status != 400 || !strings.HasPrefix(status.Message, ask.said) {
			return fmt.Errorf("%x: %d %s, not %q", ask.body, got.status, got.body, ask.said)
		}
	}
	fact("garbage is refused in upstream's words")
	return nil
}
